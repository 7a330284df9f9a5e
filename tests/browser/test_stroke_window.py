"""Stroke Canvas over the whole window, under two fingers, mirrored, and with pictures that are dropped on it."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import pytest
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import ZIGZAG, button, canvas, part, press, stage, strokes
from diffusion_path.tests.browser.test_stroke_hands import graph_zoom, picture_zoom
from PIL import Image
from playwright.sync_api import ElementHandle, FloatRect

_DROP = """([easel, data, name, kind]) => { const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
    const given = new DataTransfer(); given.items.add(new File([bytes], name, { type: "image/png" }));
    const more = kind === "paste" ? { clipboardData: given } : { dataTransfer: given };
    const Kind = kind === "paste" ? ClipboardEvent : DragEvent;
    const event = new Kind(kind, { bubbles: true, cancelable: true, ...more });
    return !easel.dispatchEvent(event); }"""


def box_of(element: ElementHandle) -> FloatRect:
    box = element.bounding_box()
    assert box is not None
    return box


def test_the_whole_window_is_the_same_drawing(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    small = box_of(place)
    press(comfy, node, "f")
    dialog = comfy.page.wait_for_selector("dialog.dpath-window")
    assert dialog
    large = dialog.query_selector(".dpath-easel")
    assert large
    assert box_of(large)["height"] > 1.8 * small["height"]
    comfy.drag(large, [(0.4, 0.4), (0.6, 0.5), (0.5, 0.7)])
    assert len(strokes(comfy, node)) == 2
    comfy.screenshot("window")
    comfy.page.keyboard.press("z")
    assert len(strokes(comfy, node)) == 1, "one history"
    comfy.page.keyboard.press("Delete")
    comfy.page.keyboard.press("Escape")
    comfy.settle()
    assert not comfy.page.query_selector("dialog")
    assert box_of(stage(comfy, node)) == small
    press(comfy, node, "Shift+z")
    assert len(strokes(comfy, node)) == 2
    button(comfy, node, "Whole window").click()
    comfy.page.wait_for_selector("dialog.dpath-window")
    assert part(comfy, node, ".dpath-away").is_visible()
    comfy.evaluate("id => app.canvas.graph.remove(app.canvas.graph.getNodeById(id))", node)
    comfy.settle()
    assert not comfy.page.query_selector("dialog"), "it goes with its node"


def test_sliders_fold_and_the_picture_takes_their_room(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    before = box_of(place)["height"]
    button(comfy, node, "Sliders").click()
    comfy.settle()
    assert box_of(place)["height"] > before + 50
    comfy.screenshot("folded")
    press(comfy, node, "f")
    comfy.settle()
    comfy.screenshot("window-folded")
    comfy.page.keyboard.press("Escape")


class Hand:
    """Fingers on the stage, at places in fractions of it and at times of their own, which no busy machine stretches."""

    def __init__(self, comfy: ComfyPage, place: ElementHandle) -> None:
        self.session = comfy.page.context.new_cdp_session(comfy.page)
        self.box = box_of(place)
        self.seconds = time.time()

    def send(self, kind: str, *points: tuple[float, float], after: float = 0.02) -> None:
        self.seconds += after
        box = self.box
        fingers: list[dict[str, Any]] = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": k}
            for k, (x, y) in enumerate(points)
        ]
        event = {"type": kind, "touchPoints": fingers, "timestamp": self.seconds}
        self.session.send("Input.dispatchTouchEvent", event)


def test_two_fingers_zoom_the_picture_and_a_tap_of_both_undoes(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    before = picture_zoom(comfy, node)
    hand = Hand(comfy, place)
    hand.send("touchStart", (0.45, 0.5))
    hand.send("touchStart", (0.45, 0.5), (0.55, 0.5))
    for k in range(1, 6):
        hand.send("touchMove", (0.45 - 0.03 * k, 0.5), (0.55 + 0.03 * k, 0.5))
    hand.send("touchEnd")
    comfy.settle()
    assert picture_zoom(comfy, node) > 1.8 * before
    assert graph_zoom(comfy) == 1
    assert len(strokes(comfy, node)) == 1, "the first finger's stroke is taken back"
    hand.send("touchStart", (0.4, 0.5), (0.5, 0.5), after=1)
    hand.send("touchEnd")
    comfy.settle()
    assert strokes(comfy, node) == []
    hand.send("touchStart", (0.4, 0.4), after=1)
    for k in range(1, 5):
        hand.send("touchMove", (0.4 + 0.05 * k, 0.5))
    hand.send("touchEnd")
    comfy.settle()
    assert len(strokes(comfy, node)) == 1, "one finger draws"


def test_a_mirrored_view_draws_where_the_hand_is(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "l")
    comfy.drag(place, [(0.4, 0.4), (0.5, 0.6)])
    press(comfy, node, "m")
    comfy.drag(place, [(0.6, 0.4), (0.5, 0.6)])
    first, second = strokes(comfy, node)
    assert second["points"] == pytest.approx(first["points"], abs=1.5)
    comfy.drag(place, [(0.65, 0.3), (0.45, 0.3)])
    comfy.screenshot("mirrored")
    press(comfy, node, "m")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_the_first_picture_becomes_the_background_and_the_next_one_on_demand(comfy: ComfyPage, kind: str) -> None:
    node, place = canvas(comfy, 500)
    for number, (color, size) in enumerate((((30, 90, 160), (300, 200)), ((160, 90, 30), (200, 300)))):
        data = io.BytesIO()
        Image.new("RGB", size, color).save(data, "PNG")
        given = [place, base64.b64encode(data.getvalue()).decode(), f"{kind}-{number}.png", kind]
        assert comfy.page.evaluate(_DROP, given), "the page leaves it to the canvas"
        if number:
            banner = part(comfy, node, ".dpath-banner")
            comfy.page.wait_for_function("e => e.textContent.includes('a layer of its own')", arg=banner)
            banner.query_selector("button").click()  # type: ignore[union-attr]
        label = f"{size[0]} by {size[1]}"
        comfy.page.wait_for_function("([e, label]) => e.getAttribute('aria-label').includes(label)", arg=[place, label])
        assert len(comfy.node_ids("LoadImage")) == 1
    comfy.problems.clear()  # of core's own: a new Load Image asks for the first of no pictures
    (loader,) = comfy.node_ids("LoadImage")
    assert comfy.widget(loader, "image") == f"{kind}-1.png"
    assert '"picture"' not in comfy.widget(node, "strokes"), "it is no layer any more"
    comfy.screenshot(f"background-{kind}")
    comfy.evaluate("id => app.canvas.graph.remove(app.canvas.graph.getNodeById(id))", loader)
    scene = comfy.add("DPathDemoScene", 100, 100)
    comfy.connect(scene, 0, node, "background")
    assert comfy.page.evaluate(_DROP, given)
    value = "id => app.canvas.graph.getNodeById(id).widgets.find(w => w.name === 'strokes').value"
    comfy.wait_until(f"id => ({value})(id).includes('\"picture\"')", node)
    assert comfy.node_ids("LoadImage") == [], "what another node gives stays the background"
