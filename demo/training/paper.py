"""A second world to try settings on that were found on the first: the same scenes and captions, cut out of paper.

Other shapes, palette, textures and composition than `../render.py`: the sun and the mountains stand on the right, the
house on the left, the ground lies in strips with the shadows of their edges, and the lake is a pond.
"""

from __future__ import annotations

import math

import numpy as np

from ..canvas import Canvas, Colour, rgb, smooth
from ..render import SIZE
from ..scenes import Scene
from ..textures import patch, profile

_TINT = {"day": rgb(1.0, 1.0, 0.98), "sunset": rgb(1.0, 0.74, 0.62), "night": rgb(0.36, 0.42, 0.62)}
_SKY = {  # from the top to the horizon
    "day": (rgb(0.42, 0.74, 0.72), rgb(0.66, 0.84, 0.74), rgb(0.90, 0.91, 0.76)),
    "sunset": (rgb(0.45, 0.22, 0.42), rgb(0.80, 0.33, 0.38), rgb(0.97, 0.60, 0.36)),
    "night": (rgb(0.05, 0.10, 0.14), rgb(0.08, 0.17, 0.22), rgb(0.13, 0.27, 0.31)),
}
_DISC = {"day": rgb(0.99, 0.84, 0.36), "sunset": rgb(0.96, 0.30, 0.22), "night": rgb(0.92, 0.92, 0.86)}
_GROUND = {
    "summer": (rgb(0.64, 0.68, 0.22), rgb(0.50, 0.60, 0.20), rgb(0.36, 0.50, 0.20)),
    "autumn": (rgb(0.86, 0.62, 0.24), rgb(0.76, 0.46, 0.18), rgb(0.60, 0.32, 0.14)),
    "winter": (rgb(0.90, 0.90, 0.97), rgb(0.84, 0.85, 0.94), rgb(0.78, 0.80, 0.91)),
}
_PINE = {"summer": rgb(0.10, 0.36, 0.30), "autumn": rgb(0.16, 0.34, 0.24), "winter": rgb(0.42, 0.56, 0.58)}
_CROWN = {"summer": rgb(0.30, 0.56, 0.16), "autumn": rgb(0.86, 0.36, 0.10), "winter": rgb(0.70, 0.66, 0.74)}
_HILL = {"summer": rgb(0.42, 0.60, 0.42), "autumn": rgb(0.74, 0.52, 0.34), "winter": rgb(0.80, 0.84, 0.90)}
_WALL = {"red": rgb(0.86, 0.16, 0.14), "white": rgb(0.97, 0.95, 0.90), "blue": rgb(0.16, 0.34, 0.82)}
_ROCK, _SNOW = (rgb(0.56, 0.50, 0.52), rgb(0.38, 0.33, 0.38)), rgb(0.98, 0.98, 1.0)
_ROOF, _WINDOW, _TRUNK = rgb(0.30, 0.24, 0.26), rgb(0.98, 0.84, 0.46), rgb(0.40, 0.26, 0.18)
_WATER = {"day": rgb(0.22, 0.56, 0.66), "sunset": rgb(0.56, 0.30, 0.44), "night": rgb(0.08, 0.16, 0.30)}
_CLOUD = {"day": rgb(0.99, 0.98, 0.94), "sunset": rgb(0.98, 0.78, 0.66), "night": rgb(0.32, 0.38, 0.46)}
_FIBRES, _SHADE, _OFFSET = 0.035, 0.30, 0.012  # how rough the paper is; how dark and how far its shadows are


