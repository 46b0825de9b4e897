"""Debian's Chromium without a window, driven by selenium: what a person sees on Prefect's and MLflow's pages.

Used by the tests of the pages and by docs/screenshots.py. Nothing here sleeps: whoever looks waits for what it expects.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException, TimeoutException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PROGRAMS = ("chromium", "chromedriver")
SECONDS = 60  # for a page to show what it must, on a busy machine
SIZE = (1400, 900)
# Without a mouse Chromium would apply the styles for touch screens, with tool bars over every chart.
MOUSE = "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Leaves the present page and opens another; one that differs only after its # is loaded anew, too."""
        self.driver.get("about:blank")
        self.driver.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a piece of JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self) -> str:
        """The page's visible text, with ordinary spaces."""
        return str(self.run("return document.body.innerText")).replace("\N{NO-BREAK SPACE}", " ")

    def wait(self, done: Callable[[], Any], what: str) -> Any:
        """Waits until `done` returns something true, and returns that; fails with the page's text."""
        ignored = (JavascriptException, StaleElementReferenceException)
        try:
            return WebDriverWait(self.driver, SECONDS, ignored_exceptions=ignored).until(lambda _: done())
        except TimeoutException:
            page = f"{self.driver.current_url}\n{self.text()}"
            raise AssertionError(f"not within {SECONDS} s: {what}; the page is {page}") from None

    def see(self, *texts: str) -> str:
        """Waits until the page shows all of these texts; returns all that it shows."""
        self.wait(lambda: all(text in self.text() for text in texts), f"the texts {texts}")
        return self.text()

    def click(self, text: str) -> None:
        """Clicks on the first visible thing that shows exactly this text."""

        def find() -> WebElement | None:
            found = self.driver.find_elements(By.XPATH, f"//*[text()[normalize-space()='{text}']]")
            return next((element for element in found if element.is_displayed()), None)

        self.wait(find, f"something called {text}").click()

    def type(self, placeholder: str, text: str) -> None:
        """Writes into the field with this placeholder."""
        path = f"//input[@placeholder='{placeholder}']"
        self.wait(lambda: self.driver.find_elements(By.XPATH, path), f"a field called {placeholder}")[0].send_keys(text)

    def picture(self) -> bytes:
        """The window as PNG, once nothing has moved in it for two seconds: no spinner, no half-drawn chart."""
        self.run("document.activeElement.blur()")  # a cursor would blink
        seen: list[bytes] = []

        def is_still() -> bytes | None:
            seen.append(self.driver.get_screenshot_as_png())
            return seen[-1] if seen[-5:] == [seen[-1]] * 5 else None

        return bytes(self.wait(is_still, "a picture that stands still"))

    def hosts(self) -> set[str]:
        """The hosts that pages have asked for something since the last call."""
        log: list[dict[str, Any]] = self.driver.get_log("performance")  # type: ignore[no-untyped-call]
        entries = [json.loads(entry["message"])["message"] for entry in log]
        urls = [
            entry["params"]["request"]["url"] for entry in entries if entry["method"] == "Network.requestWillBeSent"
        ]
        return {str(urlsplit(url).hostname) for url in urls if url.startswith(("http", "ws"))}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A window of a fresh profile."""
    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    arguments = ["--headless=new", "--hide-scrollbars", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader"]
    arguments += [f"--blink-settings={MOUSE}", "--lang=en-US"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # root cannot have one
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        width, height = SIZE
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield Browser(driver)
    finally:
        driver.quit()
