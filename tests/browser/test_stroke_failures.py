"""The page around Stroke Canvas in the whole window: its errors are said there, and its dialogs lie over it."""

from __future__ import annotations

from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.tests.browser.test_stroke_canvas import ZIGZAG, canvas, part, press

_DIALOG = ":is([role='dialog'], [role='alertdialog'], .p-dialog-mask):not(dialog)"


def run(comfy: ComfyPage) -> None:
    comfy.page.click("dialog button[aria-label='Run the graph']")


def shown(comfy: ComfyPage, text: str) -> None:
    script = "text => document.querySelector('dialog .dpath-banner').textContent.includes(text)"
    comfy.wait_until(script, text)


def test_a_refused_graph_is_reported_in_the_window(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    comfy.add("PreviewImage", 700, 100)  # without its picture
    banner = part(comfy, node, ".dpath-banner")
    press(comfy, node, "f")
    run(comfy)
    shown(comfy, "The graph has failed. Preview Image: Required input is missing: images")
    assert banner.get_attribute("data-calm") is None
    comfy.screenshot("window-refused")
    banner.query_selector_all("button")[0].click()
    comfy.settle()
    assert not comfy.page.query_selector("dialog")
    assert banner.is_hidden()
    comfy.problems.clear()  # the page notes the refusal


def test_an_error_in_the_run_is_reported_in_the_window_until_the_next_one(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    save = comfy.add("SaveImage", 900, 500, filename_prefix="../../outside")
    comfy.connect(node, 0, save, "images")
    comfy.connect(node, 0, comfy.add("PreviewImage", 900, 100), "images")
    banner = part(comfy, node, ".dpath-banner")
    press(comfy, node, "f")
    run(comfy)
    shown(comfy, "The graph has failed. Save Image: ")
    comfy.screenshot("window-error")
    comfy.evaluate("id => app.canvas.graph.remove(app.canvas.graph.getNodeById(id))", save)
    run(comfy)
    done = comfy.page.wait_for_selector("dialog .dpath-done", state="visible")
    assert done
    assert banner.is_hidden()
    comfy.screenshot("window-done")
    done.click()
    comfy.wait_until("() => document.querySelector('dialog .dpath-heat:not([hidden])')")
    assert done.is_hidden()
    for key in ("u", "u", "Escape"):
        comfy.page.keyboard.press(key)
    comfy.problems.clear()


def test_a_dialog_of_the_page_lies_over_the_window(comfy: ComfyPage) -> None:
    node, place = canvas(comfy)
    comfy.drag(place, ZIGZAG)
    press(comfy, node, "f")
    comfy.page.keyboard.press("Control+s")
    dialog = comfy.page.wait_for_selector(_DIALOG)
    assert dialog
    field = comfy.page.wait_for_selector(f"{_DIALOG} input")
    assert field
    comfy.wait_until("e => document.activeElement === e", field)
    comfy.screenshot("window-dialog")
    box = field.bounding_box()
    assert box
    at = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    assert comfy.evaluate("([x, y]) => document.elementFromPoint(x, y).tagName", at) == "INPUT", "nothing lies over it"
    comfy.page.keyboard.press("Escape")
    comfy.page.wait_for_selector(_DIALOG, state="detached")
    comfy.wait_until("() => document.activeElement?.matches('dialog:modal .dpath-easel')")
    comfy.page.keyboard.press("Escape")
    comfy.settle()
    assert not comfy.page.query_selector("dialog")


def test_the_settings_open_over_the_window(comfy: ComfyPage) -> None:
    node, _ = canvas(comfy)
    press(comfy, node, "f")
    comfy.page.keyboard.press("Control+,")
    assert comfy.page.wait_for_selector(_DIALOG)
    comfy.settle(20)
    comfy.screenshot("window-settings")
    comfy.page.keyboard.press("Escape")
    comfy.page.wait_for_selector(_DIALOG, state="detached")
    comfy.wait_until("() => document.querySelector('dialog:modal')")
    comfy.page.keyboard.press("Escape")
