"""What others rely on stays as it is, and so does what the pack relies on: a change shows as a line of a diff."""

from __future__ import annotations

import ast
import json

import pytest
from comfyui_version import __version__ as comfyui_version
from diffusion_path.devtools import core_api, schemas
from diffusion_path.devtools.settings import COMFYUI_ARCHIVES, NEWEST_COMFYUI


def test_the_nodes_are_those_of_the_snapshot() -> None:
    """Before 0.1.0: `./dev snapshots`. From then on, new widgets go to the end; a rename needs an io.NodeReplace."""
    frozen = json.loads(schemas.TARGET.read_text(encoding="utf-8"))
    found = schemas.schemas()
    changed = sorted(name for name in frozen.keys() | found.keys() if frozen.get(name) != found.get(name))
    assert not changed, "saved workflows rely on these; if the change is meant, run ./dev snapshots"
    assert list(frozen) == list(found)


def test_what_the_pack_uses_of_comfyui_is_as_listed() -> None:
    """Signatures in other versions too; one that was never read is compared with the list itself."""
    record = core_api.recorded()
    if comfyui_version == record.version:
        assert sorted(core_api.listed()) == sorted(record.notes), "new, gone or changed; run ./dev snapshots"
    expected = record.expected(comfyui_version)
    found = core_api.found(expected)
    changed = {name: found[name] for name in expected if found[name] != expected[name]}
    assert changed == {}, f"gone or changed; if the pack copes, run ./dev snapshots with ComfyUI {comfyui_version}"


def test_the_pack_calls_nothing_that_a_tested_version_lacks() -> None:
    """What comes through sockets counts by its name: one of the classes that it may be of must have it."""
    record = core_api.recorded()
    for version in record.others:
        has = {core_api.name_in(line): notes.get(version) != "absent" for line, notes in record.notes.items()}
        methods = {name for name in has if name.rpartition(".")[0] in core_api.RECEIVERS}
        known = {name.rpartition(".")[2] for name in methods if has[name]}
        lacking = {name for name in has if not has[name]}
        assert {name for name in lacking if name not in methods or name.rpartition(".")[2] not in known} == set()
    assert set(COMFYUI_ARCHIVES) <= {record.version, *record.others}


def test_the_record_keeps_what_it_knows_of_other_versions() -> None:
    text = (
        "ComfyUI 0.30.0\nalso read: 0.9.1; what differs there is below each line\n"
        "comfy.samplers.gone(model)\n    0.9.1: (model, seed)\ncomfy.samplers.sampler_object(name)\n"
    )
    record = core_api.parsed(text)
    assert str(record) == text
    assert record.expected("0.9.1") == {
        "comfy.samplers.gone": "(model, seed)", "comfy.samplers.sampler_object": "(name)"
    }  # fmt: skip
    assert record.expected("0.30.0")["comfy.samplers.gone"] == "(model)"


def test_another_version_adds_its_notes_and_the_own_one_renews_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["comfy.samplers.gone(model)", "comfy.samplers.sampler_object(title)", "comfy.samplers.Sampler()"]
    record = core_api.Record("0.30.0", ["0.9.1"], {line: {"0.9.1": "(old)"} for line in lines})
    monkeypatch.setattr(core_api, "comfyui_version", "0.31.0")
    other = core_api.renewed(record)
    assert other.others == ["0.9.1", "0.31.0"]
    assert [notes.get("0.31.0") for notes in other.notes.values()] == ["absent", "(name)", None]
    monkeypatch.setattr(core_api, "comfyui_version", NEWEST_COMFYUI)
    monkeypatch.setattr(core_api, "listed", lambda: [lines[2], "comfy.samplers.sampler_object(name)"])
    own = core_api.renewed(other)
    assert own.notes[lines[2]] == {"0.9.1": "(old)"}
    assert own.notes["comfy.samplers.sampler_object(name)"] == {"0.9.1": "not read yet", "0.31.0": "not read yet"}
    assert "comfy.samplers.sampler_object" not in own.expected("0.9.1")


def test_names_are_found_through_every_way_to_import_them() -> None:
    code = """
import comfy.samplers as s
import folder_paths
from comfy_api.latest import io as core
import numpy as np
s.sampler_object("euler"); folder_paths.models_dir; np.zeros(3)
class Mine(core.ComfyNode):
    def predict_noise(self): ...
"""
    tree = ast.parse(code)
    assert sorted(set(core_api.names_used(tree))) == [
        "comfy.samplers.sampler_object",
        "comfy_api.latest.io.ComfyNode",
        "folder_paths.models_dir",
    ]
    assert core_api.overridden(tree) == {"predict_noise"}


def test_what_comfyui_lacks_is_named() -> None:
    lines = ["comfy.samplers.nothing(model)", "comfy.samplers.sampler_object(name)", "comfy.nowhere.at_all: int"]
    assert list(core_api.found(map(core_api.name_in, lines)).values()) == ["absent", "(name)", "absent"]
    assert core_api.describe("comfy.samplers.sampler_object") == "comfy.samplers.sampler_object(name)"
    assert core_api.describe("comfy.samplers") == ""
