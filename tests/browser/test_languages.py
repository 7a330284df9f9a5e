"""The page in another language: nodes, folders and help are in it too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from diffusion_path.devtools import locales
from diffusion_path.tests.browser.page import ComfyPage

LANGUAGE = "zh"


@pytest.fixture
def chinese(comfy: ComfyPage) -> Iterator[ComfyPage]:
    comfy.set_setting("Comfy.Locale", LANGUAGE)
    comfy.open()
    yield comfy
    comfy.set_setting("Comfy.Locale", "en")
    comfy.open()


def test_names_folders_and_help_are_in_the_language_of_the_page(chinese: ComfyPage) -> None:
    words = locales.translations(LANGUAGE)
    node = chinese.add("DPathSDEdit", 100, 100)
    script = """(id) => { const n = app.canvas.graph.getNodeById(id), definition = n.constructor.nodeData; return {
        inputs: n.inputs.map(i => i.label ?? i.localized_name), widgets: n.widgets.map(w => w.label),
        outputs: n.outputs.map(o => o.localized_name), category: definition.category, text: definition.description};
        }"""
    shown = chinese.evaluate(script, node)
    assert words["guide"] in shown["inputs"]
    assert words["mask_mode"] in shown["widgets"]
    assert words["perturbed"] in shown["outputs"]
    assert shown["category"].startswith(words["diffusion path"] + "/")
    english = json.loads(locales.TARGET.read_text(encoding="utf-8"))
    assert shown["text"] == words[english["DPathSDEdit"]["description"]]

    chinese.show(node)
    chinese.evaluate("(id) => app.canvas.selectNode(app.canvas.graph.getNodeById(id))", node)
    chinese.page.locator('[data-testid="info-button"]').click()
    page = (locales.HELP / "DPathSDEdit" / f"{LANGUAGE}.md").read_text(encoding="utf-8")
    first_bold_words = re.findall(r"^\*\*(.+?)\*\*", page, re.MULTILINE)[0]
    chinese.page.get_by_text(first_bold_words).first.wait_for()
    picture = chinese.page.locator('img[src*="sdedit.jpg"]')
    picture.wait_for()
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 100
    chinese.screenshot("chinese")


def test_widgets_speak_the_language_of_the_page(chinese: ComfyPage) -> None:
    canvas = chinese.add("DPathStrokeCanvas", 100, 100)
    chinese.add("DPathSchedule", 700, 100)
    chinese.add("DPathFilmstrip", 700, 700)
    chinese.show(canvas, 0.6)
    script = """() => [...document.querySelectorAll('[class^="dpath-"], [class*=" dpath-"]')]
        .flatMap(e => [e, ...e.children])
        .flatMap(e => [e.title, e.ariaLabel, e.ariaValueText, e.children.length ? '' : e.textContent])"""
    said = {text for text in chinese.evaluate(script) if text}
    chinese_texts = {text for text in said if re.search("[\u4e00-\u9fff]", text)}
    assert len(chinese_texts) > 20
    assert not {text for text in said - chinese_texts if re.search(r"\b[A-Za-z]{3}", text)}
    chinese.screenshot("chinese-widgets")
