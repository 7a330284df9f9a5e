"""One browser for all tests of this folder, and the real page of the real server in both renderers.

A test takes `comfy` (a `ComfyPage`, see page.py): it starts with an empty graph, runs once per renderer, and fails if
the page complained. Pictures of failures, and of `comfy.screenshot(name)`, are kept in output/browser.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from diffusion_path.devtools.browser import MISSING, find_chromium
from diffusion_path.devtools.server import Server
from diffusion_path.tests.browser.page import ARTEFACTS, RENDERERS, ComfyPage
from playwright.sync_api import Browser, sync_playwright

_OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--font-render-hinting=none"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(path), args=_OPTIONS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def pages(browser: Browser, server: Server) -> Iterator[dict[str, ComfyPage]]:
    """The pages that are open, by renderer: each is opened by the first test that takes it."""
    opened: dict[str, ComfyPage] = {}
    yield opened
    for page in opened.values():
        page.close()


@pytest.fixture(params=RENDERERS)
def comfy_page(
    request: pytest.FixtureRequest, browser: Browser, server: Server, pages: dict[str, ComfyPage]
) -> ComfyPage:
    if request.param not in pages:
        pages[request.param] = ComfyPage(browser, server, request.param)
    return pages[request.param]


@pytest.fixture
def comfy(comfy_page: ComfyPage, request: pytest.FixtureRequest) -> Iterator[ComfyPage]:
    """The page with an empty graph; afterwards its console must be clean."""
    comfy_page.reset()
    failed = request.session.testsfailed
    yield comfy_page
    if request.session.testsfailed > failed:
        comfy_page.screenshot(f"failed-{request.node.name}")
        comfy_page.problems.clear()
    assert not comfy_page.problems


@pytest.fixture(scope="session", autouse=True)
def _artefacts() -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
