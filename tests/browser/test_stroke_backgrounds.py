"""A picture that becomes the background of Stroke Canvas: in the size that was chosen, and back by undo."""

from __future__ import annotations

import io
import math
from typing import Any

from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import button, canvas, part, press, strokes
from diffusion_path.tests.browser.test_stroke_layers import layers
from diffusion_path.tests.browser.test_stroke_pictures import drop, picture_of, soft_picture
from PIL import Image
from playwright.sync_api import ElementHandle

CUT, RESIZED = 0, 1  # which button of the offer


def size_is(comfy: ComfyPage, place: ElementHandle, width: int, height: int) -> None:
    script = "([e, label]) => e.getAttribute('aria-label').includes(label)"
    comfy.page.wait_for_function(script, arg=[place, f"{width} by {height}"])
    comfy.settle()


def offered(comfy: ComfyPage, node: int) -> list[ElementHandle]:
    banner = part(comfy, node, ".dpath-banner")
    comfy.wait_until("e => e.textContent.includes('a layer of its own')", banner)
    return banner.query_selector_all("button")


def add_by_the_button(comfy: ComfyPage, node: int, picture: Image.Image) -> None:
    data = io.BytesIO()
    picture.save(data, "PNG")
    press(comfy, node, "k")
    with comfy.page.expect_file_chooser() as chooser:
        button(comfy, node, "Add a picture as a layer").click()
    chooser.value.set_files([{"name": "photo.png", "mimeType": "image/png", "buffer": data.getvalue()}])
    picture_of(comfy, node)
    press(comfy, node, "k")


def shape_of(rings: list[float]) -> float:
    """How wide a ring is for its height."""
    return (max(rings[::2]) - min(rings[::2])) / (max(rings[1::2]) - min(rings[1::2]))


def test_a_background_of_another_size_keeps_the_drawing_in_shape_and_undo_takes_it_back(comfy: ComfyPage) -> None:
    node, place = canvas(comfy, 500)
    press(comfy, node, "o")
    comfy.page.keyboard.down("Shift")
    comfy.drag(place, [(0.4, 0.4), (0.6, 0.6)])
    comfy.page.keyboard.up("Shift")
    before = comfy.widget(node, "drawing")
    add_by_the_button(comfy, node, soft_picture(768, 512).convert("RGB"))
    with_layer = comfy.widget(node, "drawing")
    buttons = offered(comfy, node)
    assert ["512 × 512" in buttons[CUT].inner_text(), "768 × 512" in buttons[RESIZED].inner_text()] == [True, True]
    buttons[RESIZED].click()
    size_is(comfy, place, 768, 512)
    comfy.wait_until(_NO_PICTURE, node)
    comfy.settle()
    comfy.screenshot("resized")
    assert [layer["id"] for layer in layers(comfy, node)] == ["paint", "sketch"]
    (disc,) = strokes(comfy, node)
    reference = comfy.evaluate(f"id => {{ const d = JSON.parse(({_TEXT})(id)); return d.width / d.height; }}", node)
    assert math.isclose(reference, 1.5, abs_tol=0.01)
    assert math.isclose(shape_of(disc["rings"][0]), 1, abs_tol=0.02), "no ellipse"
    after = comfy.widget(node, "drawing")
    assert part(comfy, node, ".dpath-banner").is_hidden(), "a background that was chosen is no surprise"

    press(comfy, node, "z")
    size_is(comfy, place, 512, 512)
    assert (comfy.widget(node, "drawing"), comfy.node_ids("LoadImage")) == (with_layer, [])
    press(comfy, node, "Shift+z")
    size_is(comfy, place, 768, 512)
    assert comfy.widget(node, "drawing") == after
    assert len(comfy.node_ids("LoadImage")) == 1
    press(comfy, node, "z", "z")
    size_is(comfy, place, 512, 512)
    assert comfy.widget(node, "drawing") == before


