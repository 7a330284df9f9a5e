"""Blur and smudge in a real browser: drawn, undone, changed, saved and opened again, and as Python renders them."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import button, canvas, on_picture, part, press, strokes
from diffusion_path.tests.browser.test_stroke_export import _RENDERED, pixels, saved
from PIL import Image

HALVES = [
    {"tool": "fill", "color": "#c5281e", "t0": 0.5, "rings": [[100, 100, 256, 100, 256, 412, 100, 412]]},
    {"tool": "fill", "color": "#2840c5", "t0": 0.5, "rings": [[256, 100, 412, 100, 412, 412, 256, 412]]},
]


def shown(comfy: ComfyPage, node: int) -> np.ndarray:
    """The picture that the page shows, 512 x 512."""
    return pixels(saved(comfy, node, "Save as PNG").read_bytes())


def edge(picture: np.ndarray) -> float:
    """The steepest change of the reds along the middle row."""
    return float(np.abs(np.diff(picture[256, 200:312, 0])).max())


def made(comfy: ComfyPage, preview: int) -> np.ndarray:
    """The picture that Python renders, where a node of the graph previews it."""
    file = comfy.queue().outputs[str(preview)]["images"][0]
    with Image.open(comfy.server.base / "temp" / file["filename"]) as picture:
        return np.asarray(picture.convert("RGB"), np.float32)


def test_a_blur_is_drawn_undone_saved_and_opened_again(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    preview = comfy.add("PreviewImage", 700, 100)
    comfy.connect(node, 0, preview, "images")
    text = json.dumps({"version": 1, "width": 512, "height": 512, "strokes": HALVES})
    comfy.set_widget(node, "drawing", text)
    comfy.page.wait_for_timeout(600)
    sharp = shown(comfy, node)
    press(comfy, node, "w")
    assert button(comfy, node, "Blur").get_attribute("aria-pressed") == "true"
    assert part(comfy, node, 'input[aria-label="Hardness"]').is_visible()
    assert not part(comfy, node, 'input[aria-label="Freedom (t0)"]').is_visible()
    comfy.drag(place, [(0.5, 0.3), (0.5, 0.7)], steps=12)
    comfy.screenshot("blur")
    drawn = strokes(comfy, node)[-1]
    assert drawn["tool"] == "blur"
    assert "color" not in drawn
    assert drawn["points"][:2] == pytest.approx([*on_picture(comfy, node, (0.5, 0.3))], abs=2)
    soft = shown(comfy, node)
    assert edge(soft) < 20 < 100 < edge(sharp)
    press(comfy, node, "z")
    assert np.array_equal(shown(comfy, node), sharp)
    press(comfy, node, "Shift+z")
    assert np.array_equal(shown(comfy, node), soft)
    assert np.abs(made(comfy, preview) - soft).max() < 4
    assert json.loads(comfy.widget(node, "drawing"))["version"] == 3
    workflow = comfy.evaluate("() => app.graph.serialize()")
    comfy.reset()
    comfy.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    comfy.show(node)
    comfy.page.wait_for_timeout(600)
    assert np.array_equal(shown(comfy, node), soft)


def test_a_smudge_drags_paint_to_where_python_has_it_and_follows_what_it_drags(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    preview = comfy.add("PreviewImage", 700, 100)
    comfy.connect(node, 0, preview, "images")
    comfy.set_widget(node, "drawing", json.dumps({"version": 1, "width": 512, "height": 512, "strokes": HALVES}))
    comfy.page.wait_for_timeout(600)
    sharp = shown(comfy, node)
    press(comfy, node, "j")
    assert button(comfy, node, "Smudge").get_attribute("aria-pressed") == "true"
    comfy.drag(place, [(0.4, 0.5), (0.7, 0.5)], steps=12)
    comfy.screenshot("smudge")
    drawn = strokes(comfy, node)[-1]
    assert (drawn["tool"], "color" in drawn, "t0" in drawn) == ("smudge", False, False)
    dragged = shown(comfy, node)
    assert sharp[256, 275, 0] < 60 < 150 < dragged[256, 275, 0], "red goes into blue"
    assert np.array_equal(dragged[200], sharp[200])
    assert np.abs(made(comfy, preview) - dragged).max() < 4
    press(comfy, node, "z")
    assert np.array_equal(shown(comfy, node), sharp)
    press(comfy, node, "Shift+z", "v")
    comfy.click(place, (0.4, 0.7))
    comfy.page.keyboard.press("Delete")
    left = shown(comfy, node)
    assert strokes(comfy, node)[-1]["tool"] == "smudge"
    assert left[256, 275].min() > dragged[256, 275].min() + 50, "without the red it drags bare paper"
    assert np.abs(made(comfy, preview) - left).max() < 4
    part(comfy, node, ".dpath-tabs button:nth-child(2)").click()
    comfy.settle()
    assert not button(comfy, node, "Smudge").is_visible(), "a sketch has lines alone"


def test_what_is_moved_below_a_blur_is_blurred_where_it_is(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    blur = {"tool": "blur", "size": 60, "hardness": 1, "points": [256, 60, 256, 450]}
    dot = {"points": [150, 256], "size": 40, "hardness": 1, "color": "#000000"}
    text = json.dumps({"version": 3, "width": 512, "height": 512, "strokes": [dot, blur]})
    comfy.set_widget(node, "drawing", text)
    comfy.page.wait_for_timeout(600)
    assert shown(comfy, node)[256, 150].max() < 10
    press(comfy, node, ".", *["Shift+ArrowRight"] * 11)
    moved = shown(comfy, node)
    assert strokes(comfy, node)[0]["points"][0] > 250
    assert 40 < moved[256, 280].max() < 215, "its edge is soft below the blur"
    assert moved[256, 150].min() == 255
    press(comfy, node, "Delete")
    assert shown(comfy, node).min() == 255
    part(comfy, node, ".dpath-tabs button:nth-child(2)").click()
    comfy.settle()
    assert not button(comfy, node, "Blur").is_visible(), "a sketch has lines alone"


def test_vectors_hold_what_is_blurred_as_a_picture(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    blur = {"tool": "blur", "size": 80, "points": [256, 60, 256, 450]}
    line = {"points": [60, 300, 450, 320], "size": 20, "hardness": 1, "color": "#1d5238"}
    text = json.dumps({"version": 3, "width": 512, "height": 512, "strokes": [*HALVES, blur, line]})
    comfy.set_widget(node, "drawing", text)
    comfy.page.wait_for_timeout(600)
    vectors = saved(comfy, node, "Save as SVG").read_text(encoding="utf-8")
    assert vectors.count("<image") == vectors.count("<path") == 1
    mine = pixels(base64.b64decode(comfy.evaluate(_RENDERED, vectors).split(",")[1]))
    assert np.abs(mine - shown(comfy, node)).mean() < 1
