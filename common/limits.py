"""All limits on user input. docs/limits.md is this table.

Larger input is refused (or, in a drawing, cut with a warning) before any work is done.
"""

from __future__ import annotations

from typing import NamedTuple

TEXT = 100_000
"""Characters of a schedule's curve, of a list of numbers, or of a prompt that is compared word by word."""
NUMBER = 64
"""Characters of one number in a text."""
CAPTIONS = 1_000_000
CURVE_POINTS = 10_000
SWEEP_VALUES = 64
SWEEP_EDITS = 100
SWEEP_PARTS = 100
PROMPT_TOKENS = 2_000

DRAWING_TEXT = 8_000_000
STROKES = 20_000
LAYERS = 32
POINTS = 100_000
SIDE = 16_384
DRAWING_PIXELS = 8_192 * 8_192
BRUSH_PIXELS = 5_000_000_000
GROW = 512
KERNEL_SIDE = 129

STEPS = 10_000


class Limit(NamedTuple):
    """One row of the table: where the limit applies, what it counts, and the maximum."""

    where: str
    what: str
    most: int


TABLE = (
    Limit("Stroke Canvas", "characters of a drawing", DRAWING_TEXT),
    Limit("Stroke Canvas", "strokes", STROKES),
    Limit("Stroke Canvas", "layers", LAYERS),
    Limit("Stroke Canvas", "points in all strokes together", POINTS),
    Limit("Stroke Canvas", "pixels per side", SIDE),
    Limit("Stroke Canvas", "pixels in total (8192 x 8192)", DRAWING_PIXELS),
    Limit("Stroke Canvas", "pixels the brush passes over, summed over all segments of all strokes", BRUSH_PIXELS),
    Limit("Stroke Canvas, Mask to Latent", "pixels to grow by", GROW),
    Limit("Measurement", "pixels per side of the kernel of a blur", KERNEL_SIDE),
    Limit("Path Schedule", "characters of a curve", TEXT),
    Limit("Path Schedule", "points of a connected CURVE", CURVE_POINTS),
    Limit("SDEdit Sweep", "values", SWEEP_VALUES),
    Limit("MDP Sweep", "edits: starts x lengths, or weights", SWEEP_EDITS),
    Limit("SDEdit Sweep, MDP Sweep, Join Sweeps", "parts", SWEEP_PARTS),
    Limit("MDP Attention", "tokens of a prompt", PROMPT_TOKENS),
    Limit("Train Map Predictor", "characters of all captions", CAPTIONS),
    Limit("Any node", "characters of a list of numbers or weights, or of a prompt that is compared", TEXT),
    Limit("Any node", "characters of one number in a text", NUMBER),
    Limit("Any node", "steps of sampling, or levels of a connected SIGMAS minus one", STEPS),
)
