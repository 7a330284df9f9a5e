"""Layers of Stroke Canvas: added, ordered, hidden, locked, named, and undone, by mouse and by keys."""

from __future__ import annotations

import json
from typing import Any

from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import button, canvas, part, press, strokes
from diffusion_path.tests.browser.test_stroke_hands import graph_zoom
from diffusion_path.tests.browser.test_stroke_window import Hand, box_of


def layers(comfy: ComfyPage, node: int) -> list[dict[str, Any]]:
    text = comfy.widget(node, "drawing")
    return json.loads(text).get("layers", []) if text else []


def names(comfy: ComfyPage, node: int) -> list[str]:
    script = "e => [...e.querySelectorAll('.dpath-layer-name')].map(b => b.textContent)"
    return comfy.page.evaluate(script, comfy.element(node, "drawing"))


def test_strokes_go_to_the_layer_that_is_chosen(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.3), (0.6, 0.3)])
    assert json.loads(comfy.widget(node, "drawing"))["version"] == 1, "without layers of its own, the old format"
    button(comfy, node, "Layers").click()
    comfy.settle()
    assert names(comfy, node) == ["Sketch", "Paint"]
    press(comfy, node, "n")
    assert names(comfy, node) == ["Sketch", "Paint 2", "Paint"]
    slider = part(comfy, node, 'input[aria-label="Freedom (t0)"]')
    slider.focus()
    comfy.page.keyboard.press("Home")
    comfy.settle()
    comfy.drag(place, [(0.3, 0.5), (0.6, 0.5)])
    press(comfy, node, "Alt+[")
    comfy.drag(place, [(0.3, 0.7), (0.6, 0.7)])
    drawn = [(stroke.get("layer", "paint"), stroke.get("t0", 0.6)) for stroke in strokes(comfy, node)]
    assert drawn == [("paint", 0.6), ("paint 2", 0), ("paint", 0.6)], "each layer begins with a t0 of its own"
    comfy.screenshot("layers")
    button(comfy, node, "Rename the layer").click()
    comfy.page.keyboard.type("Mill")
    comfy.page.keyboard.press("Enter")
    comfy.settle()
    assert names(comfy, node) == ["Sketch", "Paint 2", "Mill"]
    press(comfy, node, "z")
    button(comfy, node, "Move the layer up").click()
    assert [layer["id"] for layer in layers(comfy, node)] == ["paint 2", "paint", "sketch"]
    button(comfy, node, "Move the layer up").is_disabled()
    press(comfy, node, "z", "z", "z", "z", "z")
    assert (names(comfy, node), len(strokes(comfy, node))) == (["Sketch", "Paint"], 1)
    assert json.loads(comfy.widget(node, "drawing"))["version"] == 1
    press(comfy, node, *["Shift+z"] * 5)
    assert [layer["id"] for layer in layers(comfy, node)] == ["paint 2", "paint", "sketch"]


def test_layers_by_keys_alone(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.3), (0.6, 0.3)])
    press(comfy, node, "k", "Control+a", "n")
    assert strokes(comfy, node)[0]["layer"] == "paint 2", "a new layer takes what is selected"
    part(comfy, node, '.dpath-layer-name[aria-pressed="true"]').focus()
    comfy.page.keyboard.press("F2")
    comfy.page.keyboard.type("Sky")
    comfy.page.keyboard.press("Enter")
    comfy.settle()
    assert names(comfy, node) == ["Sketch", "Sky", "Paint"]
    comfy.page.keyboard.press("ArrowDown")
    comfy.page.keyboard.press("ArrowUp")
    comfy.page.keyboard.press("Alt+ArrowDown")
    comfy.settle()
    assert names(comfy, node) == ["Sketch", "Paint", "Sky"]
    focused = comfy.evaluate("() => document.activeElement.textContent")
    assert focused == "Sky", "the list keeps the keyboard"
    comfy.page.keyboard.press("Delete")
    comfy.settle()
    assert (names(comfy, node), strokes(comfy, node)) == (["Sketch", "Paint"], [])
    press(comfy, node, "z")
    assert strokes(comfy, node)[0]["layer"] == "paint 2"


