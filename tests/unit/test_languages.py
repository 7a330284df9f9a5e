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
    stale = [path for path, text in locales.files().items() if not path.exists() or _text(path) != text]
    assert not stale, "run ./dev locales"


@every_language
def test_translations_are_complete_and_of_the_texts_as_they_are_now(language: str) -> None:
    assert not locales.missing(language), f"./dev locales --missing {language} and --add {language} FILE"
    assert not locales.obsolete(language), f"./dev locales --add {language} FILE"


@every_language
def test_translations_are_safe_to_show_and_keep_the_numbers(language: str) -> None:
    assert not locales.faults(language)


def test_a_text_without_a_translation_is_left_out() -> None:
    words = {"SDEdit": "SDEdit", "guide": "引导图"}
    node = {"display_name": "SDEdit", "inputs": {"guide": {"name": "guide", "tooltip": "New."}, "x": {"name": "x"}}}
    translated = {"display_name": "SDEdit", "inputs": {"guide": {"name": "引导图"}, "x": {}}}
    assert locales.translated(node, words) == translated


def test_adding_translations_keeps_those_of_texts_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locales, "TRANSLATIONS", tmp_path)
    (tmp_path / "zh.json").write_text(locales.dumps({"guide": "引导图", "a text that changed": "旧"}), encoding="utf-8")
    (tmp_path / "new").write_text(locales.dumps({"SDEdit": "SDEdit", "guide": "新引导图"}), encoding="utf-8")
    assert locales.obsolete("zh") == ["a text that changed"]
    locales.add("zh", tmp_path / "new")
    assert locales.translations("zh") == {"SDEdit": "SDEdit", "guide": "新引导图"}
    assert "guide" not in locales.missing("zh")
    assert "mask" in locales.missing("zh")


def test_a_translation_that_lost_a_number_or_holds_grammar_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locales, "TRANSLATIONS", tmp_path)
    text = "1 = edit, 0 = keep."
    for word, faults in (("1 = 编辑，0 = 保留。", 0), ("1 = 编辑。", 1), ("1 = 编辑 | 0 = 保留。", 1)):
        (tmp_path / "zh.json").write_text(locales.dumps({text: word}), encoding="utf-8")
        assert len(locales.faults("zh")) == faults, word


def test_help_pages_are_of_the_english_ones_as_they_are_now() -> None:
    assert not locales.stale_pages(), "./dev locales --reviewed PAGE, once it says what the English page says"


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_every_node_has_a_help_page(language: str) -> None:
    assert {page.parent.name for page in locales.pages() if page.stem == language} == {*locales.node_definitions()}


@every_page
def test_page_belongs_to_a_node_and_shows_the_pictures_of_the_english_one(page: Path) -> None:
    assert page.parent.name in locales.node_definitions()
    assert page.stem in locales.languages()
    shown, english = (PICTURE.findall(_text(path)) for path in (page, locales.HELP / f"{page.parent.name}.md"))
    assert shown == english
    # the page resolves pictures from the folder of the English help pages, whatever the language
    assert all((locales.HELP / picture).is_file() for picture in shown)


def test_words_of_the_widgets_are_translated_into_every_language() -> None:
    lists = {path.stem: json.loads(_text(path)) for path in (WEB / "words").glob("*.json")}
    code = "\n".join(_text(path) for path in (WEB / "js").rglob("*.js"))
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


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
