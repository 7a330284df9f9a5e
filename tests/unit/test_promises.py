"""The promises of docs/promises.md that no other test keeps: what 0.1.0 has and gives, and what the code never does."""

from __future__ import annotations

import ast
import copy
import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from diffusion_path.devtools import schemas
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.tests.unit import golden
from diffusion_path.tests.unit.test_house import MAY_IMPORT, python_files

ROOT = Path(__file__).resolve().parents[2]
Nodes = dict[str, dict[str, list[str]]]
NUMBERS = json.loads(golden.NUMBERS.read_text(encoding="utf-8"))
REPLACED: set[str] = set()
"""Node ids of 0.1.0 that an io.NodeReplace leads to other nodes; a test of each belongs here."""
LINE = re.compile(
    r"(?P<id>\S+): (?P<type>\S+)(?P<optional> optional)?.*?(?: options=(?P<options>\[.*\]|.*))?$", re.DOTALL
)


def broken_for_workflows(old: Nodes, new: Nodes) -> list[str]:
    """What a workflow saved with the old nodes cannot rely on with the new ones.

    A page saves widgets in their order and links by their places: both stay, and what is new follows and is optional.
    """
    found = []
    for node_id in sorted(old.keys() - REPLACED):
        if node_id not in new:
            found.append(f"{node_id} is gone")
            continue
        before, after = (_choices(nodes[node_id]["inputs"]) for nodes in (old, new))
        for choice in before:
            if choice not in after:
                found.append(f"{node_id}{choice} is gone")
                continue
            pairs = list(zip(before[choice], after[choice], strict=False))
            found += [f"{node_id}{choice}.{a['id']} became {b['id']}" for a, b in pairs if _differ(a, b)]
            found += [f"{node_id}{choice}.{a['id']} is gone" for a in before[choice][len(after[choice]) :]]
            found += [f"{node_id}{choice}.{b['id']} is required" for b in after[choice][len(before[choice]) :]
                      if not b["optional"]]  # fmt: skip
        outputs = old[node_id]["outputs"]
        if new[node_id]["outputs"][: len(outputs)] != outputs:
            found.append(f"the outputs of {node_id} have changed")
    return found


def _choices(lines: list[str]) -> dict[str, list[dict[str, str]]]:
    """Inputs in their order: those of the node under "", those of each option of a choice under "id[option]"."""
    groups: dict[str, list[dict[str, str]]] = {"": []}
    for line in lines:
        choice, dot, rest = line.partition("].")
        name = f"{choice}]" if dot and re.match(r"\S+\[", choice) else ""
        match = LINE.match(rest if name else line)
        assert match is not None
        groups.setdefault(name, []).append(match.groupdict(default=""))
    return groups


def _differ(old: dict[str, str], new: dict[str, str]) -> bool:
    """Whether an input is another one, takes other types, has lost an option, or is required now."""
    if (old["id"], old["type"]) != (new["id"], new["type"]) or (old["optional"] and not new["optional"]):
        return True
    if not old["options"].startswith("["):
        return old["options"] != new["options"]
    return not set(json.loads(old["options"])) <= set(json.loads(new["options"]))


def test_a_workflow_of_0_1_0_opens() -> None:
    old = json.loads(golden.NODES.read_text(encoding="utf-8"))
    assert broken_for_workflows(old, schemas.schemas()) == []


def test_what_would_break_a_workflow_is_found() -> None:
    old: Nodes = {"A": {"inputs": ["m: MODEL", "k: COMBO options=[\"x\", \"y\"]", "c: CHOICE options=[\"o\"]",
                                   "c[o].n: INT default=1"], "outputs": ["IMAGE: IMAGE"]}}  # fmt: skip
    assert broken_for_workflows(old, old) == []
    longer = copy.deepcopy(old)
    longer["A"]["inputs"] += ["s: SIGMAS optional", "c[o].f: FLOAT optional"]
    longer["A"]["inputs"][1] = 'k: COMBO options=["z", "x", "y"]'
    longer["A"]["outputs"].append("report: STRING")
    longer["B"] = old["A"]
    assert broken_for_workflows(old, longer) == []
    for place, line, words in (
        (0, "model: MODEL", "A.m became model"),
        (1, 'k: COMBO options=["x"]', "A.k became k"),
        (3, "c[o].n: FLOAT default=1", "Ac[o].n became n"),
        (3, "c[p].n: INT default=1", "Ac[o] is gone"),
    ):
        changed = copy.deepcopy(old)
        changed["A"]["inputs"][place] = line
        assert broken_for_workflows(old, changed) == [words]
    longer["A"]["inputs"].append("d: INT default=1")
    assert broken_for_workflows(old, longer) == ["A.d is required"]
    assert broken_for_workflows(old, {"A": {**old["A"], "outputs": []}}) == ["the outputs of A have changed"]
    assert broken_for_workflows(old, {}) == ["A is gone"]