def test_rows_are_dragged_to_another_place(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.3), (0.6, 0.3)])
    press(comfy, node, "n", "n", "k")
    assert names(comfy, node) == ["Sketch", "Paint 3", "Paint 2", "Paint"]

    def drag(title: str, onto: str, side: float, key: str = "") -> list[str]:
        rows = {row.inner_text(): row for row in part(comfy, node, ".dpath-layers").query_selector_all("button")}
        held, other = rows[title].bounding_box(), rows[onto].bounding_box()
        assert held
        assert other
        comfy.page.mouse.move(held["x"] + 20, held["y"] + held["height"] / 2)
        comfy.page.mouse.down()
        comfy.page.mouse.move(other["x"] + 20, other["y"] + side * other["height"], steps=5)
        if title == "Paint":
            comfy.screenshot("dragged-row")
        if key:
            comfy.page.keyboard.press(key)
        comfy.page.mouse.up()
        comfy.settle()
        return names(comfy, node)

    assert drag("Paint", "Paint 3", 0.1) == ["Sketch", "Paint", "Paint 3", "Paint 2"]
    assert part(comfy, node, ".dpath-layer[data-active]").inner_text().startswith("Paint\n"), "it is chosen, too"
    assert drag("Paint 3", "Paint 2", 0.9) == ["Sketch", "Paint", "Paint 2", "Paint 3"]
    assert drag("Paint 3", "Sketch", 0.1) == ["Sketch", "Paint 3", "Paint", "Paint 2"], "no higher than its pile"
    kept = comfy.widget(node, "drawing")
    assert drag("Paint 2", "Paint 2", 0.9) == ["Sketch", "Paint 3", "Paint", "Paint 2"]
    assert drag("Sketch", "Paint", 0.5) == ["Sketch", "Paint 3", "Paint", "Paint 2"]
    assert drag("Paint 2", "Paint 3", 0.1, "Escape") == ["Sketch", "Paint 3", "Paint", "Paint 2"]
    assert comfy.widget(node, "drawing") == kept
    press(comfy, node, "z", "z", "z")
    assert names(comfy, node) == ["Sketch", "Paint 3", "Paint 2", "Paint"], "each was one step"


def test_a_finger_that_rests_on_a_row_drags_it_and_one_that_does_not_scrolls(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.3), (0.6, 0.3)])
    press(comfy, node, *["n"] * 12, "k")
    before = names(comfy, node)
    listed = part(comfy, node, ".dpath-layer-list")
    hand = Hand(comfy, listed)

    def swipe(begin: float, end: float, rests: bool) -> None:
        hand.send("touchStart", (0.5, begin), after=1)
        if rests:
            comfy.page.wait_for_selector(".dpath-layer[data-dragged]")
        for k in range(1, 9):
            hand.send("touchMove", (0.5, begin + (end - begin) * k / 8))
        hand.send("touchMove", (0.5, end), after=0.5)  # without a swing that goes on
        if rests:
            comfy.screenshot("row-under-a-finger")
        hand.send("touchEnd")
        comfy.settle(12)

    comfy.evaluate("e => { e.scrollTop = 0; }", listed)
    swipe(0.8, 0.2, rests=False)
    comfy.wait_until("e => e.scrollTop > 20", listed)
    assert names(comfy, node) == before
    comfy.evaluate("e => { e.scrollTop = 0; }", listed)
    rows = listed.query_selector_all(".dpath-layer")
    middle = [(box_of(row)["y"] + box_of(row)["height"] / 2 - hand.box["y"]) / hand.box["height"] for row in rows]
    swipe(middle[1], middle[3] + 0.02, rests=True)
    assert names(comfy, node) == [before[0], before[2], before[3], before[1], *before[4:]]
    assert part(comfy, node, ".dpath-layer[data-active] .dpath-layer-name").inner_text() == before[1]
    assert not listed.query_selector("[data-dragged], [data-drop]")
    assert graph_zoom(comfy) == 1
    kept = comfy.widget(node, "drawing")
    swipe(middle[2], middle[2], rests=True)
    assert comfy.widget(node, "drawing") == kept, "a finger that only rests moves nothing"
    press(comfy, node, "z")
    assert names(comfy, node) == before, "one step"


