"""Results of runs that an interrupt cut short: shown, but not taken from the cache for what was asked for."""

from __future__ import annotations


class CutShort:
    """How many runs of a node were cut short since ComfyUI was started: its fingerprint, so that they run again."""

    def __init__(self) -> None:
        self.count = 0

    def note(self) -> None:
        self.count += 1
