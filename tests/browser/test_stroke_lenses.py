"""Other ways to see a drawing on Stroke Canvas: what the model sees of it, and the last result below it."""

from __future__ import annotations

import json

import numpy as np
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import button, canvas, part, press, strokes
from playwright.sync_api import ElementHandle

_PIXELS = """([stage, [left, top, right, bottom]]) => { const { width: w, height: h } = stage;
    const box = [left * w, top * h, (right - left) * w, (bottom - top) * h].map(Math.round);
    return [...stage.getContext("2d").getImageData(...box).data]; }"""
_QUEUE_MODE = "mode => { app.extensionManager.queueSettings.mode = mode; }"


def pixels(comfy: ComfyPage, node: int, box: tuple[float, float, float, float]) -> np.ndarray:
    """Red, green and blue of what is shown between two corners of the stage, in fractions of it. [N, 3]"""
    found = comfy.evaluate(_PIXELS, [part(comfy, node, ".dpath-picture"), box])
    return np.array(found).reshape(-1, 4)[:, :3]


def color(comfy: ComfyPage, node: int, at: tuple[float, float]) -> list[int]:
    x, y = at
    return pixels(comfy, node, (x - 0.005, y - 0.005, x + 0.005, y + 0.005)).mean(0).round().tolist()


def with_results(comfy: ComfyPage) -> tuple[int, ElementHandle]:
    """A canvas whose picture is shown as it is and, after one more step, inverted."""
    node, place = canvas(comfy)
    invert = comfy.add("ImageInvert", 700, 100)
    comfy.connect(node, 0, invert, "image")
    for y, source in ((300, invert), (600, node)):
        comfy.connect(source, 0, comfy.add("PreviewImage", 700, y), "images")
    comfy.show(node)
    return node, place


def near(comfy: ComfyPage, node: int, at: tuple[float, float], wanted: list[int]) -> None:
    """Waits until this colour is shown."""
    script = f"""([stage, box, wanted]) => {{ const pixels = ({_PIXELS})([stage, box]);
        return wanted.every((value, c) => Math.abs(value - pixels[c]) < 6); }}"""
    box = [at[0] - 0.005, at[1] - 0.005, at[0] + 0.005, at[1] + 0.005]
    comfy.wait_until(script, [part(comfy, node, ".dpath-picture"), box, wanted], 20)


def test_what_the_model_sees_is_noisier_with_a_larger_t0(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "r")
    comfy.drag(place, [(0.4, 0.3), (0.6, 0.7)])
    drawing = json.loads(comfy.widget(node, "drawing"))
    spreads = []
    for t0 in (0.1, 0.5, 0.9):
        drawing["strokes"][0]["t0"] = t0
        comfy.set_widget(node, "drawing", json.dumps(drawing))
        if not spreads:
            press(comfy, node, "t")
        comfy.settle()
        assert part(comfy, node, ".dpath-heat:not([hidden])").inner_text().split()[-1] == f"{t0:.2f}"
        spreads.append(pixels(comfy, node, (0.42, 0.35, 0.58, 0.65)).std(0).mean())
        comfy.screenshot(f"noise-{t0}")
    assert 3 < spreads[0] < spreads[1] < spreads[2] < 70
    button(comfy, node, "What the model sees").click()
    comfy.settle()
    assert pixels(comfy, node, (0.42, 0.35, 0.58, 0.65)).std(0).max() == 0
    assert json.loads(comfy.widget(node, "drawing")) == drawing


def test_bare_paper_has_the_colour_of_the_largest_t0(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "r")
    comfy.drag(place, [(0.4, 0.3), (0.6, 0.7)])
    press(comfy, node, "h")
    comfy.settle()
    painted, bare = (np.array(color(comfy, node, at)) for at in ((0.5, 0.5), (0.5, 0.1)))
    assert bare.max() > 100
    assert np.abs(bare - painted).max() < 30  # what lies below shines through a little
    comfy.screenshot("heat-paper")


def test_the_last_result_lies_below_the_drawing(comfy: ComfyPage) -> None:
    node, place = with_results(comfy)
    button(comfy, node, "Last result").click()
    assert "Run the graph" in part(comfy, node, ".dpath-banner").inner_text()
    press(comfy, node, "r")
    comfy.drag(place, [(0.4, 0.3), (0.6, 0.7)])
    blue = [59, 110, 165]
    assert color(comfy, node, (0.5, 0.5)) == blue
    comfy.queue()
    near(comfy, node, (0.5, 0.2), [0, 0, 0])  # paper, inverted
    assert not part(comfy, node, ".dpath-banner").is_visible()
    mixed = [round(0.35 * value + 0.65 * (255 - value)) for value in blue]
    near(comfy, node, (0.5, 0.5), mixed)
    comfy.screenshot("result-below")
    press(comfy, node, "i")
    comfy.click(place, (0.5, 0.2))
    assert part(comfy, node, ".dpath-color").input_value() == "#000000", "the eyedropper takes what is shown"
    press(comfy, node, "u")
    near(comfy, node, (0.5, 0.5), [255 - value for value in blue])
    comfy.screenshot("result-alone")
    press(comfy, node, "u")
    near(comfy, node, (0.5, 0.2), [255, 255, 255])
    press(comfy, node, "u", "u", "r")
    comfy.drag(place, [(0.4, 0.8), (0.6, 0.9)])
    near(comfy, node, (0.5, 0.5), mixed)  # whoever draws sees the drawing again


def test_runs_on_change_follow_the_strokes(comfy: ComfyPage) -> None:
    node, place = with_results(comfy)
    press(comfy, node, "u", "r")
    comfy.evaluate(_QUEUE_MODE, "change")
    try:
        for number, x in enumerate((0.4, 0.5)):
            comfy.drag(place, [(x, 0.3), (x + 0.08, 0.7)])
            near(comfy, node, (x + 0.04, 0.5), [round(0.35 * v + 0.65 * (255 - v)) for v in (59, 110, 165)])
            assert len(strokes(comfy, node)) == number + 1
    finally:
        comfy.evaluate(_QUEUE_MODE, "disabled")
