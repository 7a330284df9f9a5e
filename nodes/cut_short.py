"""Results of runs that an interrupt cut short: shown, but not taken from the cache for what was asked for."""

from __future__ import annotations

from collections import Counter

from comfy_api.latest import io


class CutShort:
    """How many runs of each node of a class were cut short since ComfyUI was started: its fingerprint, so that they run
    again. The class asks for `Hidden.unique_id`.
    """

    def __init__(self) -> None:
        self._counts: Counter[str | None] = Counter()

    def note(self, node: type[io.ComfyNode]) -> None:
        self._counts[_id_of(node)] += 1

    def count(self, node: type[io.ComfyNode]) -> int:
        return self._counts[_id_of(node)]


def _id_of(node: type[io.ComfyNode]) -> str | None:
    return node.hidden.unique_id if node.hidden else None
