"""What an artist arranges on Stroke Canvas: shapes, many strokes at once, and colours."""

from __future__ import annotations

import json

import numpy as np
from diffusion_path.devtools.settings import ROOT
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import canvas, on_picture, part, press, strokes


def test_shapes_are_filled_on_paint_and_outlined_on_the_sketch(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "r")
    comfy.drag(place, [(0.35, 0.3), (0.5, 0.5)])
    press(comfy, node, "o")
    comfy.page.keyboard.down("Shift")
    comfy.drag(place, [(0.45, 0.4), (0.6, 0.5)])
    comfy.page.keyboard.up("Shift")
    rectangle, ellipse = strokes(comfy, node)
    x0, y0 = on_picture(comfy, node, (0.35, 0.3))
    x1, y1 = on_picture(comfy, node, (0.5, 0.5))
    assert np.abs(np.subtract(rectangle["rings"][0], [x0, y0, x1, y0, x1, y1, x0, y1])).max() < 1.5
    ring = np.array(ellipse["rings"][0]).reshape(-1, 2)
    assert abs(np.subtract(*np.ptp(ring, axis=0))) < 1, "a circle"
    part(comfy, node, ".dpath-tabs button:nth-child(2)").click()
    press(comfy, node, "r")
    comfy.drag(place, [(0.35, 0.6), (0.6, 0.8)])
    outline = strokes(comfy, node)[-1]
    assert (outline["layer"], outline["points"][:2]) == ("sketch", outline["points"][-2:])
    comfy.screenshot("shapes")