class _Collage:
    """Sheets of paper on a canvas, each with its fibres and the shadow it casts; flat where there is no detail."""

    def __init__(self, scene: Scene, size: int, detail: float) -> None:
        self.canvas, self.scene, self.detail = Canvas(size), scene, detail
        self.tint = _TINT[scene.time]
        self.x, self.y = self.canvas.x, self.canvas.y

    def stream(self, k: int) -> np.random.Generator:
        return np.random.default_rng([self.scene.seed, 100 + k])

    def lay(self, colour: Colour, inside: np.ndarray, rng: np.random.Generator, shadow: float = 1.0) -> None:
        """inside: signed distance [size, size] to the sheet's edge in unit coordinates, positive within it."""
        c = self.canvas
        inside = np.broadcast_to(inside, (c.size, c.size))
        rows, columns = np.flatnonzero((inside > -0.05).any(1)), np.flatnonzero((inside > -0.05).any(0))
        if not len(rows) or not len(columns):
            return
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        inside = inside[box]
        if self.detail and shadow:
            moved, by = np.full_like(inside, inside.min()), max(1, round(_OFFSET * c.size))
            moved[by:, : -by or None] = inside[:-by, by:]
            dark = _SHADE * shadow * smooth(moved * 45 + 0.5)
            c.over(self.tint * 0.12, dark, box)
        fibres = _FIBRES * self.detail * patch("ground", c.size, rng, *inside.shape)
        c.over(colour[:, None, None] * (1 + fibres), c.cover(inside), box)

    def paper(self, colour: Colour, inside: np.ndarray, rng: np.random.Generator, shadow: float = 1.0) -> None:
        """A sheet in the light of the time of day."""
        self.lay(colour * self.tint, inside, rng, shadow)

    def triangle(self, x: float, top: float, base: float, half: float) -> np.ndarray:
        """Signed distance to an upright triangle."""
        steep = half / (base - top)
        across = (half * (self.y - top) / (base - top) - np.abs(self.x - x)) / math.hypot(1, steep)
        return np.minimum(across, base - self.y)

    def ellipse(self, x: float, y: float, wide: float, high: float) -> np.ndarray:
        """About the signed distance to an ellipse."""
        return (1 - np.sqrt(((self.x - x) / wide) ** 2 + ((self.y - y) / high) ** 2)) * min(wide, high)

    def rectangle(self, x: float, top: float, base: float, half: float) -> np.ndarray:
        return np.minimum(half - np.abs(self.x - x), np.minimum(self.y - top, base - self.y))


def render(scene: Scene, size: int = SIZE, detail: float = 1.0) -> np.ndarray:
    """The picture of a scene, uint8 [size, size, 3]. detail 0 leaves out fibres and shadows."""
    sheet = _Collage(scene, size, detail)
    layout = sheet.stream(0)
    horizon = 0.44 + 0.06 * layout.random()
    _sky(sheet, horizon, sheet.stream(1))
    if scene.clouds == "cloudy":
        _clouds(sheet, sheet.stream(2))
    if scene.peak == "hills":
        _hills(sheet, horizon, sheet.stream(3))
    else:
        _mountains(sheet, horizon, sheet.stream(4))
    _ground(sheet, 0, horizon + 0.02, sheet.stream(5))
    _row_of_trees(sheet, horizon, sheet.stream(6))
    _ground(sheet, 1, horizon + 0.15, sheet.stream(7))
    if scene.house != "no house":
        _house(sheet, horizon + 0.26, sheet.stream(8))
    _ground(sheet, 2, horizon + 0.34, sheet.stream(9))
    if scene.lake == "lake":
        _pond(sheet, horizon + 0.36, sheet.stream(10))
    _large_tree(sheet, sheet.stream(11))
    picture = np.clip(sheet.canvas.image, 0.0, 1.0)
    return (picture * 255.0 + 0.5).astype(np.uint8).transpose(1, 2, 0)


def _sky(sheet: _Collage, horizon: float, rng: np.random.Generator) -> None:
    """Three sheets, each torn along a slanted edge, and the sun or moon with a ring around it."""
    time = sheet.scene.time
    slant = 0.10 * (rng.random() - 0.5)
    for k, colour in enumerate(_SKY[time]):
        edge = horizon * (0.0, 0.40, 0.72)[k] + 0.03 * rng.random() + slant * (sheet.x - 0.5)
        torn = 0.006 * profile("ridge", sheet.canvas.size, rng)[None, :]
        sheet.lay(colour, sheet.y - edge - torn if k else sheet.y + 1, rng, 0.5 if k else 0.0)
    x, y = 0.74 + 0.10 * (rng.random() - 0.5), 0.13 + 0.06 * rng.random()
    if time == "sunset":
        y += 0.14
    if time == "night":
        for _ in range(14):
            at = rng.random(), 0.9 * horizon * rng.random()
            sheet.lay(_DISC[time], sheet.ellipse(*at, 0.007, 0.007), rng, 0.0)
    ring = 0.6 * _SKY[time][1] + 0.4 * _DISC[time]
    sheet.lay(ring, sheet.ellipse(x, y, 0.115, 0.115), rng, 0.4)
    sheet.lay(_DISC[time], sheet.ellipse(x, y, 0.078, 0.078), rng, 0.6)


