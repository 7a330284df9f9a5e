"""The settings of a folder's edit: those of the node that makes it, from a saved workflow and the command line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..common.texts import quoted
from ..nodes.defaults import filled
from ..nodes.gate import check_inputs

log = logging.getLogger(__name__)

OWN = {"model", "positive", "negative", "source", "latent", "guide", "mask", "vae"}
"""Inputs that come from the folder or from the command line."""


def settings_of(node: type[io.ComfyNode], workflow: Path | None, changes: Iterable[str] = ()) -> dict[str, Any]:
    """The node's widgets: its defaults, then those of a workflow, then changes such as "t0=0.6".

    Raises ValueError for anything that the node would refuse.
    """
    given = {} if workflow is None else widgets_of(node, workflow)
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"{quoted(change)} is no setting: write --set NAME=VALUE.")
        given[name.strip()] = _value(text.strip())
    inputs = node.GET_SCHEMA().inputs
    values = filled(inputs, given)
    check_inputs(tuple(each for each in inputs if each.id in values), values)
    return values


def widgets_of(node: type[io.ComfyNode], workflow: Path) -> dict[str, Any]:
    """The values of the only node of this kind in a workflow that was saved for the API; links are left out.

    Raises ValueError where there is no such node, or more than one.
    """
    schema = node.GET_SCHEMA()
    try:
        prompt = json.loads(workflow.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{workflow} is not JSON: give a workflow saved with File > Export (API).") from error
    nodes = [each for each in prompt.values() if isinstance(each, dict)] if isinstance(prompt, dict) else []
    found = [each["inputs"] for each in nodes if each.get("class_type") == schema.node_id and _is_inputs(each)]
    if len(found) != 1:
        raise ValueError(
            f"{workflow} has {len(found)} nodes of the kind {schema.display_name}: give a workflow with one, saved "
            "with File > Export (API)."
        )
    linked = sorted(name for name, value in found[0].items() if isinstance(value, list) and name not in OWN)
    if linked:
        log.warning("%s: %s come through links, which are not followed", workflow, ", ".join(linked))
    return {name: value for name, value in found[0].items() if not isinstance(value, list)}


def _is_inputs(node: dict[str, Any]) -> bool:
    return isinstance(node.get("inputs"), dict)


def _value(text: str) -> Any:
    """A number, true, false or a text in quotes as JSON has them; else the text itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (bool, int, float, str)) else text
