"""Calls the pack's nodes as functions, without a server: inside the pack, after `inprocess.load`."""

from __future__ import annotations

import asyncio
from typing import Any

from comfy_api.latest import io

from ..nodes import DiffusionPathExtension

NODES: dict[str, Any] = {n.GET_SCHEMA().node_id: n for n in asyncio.run(DiffusionPathExtension().get_node_list())}
"""The node classes by their ids."""
SCHEMAS: dict[str, io.Schema] = {node_id: NODES[node_id].GET_SCHEMA() for node_id in sorted(NODES)}


def call(node_id: str, **given: Any) -> tuple[Any, ...]:
    """A node's outputs, what is not given at its default."""
    defaults = {}
    for each in SCHEMAS[node_id].inputs:
        if getattr(each, "default", None) is not None:
            defaults[each.id] = each.default
        elif isinstance(each, io.Combo.Input) and not each.optional:
            defaults[each.id] = each.options[0]
    return NODES[node_id].execute(**{**defaults, **given}).args
