"""Stroke Canvas in a real browser: what is drawn is what Python gets, and nothing that a page does loses it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from diffusion_path.tests.browser.page import ComfyPage
from playwright.sync_api import ElementHandle

KIND = "DPathStrokeCanvas"
ZIGZAG = [(0.3, 0.7), (0.45, 0.35), (0.6, 0.65), (0.7, 0.4)]


def canvas(comfy: ComfyPage, x: float = 100, y: float = 100) -> tuple[int, ElementHandle]:
    """A new canvas in view, and its stage."""
    comfy.evaluate("() => localStorage.removeItem('DiffusionPath.StrokeCanvas')")
    node = comfy.add(KIND, x, y)
    comfy.show(node)
    return node, stage(comfy, node)


def stage(comfy: ComfyPage, node: int) -> ElementHandle:
    return part(comfy, node, ".dpath-easel")


def part(comfy: ComfyPage, node: int, selector: str) -> ElementHandle:
    found = comfy.element(node, "drawing").query_selector(selector)
    assert found is not None
    return found


def button(comfy: ComfyPage, node: int, label: str) -> ElementHandle:
    return part(comfy, node, f'button[aria-label="{label}"]')


def strokes(comfy: ComfyPage, node: int) -> list[dict[str, Any]]:
    text = comfy.widget(node, "drawing")
    return json.loads(text)["strokes"] if text else []


def on_picture(comfy: ComfyPage, node: int, at: tuple[float, float]) -> tuple[float, float]:
    """Where a place of the stage lies on the picture of 512 x 512, worked out from the page's layout alone."""
    script = "stage => [stage.clientWidth, stage.clientHeight]"
    width, height = comfy.page.evaluate(script, stage(comfy, node))
    factor = min(width - 20, height - 20) / 512
    return (at[0] - 0.5) * width / factor + 256, (at[1] - 0.5) * height / factor + 256


def press(comfy: ComfyPage, node: int, *keys: str) -> None:
    part(comfy, node, ".dpath-easel").focus()
    for key in keys:
        comfy.page.keyboard.press(key)
    comfy.settle()


@pytest.mark.parametrize("zoom", [0.5, 1.0, 1.7])
def test_what_is_drawn_at_any_zoom_arrives_in_python(comfy: ComfyPage, zoom: float) -> None:
    node, _ = canvas(comfy)
    preview = comfy.add("PreviewImage", 700, 100)
    comfy.connect(node, 0, preview, "images")
    comfy.show(node, zoom)
    press(comfy, node, "l")
    for begin, end in (((0.3, 0.2), (0.6, 0.5)), ((0.6, 0.7), (0.4, 0.3))):
        comfy.drag(stage(comfy, node), [begin, end])
        drawn = strokes(comfy, node)[-1]["points"]
        expected = [*on_picture(comfy, node, begin), *on_picture(comfy, node, end)]
        assert drawn == pytest.approx(expected, abs=0.5 + 1 / zoom)
    run = comfy.queue()
    assert run.prompt[str(node)]["inputs"]["drawing"] == comfy.widget(node, "drawing")
    assert run.outputs[str(preview)]["images"]


