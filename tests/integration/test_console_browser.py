"""The console in headless Chromium, on the real daemon: what an operator does of a morning, and whether everybody can.

Needs Debian's `chromium` and `chromium-driver`; in CI they must be there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.integration.console_site import Site

AXE = Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js"
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--window-size=1280,900",
)  # fmt: skip
STOCK = "GA_CODEARTICLE;GA_CODEBARRE;GQ_DEPOT;GQ_PHYSIQUE;GQ_RESERVECLI;GQ_PREPACLI;GQ_CLOTURE\n"
HOSTILE = "<img src=x onerror=document.title='owned'>.csv"
PAGES = {
    "overview": "/", "log": "/log", "log without a hit": "/log?q=nothing", "message": "/message/1", "entry": "/entry/1",
    "bytes": "/entry/1?as=bytes", "pair": "/message/1/pair", "failed": "/message/3", "failed pair": "/message/3/pair",
    "decision": "/message/3/replay", "buffers": "/buffers", "levels": "/buffers?key=2000000000015",
    "told": "/buffers/told?key=2000000000015",
    "import": "/buffers/import", "settings": "/settings", "files": "/files/inventory?in=failed",
    "scan": "/log/scan?q=XXL",
    "alerts": "/alerts", "error": "/nothing",
}  # fmt: skip

LABELS_OVER_VALUES = """
    return [...document.querySelectorAll(".stack td[data-label]")]
        .filter((cell) => cell.offsetParent)
        .filter((cell) => parseFloat(getComputedStyle(cell, "::before").width)
            >= parseFloat(getComputedStyle(cell).paddingLeft))
        .map((cell) => cell.outerHTML)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (Path(CHROMIUM).exists() and Path(DRIVER).exists()) and not os.environ.get("CI"),
        reason="Chromium is not installed (apt install chromium chromium-driver)",
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("shop")).running() as running:
        running.drop("STOCK.csv", "inventory")
        running.drop("ORDERS.xml", "orders")
        running.write(STOCK + "1;2;1;many;;;-\n", "inventory", HOSTILE)
        yield running


