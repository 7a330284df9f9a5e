"""Prompts written by hand: only what matters for a test, the rest are the nodes' own defaults."""

from __future__ import annotations

from typing import Any

Info = dict[str, dict[str, Any]]
Link = list[Any]


class Graph:
    """Collects nodes; `graph.prompt` is what the API takes."""

    def __init__(self, object_info: Info) -> None:
        self._info = object_info
        self.prompt: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, **inputs: Any) -> Node:
        """Adds a node; widgets that are not given take their defaults."""
        groups = self._info[kind]["input"]
        values = {
            name: default(spec) for group in ("required", "optional") for name, spec in groups.get(group, {}).items()
        }
        values = {name: value for name, value in values.items() if value is not None} | inputs
        number = str(len(self.prompt) + 1)
        self.prompt[number] = {"class_type": kind, "inputs": values, "_meta": {"title": kind}}
        return Node(number)


class Node:
    """A node of a graph; `node[0]` is a link to its first output."""

    def __init__(self, number: str) -> None:
        self.number = number

    def __getitem__(self, slot: int) -> Link:
        return [self.number, slot]


def default(spec: list[Any]) -> Any:
    """The value a widget starts with; None for sockets."""
    options = spec[1] if len(spec) > 1 else {}
    if "default" in options:
        return options["default"]
    choices = spec[0] if isinstance(spec[0], list) else options.get("options") if spec[0] == "COMBO" else None
    return choices[0] if choices else None
