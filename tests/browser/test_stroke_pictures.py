"""Pictures as layers of Stroke Canvas: dropped, cut out, moved, scaled, turned, missing, and rendered as in Python."""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from diffusion_path.images.strokes_document import read_drawing
from diffusion_path.images.strokes_pictures import PictureFolder
from diffusion_path.images.strokes_render import over_background, render_drawing
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import button, canvas, on_picture, part, press, strokes
from diffusion_path.tests.browser.test_stroke_export import saved
from diffusion_path.tests.browser.test_stroke_layers import layers
from diffusion_path.tests.browser.test_stroke_window import _DROP
from PIL import Image
from playwright.sync_api import ElementHandle


def soft_picture(width: int = 120, height: int = 80) -> Image.Image:
    """Colours that change slowly, and an alpha that is 1 within an ellipse."""
    y, x = np.mgrid[0 : 1 : 1j * height, 0 : 1 : 1j * width]
    round_alpha = np.clip(8 - 8 * np.hypot(2 * x - 1, 2 * y - 1), 0, 1)
    planes = [x, 0.5 + 0.5 * np.sin(6 * y), 1 - x, round_alpha]
    return Image.fromarray((255 * np.stack(planes, -1)).astype(np.uint8))


def drop(comfy: ComfyPage, place: ElementHandle, picture: Image.Image, name: str = "boat.png") -> None:
    data = io.BytesIO()
    picture.save(data, "PNG")
    given = [place, base64.b64encode(data.getvalue()).decode(), name, "drop"]
    assert comfy.page.evaluate(_DROP, given), "the page leaves it to the canvas"


def picture_of(comfy: ComfyPage, node: int) -> dict[str, Any]:
    comfy.wait_until(_HAS_PICTURE, node)
    comfy.settle()
    return next(layer for layer in reversed(layers(comfy, node)) if layer.get("kind") == "picture")


_HAS_PICTURE = """id => app.canvas.graph.getNodeById(id).widgets.find(w => w.name === "drawing").value
    .includes('"kind":"picture"')"""
_HAS_ANOTHER = """id => app.canvas.graph.getNodeById(id).widgets.find(w => w.name === "drawing").value
    .split('"kind":"picture"').length === 3"""
_PIXELS = """async ([folder, id, width, height]) => { const easel = app.canvas.graph.getNodeById(id).widgets
        .find(w => w.name === "drawing").element; const { Stack } = await import(folder + "/canvas/stack.js");
    const { Pictures } = await import(folder + "/canvas/pictures.js");
    const { readDrawing } = await import(folder + "/canvas/document.js");
    const { drawing } = readDrawing(app.canvas.graph.getNodeById(id).widgets.find(w => w.name === "drawing").value);
    const stack = new Stack(width, height); stack.pictures = new Pictures(() => {});
    for (const { picture } of drawing.layers) if (picture) await stack.pictures.whole(picture.file);
    stack.sync(drawing, width / drawing.width, height / drawing.height, {});
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d"); context.fillStyle = "white"; context.fillRect(0, 0, width, height);
    stack.drawPaint(context, drawing, width, height);
    const bytes = context.getImageData(0, 0, width, height).data; let s = "";
    for (let i = 0; i < bytes.length; i += 8192) s += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(s); }"""


def seen(comfy: ComfyPage, node: int, width: int, height: int) -> np.ndarray:
    """What the page draws of a drawing on white, [H, W, 3] in 0..255."""
    folder = "/extensions/ComfyUI-DiffusionPath/js"
    coded = comfy.evaluate(_PIXELS, [folder, node, width, height])
    return np.frombuffer(base64.b64decode(coded), np.uint8).reshape(height, width, 4)[..., :3].astype(float)


