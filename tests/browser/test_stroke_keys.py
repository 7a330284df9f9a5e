"""Stroke Canvas without a mouse: a cross that arrows move, and what Enter draws there."""

from __future__ import annotations

import pytest
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import button, canvas, part, press, strokes


def said(comfy: ComfyPage, node: int) -> str:
    """What a screen reader says."""
    return part(comfy, node, '.dpath-status[role="status"]').inner_text()


def go(comfy: ComfyPage, key: str, times: int = 1) -> None:
    for _ in range(times):
        comfy.page.keyboard.press(key)


def place(comfy: ComfyPage, node: int) -> list[int]:
    """Where the cross is, in pixels of the picture."""
    at, _, _ = said(comfy, node).removeprefix("At ").partition(":")
    return [int(value) for value in at.split(",")]


def test_a_stroke_and_an_area_point_by_point(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    comfy.page.mouse.move(5, 5)
    press(comfy, node, "Enter")
    assert place(comfy, node) == [256, 256]
    assert strokes(comfy, node) == [], "first it is seen where Enter would draw"
    points = []
    for key in ("Shift+ArrowRight", "Shift+ArrowDown", "ArrowLeft", "ArrowUp"):
        press(comfy, node, key, "Enter")
        points += place(comfy, node)
    assert points[0] - 256 == points[3] - 256 == 10 * (points[0] - points[4]) > 20
    assert "point 5" in said(comfy, node)
    comfy.screenshot("key-stroke")
    press(comfy, node, "Backspace", "Escape")
    (stroke,) = strokes(comfy, node)
    assert stroke["points"] == points[:6]
    press(comfy, node, "p", "Enter", "Shift+ArrowLeft", "Enter", "Shift+ArrowUp", "Enter", "Enter")
    area = strokes(comfy, node)[1]
    assert area["tool"] == "fill"
    assert len(area["rings"][0]) == 6
    assert said(comfy, node) == "Stroke 2 is drawn"
    press(comfy, node, "Enter", "ArrowDown", "Enter", "Escape", "z")
    assert strokes(comfy, node) == [stroke], "Escape drops an outline, and undo works as ever"
    press(comfy, node, "Escape")
    assert said(comfy, node) == ""


def test_whatever_begins_else_ends_an_open_stroke_with_its_points(comfy: ComfyPage) -> None:
    node, easel = canvas(comfy)
    open_stroke = ("b", "Enter", "Enter", "Shift+ArrowDown", "Enter")
    comfy.page.mouse.move(5, 5)
    for number, key in enumerate(("Control+a", ".", "e", "l", "n", "Alt+BracketLeft"), 1):
        press(comfy, node, *open_stroke, key, "Escape", "Escape", "Escape")
        drawn = strokes(comfy, node)
        assert len(drawn) == number, key
        assert len(drawn[-1]["points"]) == 4, key
    press(comfy, node, *open_stroke)
    button(comfy, node, "Whole window").focus()
    assert len(strokes(comfy, node)) == 7, "the keys went elsewhere"
    press(comfy, node, *open_stroke)
    comfy.drag(easel, [(0.4, 0.7), (0.5, 0.7)])
    by_keys, by_mouse = strokes(comfy, node)[-2:]
    assert len(by_keys["points"]) == 4
    assert by_mouse["points"] != by_keys["points"]


def test_the_cross_reaches_the_edge_and_is_kept_in_sight(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    comfy.page.mouse.move(5, 5)
    press(comfy, node, "g", *["Shift+ArrowRight"] * 20, *["Shift+ArrowDown"] * 20)
    assert place(comfy, node) == [512, 512]
    press(comfy, node, "Enter")
    assert [stroke["tool"] for stroke in strokes(comfy, node)] == ["fill"]
    press(comfy, node, "x", "i", "Enter")
    assert part(comfy, node, ".dpath-color").input_value() == strokes(comfy, node)[0]["color"]
    press(comfy, node, *["+"] * 5)
    comfy.screenshot("key-cross-zoomed")
    before = place(comfy, node)
    press(comfy, node, *["Shift+ArrowLeft"] * 40)
    comfy.screenshot("key-cross-in-sight")
    assert place(comfy, node)[0] < before[0]


@pytest.mark.parametrize("key", ["l", "r", "o"])
def test_lines_and_shapes_from_one_place_to_another(comfy: ComfyPage, key: str) -> None:
    node, _ = canvas(comfy)
    comfy.page.mouse.move(5, 5)
    press(comfy, node, key, "Enter")
    assert said(comfy, node).endswith("Enter begins here")
    press(comfy, node, "Enter", "Shift+ArrowRight", "Shift+ArrowDown")
    comfy.screenshot(f"key-{key}")
    assert said(comfy, node).endswith("Enter ends here")
    corner = place(comfy, node)
    press(comfy, node, "Enter")
    (stroke,) = strokes(comfy, node)
    values = stroke.get("points") or stroke["rings"][0]
    assert max(values[::2]) == pytest.approx(corner[0], abs=1)
    assert min(values[::2]) == pytest.approx(256, abs=1)


def test_strokes_are_filled_picked_and_selected_by_keys(comfy: ComfyPage) -> None:
    node, easel = canvas(comfy)
    comfy.page.mouse.move(5, 5)
    press(comfy, node, "r", "Enter", "Enter", "Shift+ArrowRight", "Shift+ArrowDown", "Enter", "x", "g", "Enter")
    assert [stroke["tool"] for stroke in strokes(comfy, node)] == ["fill", "fill"]
    press(comfy, node, "z", "v", "ArrowUp", "ArrowLeft", "Enter")
    assert said(comfy, node) == "Selected"
    (before,) = strokes(comfy, node)
    press(comfy, node, "ArrowLeft")
    assert strokes(comfy, node)[0]["rings"][0][0] == before["rings"][0][0] - 1, "arrows move what is selected"
    press(comfy, node, "Escape", *["Shift+ArrowUp"] * 3, "Enter")
    assert said(comfy, node) == "Nothing is here"
    press(comfy, node, "i", "Shift+ArrowLeft", "Shift+ArrowLeft", "Enter")
    assert part(comfy, node, ".dpath-color").input_value() == "#ffffff"
    press(comfy, node, "b")
    comfy.drag(easel, [(0.4, 0.7), (0.5, 0.7)])
    assert len(strokes(comfy, node)) == 2, "the mouse takes over"
    assert said(comfy, node) == ""
