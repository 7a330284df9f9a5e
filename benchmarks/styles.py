"""The worlds that the benchmarks know: the embedded one, and another to see whether settings found on it carry over."""

from __future__ import annotations

from pathlib import Path

from ..demo.training.style import PAINTED, Style
from . import paper

PAPER = Style(
    paper.render, Path(__file__).parent / "weights", (0.4, 8000, 3), 101, slice(110, 200), {"channel_mult": (1, 1, 2)},
    PAINTED.model,
)  # fmt: skip
STYLES = {"painted": PAINTED, "paper": PAPER}
"""By their names on the command line."""
