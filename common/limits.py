"""Every limit of the pack on what a user gives it, each a number that works. docs/limits.md is this table.

What is larger is refused (or, in a drawing, cut with a complaint) before any work is done with it.
"""

from __future__ import annotations

from typing import NamedTuple

TEXT = 100_000
"""Characters of a schedule's curve, of a list of numbers, of a prompt that is compared word by word."""
NUMBER = 64
"""Characters of one number in a text."""
CAPTIONS = 1_000_000
CURVE_POINTS = 10_000
SWEEP_VALUES = 64
SWEEP_EDITS = 100
PROMPT_TOKENS = 2_000

DRAWING_TEXT = 8_000_000
STROKES = 20_000
POINTS = 100_000
SIDE = 16_384
DRAWING_PIXELS = 8_192 * 8_192
BRUSH_PIXELS = 5_000_000_000
GROW = 512

STEPS = 10_000


class Limit(NamedTuple):
    """One row of the table: where it holds, what it counts, and how many at most."""

    where: str
    what: str
    most: int


TABLE = (
    Limit("Stroke Canvas", "characters of a drawing", DRAWING_TEXT),
    Limit("Stroke Canvas", "strokes", STROKES),
    Limit("Stroke Canvas", "points of all strokes together", POINTS),
    Limit("Stroke Canvas", "pixels of a side", SIDE),
    Limit("Stroke Canvas", "pixels of the picture (8192 x 8192)", DRAWING_PIXELS),
    Limit("Stroke Canvas", "pixels that the brush passes, summed over all pieces of all strokes", BRUSH_PIXELS),
    Limit("Stroke Canvas, Mask to Latent", "pixels to grow by", GROW),
    Limit("Path Schedule", "characters of a curve", TEXT),
    Limit("Path Schedule", "points of a connected CURVE", CURVE_POINTS),
    Limit("SDEdit Sweep", "values", SWEEP_VALUES),
    Limit("MDP Sweep", "edits: starts x lengths, or weights", SWEEP_EDITS),
    Limit("MDP Attention Control", "tokens of a prompt", PROMPT_TOKENS),
    Limit("Train Edge Predictor", "characters of all captions", CAPTIONS),
    Limit("Any node", "characters of a list of numbers, weights or a prompt that is compared", TEXT),
    Limit("Any node", "characters of one number in a text", NUMBER),
    Limit("Any node", "steps, and levels of a connected SIGMAS less one", STEPS),
)
