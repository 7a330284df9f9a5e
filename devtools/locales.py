"""Writes `locales/en/nodeDefs.json` from the nodes themselves, so that names and tooltips are kept in one place.

Run inside the pack: `python devtools/inprocess.py devtools.locales`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from comfy_api.latest import io

from ..nodes import DiffusionPathExtension
from .settings import ROOT

TARGET = ROOT / "locales" / "en" / "nodeDefs.json"


def node_definitions() -> dict[str, dict[str, Any]]:
    """The English names and tooltips of all nodes, in the form the page looks them up."""
    nodes = asyncio.run(DiffusionPathExtension().get_node_list())
    return dict(sorted((node.GET_SCHEMA().node_id, _definition(node.GET_SCHEMA())) for node in nodes))


def _definition(schema: io.Schema) -> dict[str, Any]:
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {item.id: _text(item.display_name or item.id, item.tooltip) for item in schema.inputs},
        "outputs": {
            str(index): _text(item.display_name or item.id or item.io_type, item.tooltip)
            for index, item in enumerate(schema.outputs)
        },
    }


def _text(name: str, tooltip: str | None) -> dict[str, str]:
    return {"name": name, "tooltip": tooltip} if tooltip else {"name": name}


def dumps(definitions: dict[str, dict[str, Any]]) -> str:
    return json.dumps(definitions, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(dumps(node_definitions()), encoding="utf-8")
    print(f"Wrote {TARGET.relative_to(ROOT)}")
