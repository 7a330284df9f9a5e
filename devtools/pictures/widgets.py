"""Help-page pictures of nodes with widgets of their own: the real page after a run of an example, in Nodes 2.0."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import folder_paths
from PIL import Image
from torch import Tensor

from ...images.tensors import from_pil
from ..browser import MISSING, find_chromium
from ..runtime import Runtime
from ..server import Server
from ..settings import WORKFLOWS, DevError
from .shared import picture

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


def _node(workflow: str, kind: str, part: str, x: float, y: float, click: bool = False) -> Tensor:
    """A node [H, W, 3] of an example workflow after a run, with the mouse in a place, in fractions of a part of it.

    click: clicks there, and moves away.
    """
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
        flow = json.loads((WORKFLOWS / f"{workflow}.json").read_text(encoding="utf-8"))
        page.evaluate("(flow) => app.loadGraphData(flow, true, true, 'example.json')", flow)
        page.wait_for_function(_READY)
        with page.expect_response(lambda answer: answer.url.endswith("/api/prompt")) as caught:
            page.evaluate("() => app.queuePrompt(0, 1)")
        while not server.client.history(caught.value.json()["prompt_id"]):
            time.sleep(0.2)
        node = page.locator(f"[data-node-id='{page.evaluate(_ALONE, kind)}']").first
        page.wait_for_timeout(_WAIT_MS)
        box = node.locator(part).first.bounding_box()
        assert box is not None
        place = (box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.mouse.move(*place)
        if click:
            page.mouse.click(*place)
            page.mouse.move(5, 1190)
        page.wait_for_timeout(_WAIT_MS)
        png = node.screenshot()
        browser.close()
    return from_pil(Image.open(io.BytesIO(png)))[0]


@picture
def schedule_editor() -> Tensor:
    return _node("draw-the-schedule", "DPathSchedule", ".dpath-plot", 0.6, 0.5)


@picture
def path_viewer() -> Tensor:
    return _node("draw-the-schedule", "DPathFilmstrip", ".dpath-track", 0.3, 0.4, click=True)


@picture
def stroke_canvas() -> Tensor:
    return _node("paint-over-a-photo", "DPathStrokeCanvas", ".dpath-easel", 0.3, 0.3)
