"""All that `./dev` says."""

from __future__ import annotations

import sys


def say(text: object = "", end: str = "\n", error: bool = False) -> None:
    """Writes a text for the person at the terminal, at once, so that it keeps its place among what processes say."""
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{text}{end}")
    stream.flush()
