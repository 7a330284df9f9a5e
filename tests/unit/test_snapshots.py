"""What others rely on stays as it is, and so does what the pack relies on: a change shows as a line of a diff."""

from __future__ import annotations

import ast
import json

import pytest
from comfyui_version import __version__ as comfyui_version
from diffusion_path.devtools import core_api, schemas


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3])


def test_the_nodes_are_those_of_the_snapshot() -> None:
    """Before 0.1.0: `./dev snapshots`. From then on, new widgets go to the end; a rename needs an io.NodeReplace."""
    frozen = json.loads(schemas.TARGET.read_text(encoding="utf-8"))
    found = schemas.schemas()
    changed = sorted(name for name in frozen.keys() | found.keys() if frozen.get(name) != found.get(name))
    assert not changed, "saved workflows rely on these; if the change is meant, run ./dev snapshots"
    assert list(frozen) == list(found)


def test_what_the_pack_uses_of_comfyui_is_as_listed() -> None:
    version, *frozen = core_api.TARGET.read_text(encoding="utf-8").splitlines()
    recorded = numbers(version.removeprefix("ComfyUI "))
    if numbers(comfyui_version) < recorded:
        assert core_api.missing(frozen) == []
        pytest.skip(f"signatures are compared from ComfyUI {version} on; all names are there")
    found = core_api.listed()
    assert sorted(set(frozen) - set(found)) == [], "gone or changed; if the pack has followed, run ./dev snapshots"
    assert sorted(set(found) - set(frozen)) == [], "new or changed; run ./dev snapshots"


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
    assert core_api.missing(lines) == ["comfy.samplers.nothing", "comfy.nowhere.at_all"]
    assert core_api.describe("comfy.samplers.sampler_object") == "comfy.samplers.sampler_object(name)"
    assert core_api.describe("comfy.samplers") == ""
