"""Help-page pictures of nodes with widgets of their own: the real page after a run of an example, in Nodes 2.0."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths
from PIL import Image
from torch import Tensor

from ...images.tensors import from_pil
from ..browser import MISSING, find_chromium
from ..client import Client
from ..runtime import Runtime
from ..server import Server
from ..settings import WORKFLOWS, DevError
from .shared import picture

if TYPE_CHECKING:
    from playwright.sync_api import ElementHandle, Page

Act = Callable[["Page", "ElementHandle"], None]

_SETTINGS = {
    "Comfy.VueNodes.Enabled": True,
    "Comfy.Appearance.DisableAnimations": True,
    "Comfy.Minimap.Visible": False,
}
_OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--font-render-hinting=none"]
_READY = "() => window.app?.isGraphReady && app.extensionManager?.workflow?.activeWorkflow"
# The node alone in the middle of the page, at its natural size.
_ALONE = """(kind) => { const node = app.canvas.graph.nodes.find(n => n.type === kind), ds = app.canvas.ds;
    ds.scale = 1; ds.offset[0] = 200 - node.pos[0]; ds.offset[1] = 150 - node.pos[1]; app.canvas.setDirty(true, true);
    return String(node.id); }"""
_WAIT_MS = 1500


def _node(workflow: str, kind: str, act: Act) -> Tensor:
    """A node of an example workflow after a run, touched by `act`. [H, W, 3]."""
    chromium = find_chromium()
    if chromium is None:
        raise DevError(MISSING)
    from playwright.sync_api import sync_playwright  # a tool for developers

    runtime = Runtime(Path(sys.executable), Path(folder_paths.__file__).parent)
    with Server(runtime) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=_OPTIONS)
        server.client.post("/api/settings", _SETTINGS)
        page = browser.new_page(viewport={"width": 1000, "height": 1200}, device_scale_factor=1.5)
        page.goto(server.client.url)
        page.wait_for_function(_READY, timeout=120_000)
        _run(page, server.client, json.loads((WORKFLOWS / f"{workflow}.json").read_text(encoding="utf-8")))
        node = page.evaluate(_ALONE, kind)
        page.wait_for_timeout(_WAIT_MS)
        element = page.wait_for_selector(f"[data-node-id='{node}']")
        assert element is not None
        act(page, element)
        page.wait_for_timeout(_WAIT_MS)
        png = element.screenshot()
        browser.close()
    return from_pil(Image.open(io.BytesIO(png)))[0]


def _run(page: Page, client: Client, workflow: dict[str, Any]) -> None:
    page.evaluate("(flow) => app.loadGraphData(flow, true, true, 'example.json')", workflow)
    page.wait_for_function(_READY)
    with page.expect_response(lambda answer: answer.url.endswith("/api/prompt")) as caught:
        page.evaluate("() => app.queuePrompt(0, 1)")
    prompt = caught.value.json()["prompt_id"]
    while not client.history(prompt):
        time.sleep(0.2)


def _point_at(selector: str, x: float, y: float, click: bool = False) -> Act:
    """Moves to, or clicks, a place in fractions of a part of the node."""

    def act(page: Page, node: ElementHandle) -> None:
        part = node.wait_for_selector(selector)
        box = part.bounding_box() if part else None
        assert box is not None
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if click:
            page.mouse.down()
            page.mouse.up()
            page.mouse.move(5, 1190)

    return act


@picture
def schedule_editor() -> Tensor:
    return _node("draw-the-schedule", "DPathSchedule", _point_at(".dpath-plot", 0.6, 0.5))


@picture
def path_viewer() -> Tensor:
    return _node("draw-the-schedule", "DPathFilmstrip", _point_at(".dpath-track", 0.3, 0.4, click=True))


@picture
def stroke_canvas() -> Tensor:
    return _node("paint-over-a-photo", "DPathStrokeCanvas", _point_at(".dpath-easel", 0.3, 0.3))
