"""What the curve editor and the path viewer tell a screen reader, and the order in which Tab walks through them."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_path.tests.browser import test_viewer
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_curve import DRAWN, editor, look

_CONTROLS = {"button", "radio", "slider", "spinbutton", "textbox"}
_FOCUSED = """() => { const e = document.activeElement;
    return [e.getAttribute("role") ?? e.tagName.toLowerCase(), e.ariaLabel ?? e.textContent]; }"""


def controls(comfy: ComfyPage, widget: str) -> list[dict[str, Any]]:
    """The controls of the first such widget as the browser hands them to a screen reader: role, name, value, states."""
    session = comfy.page.context.new_cdp_session(comfy.page)
    session.send("Accessibility.enable")
    element = session.send("Runtime.evaluate", {"expression": f"document.querySelector('[data-widget={widget}]')"})
    nodes = session.send("Accessibility.queryAXTree", {"objectId": element["result"]["objectId"]})["nodes"]
    session.detach()
    shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in _CONTROLS]
    return [
        {each["name"]: each["value"].get("value") for each in node.get("properties", [])}
        | {part: node.get(part, {}).get("value") for part in ("role", "name", "value")}
        for node in shown
    ]


def walk(comfy: ComfyPage, steps: int) -> list[list[str]]:
    """What has the focus after each press of Tab."""
    found = []
    for _ in range(steps):
        comfy.page.keyboard.press("Tab")
        found.append(comfy.evaluate(_FOCUSED))
    return found


def test_the_curve_editor_says_what_it_shows(comfy: ComfyPage) -> None:
    _, element = editor(comfy, shape="curve", curve=DRAWN, start=1.0, end=0.0)
    look(comfy)
    shown = controls(comfy, "DPATH_CURVE")
    assert all(each["name"] for each in shown), "every control has a name"
    assert [each["checked"] for each in shown if each["role"] == "radio"] == ["false"] * 4 + ["true"]
    sliders = [each for each in shown if each["role"] == "slider"]
    assert [each["name"] for each in sliders] == [
        "Window start",
        "Window end",
        *(f"Point {k} of 5" for k in range(1, 6)),
    ]
    assert [each["value"] for each in sliders] == pytest.approx([1, 0, 0.2, 1, 0.9, 0.3, 0])
    spoken = [each.get_attribute("aria-valuetext") for each in element.query_selector_all("[role=slider]")]
    assert spoken[:2] == ["start of the window at 1", "end of the window at 0"]
    assert spoken[3] == "position 0.8, weight 1"
    chosen = element.query_selector("[role=radio][tabindex='0']")
    assert chosen is not None
    chosen.focus()
    names = [name for _, name in walk(comfy, 10)]
    assert names[0].startswith("Snap")
    assert names[1:8] == [each["name"] for each in sliders], "noise first, as drawn"
    assert names[8].startswith("Position of the selected")


def test_the_path_viewer_says_what_it_shows(comfy: ComfyPage) -> None:
    node = test_viewer.graph(comfy)
    assert not controls(comfy, "DPATH_VIEWER"), "there is nothing to walk along before a run"
    comfy.queue(120)
    element = comfy.element(node, "viewer")
    element.wait_for_selector("img.dpath-now")
    shown = controls(comfy, "DPATH_VIEWER")
    assert all(each["name"] for each in shown)
    (track,) = [each for each in shown if each["role"] == "slider"]
    assert (track["value"], track["valuemax"]) == (3, 3)
    assert test_viewer.at(element).startswith("picture")
    play = element.query_selector("[aria-label^='Play']")
    assert play is not None
    play.focus()
    assert [role for role, _ in walk(comfy, 2)] == ["button", "slider"]
