"""Stroke Canvas where things go wrong or are unusual: bad text, backgrounds, links, subgraphs, no script."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import KIND, ZIGZAG, canvas, part, press, stage, strokes
from PIL import Image
from playwright.sync_api import ElementHandle, Route

LINE = {"color": "#ff0000", "size": 30, "points": [50, 50, 400, 400]}


def text(*made: Any, **fields: Any) -> str:
    return json.dumps({"version": 1, "width": 512, "height": 512, "paper": "#ffffff", "strokes": list(made), **fields})


def banner(comfy: ComfyPage, node: int) -> str:
    comfy.page.wait_for_timeout(500)  # the canvas looks around twice a second
    shown = part(comfy, node, ".dpath-banner")
    return shown.inner_text() if shown.is_visible() else ""


def picture(comfy: ComfyPage, name: str, color: tuple[int, int, int], size: tuple[int, int]) -> str:
    """A picture in the server's input folder: half of it of one colour, half dark."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[: size[1] // 2] = color
    Image.fromarray(pixels).save(comfy.server.base / "input" / name)
    return name


@pytest.mark.parametrize(
    ("given", "words", "kept"),
    [
        (text(LINE, LINE)[:-30], "damaged", 1),
        ('{"strokes": null}', "no drawing", 0),
        (text(LINE, {"tool": "airbrush"}, version=7), "newer version", 1),
        (text({**LINE, "color": "<img src=x onerror=window.hurt=1>"}), "repaired", 1),
    ],
)
def test_bad_text_is_told_kept_and_never_becomes_html(comfy: ComfyPage, given: str, words: str, kept: int) -> None:
    node, place = canvas(comfy)
    comfy.set_widget(node, "drawing", given)
    assert words in banner(comfy, node)
    assert comfy.widget(node, "drawing") == given
    assert f" {kept} strokes" in (place.get_attribute("aria-label") or "")
    damaged = words in ("damaged", "no drawing")
    comfy.drag(place, ZIGZAG)
    assert (comfy.widget(node, "drawing") == given) == damaged, "damaged text waits for a decision"
    if damaged:
        part(comfy, node, ".dpath-banner button").click()
        comfy.drag(place, ZIGZAG)
    assert len(strokes(comfy, node)) == kept + 1 + ("airbrush" in given)
    if "airbrush" in given:
        assert strokes(comfy, node)[1] == {"tool": "airbrush"}
        assert json.loads(comfy.widget(node, "drawing"))["version"] == 7
    assert comfy.evaluate("() => window.hurt === undefined && !document.querySelector('.dpath-strokes img')")


