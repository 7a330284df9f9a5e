"""What a click, a lasso and undo choose on Stroke Canvas, and what the pointer says before."""

from __future__ import annotations

from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import canvas, part, press, strokes
from diffusion_path.tests.browser.test_stroke_layers import layers, names
from diffusion_path.tests.browser.test_stroke_pictures import drop, picture_of, soft_picture
from playwright.sync_api import ElementHandle


def three_areas(comfy: ComfyPage, place: ElementHandle, node: int) -> None:
    """A large rectangle, a smaller one on it, and the smallest on a layer of its own."""
    press(comfy, node, "r")
    comfy.drag(place, [(0.3, 0.1), (0.7, 0.9)])
    comfy.drag(place, [(0.4, 0.3), (0.6, 0.7)])
    press(comfy, node, "n")
    comfy.drag(place, [(0.45, 0.45), (0.55, 0.55)])
    press(comfy, node, "v")


def removed(comfy: ComfyPage, node: int) -> int:
    """Which stroke is the only selected one: the one that is missing after Delete."""
    before = strokes(comfy, node)
    press(comfy, node, "Delete")
    after = strokes(comfy, node)
    press(comfy, node, "z")
    assert strokes(comfy, node) == before
    assert len(after) == len(before) - 1
    return next((i for i, stroke in enumerate(after) if stroke != before[i]), len(after))


def test_a_second_click_at_one_place_chooses_what_lies_below(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    three_areas(comfy, place, node)
    chosen = []
    for clicks in range(1, 5):
        comfy.click(place, (0.35, 0.2))
        for _ in range(clicks):
            comfy.click(place, (0.5, 0.5))
        chosen.append(removed(comfy, node))
    assert chosen == [1, 0, 2, 1], "of the chosen layer first; then below, and from the lowest to the uppermost"
    comfy.click(place, (0.35, 0.2))
    for _ in range(2):
        comfy.click(place, (0.5, 0.5))
    below = strokes(comfy, node)[0]["rings"][0]
    comfy.drag(place, [(0.5, 0.5), (0.5, 0.55)])
    after = strokes(comfy, node)
    assert after[0]["rings"][0][1] > below[1] + 5, "what is chosen below the others is dragged from there"
    assert len(after) == 3


def test_a_click_on_a_picture_goes_below_it_as_well(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.5), (0.7, 0.5)])
    drop(comfy, place, soft_picture())
    first = picture_of(comfy, node)
    active = "e => e.querySelector('.dpath-layer[data-active] .dpath-layer-name').textContent"
    for expected in ("boat", "Paint", "boat"):
        comfy.click(place, (0.5, 0.5))
        press(comfy, node, "k")
        assert comfy.page.evaluate(active, comfy.element(node, "drawing")) == expected
        press(comfy, node, "k")
    assert picture_of(comfy, node) == first


def test_beside_the_paper_nothing_is_hit(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    for name in ("width", "height"):
        comfy.set_widget(node, name, 256 if name == "width" else 768)
    comfy.settle(8)
    comfy.page.wait_for_function("e => e.getAttribute('aria-label').includes('256 by 768')", arg=place)
    press(comfy, node, "l")
    comfy.drag(place, [(0.1, 0.5), (0.9, 0.5)])
    press(comfy, node, "v")
    comfy.click(place, (0.15, 0.5))
    press(comfy, node, "Delete")
    assert len(strokes(comfy, node)) == 1, "its end there is not seen"
    comfy.click(place, (0.5, 0.5))
    comfy.click(place, (0.15, 0.5))
    press(comfy, node, "Delete")
    assert len(strokes(comfy, node)) == 1, "a click beside the paper takes the selection away"
    comfy.click(place, (0.5, 0.5))
    before = strokes(comfy, node)[0]["points"]
    comfy.drag(place, [(0.15, 0.5), (0.15, 0.6)])
    assert strokes(comfy, node)[0]["points"][1] > before[1] + 5, "but what is selected is held there, too"
    press(comfy, node, "Delete")
    assert strokes(comfy, node) == []


def test_a_lasso_takes_what_is_inside_of_it_and_only_else_what_it_touches(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    three_areas(comfy, place, node)
    press(comfy, node, "k")
    part(comfy, node, ".dpath-layer:last-child .dpath-layer-name").click()
    press(comfy, node, "k")
    around = [(0.37, 0.25), (0.63, 0.25), (0.63, 0.75), (0.37, 0.75)]
    comfy.drag(place, [(0.75, 0.95), (0.37, 0.25)])
    assert removed(comfy, node) == 1, "not the large one, which the rectangle crosses"
    press(comfy, node, "v")
    comfy.drag(place, around)
    assert removed(comfy, node) == 1
    comfy.drag(place, [(0.43, 0.4), (0.57, 0.4), (0.57, 0.6), (0.43, 0.6)])
    assert removed(comfy, node) == 2, "where the chosen layer has nothing inside, another one has"
    press(comfy, node, "k")
    part(comfy, node, ".dpath-layer:last-child .dpath-layer-name").click()
    press(comfy, node, "k")
    comfy.drag(place, [(0.31, 0.15), (0.36, 0.15), (0.36, 0.05), (0.31, 0.05)])
    assert removed(comfy, node) == 0, "touched"
    assert names(comfy, node) == ["Sketch", "Paint 2", "Paint"]


def test_undo_and_redo_keep_the_selection(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    three_areas(comfy, place, node)
    press(comfy, node, "k")
    comfy.click(place, (0.35, 0.2))
    press(comfy, node, "PageUp", "z")
    assert removed(comfy, node) == 0
    comfy.click(place, (0.35, 0.2))
    part(comfy, node, ".dpath-swatch:nth-child(9)").click()
    changed = strokes(comfy, node)
    press(comfy, node, "z", "Shift+z")
    assert strokes(comfy, node) == changed
    assert removed(comfy, node) == 0
    press(comfy, node, "Delete", "z")
    assert len(strokes(comfy, node)) == 3
    assert len(layers(comfy, node)) == 3


def test_the_cursor_says_what_a_press_would_do(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "r")
    comfy.drag(place, [(0.4, 0.3), (0.6, 0.7)])
    press(comfy, node, "v")
    comfy.click(place, (0.5, 0.5))
    box = place.bounding_box()
    assert box

    def cursor(x: float, y: float, dx: float = 0, dy: float = 0) -> str:
        assert box
        comfy.page.mouse.move(box["x"] + x * box["width"] + dx, box["y"] + y * box["height"] + dy)
        comfy.settle()
        return comfy.page.evaluate("e => getComputedStyle(e).cursor", place)

    assert cursor(0.5, 0.5) == "move"
    assert cursor(0.2, 0.5) == "default"
    assert cursor(0.4, 0.3, -4, -4) == "nwse-resize"
    assert cursor(0.6, 0.3, 4, -4) == "nesw-resize"
    assert cursor(0.5, 0.3, 0, -30) == "grab"
    press(comfy, node, "m")
    assert cursor(0.4, 0.3, -4, -4) == "nwse-resize"
    press(comfy, node, "m", "b")
    assert cursor(0.5, 0.5) == "crosshair"
    comfy.screenshot("cursor")