def test_a_background_is_cut_to_the_canvas_and_one_after_it_comes_and_goes(comfy: ComfyPage) -> None:
    node, place = canvas(comfy, 500)
    comfy.drag(place, [(0.4, 0.4), (0.6, 0.6)])
    drawn = strokes(comfy, node)
    values = []
    for color in ((30, 90, 160), (160, 90, 30)):
        drop(comfy, place, Image.new("RGB", (300, 200), color), "photo.png")
        offered(comfy, node)[CUT].click()
        comfy.wait_until(_NO_PICTURE, node)
        comfy.settle(8)
        size_is(comfy, place, 512, 512)
        (loader,) = comfy.node_ids("LoadImage")
        values.append(comfy.widget(loader, "image"))
        assert strokes(comfy, node) == drawn
    assert [value.startswith("photo-512x512") for value in values] == [True, True]
    with Image.open(comfy.server.base / "input" / values[1]) as cut:
        assert (cut.size, cut.convert("RGB").getpixel((256, 256))) == ((512, 512), (160, 90, 30))
    press(comfy, node, "z")
    assert comfy.widget(comfy.node_ids("LoadImage")[0], "image") == values[0]
    press(comfy, node, "z", "z")
    assert comfy.node_ids("LoadImage") == []
    press(comfy, node, "Shift+z", "Shift+z")
    assert comfy.widget(comfy.node_ids("LoadImage")[0], "image") == values[0]
    comfy.problems.clear()


def test_the_first_background_can_be_undone_and_lies_over_no_node(comfy: ComfyPage) -> None:
    node, place = canvas(comfy, 500)
    scene = comfy.add("DPathDemoScene", 60, 100)
    drop(comfy, place, Image.new("RGB", (300, 200), (30, 90, 160)))
    size_is(comfy, place, 300, 200)
    overlap = """([a, b]) => { const [p, q] = [a, b].map(id => app.canvas.graph.getNodeById(id));
        return p.pos[0] < q.pos[0] + q.size[0] && q.pos[0] < p.pos[0] + p.size[0]
            && p.pos[1] - 30 < q.pos[1] + q.size[1] && q.pos[1] - 30 < p.pos[1] + p.size[1]; }"""
    assert not comfy.evaluate(overlap, [scene, comfy.node_ids("LoadImage")[0]])
    press(comfy, node, "z")
    size_is(comfy, place, 512, 512)
    assert (comfy.node_ids("LoadImage"), comfy.widget(node, "drawing")) == ([], "")
    press(comfy, node, "Shift+z")
    size_is(comfy, place, 300, 200)
    comfy.undo()
    size_is(comfy, part(comfy, node, ".dpath-easel"), 512, 512)
    assert comfy.node_ids("LoadImage") == [], "the graph's own undo takes it back as well"
    comfy.problems.clear()