def test_the_number_beside_a_layer_is_that_of_its_strokes(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "k")
    number = part(comfy, node, ".dpath-layer[data-kind=paint] .dpath-layer-default")
    assert number.inner_text() == ""
    for height, key, expected in ((0.3, "", "t0 0.60"), (0.5, "End", "t0 0.60\u20131.00")):
        if key:
            part(comfy, node, 'input[aria-label="Freedom (t0)"]').focus()
            comfy.page.keyboard.press(key)
        comfy.drag(place, [(0.3, height), (0.6, height)])
        assert number.inner_text() == expected
    assert number.get_attribute("title") == "The t0 of the strokes on this layer"
    comfy.screenshot("layer-numbers")


def test_hidden_and_locked_layers_say_why_nothing_is_drawn(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    preview = comfy.add("PreviewImage", 700, 100)
    comfy.connect(node, 2, comfy.add("MaskToImage", 700, 500), "mask")
    comfy.connect(node, 0, preview, "images")
    comfy.drag(place, [(0.3, 0.3), (0.6, 0.3)])
    press(comfy, node, "k")
    lock, eye = (
        part(comfy, node, f'.dpath-layer[data-active] button[aria-label="{label}"]')
        for label in ("Lock or unlock the layer", "Hide or show the layer")
    )
    lock.click()
    comfy.drag(place, [(0.3, 0.6), (0.6, 0.6)])
    assert part(comfy, node, ".dpath-banner").inner_text().startswith("This layer is locked.")
    comfy.screenshot("locked")
    part(comfy, node, ".dpath-banner button").click()
    comfy.drag(place, [(0.3, 0.6), (0.6, 0.6)])
    assert len(strokes(comfy, node)) == 2
    eye.click()
    comfy.drag(place, [(0.3, 0.8), (0.6, 0.8)])
    assert len(strokes(comfy, node)) == 2
    assert layers(comfy, node)[0]["hidden"]
    run = comfy.queue()
    assert run.outputs[str(preview)]["images"]


def test_the_whole_window_lists_the_layers_beside_the_picture(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.3), (0.6, 0.5)])
    press(comfy, node, "n")
    comfy.drag(place, [(0.3, 0.5), (0.6, 0.3)])
    press(comfy, node, "f")
    panel = comfy.page.wait_for_selector("dialog .dpath-layers")
    assert panel
    opacity = panel.query_selector('input[aria-label="Layer opacity"]')
    assert opacity
    opacity.focus()
    comfy.page.keyboard.press("Home")
    comfy.settle()
    assert layers(comfy, node)[1]["opacity"] == 0
    comfy.page.keyboard.press("End")
    comfy.screenshot("window-layers")
    comfy.page.keyboard.press("Escape")


def test_a_new_default_of_a_layer_is_offered_to_the_strokes_that_are_there(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.connect(node, 4, comfy.add("PreviewAny", 700, 100), "source")
    for height in (0.5, 0.7):
        comfy.drag(place, [(0.3, height), (0.6, height)])
    slider = part(comfy, node, 'input[aria-label="Freedom (t0)"]')
    slider.focus()
    comfy.page.keyboard.press("Home")
    comfy.settle()
    assert [stroke.get("t0", 0.6) for stroke in strokes(comfy, node)] == [0.6, 0.6]
    banner = part(comfy, node, ".dpath-banner")
    assert banner.inner_text().startswith("New strokes on this layer begin with this t0.")
    banner.query_selector("button").click()  # type: ignore[union-attr]
    assert [stroke["t0"] for stroke in strokes(comfy, node)] == [0, 0]
    assert banner.is_hidden()
    slider.focus()
    comfy.page.keyboard.press("End")
    comfy.settle()
    assert banner.is_visible()
    press(comfy, node, "v")
    comfy.click(place, (0.45, 0.5))
    assert banner.is_hidden(), "whoever goes on does not want it"
    press(comfy, node, "z")
    assert [stroke.get("t0", 0.6) for stroke in strokes(comfy, node)] == [0.6, 0.6]


def test_a_t0_that_leads_nowhere_says_so_once(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.5), (0.6, 0.5)])
    slider = part(comfy, node, 'input[aria-label="Freedom (t0)"]')
    banner = part(comfy, node, ".dpath-banner")
    for key, begin in (("Home", "t0 has no effect here"), ("End", "New strokes")):
        slider.focus()
        comfy.page.keyboard.press(key)
        comfy.settle()
        assert banner.inner_text().startswith(begin)
