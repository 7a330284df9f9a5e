"""What the pack uses of ComfyUI, found in its own code: names with their signatures, one per line.

ComfyUI promises none of these to stay as they are, so a committed list of them (`tests/core_api.txt`) makes a change
visible as a line of a diff instead of as an error in somebody's workflow. `./dev snapshots` writes it with the ComfyUI
of the set-up; with another one (`--comfyui`) it only notes, below each line, what that one has instead:

    ComfyUI 0.30.0
    also read: 0.20.1, 0.33.0; what differs there is below each line
    comfy.sample.something(model, noise, seed=None)
        0.20.1: (model, noise)
        0.33.0: absent
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyui_version import __version__ as comfyui_version

from .settings import NEWEST_COMFYUI, ROOT

TARGET = ROOT / "tests" / "core_api.txt"
PACKAGES = ("nodes", "views", "samplers", "gradients", "lep", "images", "demo")
CORE = ("comfy", "comfy_api", "comfy_execution", "folder_paths", "latent_preview", "node_helpers", "nodes", "server")
# Objects that come through sockets or from factories: what the pack calls on them counts by its name alone.
RECEIVERS = (
    "comfy.model_patcher.ModelPatcher", "comfy.samplers.CFGGuider", "comfy.model_base.BaseModel",
    "comfy.model_sampling.ModelSamplingDiscrete", "comfy.model_sampling.ModelSamplingDiscreteFlow",
    "comfy.model_sampling.EPS", "comfy.model_sampling.CONST", "comfy.latent_formats.LatentFormat", "comfy.sd.VAE",
    "comfy.sd.CLIP", "comfy.utils.ProgressBar",
)  # fmt: skip
ABSENT, UNREAD = "absent", "not read yet"
_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]+>")


def source_files() -> list[Path]:
    """The code that runs inside a user's ComfyUI."""
    return [ROOT / "__init__.py", *sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))]


def listed() -> list[str]:
    """One line per function, class, method or constant of ComfyUI that the pack names."""
    names: set[str] = set()
    attributes: set[str] = set()
    for path in source_files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names |= set(names_used(tree))
        attributes |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | overridden(tree)
    lines = {line for name in names for line in [describe(name)] if line}
    for receiver in RECEIVERS:
        lines |= {describe(f"{receiver}.{name}") for name in own_methods(resolve(receiver)[1]) & attributes}
    return sorted(lines)


@dataclass
class Record:
    """The list as the file holds it: made with one version, compared with others."""

    version: str
    others: list[str]
    notes: dict[str, dict[str, str]]  # line -> other version -> what it has instead

    def __str__(self) -> str:
        text = [f"ComfyUI {self.version}"]
        text += [f"also read: {', '.join(self.others)}; what differs there is below each line"] if self.others else []
        for line, notes in self.notes.items():
            text += [line, *(f"    {version}: {notes[version]}" for version in self.others if version in notes)]
        return "\n".join(text) + "\n"

    def expected(self, version: str) -> dict[str, str]:
        """The names with what the version has of them: as listed, or as noted; without what was not read there."""
        lines = {line: notes.get(version) for line, notes in self.notes.items()}
        return {
            name_in(line): note or line.removeprefix(name_in(line)) for line, note in lines.items() if note != UNREAD
        }


def parsed(text: str) -> Record:
    """A file as `str(Record)` writes it."""
    first, *lines = text.splitlines()
    others: list[str] = []
    notes: dict[str, dict[str, str]] = {}
    for line in lines:
        if line.startswith("also read: "):
            others = line.removeprefix("also read: ").partition(";")[0].split(", ")
        elif line.startswith(" "):
            version, _, note = line.strip().partition(": ")
            notes[list(notes)[-1]][version] = note
        else:
            notes[line] = {}
    return Record(first.removeprefix("ComfyUI "), others, notes)


def recorded() -> Record:
    return parsed(TARGET.read_text(encoding="utf-8"))


def renewed(old: Record) -> Record:
    """The record after reading the ComfyUI at hand: a new list, or the notes of another version."""
    if comfyui_version == NEWEST_COMFYUI:
        others = [version for version in old.others if version != comfyui_version]
        unread = dict.fromkeys(others, UNREAD)
        return Record(comfyui_version, others, {line: old.notes.get(line, unread) for line in listed()})
    here = found(map(name_in, old.notes))
    notes = {}
    for line, known in old.notes.items():
        name = name_in(line)
        known = {version: note for version, note in known.items() if version != comfyui_version}
        same = here[name] == line.removeprefix(name)
        notes[line] = known if same else {**known, comfyui_version: here[name]}
    return Record(old.version, sorted({*old.others, comfyui_version}, key=numbers), notes)


def found(names: Iterable[str]) -> dict[str, str]:
    """Names with what the ComfyUI at hand has of them: `(parameters)`, `: type`, ` = value` or "absent"."""
    return {name: describe(name).removeprefix(name) if resolve(name)[0] == name else ABSENT for name in names}


def name_in(line: str) -> str:
    return re.split(r"[(: ]", line, maxsplit=1)[0]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def names_used(tree: ast.AST) -> Iterator[str]:
    """Dotted names of ComfyUI's in a module, with the imports resolved."""
    bound = imports(tree)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
            name = ast.unparse(node)
            root, dot, rest = name.partition(".")
            if root in bound and re.fullmatch(r"[\w.]+", name):
                yield bound[root] + dot + rest


def imports(tree: ast.AST) -> dict[str, str]:
    """What a module calls ComfyUI's modules and their parts: local name -> dotted name."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                if root in CORE:
                    bound[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] in CORE:
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return bound


def own_methods(kind: type) -> set[str]:
    """The public methods of a class of ComfyUI's, without what it inherits from PyTorch."""
    methods = inspect.getmembers(kind, inspect.isfunction)
    return {name for name, each in methods if each.__module__.partition(".")[0] in CORE and not name.startswith("_")}


def overridden(tree: ast.AST) -> set[str]:
    """Methods of classes with bases: core calls them, so their signatures are part of the contract too."""
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.bases)
    return {method.name for each in classes for method in each.body if isinstance(method, ast.FunctionDef)}


def resolve(name: str) -> tuple[str, Any]:
    """The longest prefix of a dotted name that is a module, or a part of one without state, and what it stands for."""
    found, value = [], None
    for part in name.split("."):
        try:
            value = getattr(value, part) if hasattr(value, part) else importlib.import_module(".".join([*found, part]))
        except ImportError:
            break
        found.append(part)
        if not inspect.ismodule(value) and not inspect.isclass(value):
            break
    return ".".join(found), value


def describe(name: str) -> str:
    """`name(parameters)` for what can be called, `name: type` or `name = value` for the rest, "" for modules."""
    found, value = resolve(name)
    if inspect.ismodule(value) or name.endswith("__"):
        return ""
    if isinstance(value, enum.Enum):
        return f"{found} = {value.value!r}"
    if isinstance(value, str) and found.rpartition(".")[2].isupper():
        return f"{found} = {value!r}"
    if inspect.isclass(value) and issubclass(value, enum.Enum | BaseException):
        return f"{found}: {value.__mro__[1].__name__}"
    return f"{found}{signature(value)}" if callable(value) else f"{found}: {type(value).__name__}"


def signature(function: Any) -> str:
    """Parameters and defaults without annotations, which change more often than what they describe."""
    try:
        known = inspect.signature(function)
    except (TypeError, ValueError):
        return "(...)"
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in known.parameters.values()]
    text = str(known.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    return _ADDRESS.sub("...", text)
