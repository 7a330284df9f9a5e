"""The texts in other languages: as complete, as new and as safe as the English ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from diffusion_path.devtools import locales

# The languages of ComfyUI's page; a folder of another name is never read.
SHIPPED = ("zh", "zh-TW", "ja", "ko", "fr", "es", "ru", "ar", "pt-BR", "tr", "fa", "he")
PICTURE = re.compile(r"!\[[^]]*\]\(([^)\s]+)\)")

WEB = locales.ROOT / "web"

every_language = pytest.mark.parametrize("language", locales.languages())
every_page = pytest.mark.parametrize("page", locales.pages(), ids=locales.page_key)


def test_languages_are_those_of_the_page() -> None:
    assert set(locales.languages()) <= set(SHIPPED)
    assert {path.name for path in locales.LOCALES.iterdir()} == {"en", *locales.languages()}


def test_files_are_those_that_the_command_writes() -> None:
    stale = [path for path, text in locales.files().items() if not path.exists() or path.read_text("utf-8") != text]
    assert not stale, "run ./dev locales"


@every_language
def test_translations_are_safe_to_show_and_keep_the_numbers(language: str) -> None:
    assert not locales.faults(language)


def test_a_text_without_a_translation_is_left_out() -> None:
    words = {"SDEdit": "SDEdit", "guide": "引导图"}
    node = {"display_name": "SDEdit", "inputs": {"guide": {"name": "guide", "tooltip": "New."}, "x": {"name": "x"}}}
    translated = {"display_name": "SDEdit", "inputs": {"guide": {"name": "引导图"}, "x": {}}}
    assert locales.translated(node, words) == translated


@every_page
def test_page_belongs_to_a_node_and_shows_the_pictures_of_the_english_one(page: Path) -> None:
    assert page.parent.name in locales.node_definitions()
    assert page.stem in locales.languages()
    text = page.read_text(encoding="utf-8")
    # the page resolves pictures from the folder of the English help pages, whatever the language
    assert all((locales.HELP / picture).is_file() for picture in PICTURE.findall(text))


def test_words_of_the_widgets_are_translated_into_every_language() -> None:
    lists = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (WEB / "words").glob("*.json")}
    code = "\n".join(path.read_text(encoding="utf-8") for path in (WEB / "js").glob("*.js"))
    known = re.search(r"const LANGUAGES = (\[.*?\]);", code)
    assert known
    assert sorted(json.loads(known[1])) == sorted(lists) == locales.languages()
    said = re.sub(r"\$\{[^{}]*\}", "#", code).replace("\\u2013", "–")
    for language, words in lists.items():
        assert list(words) == list(lists["zh"]), language
        for text, word in words.items():
            assert text in said, f"no widget says '{text}' any more"
            assert word
            assert word.count("#") == text.count("#"), f"{language}: {word}"
