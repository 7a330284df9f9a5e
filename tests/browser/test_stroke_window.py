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
from playwright.sync_api import ElementHandle, FloatRect, Request

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
            banner.query_selector_all("button")[1].click()
        label = f"{size[0]} by {size[1]}"
        comfy.page.wait_for_function("([e, label]) => e.getAttribute('aria-label').includes(label)", arg=[place, label])
        assert len(comfy.node_ids("LoadImage")) == 1
    (loader,) = comfy.node_ids("LoadImage")
    assert comfy.widget(loader, "image") == f"{kind}-1.png"
    assert '"picture"' not in comfy.widget(node, "drawing"), "it is no layer any more"
    comfy.screenshot(f"background-{kind}")
    comfy.evaluate("id => app.canvas.graph.remove(app.canvas.graph.getNodeById(id))", loader)
    scene = comfy.add("DPathDemoScene", 100, 100)
    comfy.connect(scene, 0, node, "background")
    assert comfy.page.evaluate(_DROP, given)
    value = "id => app.canvas.graph.getNodeById(id).widgets.find(w => w.name === 'drawing').value"
    comfy.wait_until(f"id => ({value})(id).includes('\"picture\"')", node)
    assert comfy.node_ids("LoadImage") == [], "what another node gives stays the background"


def test_keys_work_after_a_click_beside_all_controls(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    press(comfy, node, "f")
    foot = comfy.page.wait_for_selector("dialog .dpath-foot")
    assert foot
    comfy.click(foot, (0.5, 0.99))
    comfy.page.mouse.click(3, 3)
    comfy.page.keyboard.press("e")
    pressed = "name => document.querySelector(`dialog button[aria-label='${name}']`).ariaPressed"
    assert comfy.evaluate(pressed, "Eraser") == "true"
    comfy.evaluate("() => document.activeElement.blur()")  # as where what had the focus is gone
    comfy.page.keyboard.press("z")
    assert strokes(comfy, node) == []
    comfy.page.mouse.click(3, 3)
    comfy.page.keyboard.press("Escape")
    comfy.settle()
    assert not comfy.page.query_selector("dialog")


def test_the_list_of_keys_names_every_button(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    press(comfy, node, "f")
    comfy.page.keyboard.press("?")
    keys = comfy.page.wait_for_selector("dialog .dpath-keys")
    assert keys
    for words in ("Brush (B)", "Cut out a part of a picture", "A second click in one place", "Run the graph"):
        assert words in keys.inner_text()
    comfy.screenshot("window-keys")
    comfy.page.keyboard.press("Escape")
    comfy.settle()
    assert keys.is_hidden()
    comfy.page.click("dialog button[aria-label='Help']")
    assert keys.is_visible()
    comfy.page.keyboard.press("Escape")
    comfy.page.keyboard.press("Escape")
    comfy.settle()
    assert not comfy.page.query_selector("dialog")


def test_the_layers_stay_where_they_are_and_are_in_sight_in_a_small_window(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    comfy.page.set_viewport_size({"width": 1280, "height": 800})
    try:
        press(comfy, node, "f", *"nnn")
        panel = comfy.page.wait_for_selector("dialog .dpath-layers")
        assert panel
        tops = set()
        for key in "belrvgb":
            comfy.page.keyboard.press(key)
            comfy.settle()
            tops.add(box_of(panel)["y"])
        large = comfy.page.query_selector("dialog .dpath-easel")
        assert large
        comfy.drag(large, [(0.4, 0.4), (0.6, 0.5)])
        tops.add(box_of(panel)["y"])
        assert len(tops) == 1
        rows = panel.query_selector_all(".dpath-layer")
        assert len(rows) == 5
        assert all(box_of(row)["y"] + box_of(row)["height"] <= 795 for row in rows)
        comfy.screenshot("window-small")
        comfy.page.keyboard.press("Escape")
    finally:
        comfy.page.set_viewport_size({"width": 1400, "height": 1000})


def test_a_narrow_canvas_shows_all_colours_and_a_way_to_draw_large(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    panel = part(comfy, node, ".dpath-strokes")
    comfy.page.evaluate("e => { e.parentElement.style.width = '276px'; }", panel)
    comfy.settle()
    right = box_of(panel)["x"] + 276
    for selector in (".dpath-swatches:not(.dpath-recent) .dpath-swatch:last-child", ".dpath-view button:last-child"):
        box = box_of(part(comfy, node, selector))
        assert box["x"] + box["width"] <= right + 1
    assert box_of(part(comfy, node, "button[aria-label='Fit']"))["height"] < 24
    comfy.screenshot("narrow")
    part(comfy, node, ".dpath-large").click()
    dialog = comfy.page.wait_for_selector("dialog.dpath-window")
    assert dialog
    assert not dialog.query_selector(".dpath-large").is_visible()  # type: ignore[union-attr]
    comfy.page.keyboard.press("Escape")


def test_the_graph_runs_from_the_whole_window(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    comfy.connect(node, 0, comfy.add("PreviewImage", 700, 100), "images")
    press(comfy, node, "f")
    with comfy.page.expect_response(lambda answer: answer.url.endswith("/api/prompt")):
        comfy.page.click("dialog button[aria-label='Run the graph']")
    script = """async ([name, detail]) => { const { api } = await import("/scripts/api.js");
        api.dispatchEvent(new CustomEvent(name, { detail })); }"""
    comfy.page.wait_for_timeout(1500)
    for value, text in ((5, "Running: 5 of 20"), (None, "")):
        event = ["progress", {"value": value, "max": 20}] if value else ["execution_success", {}]
        comfy.evaluate(script, event)
        assert comfy.page.inner_text("dialog .dpath-progress-text") == text if text else True
        assert comfy.page.is_visible("dialog .dpath-progress") == bool(text)
    comfy.page.keyboard.press("Escape")


def test_keys_of_the_graph_work_once_in_the_whole_window(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    comfy.connect(node, 0, comfy.add("PreviewImage", 700, 100), "images")
    press(comfy, node, "f")
    sent: list[str] = []

    def count(request: Request) -> None:
        if request.url.endswith("/api/prompt"):
            sent.append(request.method)

    comfy.page.on("request", count)
    for number, away in enumerate((False, True), 1):  # and after a click beside all controls
        if away:
            comfy.evaluate("() => document.activeElement.blur()")
        with comfy.page.expect_response(lambda answer: answer.url.endswith("/api/prompt")):
            comfy.page.keyboard.press("Control+Enter")
        comfy.page.wait_for_timeout(500)
        assert len(sent) == number
    comfy.page.remove_listener("request", count)
    comfy.page.keyboard.press("Escape")
