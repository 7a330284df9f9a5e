"""Every example workflow opens as it was saved, with its thumbnail; every help page shows with its pictures."""

from __future__ import annotations

import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

from diffusion_path.devtools.settings import PACK_FOLDER, ROOT, WORKFLOWS
from diffusion_path.devtools.workflow import FILE_LOADERS
from diffusion_path.tests.browser.page import ComfyPage

# Nodes that are not there, inputs that lost their link, and nodes with an error, as the page sees them.
_BROKEN = """() => { const broken = [], seen = (graph) => { for (const node of graph.nodes) {
        if (node.subgraph) seen(node.subgraph);
        else if (!LiteGraph.registered_node_types[node.type]) broken.push("no node " + node.type);
        if (node.has_errors) broken.push("red: " + node.type);
        for (const input of node.inputs ?? []) if (input.link != null && !graph.links.get(input.link))
            broken.push(node.type + " lost the link to " + input.name);
    } }; seen(app.rootGraph); return broken; }"""

# Where every node and group is, titles included: [x, y, width, height], as large as this renderer draws it.
_BOXES = """() => { const graph = app.canvas.graph, scale = app.canvas.ds.scale;
    const nodes = graph.nodes.map(n => { const title = LiteGraph.NODE_TITLE_HEIGHT;
        const shown = LiteGraph.vueNodesMode && document.querySelector(`[data-node-id="${n.id}"]`);
        const box = shown && shown.getBoundingClientRect(), bare = n.flags.collapsed ? 0 : n.size[1];
        const height = Math.max(bare + title, n.flags.collapsed || !box ? 0 : box.height / scale);
        return { name: n.title, type: n.type, box: [n.pos[0], n.pos[1] - title, n.size[0], height],
            collapsed: !!n.flags.collapsed }; });
    return { nodes, groups: graph.groups.map(g => ({ name: g.title, box: [...g.pos, ...g.size] })) }; }"""
# What a run brings: a report of four lines on every node that makes one.
_REPORTS = """() => { const text = "a line of a report of fair length here\\n".repeat(4).trim();
    for (const node of app.rootGraph.nodes) {
        if (!node.comfyClass?.startsWith("DPath") || !node.outputs?.some(o => o.name === "report")) continue;
        app.nodeOutputs[String(node.id)] = { text: [text] };
        node.onExecuted?.({ text: [text] });
    } }"""
_GROUP_TITLE = 38
_WINDOW = (1920, 1080)
_HEADINGS = {"# ": 20, "## ": 15}  # pixels of a note's text at zoom 1
_READABLE = 7.5
_TEXT_ZOOM = 0.57  # below it the classic canvas draws boxes for text


def wires(workflow: dict[str, Any]) -> set[tuple[Any, ...]]:
    """Where each link comes from, and the node and the name of the input that it leads to."""
    origins = {link[0]: tuple(link[1:3]) for link in workflow["links"]}
    return {
        (*origins[each["link"]], node["id"], each["name"])
        for node in workflow["nodes"]
        for each in node.get("inputs", [])
        if each.get("link") is not None
    }


def overlap(a: list[float], b: list[float]) -> bool:
    return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))


def inside(inner: list[float], outer: list[float]) -> bool:
    return all(outer[i] <= inner[i] and inner[i] + inner[i + 2] <= outer[i] + outer[i + 2] for i in (0, 1))


def check_layout(boxes: dict[str, list[dict[str, Any]]], given: dict[str, Any]) -> float:
    """Nothing overlaps, every node lies in a group, and the note is large; returns the zoom that shows it all."""
    nodes, groups = boxes["nodes"], boxes["groups"]
    for kind in (nodes, groups):
        pairs = [(a["name"], b["name"]) for i, a in enumerate(kind) for b in kind[:i] if overlap(a["box"], b["box"])]
        assert not pairs
    for node in nodes:
        assert [group for group in groups if inside(node["box"], group["box"])], node["name"]
        assert not [g for g in groups if overlap(node["box"], [*g["box"][:3], _GROUP_TITLE])], node["name"]
    prompts = [node for node in nodes if node["type"] == "CLIPTextEncode"]
    assert not [node["name"] for node in prompts if node["collapsed"]]

    corners = [(box[0], box[1], box[0] + box[2], box[1] + box[3]) for box in (node["box"] for node in nodes)]
    left, top, right, bottom = (
        f(side) for f, side in zip((min, min, max, max), zip(*corners, strict=True), strict=True)
    )
    zoom = 0.75 * min(_WINDOW[0] / (right - left), _WINDOW[1] / (bottom - top))  # of the page's own "fit view"
    (note,) = [node["widgets_values"][0] for node in given["nodes"] if node["type"] == "MarkdownNote"]
    title, summary, *_ = note.split("\n\n")
    sizes = [next(size for mark, size in _HEADINGS.items() if text.startswith(mark)) for text in (title, summary)]
    assert zoom * min(sizes) >= _READABLE
    return zoom


