"""The apps among the example workflows: they open as a form with their controls, and no graph in sight."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from diffusion_path.devtools.settings import ROOT
from diffusion_path.tests.browser.page import ComfyPage

APPS = sorted((ROOT / "example_workflows").glob("app-*.json"))


@pytest.mark.parametrize("app", APPS, ids=lambda path: path.stem)
def test_an_app_opens_as_a_form_with_all_its_controls(comfy: ComfyPage, app: Path) -> None:
    workflow = json.loads(app.read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in workflow["nodes"]}
    chosen = workflow["extra"]["linearData"]
    controls = []
    for widget, name, *_ in chosen["inputs"]:
        # As the page writes it: of a node's number alone, it asks itself which graph it is of, and says so.
        graph, node, called = widget.split(":")
        assert (graph, called) == (workflow["id"], name)
        controls += [each.get("label") or name for each in nodes[int(node)]["inputs"] if each["name"] == name]
    assert len(controls) == len(chosen["inputs"])
    assert all(nodes[node]["type"] in ("SaveImage", "PreviewImage") for node in chosen["outputs"])

    comfy.load(app)
    comfy.page.get_by_text("Number of runs").wait_for()
    shown = comfy.page.locator("section").all_inner_texts()
    missing = [label for label in controls if label not in "\n".join(shown).split("\n")]
    comfy.screenshot(app.stem)
    assert not missing