def test_every_tool_leaves_its_stroke(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    press(comfy, node, "]", "]", "e")
    comfy.drag(place, [(0.3, 0.5), (0.7, 0.5)])
    press(comfy, node, "g")
    comfy.click(place, (0.5, 0.15))
    part(comfy, node, ".dpath-tabs button:nth-child(2)").click()
    comfy.drag(place, [(0.35, 0.3), (0.6, 0.3)])
    kinds = [(stroke.get("tool", "brush"), stroke.get("layer", "paint")) for stroke in strokes(comfy, node)]
    assert kinds == [("brush", "paint"), ("eraser", "paint"), ("fill", "paint"), ("brush", "sketch")]
    part(comfy, node, ".dpath-tabs button:nth-child(1)").click()
    press(comfy, node, "i")
    comfy.click(place, (0.5, 0.15))
    assert part(comfy, node, ".dpath-color").input_value() == strokes(comfy, node)[2]["color"]
    comfy.screenshot("stroke-tools")


def test_strokes_are_selected_moved_changed_and_deleted(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "l")
    comfy.drag(place, [(0.35, 0.3), (0.6, 0.3)])
    comfy.drag(place, [(0.35, 0.6), (0.6, 0.6)])
    press(comfy, node, "v")
    comfy.drag(place, [(0.5, 0.3), (0.5, 0.4)])
    first, second = strokes(comfy, node)
    assert first["points"] == pytest.approx(
        [*on_picture(comfy, node, (0.35, 0.4)), *on_picture(comfy, node, (0.6, 0.4))], abs=2
    )
    part(comfy, node, ".dpath-swatch:nth-child(3)").click()
    assert strokes(comfy, node)[0]["color"] != first["color"]
    slider = part(comfy, node, 'input[aria-label="Freedom (t0)"]')
    slider.focus()
    comfy.page.keyboard.press("End")
    comfy.settle()
    assert strokes(comfy, node)[0]["t0"] == 1
    press(comfy, node, "Delete")
    assert strokes(comfy, node) == [second]
    press(comfy, node, "z", "z", "z", "z")
    assert strokes(comfy, node) == [{**first, "points": strokes(comfy, node)[0]["points"]}, second]
    assert strokes(comfy, node)[0]["points"] != first["points"]


def test_a_selected_stroke_takes_the_colour_that_is_picked(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    for number, height in ((2, 0.3), (8, 0.6)):
        part(comfy, node, f".dpath-swatch:nth-child({number})").click()
        press(comfy, node, "l")
        comfy.drag(place, [(0.35, height), (0.6, height)])
    first, second = strokes(comfy, node)
    assert first["color"] != second["color"]
    press(comfy, node, "v")
    comfy.click(place, (0.5, 0.3))
    comfy.page.keyboard.down("Alt")
    comfy.click(place, (0.5, 0.6))
    comfy.page.keyboard.up("Alt")
    assert strokes(comfy, node) == [{**first, "color": second["color"]}, second]
    press(comfy, node, "z")
    assert strokes(comfy, node) == [first, second]


def test_undo_and_redo_go_stroke_by_stroke(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    texts = [""]
    for i in range(4):
        comfy.drag(place, [(0.3, 0.3 + 0.1 * i), (0.6, 0.3 + 0.1 * i)])
        texts.append(comfy.widget(node, "drawing"))
    for text in reversed(texts[:-1]):
        press(comfy, node, "Control+z")
        assert comfy.widget(node, "drawing") == text
    for text in texts[1:]:
        press(comfy, node, "Shift+z")
        assert comfy.widget(node, "drawing") == text
    button(comfy, node, "Clear this layer").click()
    assert strokes(comfy, node) == []
    button(comfy, node, "Undo").click()
    assert comfy.widget(node, "drawing") == texts[-1]


def test_undo_of_the_graph_keeps_and_restores_strokes(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    one = comfy.widget(node, "drawing")
    comfy.drag(place, [(0.3, 0.2), (0.6, 0.2)])
    two = comfy.widget(node, "drawing")
    other = comfy.add("PreviewImage", 700, 100)
    comfy.undo()
    assert comfy.node_ids("PreviewImage") == []
    assert comfy.widget(node, "drawing") == two
    comfy.undo()
    assert comfy.widget(node, "drawing") == one
    comfy.redo()
    assert comfy.widget(node, "drawing") == two
    press(comfy, node, "z")  # its own steps are still known
    assert comfy.widget(node, "drawing") == one
    assert other


def test_copy_and_paste_give_an_independent_drawing(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    before = comfy.widget(node, "drawing")
    comfy.evaluate("(id) => { app.canvas.deselectAll(); app.canvas.select(app.canvas.graph.getNodeById(id)); }", node)
    comfy.focus_canvas()
    comfy.page.keyboard.press("Control+c")
    comfy.page.mouse.move(800, 300)
    comfy.page.keyboard.press("Control+v")
    comfy.wait_until(f"() => app.canvas.graph.nodes.filter(n => n.type === '{KIND}').length === 2")
    comfy.settle(8)
    copy = next(each for each in comfy.node_ids(KIND) if each != node)
    assert comfy.widget(copy, "drawing") == before
    comfy.show(copy)
    comfy.drag(stage(comfy, copy), [(0.3, 0.2), (0.6, 0.2)])
    assert comfy.widget(node, "drawing") == before
    assert len(strokes(comfy, copy)) == 2


def test_save_load_tabs_reload_and_change_of_renderer(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    text = comfy.widget(node, "drawing")
    saved = comfy.serialized()
    assert saved["nodes"][0]["widgets_values"][-1] == text
    comfy.load({**saved, "nodes": []}, "other")
    comfy.evaluate("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    comfy.wait_until(f"() => app.canvas.graph.nodes.some(n => n.type === '{KIND}')")
    comfy.settle(8)
    assert comfy.widget(node, "drawing") == text, "a change of tab"
    for renderer in ("nodes2", "classic"):
        comfy.set_renderer(renderer)
        comfy.settle(12)
        assert comfy.widget(node, "drawing") == text, "a change of renderer"
        comfy.show(node)
        comfy.drag(stage(comfy, node), [(0.3, 0.2), (0.6, 0.2)])
        assert len(strokes(comfy, node)) == 2
        press(comfy, node, "z")
        assert comfy.widget(node, "drawing") == text
    comfy.set_renderer(comfy.renderer)
    comfy.load(saved, "again")
    assert comfy.widget(node, "drawing") == text, "save and load"
    comfy.page.wait_for_timeout(1500)  # the page writes its draft with a delay
    comfy.open()
    comfy.wait_until(f"() => app.canvas.graph.nodes.some(n => n.type === '{KIND}')")
    assert comfy.widget(node, "drawing") == text, "reload"


def test_resize_and_collapse(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    text = comfy.widget(node, "drawing")
    small = place.bounding_box()
    script = "([id, size]) => { app.canvas.graph.getNodeById(id).setSize(size); app.canvas.setDirty(true, true); }"
    comfy.evaluate(script, [node, [700, 900]])
    comfy.settle(12)
    large = stage(comfy, node).bounding_box()
    assert small
    assert large
    assert large["width"] > small["width"] + 150
    assert large["height"] > small["height"] + 100
    comfy.evaluate(script, [node, [100, 100]])
    comfy.settle(12)
    tiny = comfy.element(node, "drawing").bounding_box()
    assert tiny
    assert tiny["height"] >= 479
    toggle = "(id) => app.canvas.graph.getNodeById(id).collapse()"
    comfy.evaluate(toggle, node)
    comfy.settle(8)
    comfy.evaluate(toggle, node)
    comfy.settle(8)
    comfy.show(node)
    comfy.drag(stage(comfy, node), [(0.3, 0.2), (0.6, 0.2)])
    assert len(strokes(comfy, node)) == 2
    press(comfy, node, "z")
    assert comfy.widget(node, "drawing") == text
