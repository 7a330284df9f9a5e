"""The rules of the house: what a finished node has, and which module may know which."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from functools import cache
from pathlib import Path

import pytest
from comfy_api.latest import io
from diffusion_path.devtools import locales
from diffusion_path.devtools.settings import OLDEST_COMFYUI
from diffusion_path.nodes import DiffusionPathExtension

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "folder",
    "nodes",
    "views",
    "common",
    "samplers",
    "gradients",
    "lep",
    "inverse",
    "images",
    "demo",
    "devtools",
    "benchmarks",
    "tests",
)
LONGEST_FILE = 450
LONGEST_FUNCTION = 80
MOST_PARAMETERS = 8
# Their parameters are decided by ComfyUI, which calls them, besides the `execute` of every node.
CALLED_BY_COMFYUI = {"sample", "sampler_sample", "muted", "sample_reverse_sde"}

# What each package of the pack may import of the others.
MAY_IMPORT = {
    "common": {"common"},
    "gradients": {"gradients"},
    "samplers": {"samplers", "gradients", "common"},
    "lep": {"lep", "samplers", "gradients", "images", "common"},
    "inverse": {"inverse", "samplers", "gradients", "images", "common"},
    "images": {"images", "samplers", "common"},
    "demo": {"demo", "samplers", "lep", "images", "common"},
    "views": {"views", "samplers", "lep", "images", "common"},
    "folder": {"folder", "nodes", "views", "samplers", "images", "demo", "common"},
    "nodes": {"nodes", "views", "samplers", "lep", "inverse", "images", "demo", "common"},
}
NODES = {node.GET_SCHEMA().node_id: node for node in asyncio.run(DiffusionPathExtension().get_node_list())}

every_node = pytest.mark.parametrize("node_id", sorted(NODES))


def schema(node_id: str) -> io.Schema:
    return NODES[node_id].GET_SCHEMA()


def python_files(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


@cache
def run_by_tests() -> set[str]:
    """Node ids and class names that tests run: what is called, or is looked up to be called; not what texts name."""
    found: set[str] = set()
    for path in python_files("tests"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "execute" and isinstance(node.value, ast.Name):
                found.add(node.value.id)
            given = (
                node.args[:1] if isinstance(node, ast.Call) else [node.slice] if isinstance(node, ast.Subscript) else []
            )
            found |= {each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return found


@cache
def nodes_in_examples() -> set[str]:
    workflows = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "example_workflows").glob("*.json")]
    return {node["type"] for workflow in workflows for node in workflow["nodes"]}


def test_node_ids_are_unique() -> None:
    ids = [node.GET_SCHEMA().node_id for node in asyncio.run(DiffusionPathExtension().get_node_list())]
    assert ids
    assert sorted(ids) == sorted(set(ids))


@every_node
def test_node_is_named_by_the_rules(node_id: str) -> None:
    assert re.fullmatch(r"DPath[A-Z][A-Za-z0-9]+", node_id)
    assert schema(node_id).display_name
    assert schema(node_id).description
    assert re.fullmatch(r"diffusion path/[a-z ]+", schema(node_id).category)


@every_node
def test_every_input_and_output_has_a_tooltip(node_id: str) -> None:
    items = [*schema(node_id).inputs, *schema(node_id).outputs]
    silent = [item.id or getattr(item, "display_name", None) or item.io_type for item in items if not item.tooltip]
    assert not silent


@every_node
def test_node_has_a_help_page_whose_pictures_exist(node_id: str) -> None:
    page = ROOT / "web" / "docs" / f"{node_id}.md"
    assert page.is_file()
    text = page.read_text(encoding="utf-8")
    assert len(text) > 200
    for target in re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", text):
        assert (page.parent / target).is_file(), f"{page.name} shows {target}, which is missing"


@every_node
def test_node_is_run_in_a_test(node_id: str) -> None:
    assert {node_id, NODES[node_id].__name__} & run_by_tests()


@every_node
def test_node_has_a_place_in_an_example_workflow(node_id: str) -> None:
    assert node_id in nodes_in_examples()


@every_node
def test_node_has_a_row_in_the_readme(node_id: str) -> None:
    rows = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert any(f"`{node_id}`" in row for row in rows)


def test_english_texts_are_those_of_the_nodes() -> None:
    written = locales.TARGET.read_text(encoding="utf-8") if locales.TARGET.exists() else ""
    assert written == locales.dumps(locales.node_definitions()), "run ./dev locales"


@pytest.mark.parametrize("path", sorted((ROOT / "example_workflows").glob("*.json")), ids=lambda path: path.stem)
def test_example_workflow_has_a_thumbnail_a_note_and_a_row_in_the_readme(path: Path) -> None:
    from PIL import Image

    with Image.open(path.with_suffix(".jpg")) as thumbnail:
        assert thumbnail.size == (512, 512)
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    assert {node["mode"] for node in nodes} <= {0, 2, 4}, "the page knows these modes of a node: run, mute, bypass"
    kinds = {node["type"] for node in nodes}
    assert kinds & {"Note", "MarkdownNote"}, "a note must say how to use one's own checkpoint"
    assert f"example_workflows/{path.name}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((ROOT / "subgraphs").glob("*.json")), ids=lambda path: path.stem)
def test_a_blueprint_takes_a_model_gives_a_picture_and_has_a_row_in_the_readme(path: Path) -> None:
    blueprint = json.loads(path.read_text(encoding="utf-8"))
    (node,), (inside,) = blueprint["nodes"], blueprint["definitions"]["subgraphs"]
    assert node["type"] == inside["id"]
    assert path.stem == inside["name"] == node["title"]
    assert [each["type"] for each in inside["inputs"][:3]] == ["MODEL", "CLIP", "VAE"]
    assert [each["type"] for each in inside["outputs"]] == ["IMAGE"]
    assert [each["name"] for each in node["inputs"]] == [each["name"] for each in inside["inputs"]]
    assert len(node["widgets_values"]) == sum("widget" in each for each in node["inputs"])
    assert blueprint["extra"]["BlueprintDescription"] == inside["description"]
    assert f"](<subgraphs/{path.name}>)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_too_long_to_hold_in_ones_head(package: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files(package)}
    assert not {str(path): length for path, length in lengths.items() if length > LONGEST_FILE}


def functions(*packages: str) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """With the file that each is in."""
    return [
        (str(path.relative_to(ROOT)), node)
        for path in python_files(*packages)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_no_function_is_too_long_to_hold_in_ones_head() -> None:
    lengths = {f"{file}: {node.name}": (node.end_lineno or 0) - node.lineno + 1 for file, node in functions(*PACKAGES)}
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}


def test_no_function_takes_more_than_a_call_can_show() -> None:
    long = set()
    for file, node in functions(*(package for package in PACKAGES if package != "tests")):
        given = node.args
        names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        if len([name for name in names if name not in ("self", "cls")]) > MOST_PARAMETERS:
            long.add(f"{file}: {node.name}")
    assert not {name for name in long if name.split(": ")[1] not in {"execute", *CALLED_BY_COMFYUI}}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_know_only_those_below_them(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {target}"
        for path in python_files(package)
        for target in packages_imported_by(path)
        if target not in MAY_IMPORT[package]
    ]
    assert not wrong


def test_images_know_of_the_samplers_only_what_a_mask_is() -> None:
    known = {
        f"{path.name}: {node.module}"
        for path in python_files("images")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level == 2
    }
    others = {entry.split(": ")[1] for entry in known}
    assert {name for name in others if name.split(".")[0] != "common"} == {"samplers.masks"}, sorted(known)


def test_the_embedded_model_is_known_to_its_own_nodes_and_the_metrics_alone() -> None:
    knowing = {path.name for path in python_files("nodes") if "demo" in packages_imported_by(path)}
    assert knowing <= {"demo.py", "metrics.py"}


def test_the_pack_prints_nothing() -> None:
    printing = [
        str(path.relative_to(ROOT))
        for path in python_files(
            "folder", "nodes", "views", "common", "samplers", "gradients", "lep", "inverse", "images"
        )
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not printing


def test_dependencies_are_the_same_for_the_registry_and_for_the_manager() -> None:
    needed = re.search(r"^dependencies = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert needed is not None
    assert json.loads(f"[{needed[1]}]") == (ROOT / "requirements.txt").read_text(encoding="utf-8").split()


def test_the_oldest_comfyui_promised_is_the_oldest_one_tested() -> None:
    promise = f'requires-comfyui = ">={OLDEST_COMFYUI}"'
    assert promise in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    assert f"ComfyUI {OLDEST_COMFYUI} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (".ci/run", ".github/workflows/test.yml", "CONTRIBUTING.md"):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert OLDEST_COMFYUI in text, f"{path} must test the oldest ComfyUI"


def packages_imported_by(path: Path) -> set[str]:
    """The packages of the pack that a file imports; relative imports only, since ComfyUI loads the pack by its path."""
    depth = len(path.relative_to(ROOT).parts) - 1
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        parts = (node.module or "").split(".")
        if node.level == depth + 1:
            found |= {parts[0]} if parts[0] else {alias.name for alias in node.names}
        elif node.level <= depth:
            found.add(path.relative_to(ROOT).parts[0])
    return found
