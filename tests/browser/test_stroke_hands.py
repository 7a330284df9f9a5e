"""Mouse wheel, pen and edges on Stroke Canvas, and what is left when its node is gone."""

from __future__ import annotations

import pytest
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import (
    ZIGZAG,
    button,
    canvas,
    on_picture,
    part,
    press,
    stage,
    strokes,
)

_PEN = """([stage, points]) => { const box = stage.getBoundingClientRect();
    const send = (kind, [x, y, pressure]) => stage.dispatchEvent(new PointerEvent(kind, { pointerId: 1,
        pointerType: "pen", pressure, clientX: box.left + x * box.width, clientY: box.top + y * box.height,
        button: 0, buttons: 1, bubbles: true, cancelable: true, isPrimary: true }));
    stage.setPointerCapture = () => {};  // there is no real pen to capture
    send("pointerdown", points[0]);
    for (const point of points) send("pointermove", point);
    send("pointerup", points.at(-1)); }"""

_PALM = """stage => { const box = stage.getBoundingClientRect();
    const send = (kind, pointerId, x, y) => stage.dispatchEvent(new PointerEvent(kind, { pointerId,
        pointerType: pointerId === 1 ? "pen" : "touch", clientX: box.left + x * box.width,
        clientY: box.top + y * box.height, buttons: 1, bubbles: true, cancelable: true, isPrimary: pointerId === 1 }));
    stage.setPointerCapture = () => {};
    send("pointerdown", 1, 0.3, 0.3);
    send("pointermove", 1, 0.4, 0.3);
    for (const kind of ["pointerdown", "pointermove", "pointerup"]) send(kind, 2, 0.7, 0.9);
    send("pointermove", 1, 0.6, 0.3);
    send("pointerup", 1, 0.6, 0.3); }"""

FIT = """app.canvas.graph.getNodeById(id).widgets.find(w => w.name === 'drawing').element
    .querySelector('button[aria-label="Fit"]')"""


def graph_zoom(comfy: ComfyPage) -> float:
    return comfy.evaluate("() => app.canvas.ds.scale")


def picture_zoom(comfy: ComfyPage, node: int) -> int:
    return int(button(comfy, node, "Fit").inner_text().split()[0])


