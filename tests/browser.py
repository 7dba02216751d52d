# SPDX-License-Identifier: Apache-2.0
"""A real browser for tests: Debian's Chromium, driven by Playwright. Used by system tests of the pages.

What a page logs as an error is collected: a test fails over it at its end. Refusals (4xx) of the API, which Chromium
logs, too, are what the pages are made to handle.
"""

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

CHROMIUM: Final = shutil.which(os.environ.get("LEITSTAND_CHROMIUM", "chromium")) or ""
WAIT_MS: Final = 20_000

needs_browser: Final = pytest.mark.skipif(
    not CHROMIUM, reason="chromium is missing (Debian: apt install chromium; or LEITSTAND_CHROMIUM=/path)"
)


@contextmanager
def running() -> Iterator[Browser]:
    """The browser. It runs no page from elsewhere, and root has no sandbox in a container."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """One person with a browser of their own: cookies, language, window. `page` is where they look."""

    def __init__(self, browser: Browser, url: str, locale: str = "en-GB", **more: Any) -> None:
        more.setdefault("viewport", {"width": 1280, "height": 800})
        self.context: BrowserContext = browser.new_context(locale=locale, base_url=url, **more)
        self.context.set_default_timeout(WAIT_MS)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "the server responded with a status of 4" not in message.text:
            self.errors.append(message.text)

    def sign_in(self, token: str) -> None:
        """With a token, on the first page."""
        self.page.goto("/")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Jobs", level=1).wait_for()

    def accessible(self, axe: Path) -> list[str]:
        """What axe-core says against the page as it is now, one line per rule with the places."""
        self.page.evaluate(axe.read_text())
        found = self.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        return [
            f"{one['id']}: {one['help']}: {', '.join(str(node['target']) for node in one['nodes'])}"
            for one in found["violations"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        wide = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return int(wide)


@contextmanager
def relay(port: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """A port that leads to another one of loopback, and a function that cuts every connection through it."""
    pairs: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def lead(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(("127.0.0.1", port))
                pairs.extend((near, far))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=(source, sink), daemon=True).start()

    def cut() -> None:
        for one in pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        pairs.clear()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=lead, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1], cut
        listening.shutdown(socket.SHUT_RDWR)
    cut()
