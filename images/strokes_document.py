"""A drawing as text: vector strokes in JSON, read leniently.

    {"version": 2, "width": 512, "height": 512, "paper": "#ffffff", "layers": [LAYER, ...], "strokes": [STROKE, ...]}

A stroke has a tool (brush, line, eraser, fill, blur or smudge) and the id of its layer ("paint" if left out). All but
fill follow "points" [x, y, x, y, ...] with a "size" (diameter), a "hardness", a "grain" (on paint) and, from a pen, a
"pressure" 0..100 per point; fill covers the inside of "rings", each a list like points (even-odd, so a ring within a
ring is a hole); with a "gradient" [x0, y0, x1, y1], its colour goes from "color" at the first place to "color2" at the
second. blur and smudge, on paint alone, soften and drag what their layer has below them. Paint has "color", "opacity"
and "t0", erasers, blur and smudge have "opacity", sketch lines have "importance". Lengths are pixels of width x height;
missing values take the defaults below. Fields of a stroke that a version does not know are ignored.

Layers come from the lowest to the uppermost. Each has an "id", a "kind" (paint, sketch or picture), an "opacity", a
"name", and may be "hidden" or, which only the page respects, "locked"; its "t0" or "importance" is what new strokes
begin with. A picture has a "file", its size in "pixels" [width, height], the place "x", "y" of its centre, "scale",
"rotation" in degrees clockwise, and its own "t0"; the file is in a folder beside the workflow, under a name that is the
hash of its content. Without layers (version 1) there are "paint" and "sketch"; blur and smudge came with
version 3. web/js/canvas/document.js reads and writes the same.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from ..common import limits
from ..common.interrupts import interruptible
from ..common.texts import quoted

Tool = Literal["brush", "line", "eraser", "fill", "blur", "smudge"]
Kind = Literal["paint", "sketch", "picture"]

EFFECTS = frozenset({"blur", "smudge"})
"""Tools that change what is there with what is there; a sketch has none."""
VERSION = 3
_FILE = re.compile(r"[0-9a-f]{16,64}\.[a-z]{3,4}")  # no other characters, so that it stays in its folder
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
# number: (default, low, high)
_RANGES = {
    "size": (24.0, 0.1, 4096.0),
    "opacity": (1.0, 0.0, 1.0),
    "hardness": (0.8, 0.0, 1.0),
    "grain": (0.0, 0.0, 1.0),
    "t0": (0.6, 0.0, 1.0),
    "importance": (1.0, 0.0, 1.0),
    "scale": (1.0, 0.001, 1000.0),
    "rotation": (0.0, -360.0, 360.0),
}
_FARTHEST = -1.0 * limits.SIDE, 2.0 * limits.SIDE
"""Coordinates that are farther away are brought there; as in web/js/canvas/layers.js."""
_OF_STROKES = ("size", "opacity", "hardness", "grain", "t0", "importance")


@dataclass(frozen=True)
class Placed:
    """Where a picture lies: its centre in pixels of the drawing, and their number for each of its own pixels."""

    file: str
    pixels: tuple[float, float]  # width and height of the file
    x: float
    y: float
    scale: float = 1.0
    rotation: float = 0.0  # degrees, clockwise


@dataclass(frozen=True)
class Layer:
    """One layer; `opacity` 0..1 multiplies that of its paint or picture, or the importance of its lines."""

    id: str
    kind: Kind = "paint"
    name: str = ""
    hidden: bool = False
    opacity: float = 1.0
    picture: Placed | None = None
    t0: float = 0.6  # of a picture


LAYERS = (Layer("paint"), Layer("sketch", "sketch"))
"""Of a drawing that names none."""


@dataclass(frozen=True)
class Gradient:
    """The colour of a fill goes over into another one, which it has at `end` and beyond; lengths as in a stroke."""

    color: tuple[int, int, int]
    begin: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True)
class Stroke:
    """One stroke; lengths are in pixels of its drawing."""

    tool: Tool
    layer: str  # the id of its layer
    paths: tuple[tuple[tuple[float, float], ...], ...]  # one path, or the rings of a fill
    color: tuple[int, int, int] = (0, 0, 0)
    size: float = 24.0
    opacity: float = 1.0
    hardness: float = 0.8
    grain: float = 0.0  # on paint: 0 = smooth
    t0: float = 0.6
    importance: float = 1.0
    pressure: tuple[float, ...] = ()  # 0..1 per point, empty for full
    gradient: Gradient | None = None  # of a fill


@dataclass(frozen=True)
class Drawing:
    """Strokes in the order they were drawn. width and height are what their lengths refer to, 0 = the picture's.

    layers: from the lowest to the uppermost.
    """

    strokes: tuple[Stroke, ...] = ()
    width: float = 0.0
    height: float = 0.0
    paper: tuple[int, int, int] = (255, 255, 255)
    complaints: tuple[str, ...] = field(default=())
    layers: tuple[Layer, ...] = LAYERS


class _Reader:
    """Collects problems and how often each one occurred."""

    def __init__(self) -> None:
        self.repaired: dict[str, int] = {}
        self.points = 0

    def note(self, what: str, whose: str = "strokes") -> None:
        key = f"of the {whose} {what}"
        self.repaired[key] = self.repaired.get(key, 0) + 1


def read_drawing(text: str) -> Drawing:
    """The drawing in a JSON text; an empty drawing for an empty text.

    Whatever can be read in a damaged text is kept, and `complaints` has a sentence for everything that was not. Raises
    ValueError if nothing can be read.
    """
    if not text.strip():
        return Drawing()
    complaints: list[str] = []
    if len(text) > limits.DRAWING_TEXT:
        complaints.append(f"The drawing is {len(text) / 1e6:.0f} MB of text: only its beginning is used.")
        text = text[: limits.DRAWING_TEXT]
    data = _load(text, complaints)
    version = data.get("version", VERSION)
    if not isinstance(version, int) or version > VERSION:
        complaints.append(
            f"The drawing has format {quoted(version)}, newer than {VERSION}: update the pack to see all of it."
        )
    given = data.get("strokes", [])
    if not isinstance(given, list):
        raise ValueError("The strokes are not a list: clear the canvas, or give {'strokes': [...]}.")
    if len(given) > limits.STROKES:
        complaints.append(f"The drawing has {len(given)} strokes: the first {limits.STROKES} are used.")
    reader = _Reader()
    layers = _layers(data.get("layers"), reader)
    kinds = {layer.id: layer.kind for layer in layers if layer.picture is None}
    strokes = [
        stroke
        for item in interruptible(given[: limits.STROKES])
        if (stroke := _stroke(item, kinds, reader)) is not None
    ]
    complaints += [f"{count} {what}." for what, count in reader.repaired.items()]
    width, height = (_side(data.get(name), name, complaints) for name in ("width", "height"))
    if not (width and height):
        width = height = 0.0
    paper = _color(data.get("paper", "#ffffff"))
    if paper is None:
        complaints.append("The paper's colour is not of the form #rrggbb: white is used.")
    return Drawing(tuple(strokes), width, height, paper or (255, 255, 255), tuple(complaints), layers)


def _load(text: str, complaints: list[str]) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        data = _salvaged(text)
        if not data["strokes"]:
            raise ValueError(
                f"The drawing cannot be read ({_reason(error)}) and none of its strokes can be recovered: clear the "
                "canvas, or paste a complete drawing."
            ) from None
        complaints.append(
            f"The drawing is damaged ({_reason(error)}): {len(data['strokes'])} strokes before the damage are used."
        )
    if isinstance(data, list):
        return {"strokes": data}
    if not isinstance(data, dict):
        raise ValueError(
            f"The drawing is of type {type(data).__name__}, but an object with strokes was expected: clear the canvas."
        )
    return data


def _salvaged(text: str) -> dict[str, Any]:
    """The complete strokes at the beginning of a damaged text."""
    data: dict[str, Any] = {"strokes": []}
    begin = re.search(r'"strokes"\s*:\s*\[', text)
    if begin is None:
        return data
    for name in ("version", "width", "height"):
        if found := re.search(rf'"{name}"\s*:\s*(\d{{1,9}})', text[: begin.start()]):
            data[name] = int(found[1])
    decoder, at = json.JSONDecoder(), begin.end()
    if found := re.search(r'"layers"\s*:\s*(?=\[)', text[: begin.start()]):
        with contextlib.suppress(ValueError, RecursionError):
            data["layers"], _ = decoder.raw_decode(text, found.end())
    while at < len(text):
        at = re.compile(r"[\s,]*").match(text, at).end()  # type: ignore[union-attr]
        try:
            stroke, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        if not isinstance(stroke, dict):
            break
        data["strokes"].append(stroke)
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number in it is too long"


def _layers(given: Any, reader: _Reader) -> tuple[Layer, ...]:
    if given is None:
        return LAYERS
    items = given if isinstance(given, list) else [given]
    layers: dict[str, Layer] = {}
    for item in items:
        if len(layers) == limits.LAYERS:
            reader.note(f"come after the first {limits.LAYERS} and are left out", "layers")
        elif (layer := _layer(item, reader)) is not None and layers.setdefault(layer.id, layer) is not layer:
            reader.note("have the id of another one and are left out", "layers")
    return tuple(layers.values())


def _layer(item: Any, reader: _Reader) -> Layer | None:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        reader.note("are not objects with an id and are left out", "layers")
        return None
    kind, name = item.get("kind", "paint"), item.get("name")
    if kind not in get_args(Kind):
        reader.note("are of a kind unknown to this version and are left out", "layers")
        return None
    opacity = _number(item.get("opacity"), "opacity", reader, "layers")
    layer = Layer(item["id"], kind, name if isinstance(name, str) else "", item.get("hidden") is True, opacity)
    if kind != "picture":
        return layer
    placed = _placed(item, reader)
    if placed is None:
        reader.note("are pictures without a file, its pixels or a place and are left out", "layers")
        return None
    return replace(layer, picture=placed, t0=_number(item.get("t0"), "t0", reader, "layers"))


def _placed(item: dict[str, Any], reader: _Reader) -> Placed | None:
    file, pixels = item.get("file"), _path(item.get("pixels"))
    place = _path([item.get("x"), item.get("y")])
    if not isinstance(file, str) or not _FILE.fullmatch(file) or place is None:
        return None
    if pixels is None or len(pixels) != 1 or min(pixels[0]) < 1:
        return None
    scale, rotation = (_number(item.get(name), name, reader, "layers") for name in ("scale", "rotation"))
    return Placed(file, pixels[0], *place[0], scale, rotation)


def _stroke(item: Any, kinds: dict[str, str], reader: _Reader) -> Stroke | None:
    if not isinstance(item, dict):
        reader.note("are not objects and are left out")
        return None
    tool, layer = item.get("tool", "brush"), item.get("layer", "paint")
    kind = kinds.get(layer) if isinstance(layer, str) else None
    if tool not in get_args(Tool) or kind is None or (tool in EFFECTS and kind == "sketch"):
        reader.note("are of a kind or on a layer unknown to this version and are left out")
        return None
    given = item.get("rings") if tool == "fill" else [item.get("points")]
    paths: list[Any] = given if isinstance(given, list) else []
    read = [_path(path) for path in paths]
    whole = [path for path in read if path is not None and len(path) >= (3 if tool == "fill" else 1)]
    if not whole or len(whole) < len(read):
        reader.note("have broken points and are left out")
        return None
    if any(_is_far(path) for path in paths):
        least, most = _FARTHEST
        reader.note(f"have points outside {least:g} to {most:g} and use the nearest place")
    reader.points += sum(map(len, whole))
    if reader.points > limits.POINTS:
        reader.note(f"come after the first {limits.POINTS} points and are left out")
        return None
    color = _color(item.get("color", "#000000"))
    if color is None:
        reader.note("have a colour that is not of the form #rrggbb and are black")
    numbers = {name: _number(item.get(name), name, reader) for name in _OF_STROKES}
    pressure = _pressure(item.get("pressure"), len(whole[0]), reader) if tool != "fill" else ()
    gradient = _gradient(item, reader) if tool == "fill" else None
    return Stroke(tool, layer, tuple(whole), color or (0, 0, 0), pressure=pressure, gradient=gradient, **numbers)


def _gradient(item: dict[str, Any], reader: _Reader) -> Gradient | None:
    if item.get("gradient") is None and item.get("color2") is None:
        return None
    way, color = _path(item.get("gradient")), _color(item.get("color2"))
    if way is None or len(way) != 2 or color is None:
        reader.note("have a gradient without two places or a second colour and are filled with one colour")
        return None
    return Gradient(color, *way)


def _path(values: Any) -> tuple[tuple[float, float], ...] | None:
    if not isinstance(values, list) or not values or len(values) % 2 or not all(_is_number(value) for value in values):
        return None
    least, most = _FARTHEST
    kept = [min(max(float(value), least), most) for value in values]
    return tuple(zip(kept[::2], kept[1::2], strict=True))


def _is_far(path: list[float]) -> bool:
    least, most = _FARTHEST
    return min(path) < least or max(path) > most


def _pressure(values: Any, count: int, reader: _Reader) -> tuple[float, ...]:
    if values is None:
        return ()
    if not isinstance(values, list) or len(values) != count or not all(_is_number(value) for value in values):
        reader.note("have a pressure that does not match their points and are drawn without it")
        return ()
    return tuple(min(max(value / 100.0, 0.0), 1.0) for value in values)


def _number(value: Any, name: str, reader: _Reader, whose: str = "strokes") -> float:
    default, low, high = _RANGES[name]
    if value is None:
        return default
    if not _is_number(value):
        reader.note(f"have a {name} that is not a number and use {default:g}", whose)
        return default
    if not low <= value <= high:
        reader.note(f"have a {name} outside {low:g} to {high:g} and use the nearest value", whose)
    return min(max(float(value), low), high)


def _side(value: Any, name: str, complaints: list[str]) -> float:
    if value is None:
        return 0.0
    if not _is_number(value) or not 1 <= value <= limits.SIDE:
        complaints.append(f"The drawing's {name} is not from 1 to {limits.SIDE}: the picture's is used.")
        return 0.0
    return float(value)


def _is_number(value: Any) -> bool:
    # Not isfinite(), which fails for integers beyond the range of a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _color(value: Any) -> tuple[int, int, int] | None:
    if not isinstance(value, str) or not _COLOR.fullmatch(value):
        return None
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
