"""Headless Chromium on the console's application, served by this process on a free port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from selenium import webdriver

from tests.integration.test_console_browser import chromium
from tests.security.console_pages import COOKIE, Pages
from tests.servers.places import HOST, free_port


class Browser:
    """A browser that is logged in."""

    def __init__(self, driver: webdriver.Chrome, base: str) -> None:
        self._driver = driver
        self._base = base

    def open(self, path: str) -> None:
        """A page, and what its scripts ask for."""
        self._driver.get(self._base + path)
        time.sleep(0.15)  # what htmx loads at once

    def script(self, text: str) -> Any:
        """What a script of the page's own says."""
        return self._driver.execute_script(text)

    def title(self) -> str:
        """The page's."""
        return str(self._driver.title)

    def complaints(self) -> list[str]:
        """What the browser complains of, but for answers that tell an error by their status."""
        return [one["message"] for one in self._driver.get_log("browser") if "status of 4" not in one["message"]]


@contextmanager
def browsing(pages: Pages, token: str, profile: Path) -> Iterator[Browser]:
    """Serves the application and gives a browser with a session's cookie."""
    port = free_port()
    config = uvicorn.Config(
        pages.app, host=HOST, port=port, log_config=None, lifespan="off", ws="none", access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        with chromium(profile) as driver:
            base = f"http://{HOST}:{port}"
            driver.get(f"{base}/login")
            driver.add_cookie({"name": COOKIE, "value": token})
            driver.get_log("browser")
            yield Browser(driver, base)
    finally:
        server.should_exit = True
        thread.join(10)
