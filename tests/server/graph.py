"""Prompts written by hand: only what matters for a test, the rest are the nodes' own defaults."""

from __future__ import annotations

from typing import Any

from diffusion_path.devtools.workflow import with_defaults

Info = dict[str, dict[str, Any]]
Link = list[Any]


class Graph:
    """Collects nodes; `graph.prompt` is what the API takes."""

    def __init__(self, object_info: Info) -> None:
        self._info = object_info
        self.prompt: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, **inputs: Any) -> Node:
        """Adds a node; widgets that are not given take their defaults."""
        values = with_defaults(self._info[kind], inputs)
        number = str(len(self.prompt) + 1)
        self.prompt[number] = {"class_type": kind, "inputs": values, "_meta": {"title": kind}}
        return Node(number)


class Node:
    """A node of a graph; `node[0]` is a link to its first output."""

    def __init__(self, number: str) -> None:
        self.number = number

    def __getitem__(self, slot: int) -> Link:
        return [self.number, slot]