def test_a_picture_is_placed_by_its_handles_and_looks_alike_in_python(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.6), (0.7, 0.6)])
    drop(comfy, place, soft_picture())
    first = picture_of(comfy, node)
    assert (first["name"], first["pixels"], first["x"], first["y"]) == ("boat", [120, 80], 256, 256)
    assert "scale" not in first
    factor = (on_picture(comfy, node, (1, 0))[0] - on_picture(comfy, node, (0, 0))[0]) / 512
    box = place.bounding_box()
    assert box
    unit = box["width"] / (512 * factor)  # pixels of the page for each of the picture

    def at(x: float, y: float) -> tuple[float, float]:
        return 0.5 + (x - 256) * unit / box["width"], 0.5 + (y - 256) * unit / box["height"]

    comfy.drag(place, [at(256, 256), at(206, 226)])
    moved = picture_of(comfy, node)
    assert (moved["x"], moved["y"]) == pytest.approx((206, 226), abs=3)
    comfy.drag(place, [at(moved["x"] + 60, moved["y"] + 40), at(moved["x"] + 180, moved["y"] + 120)])
    scaled = picture_of(comfy, node)
    assert scaled["scale"] == pytest.approx(2, abs=0.05)
    assert (scaled["x"], scaled["y"]) == pytest.approx((moved["x"] + 60, moved["y"] + 40), abs=4)
    above = scaled["y"] - 40 * scaled["scale"] - 26 / unit
    radius = scaled["y"] - above
    turned_to = at(scaled["x"] + radius * math.sin(0.5), scaled["y"] - radius * math.cos(0.5))
    comfy.drag(place, [at(scaled["x"], above), turned_to])
    assert picture_of(comfy, node)["rotation"] == pytest.approx(math.degrees(0.5), abs=2)
    comfy.screenshot("picture")
    text = comfy.widget(node, "drawing")
    assert "base64" not in text
    assert len(text) < 1000
    read = read_drawing(text)
    pictures = PictureFolder(comfy.server.base / "input" / "diffusion_path")
    for width, height in ((512, 512), (200, 200), (900, 900)):
        rendering = render_drawing(read, width, height, pictures)
        mine = 255 * over_background(rendering.strokes, None, (255, 255, 255))[0].numpy()
        off = np.abs(mine - seen(comfy, node, width, height))
        assert off.mean() < 0.6
        assert np.quantile(off, 0.995) < 12
    assert not read.complaints
    assert not pictures.complaints
    press(comfy, node, "z", "z", "z", "z")
    assert (layers(comfy, node), len(strokes(comfy, node))) == ([], 1)


def test_a_picture_by_keys_and_paint_over_it(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.6), (0.7, 0.6)])
    drop(comfy, place, soft_picture())
    first = picture_of(comfy, node)
    press(comfy, node, "ArrowRight", "Shift+ArrowUp", "]", ".", ".")
    placed = picture_of(comfy, node)
    assert (placed["x"] - first["x"], placed["y"] - first["y"]) == (1, -10)
    assert (placed["scale"], placed["rotation"]) == (1.05, 2)
    press(comfy, node, "Control+d")
    assert [layer["id"] for layer in layers(comfy, node)] == ["paint", "picture 1", "picture 2", "sketch"]
    press(comfy, node, "Delete")
    assert [layer["id"] for layer in layers(comfy, node)] == ["paint", "picture 1", "sketch"]
    press(comfy, node, "k")
    part(comfy, node, '.dpath-layer[data-kind="picture"] .dpath-layer-name').click()
    press(comfy, node, "b")
    comfy.drag(place, [(0.3, 0.5), (0.7, 0.5)])
    press(comfy, node, "v")
    active = "e => e.querySelector('.dpath-layer[data-active]').textContent"
    comfy.click(place, (0.35, 0.6))
    assert comfy.page.evaluate(active, comfy.element(node, "drawing")).startswith("Paintt0"), "where that stroke is"
    comfy.click(place, (0.44, 0.45))
    assert comfy.page.evaluate(active, comfy.element(node, "drawing")).startswith("boat")
    assert strokes(comfy, node)[1]["layer"] == "paint 2"
    assert [layer["id"] for layer in layers(comfy, node)] == ["paint", "picture 1", "paint 2", "sketch"]
    press(comfy, node, "h")
    assert button(comfy, node, "t0 as colours").get_attribute("aria-pressed") == "true"
    assert part(comfy, node, ".dpath-heat").is_visible()
    comfy.screenshot("picture-painted")
    press(comfy, node, "h")
    assert not part(comfy, node, ".dpath-heat").is_visible()


