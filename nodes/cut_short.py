"""Results of interrupted runs: shown, but never served from the cache as if they were complete."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

from comfy_api.latest import io


class CutShort:
    """Counts the interrupted runs of each node of a class since ComfyUI started. The count serves as the node's
    fingerprint, so that an interrupted node runs again. The class must request `Hidden.unique_id`.

    A node whose result can be continued leaves it here, one per node, for its next run with the same inputs.
    """

    def __init__(self) -> None:
        self._counts: Counter[str | None] = Counter()
        self._left: dict[str | None, tuple[list[Any], Any]] = {}

    def note(self, node: type[io.ComfyNode], inputs: Any = None, result: Any = None) -> None:
        """Count an interrupted run. result: what the next run with these inputs can continue from."""
        self._counts[_id_of(node)] += 1
        if result is not None:
            self._left[_id_of(node)] = (_leaves(inputs), result)

    def take(self, node: type[io.ComfyNode], inputs: Any) -> Any:
        """What the node's last run left, if it was interrupted with the very same inputs; returned only once."""
        before, result = self._left.pop(_id_of(node), ([], None))
        return result if result is not None and _same(before, _leaves(inputs)) else None

    def count(self, node: type[io.ComfyNode]) -> int:
        return self._counts[_id_of(node)]


def _id_of(node: type[io.ComfyNode]) -> str | None:
    return node.hidden.unique_id if node.hidden else None


def _leaves(value: Any) -> list[Any]:
    """The contents of nested dictionaries and lists, with keys, in order: plain values and weak references."""
    if isinstance(value, dict):
        return [part for key, each in value.items() for part in (key, *_leaves(each))]
    if isinstance(value, (list, tuple)):
        return [part for each in value for part in _leaves(each)]
    try:
        return [weakref.ref(value)]
    except TypeError:
        return [value]


def _same(first: list[Any], second: list[Any]) -> bool:
    """Whether two such lists refer to the same objects, all of them still alive."""
    if len(first) != len(second):
        return False
    for a, b in zip(first, second, strict=True):
        if isinstance(a, weakref.ref) and isinstance(b, weakref.ref):
            if a() is None or a() is not b():
                return False
        elif type(a) is not type(b) or a != b:
            return False
    return True
