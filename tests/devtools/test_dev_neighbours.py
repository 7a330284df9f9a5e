"""`./dev neighbours`: packs are found, differences are told, and replaced functions are seen."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.samplers
import numpy as np
import pytest
from diffusion_path.devtools import neighbours, recipes
from diffusion_path.devtools.neighbours import Trial, found_packs, report
from diffusion_path.devtools.settings import PACK_FOLDER, ROOT, DevError
from diffusion_path.devtools.witness import replaced
from diffusion_path.devtools.workflow import origins, shortened


def pack(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    return folder


def test_packs_are_found_alone_and_in_folders(tmp_path: Path) -> None:
    one, two = pack(tmp_path / "custom_nodes" / "one"), pack(tmp_path / "custom_nodes" / "two")
    pack(tmp_path / "custom_nodes" / PACK_FOLDER)
    pack(tmp_path / "custom_nodes" / ".hidden")
    assert found_packs([tmp_path / "custom_nodes", one]) == [one, two]
    assert found_packs([two]) == [two]
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DevError, match="There is no pack in"):
            found_packs([folder])


def test_what_changes_is_told_in_a_line_each() -> None:
    grey, other = np.full((4, 4, 3), 100), np.full((4, 4, 3), 100)
    other[0, 0, 0] = 103
    alone = Trial({"a": [grey], "b": [grey], "c": [grey], "d": "fails: x"}, {"comfy.f": "/core"}, [])
    beside = Trial({"a": [grey], "b": [other], "c": "fails: y", "d": "fails: x"}, {"comfy.f": "/core", "comfy.g": "/n"},
                   ["IMPORT FAILED: n"], {"n: mixed": "", "n: wrong": "fails: z"})  # fmt: skip
    lines, changed = report(alone, beside)
    assert changed == 3
    assert lines == [
        "could not be loaded: IMPORT FAILED: n",
        "replaced: comfy.g, by /n",
        "a: the same pictures",
        "b: other pictures, by up to 3 of 255",
        "c: fails: y (alone: works)",
        "d: the same pictures",
        "n: mixed: as it should be",
        "n: wrong: fails: z",
    ]
    assert neighbours._difference([grey], [grey, grey]) == "pictures of other sizes, or another number of them"


def test_a_replaced_function_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [Path(comfy.samplers.__file__).parent]
    names = [
        "comfy.samplers.calc_cond_batch",
        "comfy.samplers.KSAMPLER",
        "comfy.samplers.SAMPLER_NAMES",
        "nothing.here",
    ]
    assert replaced(names, known) == {}
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *_: None)
    assert list(replaced(names, known)) == names[:1]


def test_workflows_run_with_few_steps() -> None:
    prompt = {"1": {"inputs": {"steps": 50}}, "2": {"inputs": {"steps": ["1", 0]}}, "3": {"inputs": {"steps": 3}}}
    assert [node["inputs"]["steps"] for node in shortened(prompt).values()] == [6, ["1", 0], 3]


def test_each_workflow_of_the_trial_exists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def trial(_: object, packs: list[Path], workflows: list[Path]) -> Trial:
        seen.append((len(packs), len(workflows)))
        return Trial({path.stem: [] for path in workflows})

    monkeypatch.setattr(neighbours, "trial", trial)
    assert neighbours.run_neighbours(SimpleNamespace(), [pack(tmp_path / "n")], []) == 0
    assert seen == [(0, len(neighbours.USUAL)), (1, len(neighbours.USUAL))]


def test_recipes_are_whole() -> None:
    """With nodes of other packs that take and give anything, each makes a prompt whose links all lead somewhere."""
    ours = set(json.loads((ROOT / "tests" / "schemas.json").read_text(encoding="utf-8")))
    found = recipes.recipes()
    assert len(found) > 10
    for recipe in found:
        prompt = recipes.prompt_of(recipe, _Anything())
        assert {node["class_type"] for node in prompt.values() if node["class_type"].startswith("DPath")} <= ours
        assert {origin for node in prompt.values() for origin in origins(node)} <= prompt.keys()
        assert len(recipe.outputs) == 1 + recipe.alike, recipe.name


class _Anything(dict[str, Any]):
    """What a server would say of nodes that nobody has."""

    def __contains__(self, kind: object) -> bool:
        return True

    def __missing__(self, kind: str) -> dict[str, Any]:
        return {"input": {"required": {"steps": ["INT", {"default": 20}]}, "optional": {}}, "output": ["LATENT"] * 9}
