"""A pack of one node for `./dev neighbours`: it tells which functions of ComfyUI others have replaced by now."""

from __future__ import annotations

import importlib
import inspect
import json
import sysconfig
from pathlib import Path
from typing import Any

import folder_paths


def resolved(name: str) -> Any:
    """What a dotted name stands for; None where there is nothing."""
    found = None
    for end in range(len(name.split(".")), 0, -1):
        parts = name.split(".")
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        break
    return found


def replaced(names: list[str], known: list[Path]) -> dict[str, str]:
    """The functions and classes among these names that come from files outside of the known folders."""
    found = {}
    for name in names:
        value = resolved(name)
        try:
            file = Path(inspect.getfile(inspect.unwrap(value)) if value is not None else "").resolve()
            outer = Path(inspect.getfile(value) if value is not None else "").resolve()
        except (TypeError, ValueError):  # no function, or one without a file
            continue
        for each in (outer, file):
            if value is not None and not any(each.is_relative_to(folder) for folder in known):
                found[name] = str(each)
                break
    return found


class Witness:
    """Takes a file with a name on each line, and shows those that have been replaced as JSON."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    CATEGORY = "development"
    FUNCTION = "look"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"names": ("STRING", {"default": "[]"}), "turn": ("INT", {"default": 0})}}

    def look(self, names: str, turn: int) -> dict[str, Any]:
        home = Path(folder_paths.__file__).resolve().parent
        known = [home / part for part in ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "app", "utils")]
        known += [
            Path(path).resolve() for key, path in sysconfig.get_paths().items() if "lib" in key or "stdlib" in key
        ]
        known += sorted(home.glob("*.py"))
        return {"ui": {"text": [json.dumps(replaced(json.loads(names), known))]}}


NODE_CLASS_MAPPINGS = {"DiffusionPathWitness": Witness}
