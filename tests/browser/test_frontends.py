"""What differed between versions of ComfyUI's page; CI runs these few on the newest one, too (`--frontend newest`)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from diffusion_path.devtools.settings import WORKFLOWS
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import KIND, ZIGZAG, canvas, press, stage, strokes
from PIL import Image

_KINDS = {KIND: ("drawing", "DPATH_STROKES"), "DPathSchedule": ("curve", "DPATH_CURVE")}
_REPORT = "app.canvas.graph.getNodeById(id).widgets.find(w => w.type === 'DPATH_REPORT')"


# --- R: the definitions of nodes are read again -----------------------------------------------------------------------


def refresh_definitions(comfy: ComfyPage) -> None:
    """Presses R, and waits until every node of ours has its new definition."""
    comfy.evaluate("kinds => { window.before = kinds.map(k => LiteGraph.registered_node_types[k]); }", list(_KINDS))
    comfy.focus_canvas()
    comfy.page.keyboard.press("r")
    renewed = "kinds => kinds.every((k, i) => LiteGraph.registered_node_types[k] !== before[i])"
    comfy.wait_until(renewed, list(_KINDS))
    comfy.settle(8)


def kind_of(comfy: ComfyPage, node: int, name: str) -> str:
    script = "([id, name]) => app.canvas.graph.getNodeById(id).widgets.find(w => w.name === name).type"
    return comfy.evaluate(script, [node, name])


def test_widgets_stay_ours_after_the_definitions_were_refreshed(comfy: ComfyPage) -> None:
    before = comfy.add(KIND, 100, 100)
    for _ in range(2):
        refresh_definitions(comfy)
        for kind, (name, widget) in _KINDS.items():
            assert kind_of(comfy, comfy.add(kind, 700, 100), name) == widget, "a node added after it"
    assert kind_of(comfy, before, "drawing") == "DPATH_STROKES"
    for path in ("paint-over-a-photo", "draw-the-schedule"):
        comfy.load(WORKFLOWS / f"{path}.json")
        for kind, (name, widget) in _KINDS.items():
            for node in comfy.node_ids(kind):
                assert kind_of(comfy, node, name) == widget, "a template opened after it"
    comfy.load({**comfy.serialized(), "nodes": [], "links": []}, "empty")
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    assert len(strokes(comfy, node)) == 1
    comfy.screenshot("canvas-after-refresh")


# --- keys -------------------------------------------------------------------------------------------------------------


def has_focus(comfy: ComfyPage, node: int) -> bool:
    return comfy.evaluate("easel => document.activeElement === easel && easel.isConnected", stage(comfy, node))


@pytest.mark.parametrize("queue_mode", ["disabled", "change"])
def test_undo_and_redo_of_strokes_leave_the_graph_and_the_focus_alone(comfy: ComfyPage, queue_mode: str) -> None:
    other = comfy.add("PreviewImage", 900, 500)
    node, place = canvas(comfy)
    comfy.evaluate(
        "mode => { window.queue_ = app.queuePrompt; app.queuePrompt = async () => {};"
        " app.extensionManager.queueSettings.mode = mode; }",
        queue_mode,
    )
    try:
        texts = [""]
        for i in range(3):
            comfy.drag(place, [(0.3, 0.3 + 0.1 * i), (0.6, 0.3 + 0.1 * i)])
            texts.append(comfy.widget(node, "drawing"))
        for undo, redo in (("Control+z", "Control+y"), ("z", "Shift+z"), ("Control+z", "Control+Shift+z")):
            for text in reversed(texts[:-1]):
                comfy.page.keyboard.press(undo)
                comfy.settle(12)
                assert comfy.widget(node, "drawing") == text, undo
                assert has_focus(comfy, node), undo
            for text in texts[1:]:
                comfy.page.keyboard.press(redo)
                comfy.settle(12)
                assert comfy.widget(node, "drawing") == text, redo
                assert has_focus(comfy, node), redo
        assert comfy.node_ids("PreviewImage") == [other]
    finally:
        comfy.evaluate("() => { app.extensionManager.queueSettings.mode = 'disabled'; app.queuePrompt = queue_; }")


def test_no_key_pressed_while_painting_reaches_the_graph(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.add("PreviewImage", 900, 500)
    comfy.drag(place, ZIGZAG)
    comfy.evaluate("() => app.canvas.selectItems()")
    comfy.capture()
    comfy.evaluate("() => { window.refreshed = 0; app.refreshComboInNodes = () => { refreshed++; }; }")
    before = comfy.serialized()
    keys = "r q w n m h f p k a c v x d u t Delete Backspace F2 ArrowUp Tab"
    text = comfy.widget(node, "drawing")
    for key in keys.split():
        for pressed in (key, f"Control+{key}", f"Alt+{key}"):
            if pressed in ("Control+n", "Control+t", "Control+w", "Control+Tab", "Alt+Tab", "Alt+f"):
                continue  # the browser's own
            press(comfy, node, pressed)
            if pressed == "f":  # back from the whole window
                comfy.page.keyboard.press("Escape")
            elif pressed == "n":  # without the new layer
                press(comfy, node, "z")
    after = comfy.serialized()
    assert comfy.widget(node, "drawing") == text
    assert [{**each, "order": 0} for each in after["nodes"]] == [{**each, "order": 0} for each in before["nodes"]]
    assert comfy.evaluate("() => refreshed") == 0
    comfy.page.keyboard.press("Escape")


# --- the report of a run ----------------------------------------------------------------------------------------------


def report(comfy: ComfyPage, node: int) -> str:
    """The report that a person sees on a node."""
    comfy.settle(8)
    shown = comfy.page.evaluate_handle(f"id => {_REPORT}?.element", node).as_element()
    return shown.inner_text() if shown is not None and shown.is_visible() else ""


def send(comfy: ComfyPage, node: int, text: str) -> None:
    """As if the server told that a node has run."""
    detail = {"node": str(node), "display_node": str(node), "output": {"text": [text]}, "prompt_id": "none"}
    comfy.evaluate("d => app.api.dispatchCustomEvent('executed', d)", detail)


def test_reports_are_on_the_nodes_after_a_run(comfy: ComfyPage) -> None:
    comfy.load(WORKFLOWS / "masked-edit.json")
    kinds = ("DPathSDEdit", "DPathLatentMask", "DPathCompositeExact", "DPathMetrics")
    nodes = [comfy.node_ids(kind)[0] for kind in kinds]
    sdedit = nodes[0]
    comfy.set_widget(sdedit, "steps", 4)
    saved = comfy.serialized()
    run = comfy.queue(120)
    expected = {node: run.outputs[str(node)]["text"][0] for node in nodes}
    comfy.show(sdedit)
    assert "steps" in expected[sdedit]
    for node, text in expected.items():
        comfy.show(node)
        assert report(comfy, node).split() == text.split()
    comfy.show(sdedit)
    comfy.screenshot("report")

    def values(workflow: dict[str, Any]) -> list[Any]:
        return [each.get("widgets_values") for each in workflow["nodes"] if each["type"].startswith("DPath")]

    assert values(comfy.serialized()) == values(saved), "a report is not saved"
    comfy.set_widget(sdedit, "steps", 5)
    comfy.capture()
    comfy.undo()
    comfy.show(sdedit)
    assert comfy.widget(sdedit, "steps") == 4
    assert report(comfy, sdedit).split() == expected[sdedit].split(), "undo"
    comfy.load({**saved, "nodes": [], "links": []}, "other")
    comfy.evaluate("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    comfy.wait_until("() => app.canvas.graph.nodes.some(n => n.type === 'DPathSDEdit')")
    comfy.show(sdedit)
    assert report(comfy, sdedit).split() == expected[sdedit].split(), "a change of tab"
    comfy.set_renderer("classic" if comfy.renderer == "nodes2" else "nodes2")
    comfy.show(sdedit)
    assert report(comfy, sdedit).split() == expected[sdedit].split(), "a change of renderer"


def test_every_node_shows_what_it_reports_and_long_reports_can_be_read(comfy: ComfyPage) -> None:
    kinds = comfy.evaluate("() => Object.keys(LiteGraph.registered_node_types).filter(k => k.startsWith('DPath'))")
    assert len(kinds) > 30
    for kind in kinds:
        node = comfy.add(kind, 100, 100)
        least = comfy.evaluate("id => app.canvas.graph.getNodeById(id).size[1]", node)
        send(comfy, node, f"{kind} has run")
        comfy.show(node)
        assert report(comfy, node) == f"{kind} has run"
        assert comfy.evaluate("id => app.canvas.graph.getNodeById(id).size[1]", node) >= least
        comfy.evaluate("id => app.canvas.graph.remove(app.canvas.graph.getNodeById(id))", node)
    node = comfy.add("DPathSDEdit", 100, 100)
    send(comfy, node, "\n".join(f"line {i} <b>of</b> many" for i in range(60)))
    comfy.show(node)
    assert report(comfy, node).endswith("line 59 <b>of</b> many")
    panel = comfy.page.evaluate_handle(f"id => {_REPORT}.element.firstChild", node).as_element()
    assert panel is not None
    height, content = comfy.evaluate("e => [e.clientHeight, e.scrollHeight]", panel)
    assert 100 < height < 300 < content  # with the room that inputs which are not shown leave
    zoom = comfy.evaluate("() => app.canvas.ds.scale")
    panel.click()
    comfy.page.mouse.wheel(0, 300)
    comfy.wait_until("e => e.scrollTop > 100", panel)
    assert comfy.evaluate("() => app.canvas.ds.scale") == zoom
    comfy.screenshot("report-long")
    send(comfy, node, "short")
    assert report(comfy, node) == "short"


def test_a_report_inside_a_subgraph_is_on_its_node(comfy: ComfyPage) -> None:
    comfy.load(WORKFLOWS / "compositing.json")
    (node,) = comfy.node_ids("DPathCompositeExact")
    script = """id => { const graph = app.canvas.graph;
        const made = graph.convertToSubgraph(new Set([graph.getNodeById(id)]));
        app.canvas.setGraph(made.subgraph); return Number(made.subgraph.nodes[0].id); }"""
    inner = comfy.evaluate(script, node)
    try:
        run = comfy.queue(120)
        (text,) = [out["text"][0] for key, out in run.outputs.items() if ":" in key and "text" in out]
        comfy.show(inner)
        assert report(comfy, inner).split() == text.split()
    finally:
        comfy.evaluate("() => app.canvas.setGraph(app.rootGraph)")


# --- transparent pictures below the strokes ---------------------------------------------------------------------------


def test_a_background_with_alpha_looks_as_it_renders(comfy: ComfyPage) -> None:
    colours = np.zeros((64, 96, 4), np.uint8)
    colours[..., :3] = (200, 60, 20)
    colours[:, 48:, 2] = 220
    colours[:, 24:72, 3] = np.linspace(0, 255, 48).round()
    colours[:, :24, 3] = 0
    colours[:, 72:, 3] = 255
    Image.fromarray(colours).save(comfy.server.base / "input" / "clear.png")
    node, place = canvas(comfy, 500)
    loader = comfy.add("LoadImage", 100, 100)
    comfy.set_widget(loader, "image", "clear.png")
    comfy.connect(loader, 0, node, "background")
    preview = comfy.add("PreviewImage", 1000, 100)
    comfy.connect(node, 0, preview, "images")
    comfy.show(node)
    comfy.wait_until("e => e.getAttribute('aria-label').includes('96 by 64')", place)
    comfy.drag(place, [(0.4, 0.5), (0.6, 0.5)])
    comfy.settle(8)
    (made,) = comfy.queue().outputs[str(preview)]["images"]
    with Image.open(comfy.server.base / "temp" / made["filename"]) as result:
        rendered = np.array(result.convert("RGB")).astype(int)
    comfy.settle(12)
    shown = np.array(_seen(comfy, place)).astype(int)
    comfy.screenshot("background-with-alpha")
    assert np.abs(rendered[2, ::12] - colours[2, ::12, :3]).max() <= 1, "Load Image gives the colours alone"
    for row in (2, 32, 61):
        for column in range(4, 96, 8):
            assert np.abs(shown[row, column] - rendered[row, column]).max() <= 6, (row, column)
    assert json.loads(comfy.widget(node, "drawing"))["width"] == 96


def _seen(comfy: ComfyPage, place: Any) -> list[list[list[int]]]:
    """The picture on the screen, pixel by pixel of the picture of 96 x 64 that lies in the middle of the stage."""
    script = """easel => { const stage = easel.parentElement.querySelector("canvas"), [w, h] = [96, 64];
        const sharp = stage.width / stage.clientWidth, context = stage.getContext("2d");
        const factor = Math.min((stage.clientWidth - 20) / w, (stage.clientHeight - 20) / h);
        const [left, top] = [(stage.clientWidth - w * factor) / 2, (stage.clientHeight - h * factor) / 2];
        return Array.from({ length: h }, (_, y) => Array.from({ length: w }, (_, x) => [...context.getImageData(
            Math.floor(sharp * (left + (x + 0.5) * factor)), Math.floor(sharp * (top + (y + 0.5) * factor)), 1, 1)
            .data.slice(0, 3)])); }"""
    return comfy.page.evaluate(script, place)