def test_a_part_of_a_picture_that_is_a_layer_is_cut_out(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    press(comfy, node, "c")
    banner = part(comfy, node, ".dpath-banner")
    assert banner.inner_text().split("\n") == ["There is no picture to cut from.", "Add a picture"]
    comfy.drag(place, [(0.3, 0.6), (0.7, 0.6)])
    drop(comfy, place, soft_picture(300, 200).convert("RGB"))
    photo = picture_of(comfy, node)
    press(comfy, node, ">", ">", "c")
    comfy.screenshot("to-cut")
    ring = [(0.5 + 0.06 * math.sin(k / 3), 0.5 + 0.08 * math.cos(k / 3)) for k in range(19)]
    comfy.drag(place, ring, steps=2)
    comfy.wait_until(_HAS_TWO, node)
    cut = layers(comfy, node)[2]
    assert (cut["name"], cut["rotation"], cut.get("scale", 1)) == ("Cut-out", 2, photo.get("scale", 1))
    assert abs(cut["x"] - 256) < 4
    with Image.open(comfy.server.base / "input" / "diffusion_path" / cut["file"]) as part_of_it:
        middle: Any = part_of_it.getpixel((part_of_it.width // 2, part_of_it.height // 2))
        expected: Any = soft_picture(300, 200).convert("RGB").getpixel((150, 100))
        assert part_of_it.getpixel((0, 0))[3] == 0  # type: ignore[index]
    assert max(abs(a - b) for a, b in zip(middle[:3], expected, strict=True)) < 16
    comfy.screenshot("cut-of-a-layer")


def test_what_is_cut_shows_through_the_paint(comfy: ComfyPage) -> None:
    node, place = canvas(comfy, 500)
    drop(comfy, place, Image.new("RGB", (256, 256), (255, 0, 0)))
    size_is(comfy, place, 256, 256)
    comfy.problems.clear()
    press(comfy, node, "r")
    comfy.drag(place, [(0.1, 0.1), (0.9, 0.9)])
    comfy.page.mouse.move(5, 5)
    script = """e => { const c = e.parentElement.querySelector('canvas');
        return [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data]; }"""
    covered = comfy.page.evaluate(script, place)
    press(comfy, node, "c")
    shown = comfy.page.evaluate(script, place)
    press(comfy, node, "c")
    assert shown[0] > covered[0] + 90
    assert comfy.page.evaluate(script, place) == covered


def test_the_t0_of_a_picture_is_set_by_its_slider(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, [(0.3, 0.6), (0.7, 0.6)])
    drop(comfy, place, soft_picture())
    assert picture_of(comfy, node)["t0"] == 0.6
    slider = part(comfy, node, 'input[aria-label="Freedom (t0)"]')
    comfy.click(slider, (0.25, 0.5))
    assert abs(picture_of(comfy, node)["t0"] - 0.25) < 0.06
    slider.focus()
    comfy.page.keyboard.press("End")
    comfy.settle()
    assert picture_of(comfy, node)["t0"] == 1
    press(comfy, node, "z")
    assert abs(picture_of(comfy, node)["t0"] - 0.25) < 0.06


_TEXT = "id => app.canvas.graph.getNodeById(id).widgets.find(w => w.name === 'drawing').value"
_NO_PICTURE = f"""id => !({_TEXT})(id).includes('"kind":"picture"')"""
_HAS_TWO = f"""id => ({_TEXT})(id).split('"kind":"picture"').length === 3"""


def test_a_picture_is_made_the_background_at_any_time_and_left_by_escape(comfy: ComfyPage) -> None:
    node, place = canvas(comfy, 500)
    comfy.drag(place, [(0.3, 0.6), (0.7, 0.6)])
    drop(comfy, place, soft_picture(300, 200).convert("RGB"))
    picture_of(comfy, node)
    press(comfy, node, "ArrowRight", "f")
    comfy.page.wait_for_selector("dialog")
    comfy.page.keyboard.press("Escape")
    assert comfy.page.query_selector("dialog"), "the picture is left first"
    comfy.page.keyboard.press("Escape")
    assert not comfy.page.query_selector("dialog")
    press(comfy, node, "k")
    ground = button(comfy, node, "Make this picture the background")
    assert ground.is_disabled()
    part(comfy, node, '.dpath-layer[data-kind="picture"] .dpath-layer-name').click()
    comfy.settle()
    ground.click()
    banner = part(comfy, node, ".dpath-banner")
    comfy.wait_until("e => e.textContent.includes('can be the background')", banner)
    comfy.screenshot("offered-again")
    banner.query_selector_all("button")[CUT].click()
    comfy.wait_until(_NO_PICTURE, node)
    assert len(comfy.node_ids("LoadImage")) == 1
    comfy.problems.clear()


def test_a_background_that_only_a_run_tells_is_announced(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy, 500)
    legend = ".dpath-heat:not(.dpath-status):not([hidden])"
    shown = f"() => document.querySelector('{legend}')?.textContent.includes('after the first run')"
    scene = comfy.add("DPathDemoScene", 100, 100)
    comfy.connect(scene, 0, node, "background")
    comfy.wait_until(shown)
    comfy.connect(node, 0, comfy.add("PreviewImage", 1000, 100), "images")
    comfy.screenshot("background-awaited")
    comfy.queue()
    comfy.wait_until(f"() => !document.querySelector('{legend}')")
