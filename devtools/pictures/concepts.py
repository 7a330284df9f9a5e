"""The one idea as a picture: paths of a world whose pictures are single numbers, so that a plot shows all of it.

The pictures of this world are a mixture of three narrow Gaussians, whose denoised prediction is known in closed form.
The paths are Euler's, in variance-preserving coordinates: time 1 is noise on the left, time 0 a picture on the right.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ...images.tensors import from_pil
from .shared import grid, picture

_MEANS = torch.tensor([-1.3, 0.1, 1.4], dtype=torch.float64)
_WIDTH = 0.13
# Prompts are weights of the three kinds of picture.
_EVEN, _LOW, _HIGH = (torch.tensor(w, dtype=torch.float64) for w in ([1, 1, 1], [1, 0.04, 0.004], [0.004, 0.6, 1]))
_STEPS, _NOISIEST = 120, 0.97
_SIZE, _FINER, _SPAN, _MARGIN = (380, 270), 3, 2.5, 8
_PAPER, _INK = torch.tensor((252, 251, 247)), torch.tensor((70, 95, 150))
_MAIN, _OTHER, _PALE, _ACCENT = (200, 70, 30), (40, 110, 180), (120, 130, 150), (30, 140, 90)

Color = tuple[int, int, int]
Point = tuple[float, float]  # time, state in variance-preserving coordinates
Push = Callable[[int, float, float], float]  # step, state, prediction -> prediction


def sigma(time: float) -> float:
    return math.tan(time * math.pi / 2)


def denoised(x: float, level: float, weights: Tensor) -> float:
    """The mean of all pictures that could have become x."""
    variance = _WIDTH**2 + level**2
    share = torch.softmax(weights.log() - (x - _MEANS) ** 2 / (2 * variance), 0)
    return float((share * (_WIDTH**2 * x + level**2 * _MEANS) / variance).sum())


def follow(start: Point, weights: Tensor, end: float = 0.0, push: Push | None = None) -> list[Point]:
    """Euler's path from a point down (or up) to another time; `push` may move what a step predicts."""
    times = torch.linspace(start[0], end, _STEPS).tolist()
    x = start[1] * math.hypot(1.0, sigma(start[0]))
    points = [start]
    for index, (now, then) in enumerate(itertools.pairwise(times)):
        level = sigma(max(now, 1e-3))
        prediction = denoised(x, level, weights)
        if push is not None:
            prediction = push(index, x, prediction)
        x += (sigma(then) - sigma(now)) * (x - prediction) / level
        points.append((then, x / math.hypot(1.0, sigma(then))))
    return points


def background() -> Image.Image:
    """How likely each state is at each time."""
    angle = torch.linspace(_NOISIEST, 0, _SIZE[0] * _FINER, dtype=torch.float64) * math.pi / 2
    y = torch.linspace(_SPAN, -_SPAN, _SIZE[1] * _FINER, dtype=torch.float64)[:, None]
    variance = (angle.cos() * _WIDTH) ** 2 + angle.sin() ** 2
    parts = [torch.exp(-((y - angle.cos() * mean) ** 2) / (2 * variance)) / variance.sqrt() for mean in _MEANS]
    density = torch.stack(parts).sum(0)
    shade = 0.5 * (density / density.amax(0)).clamp(0, 1)[..., None]
    return Image.fromarray((_PAPER * (1 - shade) + _INK * shade).round().byte().numpy())


class Panel:
    """A background with paths on it."""

    def __init__(self) -> None:
        self.image = background()
        self.draw = ImageDraw.Draw(self.image)

    def place(self, point: Point) -> Point:
        x = _MARGIN + (1 - point[0] / _NOISIEST) * (_SIZE[0] - 1 - 2 * _MARGIN)
        return x * _FINER, (0.5 - 0.5 * point[1] / _SPAN) * (_SIZE[1] - 1) * _FINER

    def line(self, points: Sequence[Point], color: Color, width: float = 2, dashed: bool = False) -> None:
        placed = [self.place(point) for point in points]
        pieces = [placed[i : i + 4] for i in range(0, len(placed), 7)] if dashed else [placed]
        for piece in pieces:
            self.draw.line(piece, color, round(width * _FINER), joint="curve")

    def dots(self, color: Color, *points: Point, radius: float = 4) -> None:
        r = radius * _FINER
        for x, y in map(self.place, points):
            self.draw.ellipse((x - r, y - r, x + r, y + r), color, "white", _FINER)

    def finish(self) -> Tensor:
        return from_pil(self.image.resize(_SIZE, Image.Resampling.LANCZOS))[0]


