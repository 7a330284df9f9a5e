"""Pages that people read: every link leads somewhere, every picture is there, every node and command exists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from diffusion_path.devtools import schemas

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDERS = r"PLACEHOLDER|\bOWNER\b"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "demo").glob("*.md")])
HELP = sorted((ROOT / "web" / "docs").rglob("*.md"))


@cache
def anchors(path: Path) -> set[str]:
    """The anchors GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*PAGES, *HELP], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:<img src|<a href)="([^"]+)"', text)
    folder = ROOT / "web" / "docs" if path in HELP else path.parent  # for a translated help page too
    lost = []
    for target in targets:
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = (folder / file).resolve() if file else path
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


def test_every_table_of_the_benchmarks_has_a_date_and_a_machine() -> None:
    introduction, *sections = re.split(
        r"^#{2,} ", (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8"), flags=re.M
    )
    machines = "|".join(re.findall(r"^- \*\*(\w+)\*\*:", introduction, re.M))
    assert machines
    for section in sections:
        if "\n|" in section:
            title, _, note = section.split("\n", 3)[:3]
            assert re.fullmatch(rf"\*.*\b20\d\d-\d\d-\d\d\b.*\b({machines})\b.*\*", note), title


def test_the_tests_that_keep_promises_exist() -> None:
    """They are in tests/unit where no folder is named; `*` stands for several."""
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests/\w+/)?test_[\w*]+\.py)`", text))
    assert len(named) > 20
    assert not [name for name in named if not list(ROOT.glob(name if "/" in name else f"tests/unit/{name}"))]


def test_placeholders_are_where_the_list_says() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("## Release")[2].partition("\n\n2. ")[0]
    listed = {name for row in table.splitlines() if "|" in row for name in re.findall(r"`([\w./-]+\.\w+)`", row)}
    places = [
        *PAGES,
        *(ROOT / ".github").rglob("*.yml"),
        *ROOT.glob("*.toml"),
        *(ROOT / "example_workflows").glob("*.json"),
    ]
    having = {path.relative_to(ROOT).as_posix() for path in places if re.search(PLACEHOLDERS, path.read_text("utf-8"))}
    assert listed == having - {"CONTRIBUTING.md", ".github/workflows/publish.yml"}  # the list, and what checks it
