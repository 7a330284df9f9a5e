"""The picture of Stroke Canvas as a file of pixels, as vectors, and in the clipboard."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import button, canvas, part, press
from diffusion_path.tests.js.drawings import drawing
from PIL import Image

_RENDERED = """async (text) => { const picture = new Image();
    picture.src = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    await picture.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
    canvas.getContext("2d").drawImage(picture, 0, 0);
    return canvas.toDataURL(); }"""
_PASTED = """async () => { const [item] = await navigator.clipboard.read();
    const data = await (await item.getType("image/png")).arrayBuffer();
    return btoa(String.fromCharCode(...new Uint8Array(data))); }"""


def saved(comfy: ComfyPage, node: int, item: str) -> Path:
    press(comfy, node, "s")
    with comfy.page.expect_download() as caught:
        part(comfy, node, f".dpath-menu button:has-text('{item}')").click()
    return Path(caught.value.path())


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"), np.float32)


def test_the_picture_is_saved_with_all_its_pixels(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.set_widget(node, "width", 1792)
    comfy.set_widget(node, "height", 896)
    comfy.page.wait_for_timeout(600)
    press(comfy, node, "r")
    comfy.drag(place, [(0.4, 0.45), (0.6, 0.55)])
    button(comfy, node, "Save or copy").click()
    comfy.screenshot("export")
    with comfy.page.expect_download() as caught:
        comfy.page.keyboard.press("Enter")
    with Image.open(caught.value.path()) as picture:
        assert picture.size == (1792, 896)
        colors = {picture.convert("RGB").getpixel(at) for at in ((5, 5), (896, 448))}
    assert colors == {(255, 255, 255), (59, 110, 165)}
    button(comfy, node, "Save or copy").click()
    comfy.page.keyboard.press("Escape")
    assert not part(comfy, node, ".dpath-menu").is_visible()


def test_vectors_look_like_the_pixels(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    for seed in range(3):
        text = json.loads(drawing(seed))
        for stroke in text["strokes"]:  # of the paint: the sketch is hidden in the one and not in the other
            stroke["layer"] = "paint"
            stroke.pop("grain", None)  # of which each has noise of its own
        comfy.set_widget(node, "width", 400)
        comfy.set_widget(node, "height", 304)
        comfy.set_widget(node, "drawing", json.dumps(text))
        comfy.page.wait_for_timeout(600)
        vectors = saved(comfy, node, "Save as SVG").read_text(encoding="utf-8")
        assert ElementTree.fromstring(vectors).attrib["viewBox"] == "0 0 400 304"
        rendered = comfy.evaluate(_RENDERED, vectors).split(",")[1]
        mine, theirs = pixels(base64.b64decode(rendered)), pixels(saved(comfy, node, "Save as PNG").read_bytes())
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).mean() < 4, seed
        assert (np.abs(mine - theirs).max(-1) > 60).mean() < 0.01, seed


def test_grain_of_vectors_is_as_rough_as_that_of_pixels(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    strokes = [
        {"color": "#000000", "size": size, "hardness": hardness, "grain": grain, "points": [60, y, 440, y]}
        for y, size, hardness, grain in (
            (60, 60, 1, 0.4),
            (160, 60, 0.3, 0.4),
            (260, 60, 0.8, 0.8),
            (400, 120, 0.8, 0.6),
        )
    ]
    comfy.set_widget(node, "drawing", json.dumps({"version": 1, "width": 512, "height": 512, "strokes": strokes}))
    comfy.page.wait_for_timeout(600)
    comfy.screenshot("grain")
    vectors = saved(comfy, node, "Save as SVG").read_text(encoding="utf-8")
    mine = pixels(base64.b64decode(comfy.evaluate(_RENDERED, vectors).split(",")[1]))
    theirs = pixels(saved(comfy, node, "Save as PNG").read_bytes())
    for stroke in strokes:
        y, reach = stroke["points"][1], stroke["size"] // 4
        middle = slice(y - reach, y + reach), slice(70, 430)
        assert abs(mine[middle].mean() - theirs[middle].mean()) < 15, stroke
        assert abs(mine[middle].std() - theirs[middle].std()) < 20, stroke
        assert theirs[middle].std() > 30, stroke


def test_the_picture_is_copied_or_it_is_said_why_not(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "r")
    comfy.drag(place, [(0.4, 0.4), (0.6, 0.6)])
    comfy.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copy = part(comfy, node, ".dpath-menu button:has-text('Copy')")
    press(comfy, node, "s")
    copy.click()
    banner = part(comfy, node, ".dpath-banner")
    comfy.page.wait_for_function("e => e.textContent.includes('in the clipboard')", arg=banner)
    found = pixels(base64.b64decode(comfy.evaluate(_PASTED)))
    assert found.shape == (512, 512, 3)
    assert found[256, 256].tolist() == [59, 110, 165]
    comfy.page.wait_for_function("e => e.hidden", arg=banner)
    comfy.page.context.clear_permissions()
    comfy.evaluate("() => { window.kept_ = ClipboardItem; delete window.ClipboardItem; }")
    press(comfy, node, "s")
    copy.click()
    comfy.page.wait_for_function("e => e.textContent.includes('save a PNG')", arg=banner)
    comfy.screenshot("not-copied")
    with comfy.page.expect_download():
        banner.query_selector("button").click()  # type: ignore[union-attr]
    comfy.evaluate("() => { window.ClipboardItem = kept_; }")


def test_what_keeps_a_picture_from_the_clipboard_is_named(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    press(comfy, node, "ArrowRight", "Enter", "Enter", "Enter")
    banner = part(comfy, node, ".dpath-banner")
    throwing = "() => { navigator.clipboard.write = () => Promise.reject(new DOMException('%s', '%s')); }"
    undrawn = """() => { navigator.clipboard.write = ([item]) => item.getType("image/png");
        window.toBlob_ = HTMLCanvasElement.prototype.toBlob;
        HTMLCanvasElement.prototype.toBlob = (done) => done(null); }"""
    for broken, sentence in (
        (throwing % ("Denied", "NotAllowedError"), "has refused the clipboard"),
        (throwing % ("The disk is on fire", "DataError"), "could not be copied. The disk is on fire"),
        (undrawn, "too large for this browser"),
    ):
        comfy.evaluate(broken)
        press(comfy, node, "s")
        part(comfy, node, ".dpath-menu button:has-text('Copy')").click()
        comfy.wait_until(f"e => e.textContent.includes('{sentence}')", banner)
        comfy.screenshot("why-not-copied")
    press(comfy, node, "s")
    part(comfy, node, ".dpath-menu button:has-text('PNG')").click()
    comfy.wait_until("e => e.textContent.includes('too large for this browser')", banner)
    comfy.evaluate("() => { HTMLCanvasElement.prototype.toBlob = toBlob_; delete navigator.clipboard.write; }")