def test_the_picture_keeps_its_size_whatever_a_tool_has_to_set(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    heights = []
    for tool in "bleigpv":
        press(comfy, node, tool)
        box = place.bounding_box()
        assert box
        heights.append(round(box["height"], 1))
    assert len(set(heights)) == 1, heights


def test_many_strokes_are_selected_moved_restyled_copied_and_ordered(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "l")
    for height in (0.3, 0.4, 0.5, 0.8):
        comfy.drag(place, [(0.4, height), (0.55, height)])
    before = strokes(comfy, node)
    press(comfy, node, "v")
    comfy.drag(place, [(0.35, 0.2), (0.65, 0.6)])
    comfy.screenshot("selected")
    comfy.drag(place, [(0.5, 0.4), (0.55, 0.4)])
    after = strokes(comfy, node)
    steps = {round(new["points"][0] - old["points"][0], 1) for old, new in zip(before, after, strict=True)}
    assert len(steps) == 2
    assert after[3] == before[3]
    part(comfy, node, ".dpath-swatch:nth-child(9)").click()
    assert len({stroke["color"] for stroke in strokes(comfy, node)}) == 2
    press(comfy, node, "Control+d")
    assert len(strokes(comfy, node)) == 7
    press(comfy, node, "Delete")
    assert len(strokes(comfy, node)) == 4
    comfy.click(place, (0.45, 0.8))
    last = strokes(comfy, node)[3]
    press(comfy, node, "PageDown")
    assert strokes(comfy, node)[2] == last
    press(comfy, node, "Shift+PageDown")
    assert strokes(comfy, node)[0] == last
    press(comfy, node, "Shift+PageUp")
    assert strokes(comfy, node)[3] == last
    press(comfy, node, "Control+a", "Delete")
    assert strokes(comfy, node) == []
    press(comfy, node, "z")
    assert len(strokes(comfy, node)) == 4


def test_colours_swap_and_the_last_ones_stay(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    color = part(comfy, node, ".dpath-color")
    first = color.input_value()
    part(comfy, node, ".dpath-swatch:nth-child(9)").click()
    second = color.input_value()
    press(comfy, node, "x")
    assert color.input_value() == first
    comfy.drag(place, [(0.4, 0.4), (0.6, 0.4)])
    part(comfy, node, ".dpath-previous").click()
    assert color.input_value() == second
    comfy.drag(place, [(0.4, 0.6), (0.6, 0.6)])
    press(comfy, node, "f")
    recent = "() => [...document.querySelectorAll('.dpath-recent .dpath-swatch')].map(e => e.dataset.color)"
    assert comfy.evaluate(recent) == [], "the palette has them already"
    code = comfy.page.query_selector("dialog .dpath-code")
    assert code
    for typed in ("123456", "654321"):
        code.click()
        comfy.page.keyboard.type(typed)
        comfy.page.keyboard.press("Enter")
        comfy.page.keyboard.press("b" if typed == "123456" else "v")
        if typed == "123456":
            comfy.drag(place, [(0.4, 0.5), (0.6, 0.5)])
            comfy.page.keyboard.press("v")
            comfy.click(place, (0.5, 0.5))
    assert strokes(comfy, node)[-1]["color"] == "#654321"
    assert comfy.evaluate(recent) == ["#654321", "#123456"], "and what a stroke was given later"
    comfy.screenshot("window-desk")
    comfy.page.keyboard.press("Escape")
    comfy.page.keyboard.press("Escape")


def test_the_tools_are_in_one_row_in_every_language(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    script = """([bar, texts]) => { const tabs = [...bar.querySelectorAll(".dpath-tabs button")];
        tabs.forEach((tab, i) => tab.textContent = texts[i]);
        return [bar.offsetHeight, bar.lastElementChild.previousElementSibling.offsetTop
            - bar.firstElementChild.offsetTop]; }"""
    bar = part(comfy, node, ".dpath-toolbar")
    files = sorted((ROOT / "web" / "words").glob("*.json"))
    assert len(files) == 8
    for file in files:
        words = json.loads(file.read_text(encoding="utf-8"))
        height, below = comfy.page.evaluate(script, [bar, [words["Paint"], words["Sketch"]]])
        assert (height < 40, below) == (True, 0), file.stem


def test_a_colour_is_typed_as_a_hex_code(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    color, code = part(comfy, node, ".dpath-color"), part(comfy, node, ".dpath-code")
    before = color.input_value()
    assert code.input_value() == before
    for typed, expected in (("C5281E", "#c5281e"), ("#fa3", "#ffaa33"), ("nothing", "#ffaa33")):
        code.click()
        comfy.page.keyboard.type(typed)
        comfy.page.keyboard.press("Enter")
        comfy.settle()
        assert (color.input_value(), code.input_value()) == (expected, expected)
    assert part(comfy, node, ".dpath-previous").get_attribute("style") == "background-color: rgb(197, 40, 30);"
    code.click()
    comfy.page.keyboard.type("123456")
    comfy.screenshot("hex-code")
    comfy.page.keyboard.press("Escape")
    press(comfy, node, "r")
    comfy.drag(place, [(0.4, 0.4), (0.6, 0.6)])
    assert strokes(comfy, node)[0]["color"] == "#ffaa33"
    press(comfy, node, "v")
    comfy.click(place, (0.5, 0.5))
    code.click()
    comfy.page.keyboard.type("1d5238")
    comfy.page.keyboard.press("Tab")
    comfy.settle()
    assert strokes(comfy, node)[0]["color"] == "#1d5238", "of what is selected"
    press(comfy, node, "f")
    comfy.screenshot("window-hex")
    comfy.page.keyboard.press("Escape")
    comfy.page.keyboard.press("Escape")


def test_no_tooltip_of_the_page_lies_over_the_tools(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    box = place.bounding_box()
    assert box
    comfy.page.mouse.move(box["x"] + 20, box["y"] + 20)
    # The page leaves a tooltip behind where its node is removed below the mouse, as other tests do.
    comfy.evaluate("() => document.querySelectorAll('.p-tooltip').forEach(each => each.remove())")
    comfy.page.mouse.move(box["x"] + 40, box["y"] - 20, steps=4)
    comfy.page.wait_for_timeout(1500)
    comfy.screenshot("tooltip")
    assert not comfy.evaluate("() => document.querySelectorAll('.p-tooltip').length")
    assert node


def test_grain_of_new_strokes_and_of_selected_ones(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    slider = part(comfy, node, 'input[aria-label="Grain"]')
    slider.focus()
    comfy.page.keyboard.press("End")
    comfy.drag(place, [(0.3, 0.4), (0.7, 0.45)])
    assert strokes(comfy, node)[0]["grain"] == 1
    comfy.screenshot("grainy")
    press(comfy, node, "v")
    comfy.click(place, (0.5, 0.425))
    slider.focus()
    comfy.page.keyboard.press("Home")
    comfy.settle()
    assert "grain" not in strokes(comfy, node)[0], "0 is what a stroke without it has"
    press(comfy, node, "z")
    assert strokes(comfy, node)[0]["grain"] == 1
    part(comfy, node, ".dpath-tabs button:nth-child(2)").click()
    assert not slider.is_visible(), "a sketch has none"
    press(comfy, node, "b")
    comfy.drag(place, [(0.3, 0.6), (0.7, 0.6)])
    assert "grain" not in strokes(comfy, node)[1]


def test_a_number_is_typed_after_a_double_click(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    shown = ".dpath-slider:has([aria-label='Size']) output"
    for typed, expected in (("37", "37"), ("4000", "400"), ("x", "400"), ("2,5", "2.5")):
        part(comfy, node, shown).dblclick()
        comfy.page.keyboard.type(typed)
        comfy.page.keyboard.press("Enter")
        comfy.settle()
        assert part(comfy, node, shown).inner_text() == expected
    part(comfy, node, shown).dblclick()
    comfy.page.keyboard.type("9")
    comfy.page.keyboard.press("Escape")
    press(comfy, node, "b")
    comfy.drag(place, [(0.4, 0.4), (0.6, 0.4)])
    assert strokes(comfy, node)[0]["size"] == 2.5