def test_a_part_of_the_background_is_cut_out_and_moved(comfy: ComfyPage) -> None:
    node, place = canvas(comfy, 500)
    picture = soft_picture(256, 256).convert("RGB")
    drop(comfy, place, picture, "scene.png")
    comfy.page.wait_for_function("e => e.getAttribute('aria-label').includes('256 by 256')", arg=place)
    press(comfy, node, "c")
    ring = [(0.5 + 0.1 * math.sin(k / 3), 0.5 + 0.15 * math.cos(k / 3)) for k in range(19)]
    comfy.drag(place, ring, steps=2)
    cut = picture_of(comfy, node)
    assert cut["x"] == pytest.approx(128, abs=3)
    comfy.drag(place, [(0.5, 0.5), (0.4, 0.35)])
    moved = picture_of(comfy, node)
    assert moved["x"] < cut["x"] - 20
    comfy.screenshot("cut-out")
    press(comfy, node, "c", "Escape", "c", "Enter", "Enter", "Shift+ArrowRight", "Enter", "Shift+ArrowDown", "Enter")
    comfy.click(place, (0.2, 0.2))
    comfy.wait_until(_HAS_ANOTHER, node)
    press(comfy, node, "z")
    preview = comfy.add("PreviewImage", 900, 100)
    to_image = comfy.add("MaskToImage", 900, 500)
    comfy.connect(node, 2, to_image, "mask")
    comfy.connect(to_image, 0, preview, "images")
    run = comfy.queue()
    (file,) = run.outputs[str(preview)]["images"]
    with Image.open(comfy.server.base / "temp" / file["filename"]) as opened:
        mask = np.array(opened.convert("L"))
    x, y = round(moved["x"]), round(moved["y"])
    assert (mask[y, x], mask[5, 5]) == (255, 0)
    assert 0.02 < mask.mean() / 255 < 0.3


def test_a_picture_that_does_not_come_says_what_failed(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.6), (0.7, 0.6)])
    before = strokes(comfy, node)
    banner = part(comfy, node, ".dpath-banner")
    assert comfy.page.evaluate(_DROP, [place, base64.b64encode(b"GIF89a, or not").decode(), "boat.png", "drop"])
    comfy.wait_until("e => e.textContent.includes('The browser cannot read this picture')", banner)
    answers = {
        "too large for this ComfyUI": lambda route: route.fulfill(status=413),
        "refused the picture with the answer 500": lambda route: route.fulfill(status=500),
        "ComfyUI cannot be reached": lambda route: route.abort(),
    }
    for sentence, answer in answers.items():
        comfy.page.route("**/upload/image", answer)
        drop(comfy, place, soft_picture())
        comfy.wait_until(f"e => e.textContent.includes('{sentence}')", banner)
        comfy.page.unroute("**/upload/image")
        assert len(banner.query_selector_all("button")) == (1 if "large" in sentence else 2)
    comfy.screenshot("not-taken")
    assert [stroke["points"] for stroke in strokes(comfy, node)] == [stroke["points"] for stroke in before]
    banner.query_selector("button").click()  # type: ignore[union-attr]
    assert picture_of(comfy, node), "the picture was kept for another try"
    assert "cannot be reached" not in banner.inner_text()
    comfy.problems.clear()  # the page notes that a request failed


def test_a_missing_picture_is_reported_and_nothing_is_lost(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.6), (0.7, 0.6)])
    drop(comfy, place, soft_picture(90, 60), "mill.png")
    file = comfy.server.base / "input" / "diffusion_path" / picture_of(comfy, node)["file"]
    text = comfy.widget(node, "drawing")
    kept = file.read_bytes()
    file.unlink()
    comfy.evaluate("id => app.canvas.graph.remove(app.canvas.graph.getNodeById(id))", node)
    node, place = canvas(comfy)
    comfy.connect(node, 0, comfy.add("PreviewImage", 700, 100), "images")
    comfy.set_widget(node, "drawing", text)
    banner = part(comfy, node, ".dpath-banner")
    comfy.wait_until("e => e.textContent.includes('missing from the input folder')", banner)
    comfy.screenshot("missing")
    for item in ("Save as SVG", "Save as PNG"):
        saved(comfy, node, item)
        comfy.wait_until("e => e.textContent.includes('were left out')", banner)
        banner.query_selector("button").click()  # type: ignore[union-attr]
    run = comfy.queue()
    assert "is missing" in run.outputs[str(node)]["dpath_canvas"][0]["complaints"][0]
    assert json.loads(comfy.widget(node, "drawing")) == json.loads(text)
    file.write_bytes(kept)
    part(comfy, node, ".dpath-banner button").click()
    comfy.wait_until("e => !e.textContent.includes('put it back')", banner)
    comfy.problems.clear()  # the page notes that the file was not there
    run = comfy.queue()
    assert run.outputs[str(node)]["dpath_canvas"][0]["complaints"] == []
    assert button(comfy, node, "Layers")