@contextmanager
def chromium(profile: Path, *, scripts: bool = True) -> Iterator[webdriver.Chrome]:
    """A fresh browser that reaches nothing but what it is told to."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        if not scripts:
            driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        yield driver
    finally:
        driver.quit()
        driver.service.stop()
        shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture(scope="module")
def driver(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        driver.get(site.base)
        yield driver


def phone(driver: webdriver.Chrome, on: bool) -> None:
    if on:
        size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    else:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def scheme(driver: webdriver.Chrome, name: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": name}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def complaints(driver: webdriver.Chrome) -> list[str]:
    """What the browser complains of, but for answers that tell an error by their status."""
    return [one["message"] for one in driver.get_log("browser") if "status of 4" not in one["message"]]


def follow(driver: webdriver.Chrome, text: str) -> None:
    driver.find_element(By.PARTIAL_LINK_TEXT, text).click()


def send(driver: webdriver.Chrome, button: str) -> None:
    driver.find_element(By.XPATH, f"//main//button[normalize-space()='{button}']").click()


def shows(driver: webdriver.Chrome, text: str) -> None:
    """Waits until the page says so; an element that went with the page before it is asked for again."""
    waiting = WebDriverWait(driver, 15, ignored_exceptions=[StaleElementReferenceException])
    waiting.until(lambda one: text in main_text(one), f"the page does not say {text!r}")


def main_text(driver: webdriver.Chrome) -> str:
    return driver.find_element(By.TAG_NAME, "main").text


def test_an_order_is_found_and_followed_to_its_pair(site, driver):
    driver.get(site.base)
    follow(driver, "Log")
    box = driver.find_element(By.NAME, "q")
    box.send_keys("0000100046", Keys.ENTER)
    WebDriverWait(driver, 10).until(lambda one: "q=0000100046" in one.current_url)
    shows(driver, "ORDERS.xml")
    assert "STOCK.csv" not in main_text(driver)
    follow(driver, "ORDERS.xml")
    follow(driver, "Compare the pair")
    shows(driver, "0000100046")
    shows(driver, "The right side stands in what was sent")


def test_from_any_page_an_order_is_two_steps_away(site, driver):
    driver.get(f"{site.base}/settings")
    driver.find_element(By.CSS_SELECTOR, "header input[name=q]").send_keys("0000100046", Keys.ENTER)
    WebDriverWait(driver, 10).until(lambda one: one.find_elements(By.LINK_TEXT, "pair"))
    follow(driver, "pair")
    shows(driver, "record 2")
    assert "0000100045" not in main_text(driver)


def test_why_the_store_shows_a_number_stands_beside_its_buffers(site, driver):
    driver.get(f"{site.base}/buffers?key=2000000000039")
    shows(driver, "The store was told")
    assert "4.5 Store buffer 2 2.5 done STOCK.csv" in main_text(driver).replace("\n", " ")


def test_a_buffer_is_changed_and_the_next_file_uses_it(site, driver):
    driver.get(f"{site.base}/buffers")
    driver.find_element(By.NAME, "key").send_keys("2000000000022", Keys.ENTER)
    WebDriverWait(driver, 10).until(
        lambda one: one.find_elements(By.CSS_SELECTOR, "input[aria-label='Variation buffer']")
    )
    field = driver.find_element(By.CSS_SELECTOR, "input[aria-label='Variation buffer']")
    field.clear()
    field.send_keys("1", Keys.ENTER)
    shows(driver, "1 held back from the next file on")
    site.drop("STOCK.csv", "inventory", "AFTER.csv")
    driver.get(f"{site.base}/log?q=AFTER.csv&variant=Unmodified")
    follow(driver, "AFTER.csv")
    follow(driver, "Compare the pair")
    shows(driver, "record 2, line 3")
    assert "2 → 1 Variation buffer 1" in main_text(driver).replace("\n", " ")


def test_a_failed_message_is_replayed_with_a_reason(site, driver):
    driver.get(site.base)
    follow(driver, HOSTILE)
    follow(driver, "Replay")
    send(driver, "Replay")
    shows(driver, "Replay message 3?")  # the browser asks for a reason first
    driver.find_element(By.NAME, "reason").send_keys("the sender corrected it")
    send(driver, "Replay")
    shows(driver, "is sent again as message")
    driver.get(f"{site.base}/message/3")
    shows(driver, "the sender corrected it")
    shows(driver, "Sent again as message")


def test_hostile_names_run_no_script(site, driver):
    driver.get_log("browser")
    for path in ("/", "/log", "/message/3", "/message/3/pair", "/files/inventory?in=failed"):
        driver.get(site.base + path)
        assert driver.title != "owned"
        assert HOSTILE in driver.page_source or "&lt;img" in driver.page_source
    assert complaints(driver) == []


def test_times_are_the_readers_own_with_utc_on_hover(site, driver):
    driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Pacific/Auckland"})
    try:
        driver.get(f"{site.base}/message/1")
        shown = driver.find_element(By.CSS_SELECTOR, "dd time")
        at = shown.get_attribute("datetime")
        hour = driver.execute_script("return new Date(arguments[0]).getHours()", at)
        assert f"{hour:02}:" in shown.text
        assert shown.get_attribute("title") == f"{at[:10]} {at[11:19]} UTC"
    finally:
        driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_a_typed_time_is_the_readers_own_and_goes_into_the_address_in_utc(site, driver):
    driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
    try:
        driver.get(f"{site.base}/log?since=2026-01-02T03:04")
        field = driver.find_element(By.NAME, "since")
        assert field.get_attribute("value") == "2026-01-02T08:34"
        send(driver, "Show")
        WebDriverWait(driver, 10).until(lambda one: "since=2026-01-02T03%3A04" in one.current_url)
        assert "until=" not in driver.current_url
    finally:
        driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_the_overview_renews_itself(site, driver):
    driver.get(site.base)
    site.write(STOCK, "inventory", "LATER.csv")
    shows(driver, "LATER.csv")


def test_the_theme_is_chosen_and_remembered(site, driver):
    driver.get(site.base)
    button = driver.find_element(By.ID, "theme")
    light = driver.execute_script("return getComputedStyle(document.body.parentElement).backgroundColor")
    while button.text != "Theme: dark":
        button.click()
    driver.get(f"{site.base}/log")
    assert driver.execute_script("return getComputedStyle(document.body.parentElement).backgroundColor") != light
    button = driver.find_element(By.ID, "theme")
    while button.text != "Theme: auto":
        button.click()


def test_the_keyboard_alone_reaches_the_content_and_everything_in_it(site, driver):
    driver.get(f"{site.base}/log")
    driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert driver.switch_to.active_element.text == "Skip to the content"
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert driver.switch_to.active_element.get_attribute("id") == "main"
    met = set()
    for _ in range(60):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        met.add(driver.switch_to.active_element.get_attribute("name") or driver.switch_to.active_element.text)
    assert {"q", "store", "outcome", "since", "size", "Show", "Download as CSV"} <= met


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_no_page_is_wider_than_a_phone(site, driver, path):
    phone(driver, on=True)
    try:
        driver.get(site.base + path)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        assert driver.execute_script(LABELS_OVER_VALUES) == []
    finally:
        phone(driver, on=False)


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_everybody_can_use_every_page(site, driver, path, look):
    scheme(driver, "dark" if look == "dark" else "light")
    phone(driver, on=look == "phone")
    try:
        driver.get(site.base + path)
        assert findings(driver) == []
    finally:
        phone(driver, on=False)
        scheme(driver, "light")


def findings(driver: webdriver.Chrome) -> list[str]:
    """What the accessibility checker finds, each with its place; minor ones too."""
    driver.execute_script(AXE.read_text("utf-8"))
    told: dict[str, Any] = driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return [f"{one['impact']} {one['id']}: {node['html']}" for one in told["violations"] for node in one["nodes"]]


def test_no_page_complains_or_asks_elsewhere(site, driver):
    driver.get_log("browser")
    for path in PAGES.values():
        driver.get(site.base + path)
        sources = driver.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
        assert all(source.startswith(site.base) for source in sources)
    assert complaints(driver) == []


def test_everything_is_read_and_done_without_scripts(site, tmp_path):
    with chromium(tmp_path / "profile", scripts=False) as driver:
        driver.get(site.base)
        shows(driver, "UTC")
        assert not driver.find_element(By.ID, "theme").is_displayed()  # it would do nothing
        follow(driver, "Log")
        driver.find_element(By.NAME, "q").send_keys("0000100045", Keys.ENTER)
        shows(driver, "ORDERS.xml")
        driver.get(f"{site.base}/settings")
        driver.find_element(By.XPATH, "//button[starts-with(normalize-space(), 'Switch off')]").click()
        shows(driver, "is now false")
        driver.find_element(By.XPATH, "//button[starts-with(normalize-space(), 'Switch on')]").click()
        shows(driver, "is now true")


def test_one_logs_in_is_refused_and_logs_out(tmp_path):
    passwords = 'password = "edit me"\nviewer_password = "look"\n'
    with Site(tmp_path / "shop", passwords).running() as site, chromium(tmp_path / "profile") as driver:
        driver.get(f"{site.base}/settings")
        shows(driver, "Your name")
        assert findings(driver) == []
        log_in(driver, "Eve", "guess")
        shows(driver, "Wrong password.")
        log_in(driver, "Bob", "look")
        shows(driver, "Stock Buffer")
        assert driver.current_url == f"{site.base}/settings"
        assert "reads only" in driver.find_element(By.TAG_NAME, "header").text
        assert not driver.find_elements(By.CSS_SELECTOR, "main form")
        driver.find_element(By.XPATH, "//button[normalize-space()='Log out']").click()
        shows(driver, "Your name")
        driver.get(site.base)
        shows(driver, "Your name")


def log_in(driver: webdriver.Chrome, name: str, password: str) -> None:
    for field, value in (("name", name), ("password", password)):
        box = driver.find_element(By.NAME, field)
        box.clear()
        box.send_keys(value)
    send(driver, "Log in")
