"""Pages that people read: every link leads somewhere, every picture is there, every node and command exists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from diffusion_path.devtools import schemas

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "demo").glob("*.md")])
HELP = sorted((ROOT / "web" / "docs").glob("*.md"))


@cache
def anchors(path: Path) -> set[str]:
    """The anchors GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*PAGES, *HELP], ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    lost = []
    for target in targets:
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        if not found.exists() or (anchor and anchor not in anchors(found)):
            lost.append(target)
    assert not lost


def test_help_pages_stay_in_the_folder_that_comfyui_serves() -> None:
    pages = sorted((ROOT / "web" / "docs").rglob("*.md"))
    targets = [target for page in pages for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))]
    assert targets
    assert not [target for target in targets if ".." in target]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_name_nodes_and_templates_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\bDPath[A-Z]\w+", text)) <= set(schemas.schemas())
    if path.name == "recipes.md":
        table = text.partition("## How much noise")[0]
        named = {name for row in re.findall(r"\| ([^|]*) \|$", table, re.M) for name in re.findall(r"`([\w-]+)`", row)}
        assert named
        assert named <= {file.stem for file in (ROOT / "example_workflows").glob("*.json")}


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert not [name for name in pages if f"({name})" not in index]
