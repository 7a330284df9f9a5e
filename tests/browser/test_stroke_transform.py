"""Strokes that are scaled and turned by handles and keys on Stroke Canvas, and the view that is turned around them."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import button, canvas, on_picture, part, press, stage, strokes
from diffusion_path.tests.browser.test_stroke_window import Hand


def on_stage(comfy: ComfyPage, node: int, at: tuple[float, float]) -> tuple[float, float]:
    """Where a point of the picture lies, in fractions of the stage: the inverse of `on_picture`."""
    (x0, y0), (x1, y1) = on_picture(comfy, node, (0, 0)), on_picture(comfy, node, (1, 1))
    return (at[0] - x0) / (x1 - x0), (at[1] - y0) / (y1 - y0)


def corners(comfy: ComfyPage, node: int) -> np.ndarray:
    """Lowest and highest x and y of all strokes with their width: [2, 2] in pixels of the picture."""
    found = []
    for stroke in strokes(comfy, node):
        paths = stroke.get("rings") or [stroke["points"]]
        points = np.concatenate([np.reshape(path, (-1, 2)) for path in paths])
        reach = 0 if "rings" in stroke else stroke.get("size", 24) / 2
        found.append([points.min(0) - reach, points.max(0) + reach])
    return np.array([np.min(found, (0, 1)), np.max(found, (0, 1))])


def test_selected_strokes_are_scaled_and_turned_by_their_handles(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "r")
    comfy.drag(place, [(0.42, 0.4), (0.52, 0.5)])
    press(comfy, node, "b")
    comfy.drag(place, [(0.42, 0.6), (0.5, 0.65), (0.56, 0.58)])
    press(comfy, node, "Control+a")
    comfy.screenshot("handles")
    before, (low, high) = strokes(comfy, node), corners(comfy, node)
    held = on_stage(comfy, node, high)
    to = on_stage(comfy, node, high + 0.5 * (high - low))
    comfy.drag(place, [held, to])
    larger = strokes(comfy, node)
    assert np.ptp(corners(comfy, node), 0) == pytest.approx(1.5 * (high - low), rel=0.06)
    assert corners(comfy, node)[0] == pytest.approx(low, abs=5)
    assert larger[1]["size"] == pytest.approx(1.5 * before[1].get("size", 24), rel=0.06)
    assert len(larger[1]["points"]) == len(before[1]["points"])

    low, high = corners(comfy, node)
    top = ((low[0] + high[0]) / 2, low[1])
    x, y = on_stage(comfy, node, top)
    box = stage(comfy, node).bounding_box()
    assert box
    handle = (x, y - 30 / box["height"])
    comfy.page.keyboard.down("Shift")
    comfy.drag(place, [handle, (x + 0.1, y), (x + 0.15, on_stage(comfy, node, (0, (low[1] + high[1]) / 2))[1])])
    comfy.page.keyboard.up("Shift")
    comfy.screenshot("turned-strokes")
    assert np.ptp(corners(comfy, node), 0) == pytest.approx((high - low)[::-1], abs=4), "a quarter turn"
    press(comfy, node, "z", "z")
    assert strokes(comfy, node) == before


def test_keys_scale_and_turn_what_is_selected(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "l")
    comfy.drag(place, [(0.4, 0.5), (0.6, 0.5)])
    press(comfy, node, "v", ".", *["]"] * 5)
    (line,) = strokes(comfy, node)
    x0, y0, x1, y1 = line["points"]
    assert x1 - x0 == pytest.approx(
        1.05**5 * (on_picture(comfy, node, (0.6, 0))[0] - on_picture(comfy, node, (0.4, 0))[0]), 0.02
    )
    press(comfy, node, *[">"] * 10)
    x2, y2, x3, y3 = strokes(comfy, node)[0]["points"]
    assert np.degrees(np.arctan2(y3 - y2, x3 - x2)) == pytest.approx(10, abs=1)
    press(comfy, node, *["<"] * 10)
    assert strokes(comfy, node)[0]["points"] == pytest.approx([x0, y0, x1, y1], abs=1.5)
    assert "size" in line


def test_a_turned_view_draws_where_the_hand_is(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "l", *["6"] * 6)
    assert button(comfy, node, "Fit").inner_text().endswith("90°")
    comfy.drag(place, [(0.5, 0.5), (0.5, 0.7)])
    x0, y0, x1, y1 = strokes(comfy, node)[0]["points"]
    down = on_picture(comfy, node, (0.5, 0.7))[1] - 256
    assert [x0, y0, x1, y1] == pytest.approx([256, 256, 256 + down, 256], abs=1.5)
    press(comfy, node, "4")
    comfy.screenshot("turned-view")
    press(comfy, node, "0")
    assert not button(comfy, node, "Fit").inner_text().endswith("°")
    hand = Hand(comfy, place)
    hand.send("touchStart", (0.5, 0.5))
    hand.send("touchStart", (0.5, 0.5), (0.7, 0.5))
    for k in range(1, 6):
        hand.send("touchMove", (0.5, 0.5), (0.7 - 0.02 * k, 0.5 + 0.04 * k))
    hand.send("touchEnd")
    comfy.settle()
    degrees = int(button(comfy, node, "Fit").inner_text().split(",")[1].rstrip("°"))
    assert 30 < degrees < 70
    press(comfy, node, "0")
    assert part(comfy, node, ".dpath-easel")


def test_handles_of_a_frame_larger_than_the_view_stay_in_sight(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "r")
    comfy.drag(place, [(0.3, 0.2), (0.7, 0.8)])
    press(comfy, node, "v", *["+"] * 4)
    comfy.click(place, (0.5, 0.5))
    comfy.screenshot("handles-kept")
    (low, high), box = corners(comfy, node), place.bounding_box()
    assert box
    corner = (1 - 12 / box["width"], 1 - 12 / box["height"])
    comfy.drag(place, [corner, (corner[0] - 0.2, corner[1] - 0.2)])
    smaller = corners(comfy, node)
    assert smaller[0] == pytest.approx(low, abs=2), "the corner opposite stays"
    assert (smaller[1] < high - 10).all()
    comfy.screenshot("handles-kept-smaller")
    press(comfy, node, "z")
    comfy.drag(place, [(0.5, 12 / box["height"]), (0.8, 0.3)])
    turned = corners(comfy, node)
    assert np.ptp(turned, 0) != pytest.approx(high - low, rel=0.1), "the handle at the upper rim turns"