def paths() -> Panel:
    panel = Panel()
    for start in (-1.9, -1.1, -0.6, -0.2, 0.2, 0.9, 1.8):
        panel.line(follow((_NOISIEST, start), _EVEN), _PALE, 1.3)
    main = follow((_NOISIEST, 0.55), _EVEN)
    panel.line(main, _MAIN, 3)
    panel.dots(_MAIN, main[0], main[-1])
    return panel


def sdedit() -> Panel:
    panel, guide, t0 = Panel(), 0.75, 0.5
    angle = t0 * math.pi / 2
    for noise in (-0.9, 0.1, 0.5, 0.9):
        seen = (t0, math.cos(angle) * guide + math.sin(angle) * noise)
        ray = [(t0 * i / 40, math.cos(i * angle / 40) * guide + math.sin(i * angle / 40) * noise) for i in range(41)]
        panel.line(ray, _OTHER, 1.2)
        panel.line(follow(seen, _EVEN), _MAIN, 2.5)
        panel.dots(_MAIN, seen, radius=3)
    panel.dots(_OTHER, (0.0, guide), radius=5)
    return panel


def inversion() -> Panel:
    panel = Panel()
    up = follow((0.004, -1.22), _LOW, _NOISIEST)
    turn = up[round(0.72 * len(up))]
    panel.line(up, _OTHER, 3)
    panel.line(follow(turn, _HIGH), _MAIN, 3)
    panel.dots(_OTHER, up[0], radius=5)
    panel.dots(_OTHER, up[-1])
    panel.dots(_MAIN, turn)
    return panel


def mdp() -> Panel:
    panel, start = Panel(), (_NOISIEST, 0.35)
    source, target = follow(start, _LOW), follow(start, _HIGH)
    states = [point[1] * math.hypot(1.0, sigma(point[0])) for point in source]
    levels = [sigma(point[0]) for point in source]
    window = range(round(0.04 * _STEPS), round(0.5 * _STEPS))

    def noise_of_the_source(index: int, x: float, prediction: float) -> float:
        if index not in window:
            return prediction
        derivative = (states[index + 1] - states[index]) / (levels[index + 1] - levels[index])
        return x - levels[index] * derivative

    edit = follow(start, _HIGH, push=noise_of_the_source)
    panel.line(source, _OTHER, 2)
    panel.line(target, _PALE, 2, dashed=True)
    panel.line(edit, _MAIN, 3)
    panel.line(edit[window.start : window.stop + 1], _ACCENT, 5)
    panel.dots(_MAIN, start, edit[-1])
    panel.dots(_OTHER, source[-1])
    return panel


def flowedit() -> Panel:
    panel, photo, start = Panel(), -1.25, 0.85
    times = torch.linspace(start, 0.0, _STEPS).tolist()
    noises = torch.randn(_STEPS, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    difference, points = 0.0, [(start, photo)]
    for now, then, draws in zip(times[:-1], times[1:], noises, strict=False):
        level, ratio = sigma(now), sigma(then) / sigma(now)
        noisy = [photo + level * draw for draw in draws]
        steps = [denoised(z + difference, level, _HIGH) - denoised(z, level, _LOW) for z in noisy]
        difference = ratio * difference + (1 - ratio) * sum(steps) / len(steps)
        points.append((then, photo + difference))
    panel.line([(start, photo), (0.0, photo)], _OTHER, 1.2)
    panel.line(points, _MAIN, 3)
    panel.dots(_OTHER, (0.0, photo), radius=5)
    panel.dots(_MAIN, points[-1])
    return panel


def sketch() -> Panel:
    panel, start, wish, guided_steps = Panel(), (_NOISIEST, -0.35), 1.4, round(0.7 * _STEPS)

    def towards_the_sketch(index: int, x: float, prediction: float) -> float:
        return prediction + 0.8 * (wish - prediction) if index < guided_steps else prediction

    guided = follow(start, _EVEN, push=towards_the_sketch)
    panel.line(follow(start, _EVEN), _PALE, 2, dashed=True)
    panel.line(guided, _MAIN, 3)
    panel.line(guided[:guided_steps], _ACCENT, 5)
    panel.dots(_MAIN, start, guided[-1])
    return panel


@picture
def idea() -> Tensor:
    """Six panels: the paths of a model, and five ways to work on them."""
    labels = ["paths from noise to pictures", "SDEdit starts in the middle", "inversion finds a picture's path",
              "MDP bends one path by another", "FlowEdit follows a difference", "a sketch steers a path"]  # fmt: skip
    panels = (paths, sdedit, inversion, mdp, flowedit, sketch)
    return grid([panel().finish() for panel in panels], labels, columns=3)
