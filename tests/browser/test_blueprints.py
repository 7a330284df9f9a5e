"""The subgraph blueprints: found in the search, placed, wired to a loader and run, as the graph inside would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from diffusion_path.devtools.settings import ROOT
from diffusion_path.devtools.workflow import to_prompt
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import stage
from PIL import Image
from playwright.sync_api import TimeoutError as PageTimeoutError

BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
_WORDS = "a landscape, day, summer, a snowy mountain, a lake, pine trees, a red house, clear sky"
_VALUES: dict[str, Any] = {
    **{"prompt": _WORDS, "what it shows": _WORDS, "what it should show": _WORDS.replace("summer", "winter")},
    **{"width": 256, "height": 256, "steps": 3, "seed": 7},
}
_SOURCES = ("DPathDemoModel", "DPathDemoScene")
_LINKS = {  # what a blueprint takes: the kind of node and the output that it comes from here
    **{"model": ("DPathDemoModel", 0), "clip": ("DPathDemoModel", 1), "vae": ("DPathDemoModel", 2)},
    **{"image": ("DPathDemoScene", 0), "mask": ("DPathDemoScene", 1)},
}
_STROKES = {
    "version": 1,
    "width": 256,
    "height": 256,
    "strokes": [
        {"color": "#5c8f3a", "size": 60, "t0": 0.5, "points": [20, 220, 230, 220]},
        {"layer": "sketch", "size": 4, "points": [20, 150, 120, 60, 230, 150]},
    ],
}
_VALUES["drawing"] = json.dumps(_STROKES)
_SEARCHING = "() => document.activeElement.tagName === 'INPUT'"
_PLACED = "() => app.canvas.graph.nodes.find(n => n.isSubgraphNode?.())"


def place(comfy: ComfyPage, name: str) -> int:
    """Finds it by its name, as a person does: a double click on the empty page, the name, Enter, a click."""
    comfy.page.mouse.move(1000, 700)
    comfy.settle()
    for patience in (5, 5, 5, 10):  # a busy page can take a double click for two single ones
        comfy.page.mouse.dblclick(1000, 700)
        try:
            comfy.wait_until(_SEARCHING, seconds=patience)
            break
        except PageTimeoutError:
            comfy.settle(8)
    comfy.page.keyboard.type(name)
    comfy.page.get_by_role("option").filter(has_text=name).first.wait_for()
    comfy.page.keyboard.press("Enter")
    comfy.wait_until(_PLACED)
    comfy.settle(8)
    comfy.page.mouse.click(1000, 700)  # until then it follows the mouse
    comfy.settle(8)
    return comfy.evaluate(f"() => Number(({_PLACED})().id)")


def wired(comfy: ComfyPage, node: int) -> tuple[dict[str, Any], int]:
    """Gives it a model, a picture and a mask, as it takes them; its widgets, and the node that shows its picture."""
    sources = {
        "DPathDemoModel": comfy.add("DPathDemoModel", 900, 100),
        "DPathDemoScene": comfy.add("DPathDemoScene", 900, 300),
    }
    shown = comfy.add("PreviewImage", 1300, 100)
    taken = comfy.evaluate("id => app.canvas.graph.getNodeById(id).inputs.map(i => i.name)", node)
    for name, (kind, slot) in _LINKS.items():
        if name in taken:
            comfy.connect(sources[kind], slot, node, name)
    comfy.connect(node, 0, shown, "images")
    for name in set(taken) & set(_VALUES):
        comfy.set_widget(node, name, _VALUES[name])
    return {name: comfy.widget(node, name) for name in taken if name not in _LINKS}, shown


def unwrapped(path: Path, object_info: dict[str, Any], outside: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The prompt of the graph inside, as the file has it, with what comes from outside in its place."""
    (inside,) = json.loads(path.read_text(encoding="utf-8"))["definitions"]["subgraphs"]
    links = {link["id"]: link for link in inside["links"]}
    entries = {link: entry["name"] for entry in inside["inputs"] for link in entry["linkIds"]}
    given = {}
    for node in inside["nodes"]:
        for socket in node["inputs"]:
            if socket["link"] in entries:
                given[str(node["id"]), socket["name"]] = outside[entries[socket["link"]]]
                socket["link"] = None
    within = [link for link in links.values() if link["origin_id"] > 0 and link["target_id"] > 0]
    prompt = to_prompt({**inside, "links": within}, object_info)
    for each in prompt.values():
        each["inputs"] = {k: [f"in {v[0]}", v[1]] if isinstance(v, list) else v for k, v in each["inputs"].items()}
    for (node, name), value in given.items():
        prompt[node]["inputs"][name] = value
    return {f"in {node}": each for node, each in prompt.items()}


def without_ids(prompt: dict[str, dict[str, Any]]) -> list[str]:
    """What a prompt computes, whatever its nodes are called: each node with all that it comes from."""

    def value(given: Any) -> Any:
        if isinstance(given, list):
            return [node(given[0]), given[1]]
        return float(given) if type(given) is int else given  # the server makes numbers what an input wants

    def node(key: str) -> Any:
        return [prompt[key]["class_type"], {name: value(each) for name, each in sorted(prompt[key]["inputs"].items())}]

    return sorted(json.dumps(node(key)) for key in prompt)


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_gives_the_picture_of_its_graph(
    comfy: ComfyPage, path: Path, object_info: dict[str, dict[str, Any]]
) -> None:
    node = place(comfy, path.stem)
    values, shown = wired(comfy, node)
    comfy.show(node, 0.7)
    comfy.screenshot(f"blueprint-{path.stem}")
    run = comfy.queue(120)
    assert run.outputs[str(shown)]["images"]
    sources = {kind: str(comfy.node_ids(kind)[0]) for kind in _SOURCES}
    del run.prompt[str(shown)]
    around = {key: given for key, given in run.prompt.items() if ":" not in key}
    links = {name: [sources[kind], slot] for name, (kind, slot) in _LINKS.items()}
    inside = unwrapped(path, object_info, values | links)
    assert without_ids({**around, **inside}) == without_ids(run.prompt)


def test_a_canvas_in_a_blueprint_has_its_size_and_its_picture_from_outside(comfy: ComfyPage) -> None:
    node = place(comfy, "Stroke Painting to Picture")
    comfy.set_widget(node, "width", 320)
    comfy.show(node, 0.7)
    comfy.wait_until("e => e.getAttribute('aria-label').includes('320 by 512')", stage(comfy, node))
    comfy.reset()
    node = place(comfy, "Paint over a Picture")
    Image.new("RGB", (96, 64), (200, 60, 20)).save(comfy.server.base / "input" / "outside.png")
    loader = comfy.add("LoadImage", 900, 100)
    comfy.set_widget(loader, "image", "outside.png")
    comfy.connect(loader, 0, node, "image")
    comfy.show(node, 0.7)
    comfy.wait_until("e => e.getAttribute('aria-label').includes('96 by 64')", stage(comfy, node))
    comfy.drag(stage(comfy, node), [(0.4, 0.5), (0.6, 0.5)])
    comfy.screenshot("blueprint-with-picture")
    text = comfy.widget(node, "drawing")
    assert json.loads(text)["width"] == 96
    comfy.load(comfy.serialized(), "again")
    assert comfy.widget(node, "drawing") == text
