"""Runs a real Chromium for the end-to-end tests, with visits that notice what a page must never do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from deploy.local.archive import free_ports
from deploy.local.browser import find
from tests.e2e.stage import Stage

PATIENCE_MS: Final = 15_000
"""How long what a page is to do or to show is waited for: a page that has lost its game asks again after eight seconds."""
expect.set_options(timeout=PATIENCE_MS)

FLAGS: Final = (
    "--no-sandbox",  # Chromium's sandbox refuses to run as root, as CI does
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield a Chromium without a window. It ends with the module, since Playwright's loop would disturb asynchronous tests."""
    path = find()
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one by GAMENIGHT_CHROMIUM")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Yield the API on a bus in memory, with models that do as told."""
    [port] = free_ports(1)
    running = Stage(port)
    running.open()
    yield running
    running.close()


@dataclass
class Visit:
    """A page, and its faults: errors in the console, and requests to other hosts."""

    page: Page
    expected: str = ""
    """A text that errors contain which the test itself causes."""
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._error(str(error)))
        self.page.on("request", self._request)
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`))"
        )

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._error(message.text)

    def _error(self, text: str) -> None:
        if not self.expected or self.expected not in text:
            self.errors.append(text)

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).hostname != "127.0.0.1" and not request.url.startswith("data:"):
            self.strangers.append(request.url)

    def guess(self, model: str) -> Any:
        """Wait until a model answers the finished drawing; return the digit on its card."""
        return self.page.locator(f'article[data-model="{model}"][data-state="final"] .digit')

    def draw(self, points: list[tuple[float, float]]) -> None:
        """Draw one stroke by mouse.

        Args:
            points: Positions on the pad, 0..1 from its top left corner.
        """
        box = self.page.locator("#pad").bounding_box()
        assert box is not None
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=10)
        self.page.mouse.up()


SEVEN: Final = [(0.28, 0.2), (0.72, 0.2), (0.42, 0.82)]
ONE: Final = [(0.5, 0.15), (0.5, 0.85)]
PHONE: Final = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
Visits = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Yield a function that opens pages, each as a new visitor; fail at the end if a page did what it must never do."""
    visits: list[Visit] = []
    contexts: list[BrowserContext] = []

    def opened(
        url: str, *, context: BrowserContext | None = None, expected: str = "", live: bool = True, **options: Any
    ) -> Visit:
        if context is None:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
            contexts.append(context)
        one = Visit(context.new_page(), expected)
        visits.append(one)
        one.page.set_default_timeout(PATIENCE_MS)
        one.page.goto(url)
        if live:
            one.page.locator('#connection[data-state="live"]').wait_for()
        return one

    yield opened
    for context in contexts:
        context.close()
    assert [error for one in visits for error in one.errors] == []
    assert [url for one in visits for url in one.strangers] == []