@pytest.mark.parametrize("name", golden.PLACES)
def test_each_method_gives_the_numbers_of_0_1_0(name: str) -> None:
    runs = golden.runs_on(name)
    assert NUMBERS[name].keys() == runs.keys()
    with torch.inference_mode():
        place = golden.PLACES[name]()
        other = {}
        for label, run in runs.items():
            found, wanted = golden.summary(run(place)), NUMBERS[name][label]
            if not torch.allclose(torch.tensor(found), torch.tensor(wanted), rtol=0.0, atol=place.tolerance):
                other[label] = found
    assert other == {}


def test_files_of_0_1_0_open_and_give_the_same_numbers(tmp_path: Path) -> None:
    for label, found in golden.of_files().items():
        assert found == pytest.approx(NUMBERS["files"][label], abs=1e-4), label
    for method in golden.INVERSIONS:
        old = load_path(golden.path_file(method))
        save_path(old, tmp_path / "again.safetensors")
        assert torch.equal(load_path(tmp_path / "again.safetensors").states, old.states)


@cache
def of_users() -> list[tuple[str, ast.AST]]:
    """Every part of the code that users run: all packages but the tools, and of the demo what the nodes need."""
    files = {path.relative_to(ROOT).as_posix(): path for path in python_files(*MAY_IMPORT)}
    return [
        (name, node)
        for name, path in files.items()
        if not name.startswith("demo/training/")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]


def modules_of(node: ast.AST) -> set[str]:
    """The packages that an import of other code names."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom) and node.level == 0 else set()


def calls(node: ast.AST) -> str:
    """The name that a call has last: `write_text` of `file.write_text(...)`."""
    if not isinstance(node, ast.Call):
        return ""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def test_nothing_opens_a_connection_or_another_program() -> None:
    network = {"socket", "ssl", "urllib", "http", "ftplib", "smtplib", "requests", "aiohttp", "httpx", "websockets",
               "huggingface_hub", "subprocess", "multiprocessing", "ctypes", "webbrowser"}  # fmt: skip
    found = {f"{name}: {module}" for name, node in of_users() for module in modules_of(node) & network}
    assert found == set()
    assert [name for name, node in of_users() if calls(node) in ("system", "popen", "load_state_dict_from_url")] == []


def test_no_code_comes_from_a_file() -> None:
    opening = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "runpy"}
    assert {name for name, node in of_users() if modules_of(node) & opening} == set()
    for name, node in of_users():
        function = node.func if isinstance(node, ast.Call) else None
        if isinstance(function, ast.Name):
            assert function.id not in ("eval", "exec", "compile", "__import__"), name
        if isinstance(function, ast.Attribute) and ast.unparse(function) == "torch.load":
            assert "weights_only=True" in ast.unparse(node), name


def test_files_are_written_in_one_place() -> None:
    """samplers/files.py; what writes through it gets its path from there. Folders are made in two more places."""
    writing = {"write_text", "write_bytes", "unlink", "rmtree", "replace_file", "rename", "touch", "symlink_to",
               "hardlink_to", "copyfile", "copy2", "copytree", "move", "mkdir", "rmdir", "removedirs", "mkstemp",
               "mkdtemp", "NamedTemporaryFile", "savefig", "savez", "tofile", "imsave", "imwrite"}  # fmt: skip
    through_it = {
        "save_file": {"samplers/path_file.py", "lep/checkpoint.py"},
        "save": {"folder/work.py", "gradients/saved_tensors.py"},  # the latter keeps a tensor in memory
        "makedirs": {"nodes/folders.py", "samplers/path_storage.py"},
        "TemporaryFile": {"samplers/path_storage.py"},  # has no name
    }
    for name, node in of_users():
        called = calls(node)
        if name == "samplers/files.py" or not called:
            continue
        assert called not in writing, f"{name} writes by {called}"
        assert name in through_it.get(called, {name}), f"{name} writes by {called}"
        if called == "open" and isinstance(node, ast.Call):
            assert set(re.findall(r"'([rwxab+t]{1,3})'", ast.unparse(node))) <= {"r", "rb"}, name
