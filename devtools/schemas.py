"""What saved workflows rely on: ids, types, order and defaults of every node's inputs and outputs.

`./dev snapshots` writes it, and what the pack relies on (core_api.py), for tests to compare with; with another ComfyUI
than the set-up's it only adds to the latter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import comfy.samplers
import folder_paths
from comfy_api.latest import io
from comfyui_version import __version__ as comfyui_version

from . import core_api
from .console import say
from .direct import SCHEMAS
from .settings import NEWEST_COMFYUI, ROOT

TARGET = ROOT / "tests" / "schemas.json"
_KEPT = ("default", "min", "max", "step", "multiline")


def schemas() -> dict[str, dict[str, list[str]]]:
    """The nodes by their ids; inputs in the order in which workflows store their widgets."""
    return {
        node_id: {
            "inputs": [line for item in schema.inputs for line in _lines(item)],
            "outputs": [f"{item.display_name or 'unnamed'}: {item.get_io_type()}" for item in schema.outputs],
        }
        for node_id, schema in SCHEMAS.items()
    }


def _lines(item: Any, prefix: str = "") -> Iterator[str]:
    """`id: TYPE [optional] setting=value ...` on one line, so that a diff of the file reads well."""
    options = item.as_dict()
    parts = [f"{prefix}{item.id}: {item.get_io_type()}"]
    parts += ["optional"] if item.optional else []
    parts += [f"{key}={options[key]!r}" for key in _KEPT if key in options]
    nested = item.options if isinstance(item, io.DynamicCombo.Input) else []
    if nested:
        parts.append(f"options={json.dumps([option.key for option in nested])}")
    elif options.get("options") is not None:
        parts.append(f"options={_options(list(options['options']))}")
    yield " ".join(parts)
    for option in nested:
        for inner in option.inputs:
            yield from _lines(inner, f"{prefix}{item.id}[{option.key}].")


def _options(options: list[str]) -> str:
    """The choices, or whose they are where ComfyUI or the user's disk decides."""
    if options == list(comfy.samplers.SAMPLER_NAMES):
        return "ComfyUI's samplers"
    if options == list(comfy.samplers.SCHEDULER_NAMES):
        return "ComfyUI's schedulers"
    files = {tuple(folder_paths.get_filename_list(name)) for name in folder_paths.folder_names_and_paths}
    return "files" if tuple(options) in files else json.dumps(options)


def dumps(found: dict[str, dict[str, list[str]]]) -> str:
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if comfyui_version == NEWEST_COMFYUI:
        TARGET.write_text(dumps(schemas()), encoding="utf-8")
        say(f"Wrote {TARGET.relative_to(ROOT)}")
    core_api.TARGET.write_text(str(core_api.renewed(core_api.recorded())), encoding="utf-8")
    say(f"Wrote what ComfyUI {comfyui_version} has to {core_api.TARGET.relative_to(ROOT)}")