def _clouds(sheet: _Collage, rng: np.random.Generator) -> None:
    """Two or three rows of discs with a flat base."""
    places = rng.permutation(np.array([0.16, 0.38, 0.60, 0.86]))[: rng.integers(2, 4)]
    for x in places:
        y, wide = 0.09 + 0.16 * rng.random(), 0.055 + 0.02 * rng.random()
        inside = sheet.ellipse(x, y, wide, wide)
        for side in (-1, 1):
            inside = np.maximum(inside, sheet.ellipse(x + side * 1.1 * wide, y + 0.3 * wide, 0.8 * wide, 0.7 * wide))
        inside = np.minimum(inside, y + 0.55 * wide - sheet.y)
        sheet.lay(_CLOUD[sheet.scene.time], inside, rng)


def _hills(sheet: _Collage, horizon: float, rng: np.random.Generator) -> None:
    """Round backs, the farther ones paler."""
    sky, green = _SKY[sheet.scene.time][2], _HILL[sheet.scene.season] * sheet.tint
    for k, x in enumerate((0.20, 0.82, 0.50)):
        wide, high = 0.30 + 0.08 * rng.random(), 0.15 + 0.05 * rng.random() - 0.02 * k
        inside = sheet.ellipse(x + 0.10 * (rng.random() - 0.5), horizon + 0.06, wide, high)
        pale = (0.45, 0.30, 0.12)[k]
        sheet.lay(green + pale * (sky - green), inside, rng)


def _mountains(sheet: _Collage, horizon: float, rng: np.random.Generator) -> None:
    """Triangles with a light face on the right; the snow ends in a zigzag."""
    base, sky = horizon + 0.06, _SKY[sheet.scene.time][2]
    for k, place in enumerate((0.30, 0.90, 0.62)):
        x, top = place + 0.08 * (rng.random() - 0.5), (0.24, 0.22, 0.13)[k] + 0.06 * rng.random()
        half = (base - top) * (0.62 + 0.18 * rng.random())
        whole, pale = sheet.triangle(x, top, base, half), (0.30, 0.20, 0.0)[k]
        for colour, face in ((_ROCK[1], whole), (_ROCK[0], np.minimum(whole, sheet.x - x))):
            stone = colour * sheet.tint
            sheet.lay(stone + pale * (sky - stone), face, rng, 1.0 if face is whole else 0.0)
        if sheet.scene.peak != "snowy":
            continue
        tooth = 0.22 + 0.06 * rng.random()
        zigzag = np.abs(((sheet.x - x) / (tooth * half)) % 1.0 - 0.5) * 0.30 * (base - top)
        cap = np.minimum(whole, (top + 0.36 * (base - top) + zigzag - sheet.y) * 0.6)
        shade = np.where(sheet.x > x, 1.0, 0.80).astype(np.float32)
        sheet.paper(_SNOW, np.minimum(cap, 1.0), rng, 0.5)
        sheet.paper(_SNOW * 0.82, np.where(shade < 1, cap, -1.0), rng, 0.0)


def _ground(sheet: _Collage, strip: int, top: float, rng: np.random.Generator) -> None:
    phase, cycles = 6.28 * rng.random(), 0.6 + 0.5 * rng.random()
    wave = 0.018 * np.sin(phase + 6.28 * cycles * sheet.x) + 0.003 * profile("ridge", sheet.canvas.size, rng)[None, :]
    sheet.paper(_GROUND[sheet.scene.season][strip], sheet.y - top - wave, rng)


