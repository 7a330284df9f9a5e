"""Writes `locales/` from the nodes themselves and from the translations in `devtools/translations`.

The English texts are kept in one place, the nodes. A translation is found by the English text it was made from
(`devtools/translations/<language>.json`), so a text that changes has no translation until somebody makes a new one.
A translated help page, `web/docs/<node id>/<language>.md`, is kept with the hash of the English page it was made from.

Run inside the pack: `python devtools/inprocess.py devtools.locales --help`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from .console import say
from .direct import SCHEMAS
from .settings import ROOT

LOCALES = ROOT / "locales"
TARGET = LOCALES / "en" / "nodeDefs.json"
TRANSLATIONS = ROOT / "devtools" / "translations"
HELP = ROOT / "web" / "docs"
HASHES = TRANSLATIONS / "pages" / "hashes.json"

# The page reads these as grammar: plurals, links and variables.
GRAMMAR = re.compile(r"[{}@|]")
# A sentence keeps its numbers and identifiers, but for names of inputs and outputs, which are translated themselves.
FIXED = re.compile(r"\d+(?:\.\d+)?|\b\w+_\w+\b", re.ASCII)


def node_definitions() -> dict[str, dict[str, Any]]:
    """The English names and tooltips of all nodes, in the form the page looks them up."""

    return {
        node_id: {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": {item.id: _text(item.display_name or item.id, item.tooltip) for item in schema.inputs}
            | _nested(schema),
            # an output without a name of its own is called by its type, which the page translates itself
            "outputs": {str(i): _text(item.display_name, item.tooltip) for i, item in enumerate(schema.outputs)},
        }
        for node_id, schema in SCHEMAS.items()
    }


def _nested(schema: io.Schema) -> dict[str, dict[str, str]]:
    """Inputs that come with a choice, as the page looks them up; of a widget it takes the tooltip from the node."""
    return {
        f"{item.id}_{each.id}": _text(each.id, None if isinstance(each, io.WidgetInput) else each.tooltip)
        for item in schema.inputs
        if isinstance(item, io.DynamicCombo.Input)
        for option in item.options
        for each in option.inputs
    }


def _text(name: str | None, tooltip: str | None) -> dict[str, str]:
    return {key: text for key, text in (("name", name), ("tooltip", tooltip)) if text}


def categories() -> list[str]:
    """The names of the folders in the node library."""
    return sorted({part for schema in SCHEMAS.values() for part in schema.category.split("/")})


def english() -> list[str]:
    """Every English text once: folders, then names, then sentences."""
    definitions = list(node_definitions().values())
    items = [item for node in definitions for part in ("inputs", "outputs") for item in node[part].values()]
    names = [node["display_name"] for node in definitions] + [item["name"] for item in items if "name" in item]
    sentences = [node["description"] for node in definitions]
    sentences += [item["tooltip"] for item in items if "tooltip" in item]
    return list(dict.fromkeys([*categories(), *names, *sentences]))


def languages() -> list[str]:
    return sorted(path.stem for path in TRANSLATIONS.glob("*.json"))


def translations(language: str) -> dict[str, str]:
    return json.loads((TRANSLATIONS / f"{language}.json").read_text(encoding="utf-8"))


def translated(value: Any, words: dict[str, str]) -> Any:
    """The same structure in another language, without what has no translation: there the page shows English."""
    if isinstance(value, dict):
        return {key: translated(item, words) for key, item in value.items() if isinstance(item, dict) or item in words}
    return words[value]


def files() -> dict[Path, str]:
    """What `locales/` holds: path -> content."""
    definitions = node_definitions()
    folders = {name: name for name in categories()}
    result = {TARGET: dumps(definitions)}
    for language in languages():
        words = translations(language)
        result[LOCALES / language / "nodeDefs.json"] = dumps(translated(definitions, words))
        result[LOCALES / language / "main.json"] = dumps({"nodeCategories": translated(folders, words)})
    return result


def missing(language: str) -> list[str]:
    """English texts that have no translation, or had one before they changed."""
    words = translations(language)
    return [text for text in english() if not words.get(text)]


def obsolete(language: str) -> list[str]:
    """Translated texts that no node says any more."""
    texts = set(english())
    return [text for text in translations(language) if text not in texts]


def faults(language: str) -> list[str]:
    """Translations that the page cannot show, or that lost a number: a sentence for each."""
    words, texts = translations(language), set(english())
    found = []
    for text, word in words.items():
        if GRAMMAR.search(word):
            found.append(f"A character that the page reads as grammar: {word}")
        if " " in text and (lost := set(FIXED.findall(text)) - set(FIXED.findall(word)) - texts):
            found.append(f"Without {', '.join(sorted(lost))}: {word}")
    return found


def pages() -> list[Path]:
    """The translated help pages."""
    return sorted(HELP.glob("*/*.md"))


def page_key(page: Path) -> str:
    return f"{page.parent.name}/{page.stem}"


def page_hash(page: Path) -> str:
    """Of the English page that this one is a translation of."""
    source = HELP / f"{page.parent.name}.md"
    return hashlib.sha256(source.read_bytes()).hexdigest()[:12] if source.is_file() else ""


def _hashes() -> dict[str, str]:
    return json.loads(HASHES.read_text(encoding="utf-8")) if HASHES.exists() else {}


def stale_pages() -> list[str]:
    """Translated help pages whose English page changed since, or is gone."""
    return [page_key(page) for page in pages() if _hashes().get(page_key(page)) != page_hash(page)]


def dumps(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write() -> None:
    for path, content in files().items():
        _write(path, content)
    say(f"Wrote {LOCALES.relative_to(ROOT)}/ for en, {', '.join(languages())}")
    for language in languages():
        if texts := missing(language):
            what = f"--missing {language} prints them, --add takes them"
            say(f"{language}: {len(texts)} texts are not translated; {what}")
        if texts := obsolete(language):
            say(f"{language}: {len(texts)} translations are of texts that changed or are gone: --add drops them")
        for sentence in faults(language):
            say(f"{language}: {sentence}")
    for key in stale_pages():
        say(f"web/docs/{key}.md: the English page changed since; --reviewed {key} once this one says the same")


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def add(language: str, file: Path) -> None:
    """Takes over translations from a JSON file {English: translation}; drops those of texts that are gone."""
    path = TRANSLATIONS / f"{language}.json"
    words = {**(translations(language) if path.exists() else {}), **json.loads(file.read_text(encoding="utf-8"))}
    _write(path, dumps({text: words[text] for text in english() if words.get(text)}))


def review(keys: list[str]) -> None:
    """Notes that these translated pages (DPathSDEdit/zh), or all, say what their English pages say now."""
    known, hashes = {page_key(page): page_hash(page) for page in pages()}, _hashes()
    chosen = {key: new if not keys or key in keys else hashes.get(key) for key, new in sorted(known.items())}
    _write(HASHES, dumps({key: value for key, value in chosen.items() if value}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev locales", description="Write locales/ and say what is not translated.")
    parser.add_argument("--missing", metavar="LANG", help="print what has no translation as JSON, to be filled in")
    parser.add_argument("--add", nargs=2, metavar=("LANG", "FILE"), help="take over translations from such a JSON file")
    text = "translated pages, as DPathSDEdit/zh, that are up to date; or all"
    parser.add_argument("--reviewed", nargs="*", metavar="PAGE", help=text)
    options = parser.parse_args()
    if options.missing:
        say(dumps(dict.fromkeys(missing(options.missing), "")), end="")
        return
    if options.add:
        add(options.add[0], Path(options.add[1]))
    if options.reviewed is not None:
        review(options.reviewed)
    write()


if __name__ == "__main__":
    main()
