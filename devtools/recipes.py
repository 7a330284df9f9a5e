"""Graphs in which nodes of other packs and ours work together, for `./dev neighbours`: those of `tests/neighbours/`.

Each file there is named like a pack's repository, and says where the pack is from and by which node it is known. A
recipe adds nodes, as [type, inputs], to those of `base.json`; inputs that are not given keep their defaults. It also
names outputs, LATENTs or IMAGEs: `alike` if they have to give the same picture, `runs` if any picture will do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .client import Prompt
from .settings import ROOT
from .workflow import Info, origins, with_defaults

FOLDER = ROOT / "tests" / "neighbours"
_BASE = FOLDER / "base.json"
_SHOWN = " shown"
Nodes = dict[str, list[Any]]


@dataclass(frozen=True)
class Recipe:
    """A mixed graph. outputs: links by the names of what is looked at; alike: whether these have to be the same."""

    pack: str
    known_by: str
    name: str
    nodes: Nodes
    outputs: dict[str, list[Any]]
    alike: bool


def recipes() -> list[Recipe]:
    """All recipes, pack by pack."""
    found = []
    for file in sorted(set(FOLDER.glob("*.json")) - {_BASE}):
        given = _read(file)
        for each in given["recipes"]:
            outputs = each.get("alike") or each["runs"]
            found.append(Recipe(file.stem, given["known_by"], each["name"], each["nodes"], outputs, "alike" in each))
    return found


def prompt_of(recipe: Recipe, info: dict[str, Info]) -> Prompt:
    """The prompt that shows each output, by a node of its name and `_SHOWN`; without what none of them needs.

    Raises ValueError if the server lacks a node.
    """
    nodes: Nodes = {**_read(_BASE), **recipe.nodes}
    for name, link in recipe.outputs.items():
        picture = link
        if _output(nodes, link, info) == "LATENT":
            nodes[f"{name} decoded"] = ["VAEDecode", {"samples": link, "vae": ["demo", 2]}]
            picture = [f"{name} decoded", 0]
        nodes[name + _SHOWN] = ["PreviewImage", {"images": picture}]
    prompt: Prompt = {}
    waiting = [name + _SHOWN for name in recipe.outputs]
    while waiting:
        name = waiting.pop()
        kind, inputs = nodes[name]
        prompt[name] = {"class_type": kind, "inputs": with_defaults(_known(kind, info), inputs)}
        waiting += sorted(origins(prompt[name]) - prompt.keys())
    return prompt


def shown(recipe: Recipe, outputs: dict[str, dict[str, list[Any]]]) -> list[list[Any]]:
    """The references to the pictures of each output, as the history has them."""
    return [outputs[name + _SHOWN]["images"] for name in recipe.outputs]


def _output(nodes: Nodes, link: list[Any], info: dict[str, Info]) -> str:
    return _known(nodes[link[0]][0], info)["output"][link[1]]


def _known(kind: str, info: dict[str, Info]) -> Info:
    if kind not in info:
        raise ValueError(f"the server has no node {kind}")
    return info[kind]


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