def test_every_example_opens_clean(comfy: ComfyPage) -> None:
    paths = sorted(WORKFLOWS.glob("*.json"))
    assert paths
    for path in paths:
        given = json.loads(path.read_text(encoding="utf-8"))
        comfy.load(given, path.stem)
        # The page marks loaders whose file is not there: for models that are not included, it offers to download them.
        waiting = {f"red: {node['type']}" for node in given["nodes"] if node["type"] in FILE_LOADERS}
        assert set(comfy.evaluate(_BROKEN)) <= waiting, path.stem
        opened = comfy.serialized()
        assert len(opened["nodes"]) == len(given["nodes"]), path.stem
        assert wires(opened) == wires(given), path.stem
        assert not comfy.problems, path.stem
        zoom = check_layout(comfy.evaluate(_BOXES), given)
        assert zoom >= _TEXT_ZOOM, path.stem
        comfy.evaluate(_REPORTS)
        comfy.settle(10)
        check_layout(comfy.evaluate(_BOXES), given)
    comfy.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    comfy.screenshot("last-example")


def test_thumbnails_and_help_pages_are_served(comfy: ComfyPage) -> None:
    """Once is enough for both renderers, but the page is open anyway."""
    for path in sorted(WORKFLOWS.glob("*.json")):
        for suffix in (".json", ".jpg"):
            served = comfy.client.get(f"/api/workflow_templates/{PACK_FOLDER}/{urllib.parse.quote(path.stem)}{suffix}")
            assert served == path.with_suffix(suffix).read_bytes()
    for page in sorted((ROOT / "web" / "docs").rglob("*.md")):
        served = comfy.client.get(_address(page)).decode()
        for target in re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", served):
            shown = (ROOT / "web" / "docs" / target).resolve()  # that is where the page looks, in any language
            assert comfy.client.get(_address(shown)) == shown.read_bytes(), f"{page.name} shows {target}"


def test_the_help_of_a_node_shows_its_pictures(comfy: ComfyPage) -> None:
    node = comfy.add("DPathStrokeCanvas", 100, 100)
    comfy.show(node)
    comfy.evaluate("(id) => app.canvas.selectNode(app.canvas.graph.getNodeById(id))", node)
    comfy.page.locator('[data-testid="info-button"]').first.click()
    comfy.wait_until(
        "() => ['/stroke-canvas.jpg', '/stroke-canvas-outputs.jpg'].every(name => "
        "[...document.querySelectorAll('img')].some(image => image.src.endsWith(name) && image.naturalWidth > 100))"
    )
    comfy.page.get_by_text("how much each stroke may be changed").first.wait_for()
    comfy.screenshot("help")
    # The panel's other page shows the same widget, and must not take its size from the node.
    comfy.page.get_by_role("tab", name="Parameters").first.click()
    comfy.page.get_by_text("drawing").first.wait_for()
    comfy.settle(12)
    box = comfy.element(node, "drawing").bounding_box()
    assert box
    assert box["width"] > 400


def test_the_template_browser_shows_the_thumbnails(comfy: ComfyPage) -> None:
    comfy.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    comfy.page.get_by_text(PACK_FOLDER, exact=False).first.click()
    shown = "[...document.querySelectorAll('img')].filter(image => image.naturalWidth === 512)"
    comfy.wait_until(f"() => {shown}.length > 2")
    comfy.screenshot("templates")
    comfy.page.keyboard.press("Escape")


def _address(path: Path) -> str:
    return f"/extensions/{PACK_FOLDER}/" + urllib.parse.quote(str(path.relative_to(ROOT / "web")))