def test_the_wheel_is_the_pictures_while_it_has_the_focus(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    before = picture_zoom(comfy, node)
    comfy.page.mouse.wheel(0, -300)
    comfy.wait_until(f"id => parseInt(({FIT}).innerText) > {before}", node)
    assert graph_zoom(comfy) == 1
    comfy.page.keyboard.down("Space")
    comfy.drag(place, [(0.5, 0.5), (0.6, 0.6)])
    comfy.page.keyboard.up("Space")
    assert len(strokes(comfy, node)) == 1, "Space drags the view"
    comfy.drag(place, [(0.4, 0.4), (0.6, 0.4)])
    assert len(strokes(comfy, node)) == 2
    zoomed = picture_zoom(comfy, node)
    comfy.page.keyboard.down("Control")
    comfy.page.mouse.wheel(0, -300)
    comfy.page.keyboard.up("Control")
    comfy.wait_until("() => app.canvas.ds.scale > 1")
    press(comfy, node, "0")
    assert picture_zoom(comfy, node) == before < zoomed
    comfy.show(node)
    comfy.focus_canvas()
    comfy.page.mouse.wheel(0, -300)
    comfy.wait_until("() => app.canvas.ds.scale > 1")
    assert picture_zoom(comfy, node) == before


def test_drawing_past_the_edge_and_with_other_buttons(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    where = comfy.evaluate("id => [...app.canvas.graph.getNodeById(id).pos]", node)
    comfy.drag(place, [(0.6, 0.5), (1.6, 0.5), (1.6, 1.4), (0.6, 0.7)])
    (stroke,) = strokes(comfy, node)
    assert max(stroke["points"]) > 512, "the stroke goes on outside of the picture"
    assert comfy.evaluate("id => [...app.canvas.graph.getNodeById(id).pos]", node) == where
    comfy.click(place, (0.5, 0.5), button="right")
    comfy.page.keyboard.press("Escape")
    comfy.page.mouse.click(1300, 800)
    assert len(strokes(comfy, node)) == 1


def test_a_pen_changes_the_width_unless_it_is_told_not_to(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    points = [[0.3 + 0.02 * i, 0.5, 0.1 + 0.04 * i] for i in range(20)]
    comfy.page.evaluate(_PEN, [place, points])
    pressure = strokes(comfy, node)[0]["pressure"]
    assert len(pressure) == len(strokes(comfy, node)[0]["points"]) // 2
    assert pressure[0] < 20 < 60 < pressure[-1]
    part(comfy, node, ".dpath-check input").click()
    comfy.page.evaluate(_PEN, [place, points])
    assert "pressure" not in strokes(comfy, node)[1]


def test_a_palm_beside_the_pen_draws_nothing(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.page.evaluate(_PALM, place)
    (stroke,) = strokes(comfy, node)
    assert max(stroke["points"][1::2]) - min(stroke["points"][1::2]) < 5
    assert max(stroke["points"][::2]) > on_picture(comfy, node, (0.59, 0.3))[0], "the stroke goes on beside the palm"


@pytest.mark.parametrize("key", ["Delete", "z"])
def test_keys_in_the_middle_of_a_drag_hurt_no_other_stroke(comfy: ComfyPage, key: str) -> None:
    node, place = canvas(comfy)
    for height in (0.3, 0.5, 0.7):
        comfy.drag(place, [(0.4, height), (0.6, height)])
    first, second, third = strokes(comfy, node)
    press(comfy, node, "v")
    box = place.bounding_box()
    assert box
    comfy.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    comfy.page.mouse.down()
    comfy.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.6 * box["height"])
    comfy.page.keyboard.press(key)
    comfy.page.mouse.up()
    comfy.settle()
    assert strokes(comfy, node) == ([first, third] if key == "Delete" else [first, second, third])


def test_stepping_through_strokes_stays_on_the_layer(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    for height in (0.3, 0.5):
        comfy.drag(place, [(0.4, height), (0.6, height)])
    first, second = strokes(comfy, node)
    part(comfy, node, ".dpath-tabs button:nth-child(2)").click()
    press(comfy, node, ".", "Delete", ",", "Delete")
    assert strokes(comfy, node) == [first, second], "these lie on the other layer"
    part(comfy, node, ".dpath-tabs button:nth-child(1)").click()
    press(comfy, node, ",", "Delete")
    assert strokes(comfy, node) == [first], "backwards from nothing, the last one comes first"


def test_undo_takes_back_the_stroke_in_the_making(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.3), (0.7, 0.3)])
    box = place.bounding_box()
    assert box
    ink = "easel => { let n = 0; const stage = easel.parentElement.querySelector('canvas');"
    ink += " const d = stage.getContext('2d').getImageData(0, 0, stage.width, stage.height).data;"
    ink += " for (let i = 0; i < d.length; i += 4) n += d[i] < 100 && d[i + 2] > 120; return n; }"
    comfy.page.mouse.move(box["x"] + 5, box["y"] + 5)
    comfy.settle()
    before = comfy.page.evaluate(ink, place)
    comfy.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.6 * box["height"])
    comfy.page.mouse.down()
    comfy.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
    comfy.settle()
    assert comfy.page.evaluate(ink, place) > 1.5 * before
    comfy.page.keyboard.press("z")
    comfy.page.mouse.up()
    comfy.page.mouse.move(box["x"] + 5, box["y"] + 5)
    comfy.settle()
    assert comfy.page.evaluate(ink, place) == before
    assert len(strokes(comfy, node)) == 1


def test_a_removed_node_leaves_no_timer(comfy: ComfyPage) -> None:
    comfy.evaluate(
        "() => { window.open_ = new Set(); const [start, stop] = [setInterval, clearInterval];"
        " window.restore_ = () => { window.setInterval = start; window.clearInterval = stop; };"
        " window.setInterval = (...a) => { const id = start(...a); open_.add(id); return id; };"
        " window.clearInterval = (id) => { open_.delete(id); stop(id); }; }"
    )
    before = comfy.evaluate("() => open_.size")
    node, _ = canvas(comfy)
    other = comfy.add("DPathStrokeCanvas", 700, 100)
    assert comfy.evaluate("() => open_.size") == before + 2
    comfy.evaluate("id => app.canvas.graph.remove(app.canvas.graph.getNodeById(id))", node)
    assert comfy.evaluate("() => open_.size") == before + 1
    comfy.evaluate("() => app.rootGraph.clear()")
    left = comfy.evaluate("() => { restore_(); return open_.size; }")
    assert left == before
    assert other


def test_the_view_stays_whole_at_the_smallest_size(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    inside = """el => { const outer = el.getBoundingClientRect();
        const shown = [...el.querySelectorAll('button, input, canvas')].filter(e => e.offsetParent !== null);
        return shown.map(e => e.getBoundingClientRect()).every(r => r.left >= outer.left - 1
            && r.right <= outer.right + 1 && r.bottom <= outer.bottom + 1); }"""
    for tool in ("b", "v", "g", "e"):
        press(comfy, node, tool)
        assert comfy.page.evaluate(inside, comfy.element(node, "drawing")), tool
    assert stage(comfy, node).bounding_box()
