"""A starter folder with the real daemon on it, its console on a free port of this machine, and a browser's manners.

`Browser` keeps cookies and tokens as a browser would; it follows no redirect by itself.
"""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

from tests.servers.command_line import run_command

PATIENCE = 30.0


def free_port() -> int:
    """A port nobody listens on just now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(what: Callable[[], object], seconds: float = PATIENCE) -> object:
    """Waits until something is so; AssertionError where it does not come to be."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
    return found


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def where(self) -> str:
        """Where a redirect leads."""
        return self.headers.get("location", "")


class Browser:
    """One visitor."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request."""
        sent = {"Host": f"127.0.0.1:{self.port}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            for cookie in response.headers.get_all("set-cookie") or []:
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value.strip('"')
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    def get(self, path: str) -> Answer:
        """A page."""
        return self.ask("GET", path)

    def token(self, path: str) -> str:
        """The token that stands in the forms of a page."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert found, f"no form on {path}"
        return unescape(found[1])

    def post(self, path: str, token: str, **fields: str) -> Answer:
        """Sends a form."""
        body = urlencode({"csrf": token, **fields}).encode()
        return self.ask("POST", path, body, Content_Type="application/x-www-form-urlencoded")

    def upload(self, path: str, token: str, name: str, content: bytes) -> Answer:
        """Sends a form with a file."""
        mark = "mark-of-a-test"
        head = f'--{mark}\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{token}\r\n--{mark}\r\n'
        head += f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/csv\r\n\r\n'
        body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
        return self.ask("POST", path, body, Content_Type=f"multipart/form-data; boundary={mark}")

    def log_in(self, name: str, password: str) -> Answer:
        """Fills the login form in."""
        return self.post("/login", self.token("/login"), name=name, password=password)


class Site:
    """A starter folder and the daemon on it."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.folder, self.port = folder, free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self._command("init", str(folder))
        configuration = folder / "cegid-daemon.toml"
        text = re.sub(r"\[console\]\n(.+\n)*", "", configuration.read_text("utf-8"))
        configuration.write_text(f'{text}\n[console]\nlisten = "127.0.0.1:{self.port}"\n{extra}', "utf-8")
        configuration.chmod(0o600)
        self._daemon: subprocess.Popen[bytes] | None = None

    def _command(self, *words: str) -> None:
        run_command(*words).check_returncode()

    def browser(self) -> Browser:
        """A new visitor."""
        return Browser(self.port)

    @contextmanager
    def running(self) -> Iterator[Site]:
        """The daemon, until the end of the block; it must end well."""
        with (self.folder / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [sys.executable, "-m", "cegid_daemon", "run", "--config", str(self.folder / "cegid-daemon.toml")],
                stdout=log, stderr=log,
            )  # fmt: skip
            try:
                eventually(self._is_ready)
                yield self
            finally:
                self._daemon.send_signal(signal.SIGTERM)
                code = self._daemon.wait(PATIENCE)
        assert code == 0, self.log
        assert "Traceback" not in self.log, self.log

    def reload(self) -> None:
        """Makes the daemon read its configuration again."""
        assert self._daemon is not None
        before = self.log.count("Reloaded")
        self._daemon.send_signal(signal.SIGHUP)
        eventually(lambda: self.log.count("Reloaded") > before)

    @property
    def log(self) -> str:
        """What the daemon said."""
        return (self.folder / "daemon.log").read_text("utf-8")

    def _is_ready(self) -> bool:
        assert self._daemon is not None
        assert self._daemon.poll() is None, self.log
        try:
            return self.browser().get("/health/ready").status == 200
        except OSError:
            return False

    def drop(self, sample: str, route: str, name: str = "") -> None:
        """Drops a sample into a route's inbox, and waits until it was filed away."""
        target = self.folder / "inbox" / route / (name or sample)
        shutil.copy(self.folder / "samples" / sample, target)
        eventually(lambda: not target.exists())

    def write(self, content: str, route: str, name: str) -> None:
        """Drops a file of one's own."""
        target = self.folder / "inbox" / route / name
        target.write_text(content, "utf-8")
        eventually(lambda: not target.exists())
