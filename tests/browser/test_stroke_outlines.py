"""Areas that are drawn or set corner by corner on Stroke Canvas, and strokes that a lasso selects."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import button, canvas, on_picture, part, press, strokes

_AROUND = [(0.35, 0.25), (0.62, 0.25), (0.62, 0.45), (0.35, 0.45), (0.36, 0.27)]
_CORNERS = [(0.4, 0.3), (0.6, 0.35), (0.5, 0.6)]


def test_an_area_is_drawn_or_set_corner_by_corner(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "p")
    comfy.drag(place, [(0.4, 0.4), (0.5, 0.3), (0.6, 0.45), (0.45, 0.5)])
    (drawn,) = strokes(comfy, node)
    assert drawn["tool"] == "fill"
    assert 6 <= len(drawn["rings"][0]) < 60
    expected = [value for corner in _CORNERS for value in on_picture(comfy, node, corner)]
    for ending in ("click", "double", "Enter"):
        for corner in _CORNERS:
            comfy.click(place, corner)
            comfy.page.wait_for_timeout(450)  # longer than between the clicks of a double click
        if ending == "click":
            comfy.page.mouse.move(*[50, 50])
            comfy.screenshot("corners")
            comfy.click(place, (0.405, 0.3))
        elif ending == "double":
            comfy.click(place, (0.3, 0.6), click_count=2)
        else:
            comfy.page.keyboard.press("Enter")
        ring = strokes(comfy, node)[-1]["rings"][0]
        assert ring[:6] == pytest.approx(expected, abs=1.5)
        assert len(ring) == (8 if ending == "double" else 6)
        press(comfy, node, "z")
    assert len(strokes(comfy, node)) == 1


def test_corners_are_taken_back_and_left(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "p")
    for corner in [*_CORNERS, (0.3, 0.3), (0.3, 0.6)]:
        comfy.click(place, corner)
    press(comfy, node, "Backspace", "z")
    comfy.drag(place, [(0.35, 0.55), (0.32, 0.45), (0.36, 0.4)])
    comfy.page.keyboard.press("Enter")
    (stroke,) = strokes(comfy, node)
    assert len(stroke["rings"][0]) >= 12, "three corners and a way"
    for corner in _CORNERS:
        comfy.click(place, corner)
    press(comfy, node, "Escape")
    press(comfy, node, "Enter")
    for corner in _CORNERS:
        comfy.click(place, corner)
    press(comfy, node, "b")
    comfy.drag(place, [(0.4, 0.7), (0.6, 0.7)])
    assert [each.get("tool", "brush") for each in strokes(comfy, node)] == ["fill", "brush"]
    part(comfy, node, ".dpath-tabs button:nth-child(2)").click()
    press(comfy, node, "p")
    comfy.drag(place, _AROUND)
    outline = strokes(comfy, node)[-1]
    assert (outline["layer"], outline["points"][:2]) == ("sketch", outline["points"][-2:])


def test_an_area_goes_from_one_colour_to_the_other(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "r")
    shades = part(comfy, node, ".dpath-check:not([hidden]) input")
    shades.click()
    color, previous = part(comfy, node, ".dpath-color").input_value(), "#e8edf0"
    comfy.drag(place, [(0.4, 0.35), (0.6, 0.65)])
    (area,) = strokes(comfy, node)
    assert (area["color"], area["color2"]) == (color, previous)
    assert area["gradient"] == pytest.approx(
        [*on_picture(comfy, node, (0.5, 0.35)), *on_picture(comfy, node, (0.5, 0.65))], abs=1.5
    )
    press(comfy, node, "v")
    comfy.click(place, (0.45, 0.5))
    comfy.drag(place, [(0.5, 0.65), (0.6, 0.5)])
    comfy.screenshot("gradient")
    led = strokes(comfy, node)[0]
    assert led["gradient"][:2] == area["gradient"][:2]
    assert led["gradient"][2:] == pytest.approx([*on_picture(comfy, node, (0.6, 0.5))], abs=1.5)
    press(comfy, node, "x")
    assert (strokes(comfy, node)[0]["color"], strokes(comfy, node)[0]["color2"]) == (previous, color)
    shades.click()
    assert "gradient" not in strokes(comfy, node)[0]
    press(comfy, node, "z", "z", "z")
    assert strokes(comfy, node) == [area]
    press(comfy, node, "ArrowRight")
    assert strokes(comfy, node)[0]["gradient"][0] == area["gradient"][0] + 1, "undo keeps the selection"


def test_a_lasso_selects_what_it_goes_around(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "l")
    for height in (0.3, 0.4, 0.6):
        comfy.drag(place, [(0.4, height), (0.55, height)])
    before = strokes(comfy, node)
    color = part(comfy, node, ".dpath-color").input_value()
    press(comfy, node, "v", "v")
    assert len(comfy.page.query_selector_all(".dpath-toolbar button[aria-pressed=true]")) == 2
    comfy.drag(place, _AROUND)
    comfy.screenshot("lassoed")
    press(comfy, node, "ArrowDown")
    moved = [np.ptp([a["points"], b["points"]], 0).max() > 0 for a, b in zip(before, strokes(comfy, node), strict=True)]
    assert moved == [True, True, False]
    press(comfy, node, "z", "Escape")
    comfy.drag(place, [(0.45, 0.3), (0.45, 0.35)])
    assert strokes(comfy, node) == before, "a lasso begins on a stroke as well"
    comfy.click(place, (0.45, 0.3))
    press(comfy, node, "Delete", "z", "v")
    comfy.page.keyboard.down("Alt")
    comfy.drag(place, _AROUND)
    comfy.page.keyboard.up("Alt")
    press(comfy, node, "Delete")
    assert strokes(comfy, node) == before[2:]
    comfy.page.keyboard.down("Alt")
    comfy.click(place, (0.3, 0.8))
    comfy.page.keyboard.up("Alt")
    assert part(comfy, node, ".dpath-color").input_value() == "#ffffff" != color, "a click with Alt picks a colour"
    assert button(comfy, node, "Area")
