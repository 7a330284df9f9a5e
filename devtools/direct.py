"""Calls the pack's nodes as functions, without a server: inside the pack, after `inprocess.load`."""

from __future__ import annotations

import asyncio
from typing import Any

from comfy_api.latest import io

from ..nodes import DiffusionPathExtension
from ..nodes.defaults import defaults

NODES: dict[str, Any] = {n.GET_SCHEMA().node_id: n for n in asyncio.run(DiffusionPathExtension().get_node_list())}
"""The node classes by their ids."""
SCHEMAS: dict[str, io.Schema] = {node_id: NODES[node_id].GET_SCHEMA() for node_id in sorted(NODES)}


def call(node_id: str, **given: Any) -> tuple[Any, ...]:
    """A node's outputs, what is not given at its default; a choice with inputs of its own by its name, or as a dict."""
    values = defaults(SCHEMAS[node_id].inputs) | given
    for each in SCHEMAS[node_id].inputs:
        if isinstance(each, io.DynamicCombo.Input):
            chosen = values.get(each.id, each.options[0].key)
            chosen = {each.id: chosen} if isinstance(chosen, str) else chosen
            (option,) = (option for option in each.options if option.key == chosen[each.id])
            values[each.id] = defaults(option.inputs) | chosen
    return NODES[node_id].execute(**values).args
