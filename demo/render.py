"""The renderer of the embedded world: a `Scene` to a picture, vectorised numpy, about 10 ms each at 256 px."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import LIGHTS, Canvas, Light, rgb, smooth
from .plants import broadleaf, house, pine
from .scenes import Scene
from .textures import patch, profile

SIZE = 256
ELEMENTS = ("sky", "mountains", "land", "lake", "house", "trees")
SEGMENTS = {
    "sky": (70, 130, 220),
    "mountains": (130, 120, 140),
    "land": (230, 200, 70),
    "lake": (20, 40, 120),
    "house": (210, 40, 40),
    "trees": (20, 110, 50),
}
_RIDGE, _MOUNTAINS = 0.03, 0.07  # how near they are

_GROUND = {"summer": rgb(0.36, 0.56, 0.20), "autumn": rgb(0.70, 0.50, 0.20), "winter": rgb(0.93, 0.95, 0.99)}
_GRASS = {"summer": rgb(0.22, 0.42, 0.12), "autumn": rgb(0.48, 0.32, 0.12), "winter": rgb(0.74, 0.80, 0.90)}
_HILL = {"summer": rgb(0.30, 0.50, 0.24), "autumn": rgb(0.66, 0.42, 0.18), "winter": rgb(0.86, 0.90, 0.96)}
_ROCK = rgb(0.50, 0.46, 0.45)
_SNOW = rgb(0.98, 0.99, 1.0)
_WATER = {"day": rgb(0.20, 0.42, 0.60), "sunset": rgb(0.44, 0.30, 0.42), "night": rgb(0.04, 0.08, 0.20)}


def render(scene: Scene, size: int = SIZE, detail: float = 1.0) -> np.ndarray:
    """The picture of a scene, uint8 [size, size, 3]. detail 0 paints flat areas: a stroke painting of the scene."""
    return _to_uint8(_paint(scene, size, detail, masks=False).image)


@dataclass(frozen=True)
class Rendered:
    """A picture, uint8 [size, size, 3], and what it shows.

    masks: the visible part of each of `ELEMENTS`, float32 [size, size] in 0..1. depth: how near each pixel is, float32
    [size, size], 0 = infinitely far, 1 = at the lower border.
    """

    picture: np.ndarray
    masks: dict[str, np.ndarray]
    depth: np.ndarray

    @property
    def segments(self) -> np.ndarray:
        """Each pixel in the colour of its element (`SEGMENTS`), uint8 [size, size, 3]."""
        chosen = np.stack([self.masks[name] for name in ELEMENTS]).argmax(axis=0)
        return np.array([SEGMENTS[name] for name in ELEMENTS], dtype=np.uint8)[chosen]

    @property
    def depth_map(self) -> np.ndarray:
        """Near = light, uint8 [size, size, 3]."""
        return _to_uint8(np.stack([self.depth] * 3))


def render_with_maps(scene: Scene, size: int = SIZE, detail: float = 1.0) -> Rendered:
    """The picture of a scene, and where its elements are."""
    c = _paint(scene, size, detail, masks=True)
    assert c.masks is not None
    empty = np.zeros((size, size), dtype=np.float32)
    return Rendered(_to_uint8(c.image), {name: c.masks.get(name, empty) for name in ELEMENTS}, c.depth)


def _to_uint8(planes: np.ndarray) -> np.ndarray:
    return (np.clip(planes, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8).transpose(1, 2, 0)


def _paint(scene: Scene, size: int, detail: float, masks: bool) -> Canvas:
    light = LIGHTS[scene.time]

    def stream(k: int) -> np.random.Generator:
        return np.random.default_rng([scene.seed, k])

    layout = stream(0)
    horizon = 0.50 + 0.07 * layout.random()
    shore = horizon + 0.06 + 0.03 * layout.random()
    near = 0.79 + 0.06 * layout.random()
    c = Canvas(size, horizon, masks)
    _sky(c, light, scene.time, horizon, stream(1), detail)
    if scene.clouds == "cloudy":
        _clouds(c, light, stream(2), detail)
    c.here = _RIDGE
    _far_ridge(c, light, horizon, stream(3))
    c.here = _MOUNTAINS
    if scene.peak == "hills":
        _hills(c, light, scene.season, horizon, stream(4), detail)
    else:
        _mountains(c, light, scene.peak == "snowy", horizon, stream(5), detail)
    c.here = c.ground(c.y)
    _land(c, light, scene.season, horizon, stream(6), detail)
    _far_trees(c, light, scene, horizon, shore, stream(7), detail)
    if scene.house != "no house":
        rng = stream(8)
        # One likely position: with two, the model paints two houses. On the right, as the light comes from the left.
        x = 0.58 + 0.10 * (rng.random() + rng.random() - 1)
        width = 0.17 + 0.04 * rng.random()
        c.here = c.ground(shore - 0.012)
        house(c, light, scene, x, shore - 0.012, width, rng, detail)
    c.here = c.ground(c.y)
    if scene.lake == "lake":
        _lake(c, scene.time, shore, near, stream(9), detail)
    _foreground(c, light, scene.season, near, stream(10), detail)
    _near_trees(c, light, scene, near, stream(11), detail)
    return c


def _sky(c: Canvas, light: Light, time: str, horizon: float, rng: np.random.Generator, detail: float) -> None:
    box = c.box(0.0, horizon + 0.12)
    t = c.y[box[0]] / horizon + 0.05 * (rng.random() - 0.5)
    if not detail:
        t = np.floor(np.clip(t, 0, 1) * 3) / 3 + 0.12
    low = smooth(t / 0.55)
    high = smooth((t - 0.45) / 0.6)
    column = light.zenith[:, None] + low[:, 0] * (light.middle - light.zenith)[:, None]
    column = column + high[:, 0] * (light.horizon[:, None] - column)
    c.over(np.broadcast_to(column[:, :, None], (3, len(t), c.size)), np.ones((len(t), c.size), np.float32), box, "sky")
    sun_x = 0.27 + 0.17 * (rng.random() + rng.random() - 1)
    sun_y = horizon - 0.10 - 0.06 * rng.random() if time == "sunset" else 0.10 + 0.12 * rng.random()
    radius = {"day": 0.036, "sunset": 0.048, "night": 0.040}[time]
    if time == "night" and detail:
        _stars(c, box, rng)
    r = np.sqrt((c.x - sun_x) ** 2 + (c.y[box[0]] - sun_y) ** 2)
    reach, strength = {"day": (0.16, 0.55), "sunset": (0.34, 0.75), "night": (0.14, 0.35)}[time]
    if detail:
        c.over(light.glow, strength * np.exp(-r / reach), box)
    c.over(light.disc, c.cover(radius - r), box)


def _stars(c: Canvas, box: tuple[slice, slice], rng: np.random.Generator) -> None:
    rows = box[0].stop - box[0].start
    count = 70
    y, x = rng.integers(1, int(rows * 0.8), count), rng.integers(1, c.size - 1, count)
    bright = rng.uniform(0.35, 0.95, count).astype(np.float32)
    big = bright > 0.6
    target = c.image
    for dy, dx, gain in ((0, 0, 1.0), (0, 1, 0.55), (1, 0, 0.55), (1, 1, 0.35)):
        keep = big if (dy or dx) else slice(None)
        target[:, y[keep] + dy, x[keep] + dx] += gain * bright[keep] * np.array([[0.9], [0.92], [1.0]], np.float32)


def _clouds(c: Canvas, light: Light, rng: np.random.Generator, detail: float) -> None:
    box = c.box(0.0, 0.40)
    rows = box[0].stop
    field = patch("cloud", c.size, rng, rows + 8)
    y = c.y[box[0]]
    band = 1.0 - ((y - 0.17) / 0.24) ** 2
    density = field[:rows] + 0.9 * band
    threshold = np.quantile(density[: int(0.34 * c.size) : 4, ::4], 0.62 - 0.12 * rng.random())
    alpha = smooth((density - threshold) * (1.3 if detail else 30.0)) * (0.95 if detail else 0.85)
    lit = np.clip(0.62 + 0.8 * (field[:rows] - field[8:]) + 0.10 * (density - threshold), 0.15, 1.0)
    if not detail:
        lit = np.full_like(lit, 0.7)
    shade = light.middle * 0.55 + light.ambient * 0.45
    bright = np.clip(light.ambient + light.sun, 0.0, 1.0) * 0.75 + light.horizon * 0.25
    bright = bright if light.ambient[0] > 0.3 else rgb(0.30, 0.35, 0.50)
    shade = shade if light.ambient[0] > 0.3 else rgb(0.15, 0.19, 0.32)
    c.over(shade[:, None, None] + lit * (bright - shade)[:, None, None], alpha, box)


def _far_ridge(c: Canvas, light: Light, horizon: float, rng: np.random.Generator) -> None:
    top = horizon - 0.045 - 0.018 * profile("ridge", c.size, rng)
    box = c.box(float(top.min()) - 0.01, horizon + 0.05)
    haze = 0.55 * light.horizon + 0.45 * light.on(rgb(0.30, 0.40, 0.55), 0.3)
    c.over(haze, c.cover(c.y[box[0]] - top[None, :]), box, "mountains")


def _hills(c: Canvas, light: Light, season: str, horizon: float, rng: np.random.Generator, detail: float) -> None:
    for k in range(3):
        crest = horizon - 0.13 + 0.05 * k
        phase, cycles = rng.random() * 6.28, 0.7 + 0.7 * rng.random()
        swell = (0.055 - 0.012 * k) * np.sin(phase + cycles * 6.28 * c.x[0])
        top = crest - swell - 0.004 * profile("ridge", c.size, rng)
        box = c.box(float(top.min()) - 0.01, horizon + 0.04)
        depth = c.y[box[0]] - top[None, :]
        noise = patch("ground", c.size, rng, depth.shape[0]) * detail
        slope = -np.gradient(swell)[None, :] * c.size * detail
        lit = np.clip(0.75 + 0.6 * slope + 0.13 * noise - 1.2 * depth * detail, 0.1, 1.2)
        colour = light.on(_HILL[season], lit.astype(np.float32))
        haze = (0.34, 0.20, 0.08)[k]
        c.over(colour + haze * (light.horizon[:, None, None] - colour), c.cover(depth), box, "mountains")


def _mountains(c: Canvas, light: Light, snowy: bool, horizon: float, rng: np.random.Generator, detail: float) -> None:
    main_x = 0.34 + 0.32 * rng.random()
    left, right = main_x - 0.26 - 0.10 * rng.random(), main_x + 0.26 + 0.10 * rng.random()
    peaks = [
        (left, horizon - 0.15 - 0.08 * rng.random(), 0.22),
        (right, horizon - 0.15 - 0.08 * rng.random(), 0.22),
        (main_x, 0.13 + 0.09 * rng.random(), 0.0),
    ]
    for x, apex, haze in peaks:
        height = horizon + 0.03 - apex
        spread = height * (0.95 + 0.3 * rng.random())
        rough = profile("ridge", c.size, rng)
        across = np.abs(c.x[0] - x) / spread
        top = apex + height * across**0.92 + 0.020 * rough * np.minimum(across * 4, 1.0)
        box = c.box(float(top.min()) - 0.01, horizon + 0.03, x - spread * 1.05, x + spread * 1.05)
        y, cx = c.y[box[0]], c.x[:, box[1]]
        if y.size == 0 or cx.size == 0:
            continue
        rock = patch("rock", c.size, rng, len(y), cx.shape[1]) * detail
        crest = x + 0.05 * profile("ridge", c.size, rng)[box[0], None] * (y - apex) / height
        side = smooth((crest - cx) * 14.0 + 0.5 + 0.55 * rock)
        lit = np.clip(0.08 + 0.82 * side + 0.16 * rock, 0.0, 1.2)
        if not detail:
            lit = np.where(cx < x, 0.85, 0.2).astype(np.float32) + 0 * y
        colour = light.on(_ROCK, lit)
        if snowy:
            line = apex + height * (0.50 + 0.05 * rough[None, box[1]]) + 0.030 * rock
            snow = smooth((line - y) * 22.0 + 0.5)
            colour = colour + snow * (light.on(_SNOW, np.clip(0.30 + 0.65 * side + 0.12 * rock, 0, 1)) - colour)
        mist = (haze + 0.22 * smooth((y - apex) / height * 1.2 - 0.25) * detail)[None]
        colour = colour + mist * (light.horizon[:, None, None] * 0.9 - colour)
        c.over(colour, c.cover((y - top[None, box[1]]) * 0.8), box, "mountains")


def _land(c: Canvas, light: Light, season: str, horizon: float, rng: np.random.Generator, detail: float) -> None:
    top = horizon - 0.006 * profile("ridge", c.size, rng)
    box = c.box(float(top.min()) - 0.01, 1.0)
    y = c.y[box[0]]
    noise = patch("ground", c.size, rng, len(y)) * detail
    depth = (y - horizon) / (1 - horizon)
    lit = np.clip(0.70 + 0.15 * noise + 0.18 * depth * detail, 0.05, 1.2)
    colour = light.on(_GROUND[season], lit)
    if season != "winter":
        tone = _GROUND[season] * rgb(1.12, 0.98, 0.80)
        colour = colour + smooth(0.5 + 0.6 * noise[::-1]) * 0.5 * (light.on(tone, lit) - colour)
    haze = 0.22 * np.clip(1 - depth * 4, 0, 1)
    c.over(colour + haze * (light.horizon[:, None, None] - colour), c.cover(y - top[None, :]), box, "land")


def _far_trees(
    c: Canvas, light: Light, scene: Scene, horizon: float, shore: float, rng: np.random.Generator, detail: float
) -> None:
    if scene.trees == "no trees":
        return
    plant = pine if scene.trees == "pines" else broadleaf
    slots = rng.permutation(np.array([0.06, 0.16, 0.26, 0.50, 0.74, 0.84, 0.94]))[: rng.integers(4, 6)]
    for x in np.sort(slots):
        base = horizon + (shore - horizon) * (0.35 + 0.4 * rng.random())
        height = 0.105 + 0.035 * rng.random()
        c.here = c.ground(base)
        plant(c, light, scene.season, x + 0.03 * rng.standard_normal(), base, height, rng, detail)


def _lake(c: Canvas, time: str, shore: float, near: float, rng: np.random.Generator, detail: float) -> None:
    wave = profile("ridge", c.size, rng)
    top = shore + 0.004 * wave
    box = c.box(shore - 0.02, near + 0.08)
    y = c.y[box[0]]
    ripple = patch("ripple", c.size, rng, len(y))
    depth = np.clip((y - shore) / (near + 0.08 - shore), 0.0, 1.0)
    mirrored = 2 * shore - y - (0.004 + 0.022 * depth) * ripple * detail
    rows = np.clip((mirrored * c.size).astype(np.int32), 0, max(int(shore * c.size) - 1, 0))
    columns = np.arange(c.size, dtype=np.int32)[None, :]
    reflection = c.image[:, rows, columns]
    mix = 0.32 + 0.30 * depth
    water = _WATER[time][:, None, None]
    colour = reflection + mix * (water - reflection)
    if not detail:
        colour = 0.5 * water + 0.5 * LIGHTS[time].middle[:, None, None] + 0 * y
    glint = LIGHTS[time].horizon[:, None, None] * (0.06 * detail * np.clip(ripple, 0, None))
    c.over(colour + glint, c.cover(y - top[None, :]), box, "lake")
    edge = np.exp(-(((y - top[None, :]) * c.size / 1.6) ** 2))
    c.over(LIGHTS[time].ambient * 0.5, 0.45 * edge * detail, box)


def _foreground(c: Canvas, light: Light, season: str, near: float, rng: np.random.Generator, detail: float) -> None:
    tilt, sag = 0.10 * (rng.random() - 0.5), 0.05 + 0.04 * rng.random()
    top = near + tilt * (c.x[0] - 0.5) + sag * np.sin(np.pi * c.x[0]) + 0.005 * profile("ridge", c.size, rng) * detail
    box = c.box(float(top.min()) - 0.03, 1.0)
    y = c.y[box[0]]
    grass = patch("grass", c.size, rng, len(y)) * detail
    ground = patch("ground", c.size, rng, len(y)) * detail
    distance = y - top[None, :] + 0.006 * grass
    lit = np.clip(0.62 + 0.15 * grass + 0.14 * ground, 0.0, 1.3)
    albedo = _GRASS[season]
    colour = light.on(albedo, lit)
    if season != "winter":
        colour = colour + smooth(0.3 + 0.4 * grass) * 0.40 * (light.on(_GROUND[season], lit) - colour)
    c.over(colour, c.cover(distance), box, "land")


def _near_trees(c: Canvas, light: Light, scene: Scene, near: float, rng: np.random.Generator, detail: float) -> None:
    if scene.trees == "no trees":
        return
    plant = pine if scene.trees == "pines" else broadleaf
    both, left_first = rng.random() < 0.6, rng.random() < 0.5
    sides = [0.12, 0.88] if left_first else [0.88, 0.12]
    for x in sides[: 2 if both else 1]:
        height = 0.30 + 0.10 * rng.random()
        base = near + 0.05 + 0.07 * rng.random()
        c.here = c.ground(base)
        plant(c, light, scene.season, x + 0.07 * (rng.random() - 0.5), base, height, rng, detail)
