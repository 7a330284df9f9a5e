"""Help-page pictures of nodes with widgets of their own: the real page after a run of an example, in Nodes 2.0."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import folder_paths
from PIL import Image
from torch import Tensor

from ...images.tensors import from_pil
from ..browser import MISSING, find_chromium
from ..runtime import Runtime
from ..server import Server
from ..settings import WORKFLOWS, DevError
from .shared import picture

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

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
# Names for the layers, and one for each of the things that are painted.
_IN_LAYERS = """(id) => { const node = app.canvas.graph.getNodeById(id);
    const widget = node.widgets.find(each => each.name === "drawing"), drawing = JSON.parse(widget.value);
    const cut = drawing.layers.find(each => each.kind === "picture");
    drawing.layers = [{ ...cut, name: "Far mountain" }, { id: "paint", name: "Near mountain", t0: 0.4 },
        { id: "house", name: "House", t0: 0.5 }, { id: "sketch", kind: "sketch" }];
    drawing.strokes.forEach((stroke, i) => { if (i > 2) stroke.layer = "house"; });
    widget.value = JSON.stringify(drawing); }"""
_MOUNTAIN = [(0.17, 0.44), (0.25, 0.33), (0.33, 0.2), (0.385, 0.15), (0.46, 0.24), (0.56, 0.31), (0.61, 0.4)]
_MOUNTAIN += [(0.62, 0.49), (0.4, 0.5), (0.2, 0.49), (0.17, 0.44)]
_WAIT_MS = 1500


@contextmanager
def _opened(workflow: str) -> Iterator[Page]:
    """The page with an example workflow after a run."""
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
        yield page
        browser.close()


def _node(workflow: str, kind: str, part: str, x: float, y: float, click: bool = False) -> Tensor:
    """A node [H, W, 3] of an example workflow after a run, with the mouse in a place, in fractions of a part of it.

    click: clicks there, and moves away.
    """
    with _opened(workflow) as page:
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
        return _shown(node)


def _shown(element: Locator) -> Tensor:
    """A part of the page as a picture [H, W, 3]."""
    return from_pil(Image.open(io.BytesIO(element.screenshot())))[0]


@picture
def schedule_editor() -> Tensor:
    return _node("draw-the-schedule", "DPathSchedule", ".dpath-plot", 0.6, 0.5)


@picture
def path_viewer() -> Tensor:
    return _node("draw-the-schedule", "DPathFilmstrip", ".dpath-track", 0.3, 0.4, click=True)


@picture
def stroke_canvas() -> Tensor:
    return _node("paint-over-a-photo", "DPathStrokeCanvas", ".dpath-easel", 0.3, 0.3)


@picture
def stroke_canvas_layers() -> Tensor:
    """The canvas over the whole window: a mountain that is cut out of the background, one that is painted, a house."""
    with _opened("paint-over-a-photo") as page:
        node = page.evaluate(_ALONE, "DPathStrokeCanvas")
        page.wait_for_timeout(_WAIT_MS)
        page.locator(f"[data-node-id='{node}'] .dpath-easel").focus()
        page.set_viewport_size({"width": 1000, "height": 680})
        page.keyboard.press("f")
        page.wait_for_timeout(_WAIT_MS)
        page.keyboard.press("c")
        _drag(page, _MOUNTAIN)
        page.wait_for_timeout(_WAIT_MS)
        _drag(page, [(0.4, 0.35), (0.12, 0.37)])
        page.evaluate(_IN_LAYERS, node)
        page.wait_for_timeout(_WAIT_MS)
        return _shown(page.locator("dialog .dpath-panel"))


def _drag(page: Page, path: list[tuple[float, float]]) -> None:
    """Drags the mouse along a path in fractions of the picture on the canvas, which is square."""
    box = page.locator("dialog .dpath-easel").bounding_box()
    assert box is not None
    side = min(box["width"], box["height"]) - 20  # a margin lies around it
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
    places = [(left + x * side, top + y * side) for x, y in path]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