def test_what_is_saved_of_damaged_text_keeps_its_measures(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.set_widget(node, "drawing", text(LINE, LINE, width=1024, height=1024)[:-30])
    assert "damaged" in banner(comfy, node)
    part(comfy, node, ".dpath-banner button").click()
    comfy.drag(place, ZIGZAG)
    assert json.loads(comfy.widget(node, "drawing"))["width"] == 1024
    assert max(strokes(comfy, node)[-1]["points"]) > 600, "the new stroke is measured like the others"


def test_the_background_gives_size_and_palette_and_a_change_of_it_is_told(comfy: ComfyPage) -> None:
    first = picture(comfy, "first.png", (200, 40, 40), (300, 200))
    second = picture(comfy, "second.png", (240, 240, 40), (300, 200))
    node, place = canvas(comfy, 500)
    loader = comfy.add("LoadImage", 100, 100)
    comfy.set_widget(loader, "image", first)
    comfy.connect(loader, 0, node, "background")
    comfy.show(node)
    label = f"id => {stage_label()}.includes('300 by 200')"
    comfy.wait_until(label, node)
    assert comfy.element(node, "drawing").query_selector('.dpath-swatch[data-color="#c82828"]')
    comfy.drag(place, ZIGZAG)
    assert json.loads(comfy.widget(node, "drawing"))["width"] == 300
    preview = comfy.add("PreviewImage", 1000, 100)
    comfy.connect(node, 0, preview, "images")
    (made,) = comfy.queue().outputs[str(preview)]["images"]
    with Image.open(comfy.server.base / "temp" / made["filename"]) as result:
        assert result.size == (300, 200)
    assert banner(comfy, node) == ""
    comfy.set_widget(loader, "image", second)
    comfy.wait_until(f"id => {stage_of()}.querySelector('.dpath-banner').textContent.includes('changed')", node)
    comfy.screenshot("background-changed")
    part(comfy, node, ".dpath-banner button").click()
    assert banner(comfy, node) == ""
    assert len(strokes(comfy, node)) == 1


def canvas_on_a_scene(comfy: ComfyPage) -> tuple[int, ElementHandle, int]:
    """A canvas, its stage, and the node that has made its background in a run."""
    node, place = canvas(comfy, 500)
    scene = comfy.add("DPathDemoScene", 100, 100)
    comfy.connect(scene, 0, node, "background")
    preview = comfy.add("PreviewImage", 1000, 100)
    comfy.connect(node, 0, preview, "images")
    comfy.queue()
    comfy.wait_until(f"id => {stage_label()}.includes('256 by 256')", node)
    comfy.show(node)
    return node, place, scene


def test_a_background_from_another_node_shows_after_the_run(comfy: ComfyPage) -> None:
    node, place, _ = canvas_on_a_scene(comfy)
    comfy.drag(place, ZIGZAG)
    assert json.loads(comfy.widget(node, "drawing"))["width"] == 256
    comfy.screenshot("background-from-run")


def test_a_new_background_waits_for_the_stroke_in_the_making(comfy: ComfyPage) -> None:
    node, place, scene = canvas_on_a_scene(comfy)
    loaded = f"id => {stage_of()}.querySelector('.dpath-swatch').dataset.color"
    palette = comfy.evaluate(loaded, node)
    watch = """id => { const stage = %s.querySelector('.dpath-easel'); window.labels = [];
        new MutationObserver(() => labels.push(stage.ariaLabel)).observe(stage, { attributes: true }); }"""
    comfy.evaluate(watch % stage_of(), node)
    box = place.bounding_box()
    assert box is not None
    x, y = box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"]
    comfy.page.mouse.move(x, y)
    comfy.page.mouse.down()
    comfy.set_widget(scene, "seed", 5)
    comfy.queue()
    comfy.page.mouse.move(x + 0.2 * box["width"], y)
    comfy.page.wait_for_timeout(1000)
    comfy.page.mouse.move(x + 0.4 * box["width"], y)
    comfy.page.mouse.up()
    (stroke,) = strokes(comfy, node)
    assert set(stroke["points"][1::2]) == {stroke["points"][1]}, "straight"
    comfy.wait_until(f"([id, before]) => ({loaded})(id) !== before", [node, palette])
    assert all("256 by 256" in label for label in comfy.evaluate("() => labels"))


def test_a_linked_text_is_shown_and_cannot_be_edited(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy, 500)
    source = comfy.add("PrimitiveStringMultiline", 100, 100, value=text(LINE))
    comfy.connect(source, 0, node, "drawing")
    comfy.show(node)
    shown = comfy.renderer == "nodes2" and comfy.server.runtime.frontend is None
    assert comfy.element(node, "drawing").is_visible() == shown, "others hide the widget of a linked input"
    if shown:
        assert "linked" in banner(comfy, node)
        comfy.drag(stage(comfy, node), ZIGZAG)
    assert strokes(comfy, node) == []
    run_needs = comfy.add("PreviewImage", 1000, 100)
    comfy.connect(node, 0, run_needs, "images")
    run = comfy.queue()
    assert run.prompt[str(node)]["inputs"]["drawing"] == [str(source), 0]


def test_promoted_to_a_subgraph_node_it_draws_there(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    preview = comfy.add("PreviewImage", 700, 100)
    comfy.connect(node, 0, preview, "images")
    script = """id => { const graph = app.canvas.graph;
        const { subgraph, node } = graph.convertToSubgraph(new Set([graph.getNodeById(id)]));
        const moved = subgraph.nodes[0], slot = moved.inputs.find(i => i.name === "drawing");
        subgraph.addInput("drawing", String(slot.type)).connect(slot, moved);
        return Number(node.id); }"""
    outer = comfy.evaluate(script, node)
    comfy.show(outer)
    assert len(strokes(comfy, outer)) == 1
    comfy.page.wait_for_timeout(500)
    comfy.drag(stage(comfy, outer), [(0.3, 0.2), (0.6, 0.2)])
    assert len(strokes(comfy, outer)) == 2
    comfy.screenshot("stroke-promoted")
    run = comfy.queue()
    (inputs,) = [each["inputs"] for each in run.prompt.values() if each["class_type"] == KIND]
    assert inputs["drawing"] == comfy.widget(outer, "drawing")
    saved = comfy.serialized()
    comfy.load(saved, "promoted")
    assert len(strokes(comfy, outer)) == 2
    press(comfy, outer, "z")
    assert len(strokes(comfy, outer)) == 1


def test_a_workflow_of_an_older_version_loads(comfy: ComfyPage) -> None:
    """As saved before `grow` was there to be saved, and with strokes of few fields."""
    node, _ = canvas(comfy)
    saved = comfy.serialized()
    old = json.dumps([{"points": [10, 10, 200, 200]}])
    saved["nodes"][0]["widgets_values"] = [256, 128, 4, old]
    saved["nodes"][0]["size"] = [210, 100]
    comfy.load(saved, "old")
    assert (comfy.widget(node, "width"), comfy.widget(node, "height")) == (256, 128)
    comfy.show(node)
    box = comfy.element(node, "drawing").bounding_box()
    assert box
    assert box["height"] >= 479
    comfy.page.wait_for_timeout(500)
    comfy.drag(stage(comfy, node), [(0.3, 0.4), (0.6, 0.4)])
    assert len(strokes(comfy, node)) == 2
    saved["nodes"][0]["widgets_values"] = [256, 128]
    comfy.load(saved, "older")
    assert comfy.widget(node, "drawing") == ""


def test_tools_are_remembered_and_reached_by_keyboard(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    press(comfy, node, "]", "]", "]")
    part(comfy, node, ".dpath-swatch:nth-child(2)").click()
    other = comfy.add(KIND, 700, 100)
    chosen = [part(comfy, each, ".dpath-color").input_value() for each in (node, other)]
    shown = ".dpath-slider:has([aria-label='Size']) output"
    sizes = [part(comfy, each, shown).inner_text() for each in (node, other)]
    assert chosen[0] == chosen[1]
    assert sizes[0] == sizes[1] != "24"
    names = """el => [...el.querySelectorAll('button, input, textarea')].filter(e => e.offsetParent !== null)
        .map(e => e.getAttribute('aria-label') || e.textContent || e.closest('label')?.textContent || '')"""
    shown = comfy.page.evaluate(names, comfy.element(node, "drawing"))
    assert len(shown) > 25
    assert all(shown)
    part(comfy, node, ".dpath-tabs button").focus()
    reached = []
    for _ in range(50):
        comfy.page.keyboard.press("Tab")
        reached.append(comfy.evaluate("() => document.activeElement.getAttribute('aria-label') ?? ''"))
        if reached[-1] == "Smoothing":
            break
    assert {"Brush", "Eraser", "Colour", "Size", "Freedom (t0)", "Smoothing"} <= set(reached)
    assert any(label.startswith("Drawing of") for label in reached)


def test_without_its_script_the_node_works_from_its_text(comfy: ComfyPage) -> None:
    def missing(route: Route) -> None:
        route.abort()

    comfy.page.route("**/js/canvas.js*", missing)
    try:
        comfy.open()
        comfy.problems.clear()  # the page complains about the script, as it should
        node = comfy.add(KIND, 100, 100, drawing=text(LINE))
        preview = comfy.add("PreviewImage", 700, 100)
        comfy.connect(node, 0, preview, "images")
        kind = comfy.evaluate("id => app.canvas.graph.getNodeById(id).widgets.at(-1).type", node)
        assert kind == "customtext"
        run = comfy.queue()
        assert run.prompt[str(node)]["inputs"]["drawing"] == text(LINE)
    finally:
        comfy.page.unroute("**/js/canvas.js*", missing)
        comfy.open()


def stage_of() -> str:
    return "app.canvas.graph.getNodeById(id).widgets.find(w => w.name === 'drawing').element"


def stage_label() -> str:
    return f"{stage_of()}.querySelector('.dpath-easel').getAttribute('aria-label')"
