"""What `comfy node pack` puts into the registry's archive: all that users need, little else, and not much room."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 27_000_000  # bytes, of which 20 million are the embedded model: fp16 hardly compresses
RULES = [line for line in (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines() if line.startswith("/")]


@cache
def archived() -> list[str]:
    """The files in the archive: those that git tracks but for `.comfyignore`'s, whose rules here are all paths."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("This copy of the pack is not a git repository.")
    tracked = [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [name for name in tracked if not any(f"/{name}" == rule or _below(name, rule) for rule in RULES)]


def _below(name: str, rule: str) -> bool:
    return rule.endswith("/") and f"/{name}".startswith(rule)


def test_the_archive_is_small() -> None:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name in archived():
            archive.write(ROOT / name, name)
        sizes = {entry.filename: entry.compress_size for entry in archive.infolist()}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:20]
    assert len(buffer.getvalue()) < LARGEST, f"The largest files: {largest}"


def test_nothing_for_developers_is_in_the_archive() -> None:
    folders = {name.split("/")[0] for name in archived() if "/" in name}
    assert not folders & {"tests", "benchmarks", "devtools", "docs", ".ci", ".github"}
    assert not [name for name in archived() if name.startswith("demo/training/")]


def test_all_that_is_imported_is_in_the_archive() -> None:
    files = set(archived())
    python = [name for name in files if name.endswith(".py")]
    assert len(python) > 100
    missing = [f"{name}: {module}" for name in python for module in _modules(name) if not _in(files, module)]
    assert not missing


def _modules(name: str) -> set[str]:
    """The modules of the pack, as paths without an ending, from which a file imports something."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            place = Path(name).parents[node.level - 1]
            found.add((place / (node.module or "").replace(".", "/")).as_posix())
    return found


def _in(files: set[str], module: str) -> bool:
    return f"{module}.py" in files or f"{module}/__init__.py" in files or module == "."


def test_all_that_is_shown_is_in_the_archive() -> None:
    files = set(archived())
    help_pages = [name for name in files if re.fullmatch(r"web/docs/.*\.md", name)]
    assert help_pages
    shown = {
        f"web/docs/{target}"  # translated pages too: the page looks for their pictures there
        for page in help_pages
        for target in re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8"))
        if not target.startswith("/")
    }
    assert shown <= files
    unused = {name for name in files if name.startswith("web/docs/images/")} - shown
    assert not unused, "shown on no help page"
    for workflow in (name for name in files if re.fullmatch(r"example_workflows/.*\.json", name)):
        assert workflow.replace(".json", ".jpg") in files
    assert {f"demo/weights/{each.name}" for each in (ROOT / "demo" / "weights").iterdir()} <= files