def _plant(sheet: _Collage, x: float, base: float, height: float, rng: np.random.Generator) -> None:
    """A pine of one tall triangle with paler strips, or a round crown on a stick."""
    season = sheet.scene.season
    sheet.paper(_TRUNK, sheet.rectangle(x, base - 0.4 * height, base, 0.022 * height + 0.004), rng)
    if sheet.scene.trees == "pines":
        body = sheet.triangle(x, base - height, base - 0.12 * height, 0.24 * height)
        sheet.paper(_PINE[season], body, rng)
        strips = np.abs((((sheet.y - base) / (0.2 * height)) % 1.0) - 0.5) - 0.36
        sheet.paper(_PINE[season] * 1.35, np.minimum(body - 0.01, strips * 0.2 * height), rng, 0.0)
    else:
        radius = 0.30 * height
        sheet.paper(_CROWN[season], sheet.ellipse(x, base - 0.66 * height, radius, 1.1 * radius), rng)
        half = sheet.ellipse(x - 0.25 * radius, base - 0.72 * height, 0.55 * radius, 0.65 * radius)
        sheet.paper(_CROWN[season] * 1.18, half, rng, 0.0)


def _row_of_trees(sheet: _Collage, horizon: float, rng: np.random.Generator) -> None:
    if sheet.scene.trees == "no trees":
        return
    for x in rng.permutation(np.array([0.07, 0.20, 0.48, 0.60, 0.72, 0.84]))[: rng.integers(3, 6)]:
        height = 0.14 + 0.04 * rng.random()
        _plant(sheet, x + 0.03 * (rng.random() - 0.5), horizon + 0.13 + 0.02 * rng.random(), height, rng)


def _large_tree(sheet: _Collage, rng: np.random.Generator) -> None:
    if sheet.scene.trees == "no trees":
        return
    x, height = 0.88 + 0.06 * (rng.random() - 0.5), 0.44 + 0.10 * rng.random()
    _plant(sheet, x, 0.93 + 0.03 * rng.random(), height, rng)


def _house(sheet: _Collage, base: float, rng: np.random.Generator) -> None:
    """A gable with a round window and a door."""
    x, half = 0.29 + 0.08 * (rng.random() - 0.5), 0.075 + 0.015 * rng.random()
    wall, high = _WALL[sheet.scene.house], 1.5 * half
    lit = _WINDOW if sheet.scene.time == "night" else _WINDOW * 0.4 * sheet.tint
    sheet.paper(wall, sheet.rectangle(x, base - high, base, half), rng)
    gable = sheet.triangle(x, base - high - 1.15 * half, base - high, 1.25 * half)
    sheet.paper(_SNOW if sheet.scene.season == "winter" else _ROOF, gable, rng)
    sheet.paper(wall * 0.92, gable - 0.016, rng, 0.0)
    sheet.lay(lit, sheet.ellipse(x, base - high - 0.28 * half, 0.24 * half, 0.24 * half), rng, 0.0)
    sheet.paper(_ROOF, sheet.rectangle(x + 0.4 * half, base - 0.8 * half, base, 0.22 * half), rng, 0.0)
    sheet.lay(lit, sheet.rectangle(x - 0.4 * half, base - 0.95 * half, base - 0.5 * half, 0.2 * half), rng, 0.0)


def _pond(sheet: _Collage, top: float, rng: np.random.Generator) -> None:
    """An ellipse with a bank around it, and strips of the sky's colour on it."""
    x, y = 0.44 + 0.08 * (rng.random() - 0.5), top + 0.07
    wide, high = 0.34 + 0.05 * rng.random(), 0.075 + 0.015 * rng.random()
    bank = _GROUND[sheet.scene.season][2] * 0.72
    sheet.paper(bank, sheet.ellipse(x, y, wide + 0.018, high + 0.014), rng, 0.0)
    water, sky = sheet.ellipse(x, y, wide, high), _SKY[sheet.scene.time][1]
    sheet.lay(_WATER[sheet.scene.time], water, rng, 0.0)
    for k in range(4):
        at, length = y + high * (-0.55 + 0.35 * k), wide * (0.25 + 0.35 * rng.random())
        strip = np.minimum(water - 0.01, 0.006 - np.abs(sheet.y - at))
        strip = np.minimum(strip, length - np.abs(sheet.x - x - 0.4 * wide * (rng.random() - 0.5)))
        sheet.lay(0.5 * _WATER[sheet.scene.time] + 0.5 * sky, strip, rng, 0.0)
