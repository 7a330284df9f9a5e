"""Trees and the house: small objects painted inside their own window of the canvas."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Light, rgb, smooth
from .scenes import Scene
from .textures import patch

_PINE = {"summer": rgb(0.13, 0.36, 0.20), "autumn": rgb(0.17, 0.36, 0.17), "winter": rgb(0.15, 0.32, 0.24)}
_CROWN = {
    "summer": (rgb(0.30, 0.58, 0.16), rgb(0.22, 0.48, 0.16)),
    "autumn": (rgb(0.95, 0.50, 0.10), rgb(0.86, 0.26, 0.10)),
}
_BARK = rgb(0.38, 0.27, 0.19)
_SNOW = rgb(0.97, 0.98, 1.0)
_DARKNESS = {"day": 0.0, "sunset": 0.75, "night": 1.0}
_WALLS = {"red": rgb(0.84, 0.16, 0.12), "white": rgb(0.97, 0.95, 0.90), "blue": rgb(0.14, 0.34, 0.86)}


def pine(
    c: Canvas, light: Light, season: str, x: float, base: float, height: float, rng: np.random.Generator, detail: float
) -> None:
    """A conifer of stacked tiers; snow lies on the tiers in winter."""
    half = height * 0.27
    box = c.box(base - height, base + 0.01, x - half * 1.2, x + half * 1.2)
    u = (c.x[:, box[1]] - x) / half
    v = (c.y[box[0]] - (base - height)) / height
    if u.size == 0 or v.size == 0:
        return
    leaf = patch("leaf", c.size, rng, len(v), u.shape[1]) * detail
    trunk = c.cover(np.minimum(0.07 * half * 2 - np.abs(u) * half, np.minimum(v - 0.85, 1.0 - v) * height))
    c.over(light.on(_BARK, 0.5), trunk, box, "trees")
    tiers = 5
    phase = (np.clip(v / 0.9, 0, 1) * tiers) % 1.0
    outline = (0.08 + 0.92 * v / 0.9) * (0.58 + 0.42 * phase) * (1 if detail else 0.9)
    if not detail:
        outline = 0.05 + 0.9 * v / 0.9
    edge = outline + 0.10 * leaf - np.abs(u)
    alpha = c.cover(np.minimum(edge * half, np.minimum(v, 0.9 - v) * height))
    lit = np.clip(0.60 - 0.45 * u + 0.25 * leaf - 0.35 * (phase - 0.5) * detail, 0.0, 1.2)
    colour = light.on(_PINE[season], lit)
    if season == "winter":
        snow = smooth((0.62 - phase + 0.22 * leaf - 0.25 * u) * 3.0) * (0.9 if detail else 0.5)
        colour = colour + snow * (light.on(_SNOW, np.clip(lit + 0.15, 0, 1)) - colour)
    c.over(colour, alpha, box, "trees")


def broadleaf(
    c: Canvas, light: Light, season: str, x: float, base: float, height: float, rng: np.random.Generator, detail: float
) -> None:
    """A round tree: clumps of leaves on a trunk, or bare branches in winter."""
    if season == "winter":
        _bare_tree(c, light, x, base, height, rng)
        return
    half = height * 0.40
    box = c.box(base - height * 1.04, base + 0.01, x - half * 1.15, x + half * 1.15)
    u = c.x[:, box[1]] - x
    v = c.y[box[0]] - base
    if u.size == 0 or v.size == 0:
        return
    trunk_half = 0.045 * height * (1.0 - 0.4 * np.clip(-v / height, 0, 1))
    c.over(
        light.on(_BARK, 0.55),
        c.cover(np.minimum(trunk_half - np.abs(u), np.minimum(v + 0.55 * height, -v))),
        box,
        "trees",
    )
    leaf = patch("leaf", c.size, rng, len(v), u.shape[1]) * detail
    first, second = _CROWN[season]
    tone = rng.random() * 0.8
    albedo = first + tone * (second - first)
    distance = np.full((len(v), u.shape[1]), -1.0, dtype=np.float32)
    lit = np.zeros_like(distance)
    for k in range(6):
        angle = k * 2 * np.pi / 5 + rng.random()
        spread = 0.0 if k == 5 else 0.20 * height
        radius = height * (0.17 + 0.05 * rng.random()) * (1.35 if k == 5 else 1.0)
        cx, cy = spread * np.cos(angle), -0.66 * height + 0.85 * spread * np.sin(angle)
        dx, dy = u - cx, v - cy
        d = radius - np.sqrt(dx * dx + dy * dy)
        lit = np.where(d > distance, 0.62 - 0.40 * (dx * 0.5 + dy) / radius, lit)
        distance = np.maximum(distance, d)
    alpha = c.cover(distance + 0.020 * height * leaf)
    if not detail:
        lit = np.full_like(lit, 0.65)
    colour = light.on(albedo, np.clip(lit + 0.30 * leaf, 0.0, 1.25))
    c.over(colour, alpha, box, "trees")


def _bare_tree(c: Canvas, light: Light, x: float, base: float, height: float, rng: np.random.Generator) -> None:
    half = height * 0.42
    box = c.box(base - height * 1.02, base + 0.01, x - half, x + half)
    px, py = c.x[:, box[1]], c.y[box[0]]
    if px.size == 0 or py.size == 0:
        return
    distance = np.full((len(py), px.shape[1]), -1.0, dtype=np.float32)
    snow = np.full_like(distance, -1.0)
    todo = [(x, base, -np.pi / 2, 0.36 * height, 0.042 * height, 0)]
    while todo:
        x0, y0, angle, length, width, depth = todo.pop()
        dx, dy = np.cos(angle) * length, np.sin(angle) * length
        t = np.clip(((px - x0) * dx + (py - y0) * dy) / (length * length), 0.0, 1.0)
        d = width * (1 - 0.35 * t) - np.sqrt((px - x0 - t * dx) ** 2 + (py - y0 - t * dy) ** 2)
        distance = np.maximum(distance, d)
        if depth:
            d = 0.75 * width - np.sqrt((px - x0 - t * dx) ** 2 + (py + 0.7 * width - y0 - t * dy) ** 2)
            snow = np.maximum(snow, d)
        if depth < 3:
            for turn in (-0.55, 0.0, 0.55) if depth == 0 else (-0.42, 0.42):
                bend = turn + 0.18 * rng.standard_normal()
                todo.append((x0 + dx, y0 + dy, angle + bend, length * 0.68, max(width * 0.62, 0.7 * c.px), depth + 1))
    c.over(light.on(_BARK * 0.9, 0.35), c.cover(distance), box, "trees")
    c.over(light.on(_SNOW, 0.8), 0.85 * c.cover(snow), box, "trees")


def house(
    c: Canvas, light: Light, scene: Scene, x: float, base: float, width: float, rng: np.random.Generator, detail: float
) -> None:
    """A cabin with a pitched roof, a door and two windows that are lit in the dark."""
    wall_h, roof_h = 0.58 * width, 0.42 * width
    box = c.box(base - wall_h - roof_h - 0.16 * width, base + 0.01, x - 0.66 * width, x + 0.66 * width)
    u = (c.x[:, box[1]] - x) / width
    v = (c.y[box[0]] - base) / width
    wall_top = -wall_h / width

    def rect(left: float, top: float, right: float, bottom: float) -> np.ndarray:
        inside = np.minimum(np.minimum(u - left, right - u), np.minimum(v - top, bottom - v))
        return c.cover(inside * width)

    albedo = _WALLS[scene.house]
    planks = 1.0 - 0.05 * detail * (np.abs(((v * 11.0) % 1.0) - 0.5) < 0.12) + 0 * u
    side = np.where(u < 0.16, 0.78, 0.30) if detail else np.full_like(planks, 0.7)
    walls = light.on(albedo, side.astype(np.float32) + 0 * v) * planks.astype(np.float32)
    side_flip = rng.random() < 0.5
    c.over(walls, rect(-0.46, wall_top, 0.46, 0.0), box, "house")

    roof_albedo = _SNOW if scene.season == "winter" else rgb(0.36, 0.25, 0.24)
    chimney_x = -0.22 if side_flip else 0.22
    c.over(
        light.on(rgb(0.46, 0.30, 0.27), 0.5),
        rect(chimney_x - 0.05, wall_top - 0.50, chimney_x + 0.05, wall_top - 0.12),
        box,
        "house",
    )
    up = np.clip(-(v - wall_top) / (roof_h / width), 0.0, 1.0)
    slope = 0.58 - 0.36 * up - np.abs(u)
    roof = c.cover(np.minimum(slope, np.minimum(wall_top + 0.03 - v, v - wall_top + roof_h / width)) * width)
    lines = 1.0 - 0.10 * detail * (np.abs(((v * 14.0) % 1.0) - 0.5) < 0.16) + 0 * u
    c.over(light.on(roof_albedo, 0.72)[:, None, None] * lines.astype(np.float32), roof, box, "house")

    night = _DARKNESS[scene.time]
    glass = rgb(0.34, 0.45, 0.56) * (0.5 + 0.5 * (1 - night)) + night * (rgb(1.0, 0.80, 0.36) - rgb(0.17, 0.22, 0.28))
    frame = light.on(rgb(0.95, 0.93, 0.88) if scene.house != "white" else rgb(0.45, 0.36, 0.30), 0.6)
    door_x = 0.0
    for wx in (-0.27, 0.27):
        c.over(frame, rect(wx - 0.12, wall_top + 0.15, wx + 0.12, wall_top + 0.39), box)
        c.over(glass, rect(wx - 0.09, wall_top + 0.18, wx + 0.09, wall_top + 0.36), box)
    c.over(light.on(rgb(0.34, 0.20, 0.13), 0.6), rect(door_x - 0.09, wall_top + 0.20, door_x + 0.09, 0.0), box)
