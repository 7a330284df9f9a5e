"""All that `./dev` says: lines of text, and one line that is written over where there is a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO


def say(text: object = "", end: str = "\n", error: bool = False) -> None:
    """Writes a text for the person at the terminal, at once, so that it keeps its place among what processes say."""
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{text}{end}")
    stream.flush()


class StatusLine:
    """Shows what is going on now. `update` overwrites the line, `done` leaves the line and ends it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self._drawn = 0.0

    def update(self, text: str) -> None:
        """Draws `text` if a terminal is there, at most ten times a second."""
        now = time.monotonic()
        if self.live and now - self._drawn > 0.1:
            self._drawn = now
            self._write("\r\x1b[2K" + self._fit(text))

    def done(self, text: str) -> None:
        """Ends the line with `text`, which is what stays to read."""
        self._write(("\r\x1b[2K" if self.live else "") + text + "\n")

    def clear(self) -> None:
        """Removes the line."""
        if self.live:
            self._write("\r\x1b[2K")

    def _fit(self, text: str) -> str:
        return text[: shutil.get_terminal_size().columns - 1]

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
