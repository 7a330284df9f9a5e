"""Where a thing is in each frame of an animation: positions, rotation and scale at a few times, and all in between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..common.texts import check_length, quoted, read_number, words_of
from .strokes_document import read_drawing

Easing = Literal["smooth", "linear"]
EASINGS: tuple[Easing, ...] = ("smooth", "linear")
_SCALES = (0.01, 100.0)
_FARTHEST = 1e6
_LINES = ("brush", "line")
EXAMPLE = "0: 0 0; 1: 64 0"


@dataclass(frozen=True)
class Pose:
    """How far a thing has moved (pixels to the right and down), turned (degrees, clockwise) and grown (a factor)."""

    right: float = 0.0
    down: float = 0.0
    turn: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Key:
    """A pose at a time, 0 = the first frame and 1 = the last."""

    time: float
    pose: Pose


def read_keys(text: str) -> list[Key]:
    """Keys from text like "0: 0 0; 0.5: 40 -10 15; 1: 64 0 30 1.5", a line or a semicolon between two.

    Each is time: right down [turn [scale]]. Raises ValueError for text that is not such a list, and for times that do
    not rise.
    """
    check_length(text, "moves")
    keys: list[Key] = []
    for part in text.replace("\n", ";").split(";"):
        if not part.strip():
            continue
        time, _, rest = part.partition(":")
        numbers = [read_number(word) for word in (time.strip(), *words_of(rest))]
        if not 3 <= len(numbers) <= 5 or None in numbers:
            raise ValueError(
                f"The moves cannot be read at {quoted(part.strip())}: write time: right down, then degrees and a scale "
                f"if you like, such as '{EXAMPLE} 15 1.2'."
            )
        at, *pose = (float(number) for number in numbers if number is not None)
        keys.append(Key(at, Pose(*pose)))
        if not 0.0 <= at <= 1.0 or (len(keys) > 1 and at <= keys[-2].time):
            raise ValueError(
                f"The moves have the time {at:g} at {quoted(part.strip())}: times rise from 0 (first frame) to 1 "
                "(last frame)."
            )
        _check(keys[-1].pose, part)
    if not keys:
        raise ValueError(f"The moves are empty: write time: right down, such as '{EXAMPLE}'.")
    return keys


def _check(pose: Pose, part: str) -> None:
    if not _SCALES[0] <= pose.scale <= _SCALES[1]:
        raise ValueError(
            f"The moves have the scale {pose.scale:g} at {quoted(part.strip())}: give {_SCALES[0]:g} to "
            f"{_SCALES[1]:g}, where 1 is the size in the picture."
        )
    if max(abs(pose.right), abs(pose.down), abs(pose.turn)) > _FARTHEST:
        raise ValueError(f"The moves go too far at {quoted(part.strip())}: give numbers up to {_FARTHEST:g}.")


def poses(keys: Sequence[Key], frames: int, easing: Easing = "smooth") -> list[Pose]:
    """The pose in each of `frames` frames.

    linear: straight from key to key. smooth: a cubic spline through the keys that starts and stops gently. Before the
    first key and after the last one the thing stands still. Scales are interpolated as their logarithms.
    """
    times = np.array([key.time for key in keys])
    values = np.array(
        [(key.pose.right, key.pose.down, key.pose.turn, math.log(key.pose.scale)) for key in keys]
    )  # [keys, 4]
    at = np.clip(np.linspace(0.0, 1.0, frames), times[0], times[-1])
    if len(keys) == 1:
        between = np.repeat(values, frames, axis=0)
    elif easing == "smooth":
        from scipy.interpolate import CubicSpline

        between = CubicSpline(times, values, bc_type="clamped")(at)
    else:
        between = np.stack([np.interp(at, times, column) for column in values.T], axis=1)
    return [Pose(right, down, turn, math.exp(size)) for right, down, turn, size in between.tolist()]


def last_line(text: str, width: int, height: int) -> list[tuple[float, float]]:
    """The last sketch line of a drawing, in pixels of a picture of this size; raises ValueError if it has none."""
    drawing = read_drawing(text)
    sketches = {layer.id for layer in drawing.layers if layer.kind == "sketch" and not layer.hidden}
    lines = [stroke.paths[0] for stroke in drawing.strokes if stroke.layer in sketches and stroke.tool in _LINES]
    if not lines:
        raise ValueError("The drawing has no sketch line: draw the way with the sketch brush, or disconnect it.")
    across, down = (width / drawing.width, height / drawing.height) if drawing.width else (1.0, 1.0)
    return [(x * across, y * down) for x, y in lines[-1]]


def along(way: Sequence[tuple[float, float]], moves: Sequence[Pose], easing: Easing = "smooth") -> list[Pose]:
    """The poses moved along a line [(x, y), ...] in place of their own positions, from its first point on.

    The speed along the line is constant (linear), or rises and falls at the ends (smooth: 3 t^2 - 2 t^3).
    """
    points = np.array(way, dtype=float)
    length = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))))
    time = np.linspace(0.0, 1.0, len(moves))
    share = time * time * (3.0 - 2.0 * time) if easing == "smooth" else time
    right, down = (np.interp(share * length[-1], length, points[:, axis] - points[0, axis]) for axis in (0, 1))
    return [Pose(float(x), float(y), pose.turn, pose.scale) for x, y, pose in zip(right, down, moves, strict=True)]
