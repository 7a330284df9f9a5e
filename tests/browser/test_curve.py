"""The curve editor of Path Schedule."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_path.tests.browser.page import ComfyPage
from playwright.sync_api import ElementHandle

DRAWN = "1:0.2, 0.8:1, 0.4:0.9, 0.2:0.3, 0:0"


def editor(comfy: ComfyPage, zoom: float = 1.0, **widgets: Any) -> tuple[int, ElementHandle]:
    """A node with its editor on the screen."""
    node = comfy.add("DPathSchedule", 100, 100, **widgets)
    comfy.show(node, zoom)
    element = comfy.element(node, "curve")
    assert element.wait_for_selector("[data-grip]", state="attached")
    return node, element


def look(comfy: ComfyPage) -> None:
    """The editor looks at the widgets beside it a few times per second."""
    comfy.page.wait_for_timeout(200)
    comfy.settle()


def point(element: ElementHandle, k: int) -> ElementHandle:
    found = element.query_selector(f"[data-point='{k}']")
    assert found is not None
    return found


def drag(comfy: ComfyPage, grabbed: ElementHandle, x: float, y: float) -> None:
    """Drags by x and y pixels of the screen."""
    box = grabbed.bounding_box()
    assert box is not None
    start = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    comfy.page.mouse.move(*start)
    comfy.page.mouse.down()
    comfy.page.mouse.move(start[0] + x / 2, start[1] + y / 2)
    comfy.page.mouse.move(start[0] + x, start[1] + y)
    comfy.page.mouse.up()
    look(comfy)


_TWO_FINGERS = """plot => { const box = plot.getBoundingClientRect();
    const send = (kind, pointerId, x, y) => {
        const [clientX, clientY] = [box.left + x * box.width, box.top + y * box.height];
        document.elementFromPoint(clientX, clientY).dispatchEvent(new PointerEvent(kind, { pointerId, clientX, clientY,
            pointerType: "touch", buttons: 1, bubbles: true, isPrimary: pointerId === 1 })); };
    plot.setPointerCapture = () => {};
    send("pointerdown", 1, 0.4, 0.6);
    for (const kind of ["pointerdown", "pointermove", "pointerup"]) send(kind, 2, 0.3, 0.4);
    send("pointermove", 1, 0.6, 0.3);
    send("pointerup", 1, 0.6, 0.3); }"""


def test_a_second_finger_changes_nothing(comfy: ComfyPage) -> None:
    node, element = editor(comfy, shape="curve", start=1.0, end=0.0)
    plot = element.query_selector(".dpath-plot")
    assert plot is not None
    comfy.page.evaluate(_TWO_FINGERS, plot)
    look(comfy)
    (drawn,) = comfy.widget(node, "curve").split(", ")
    position, weight = map(float, drawn.split(":"))
    assert 0.3 < position < 0.5
    assert weight > 0.6


@pytest.mark.parametrize("zoom", [0.6, 1.0, 1.7])
def test_points_follow_the_mouse_and_snap(comfy: ComfyPage, zoom: float) -> None:
    node, element = editor(comfy, zoom, shape="curve", curve="1:1, 0.5:0.5, 0:0", start=1.0, end=0.0)
    look(comfy)
    middle = point(element, 1)
    drag(comfy, middle, 30 * zoom, -20 * zoom)
    points = dict(pair.split(":") for pair in comfy.widget(node, "curve").split(", "))
    (position, weight), *_ = [(float(p), float(w)) for p, w in points.items() if p not in ("1", "0")]
    assert position < 0.5
    assert weight > 0.5
    assert position * 20 == pytest.approx(round(position * 20)), "on the grid"
    assert weight * 20 == pytest.approx(round(weight * 20))
    comfy.undo()
    assert comfy.widget(node, "curve") == "1:1, 0.5:0.5, 0:0"
    assert comfy.element(node, "curve").is_visible(), "the page shows the widget that undo made"
    comfy.redo()
    assert comfy.widget(node, "curve") != "1:1, 0.5:0.5, 0:0"


def test_a_click_draws_from_the_shape_that_was_there(comfy: ComfyPage) -> None:
    node, element = editor(comfy, shape="linear", start=1.0, end=0.0)
    look(comfy)
    plot = element.query_selector(".dpath-plot")
    assert plot is not None
    comfy.click(plot, (0.55, 0.2))
    assert comfy.widget(node, "shape") == "curve"
    assert comfy.widget(node, "curve").startswith("1:1, ")
    assert comfy.widget(node, "curve").endswith(", 0:0")
    assert len(comfy.widget(node, "curve").split(",")) == 3
    comfy.undo()
    assert comfy.widget(node, "shape") == "linear"
    comfy.set_widget(node, "curve", "")
    comfy.set_widget(node, "shape", "curve")
    element = comfy.element(node, "curve")
    look(comfy)
    assert "Click to draw" in element.inner_text()
    plot = element.query_selector(".dpath-plot")
    assert plot is not None
    comfy.click(plot, (0.55, 0.2))
    assert len(comfy.widget(node, "curve").split(",")) == 1


def test_a_double_click_takes_a_point_away(comfy: ComfyPage) -> None:
    node, element = editor(comfy, shape="curve", curve=DRAWN, start=1.0, end=0.0)
    look(comfy)
    box = point(element, 1).bounding_box()
    assert box is not None
    comfy.page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    look(comfy)
    assert comfy.widget(node, "curve") == "1:0.2, 0.4:0.9, 0.2:0.3, 0:0"
    element = comfy.element(node, "curve")
    plot = element.query_selector(".dpath-plot")
    assert plot is not None
    comfy.click(plot, (0.62, 0.5), click_count=2)
    assert len(comfy.widget(node, "curve").split(",")) == 5, "without one it adds a point, and leaves it"


def test_everything_goes_by_keyboard(comfy: ComfyPage) -> None:
    node, element = editor(comfy, shape="curve", curve=DRAWN, start=1.0, end=0.0)
    look(comfy)
    keys = comfy.page.keyboard
    point(element, 1).focus()
    keys.press("ArrowDown")
    keys.press("Shift+ArrowRight")
    assert comfy.widget(node, "curve") == "1:0.2, 0.7:0.99, 0.4:0.9, 0.2:0.3, 0:0"
    keys.press("Delete")
    assert comfy.widget(node, "curve") == "1:0.2, 0.4:0.9, 0.2:0.3, 0:0"
    assert comfy.node_ids("DPathSchedule") == [node], "the node itself is not deleted"
    keys.press("Control+z")
    comfy.page.wait_for_timeout(500)
    assert comfy.widget(node, "curve") == "1:0.2, 0.7:0.99, 0.4:0.9, 0.2:0.3, 0:0"
    element = comfy.element(node, "curve")
    grip = element.query_selector("[data-grip=end]")
    assert grip is not None
    grip.focus()
    keys.press("Shift+ArrowLeft")
    assert comfy.widget(node, "end") == pytest.approx(0.1)
    preset = element.query_selector("[role=radio][tabindex='0']")
    assert preset is not None
    preset.focus()
    keys.press("ArrowLeft")
    assert comfy.widget(node, "shape") == "exponential"
    assert comfy.widget(node, "curve").startswith("1:0.2"), "the drawing is kept"


def test_exact_numbers_and_text(comfy: ComfyPage) -> None:
    node, element = editor(comfy, shape="curve", curve="1:1, 0:0", start=0.8, end=0.4)
    look(comfy)
    for label, value in (("+", None), ("Position of the selected", "0.7"), ("Weight of the selected", "0.123")):
        if value is None:
            button = element.query_selector("[aria-label^='Add a point']")
            assert button is not None
            button.click()
            continue
        box = element.query_selector(f"input[aria-label^='{label}']")
        assert box is not None
        box.fill(value)
        comfy.page.keyboard.press("Tab")
    assert comfy.widget(node, "curve") == "1:1, 0.75:0.123, 0:0", "0.7 is three quarters up the window from 0.4 to 0.8"
    text = element.query_selector("input[aria-label='The curve as text']")
    assert text is not None
    text.fill("up")
    comfy.page.keyboard.press("Enter")
    look(comfy)
    assert "cannot be read at 'up'" in (element.inner_text())


def test_window_handles_move_the_window(comfy: ComfyPage) -> None:
    node, element = editor(comfy)
    for name, by in (("start", 60), ("end", 40)):
        flag = element.query_selector(f"[data-grip={name}] .dpath-flag")
        assert flag is not None
        drag(comfy, flag, by, 0)
    assert 0.5 < comfy.widget(node, "start") < 1
    assert comfy.widget(node, "end") < 0.5
    bar, length = element.query_selector(".dpath-window-bar"), comfy.widget(node, "start") - comfy.widget(node, "end")
    assert bar is not None
    drag(comfy, bar, -500, 0)
    assert comfy.widget(node, "start") == 1
    assert comfy.widget(node, "end") == pytest.approx(1 - length, abs=1e-3)
    comfy.undo()
    assert comfy.widget(node, "start") < 1


def test_what_is_drawn_is_what_python_gets_and_the_real_steps_come_back(comfy: ComfyPage) -> None:
    node, element = editor(comfy, shape="curve", curve=DRAWN, start=1.0, end=0.2)
    model, sigmas = comfy.add("DPathDemoModel", 100, 700), comfy.add("DPathSigmas", 500, 700, steps=8)
    preview = comfy.add("PreviewAny", 900, 100)
    comfy.connect(model, 0, sigmas, "model")
    comfy.connect(sigmas, 0, node, "sigmas")
    comfy.connect(node, 2, preview, "source")
    drag(comfy, point(element, 2), 20, 10)
    text = comfy.widget(node, "curve")
    run = comfy.queue()
    assert run.prompt[str(node)]["inputs"]["curve"] == text != DRAWN
    shown = run.outputs[str(node)]["dpath_schedule"][0]
    assert shown["steps"] == 8
    assert len(shown["sigmas"]) == 9
    look(comfy)
    note = element.query_selector(".dpath-note")
    assert note is not None
    assert "of 8" in note.inner_text()
    plot = element.query_selector(".dpath-plot")
    assert plot is not None
    box = plot.bounding_box()
    assert box is not None
    comfy.page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"])
    comfy.screenshot("curve", element)
    hover = element.query_selector(".dpath-hover")
    assert hover is not None
    assert "σ" in (hover.text_content() or "")


def test_a_connected_curve_is_shown_and_cannot_be_edited(comfy: ComfyPage) -> None:
    node, element = editor(comfy, shape="curve", curve=DRAWN, start=1.0, end=0.0)
    curve = comfy.add("CurveEditor", 600, 100)
    comfy.connect(curve, 0, node, "curve")
    look(comfy)
    assert element.is_visible()
    assert "Run once" in element.inner_text()
    assert not element.query_selector("[data-point]")
    preview = comfy.add("PreviewAny", 900, 100)
    comfy.connect(node, 2, preview, "source")
    run = comfy.queue()
    assert run.prompt[str(node)]["inputs"]["curve"] == [str(curve), 0]
    assert run.outputs[str(node)]["dpath_schedule"][0]["curve"][0] == pytest.approx([0, 0])
    look(comfy)
    comfy.screenshot("curve-linked")
    assert not element.query_selector("[data-point]")
    assert len(set((element.query_selector(".dpath-curve").get_attribute("points") or "").split())) > 50  # type: ignore
    assert comfy.widget(node, "curve") == DRAWN


def test_the_drawing_survives_saving_and_loading(comfy: ComfyPage) -> None:
    node, element = editor(comfy, shape="curve", curve=DRAWN, start=1.0, end=0.0)
    drag(comfy, point(element, 2), 20, 10)
    text, saved = comfy.widget(node, "curve"), comfy.serialized()
    comfy.load(saved, "again")
    assert comfy.widget(node, "curve") == text
    comfy.set_renderer("classic" if comfy.renderer == "nodes2" else "nodes2")
    look(comfy)
    assert comfy.widget(node, "curve") == text
    assert len(comfy.element(node, "curve").query_selector_all("[data-point]")) == 5


def test_on_a_subgraph_node_it_draws_with_what_is_promoted_beside_it(comfy: ComfyPage) -> None:
    node, _ = editor(comfy, shape="curve", curve=DRAWN, start=1.0, end=0.0)
    preview = comfy.add("PreviewAny", 900, 100)
    comfy.connect(node, 2, preview, "source")
    script = """([id]) => { const graph = app.canvas.graph, inner = graph.getNodeById(id);
        const { subgraph, node } = graph.convertToSubgraph(new Set([inner]));
        const moved = subgraph.nodes.find(n => n.type === "DPathSchedule");
        for (const name of ["curve", "end"]) {
            const slot = moved.inputs.find(i => i.name === name);
            subgraph.addInput(name, String(slot.type)).connect(slot, moved);
        }
        app.canvas.graph.setDirtyCanvas(true, true);
        return Number(node.id); }"""
    outer = comfy.evaluate(script, [node])
    comfy.show(outer)
    element = comfy.element(outer, "curve")
    look(comfy)
    assert comfy.widget(outer, "curve") == DRAWN
    drag(comfy, point(element, 2), 20, 10)
    flag = element.query_selector("[data-grip=end] .dpath-flag")
    assert flag is not None
    drag(comfy, flag, -30, 0)
    comfy.screenshot("curve-promoted")
    text, end = comfy.widget(outer, "curve"), comfy.widget(outer, "end")
    assert text != DRAWN
    assert end > 0
    run = comfy.queue()
    (inputs,) = [each["inputs"] for each in run.prompt.values() if each["class_type"] == "DPathSchedule"]
    assert (inputs["curve"], inputs["end"]) == (text, end)


def test_nothing_moves_under_the_hand(comfy: ComfyPage) -> None:
    _, element = editor(comfy, shape="cosine", start=1.0, end=0.0)
    plot = element.query_selector(".dpath-plot")
    assert plot is not None
    look(comfy)
    comfy.screenshot("curve-before")
    before = plot.bounding_box()
    comfy.click(plot, (0.5, 0.5))
    look(comfy)
    comfy.screenshot("curve-after")
    assert plot.bounding_box() == before
    field = element.query_selector("input[type=number]")
    assert field
    assert field.is_enabled()
