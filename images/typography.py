"""Text for grids and plots: Pillow's built-in scalable font, small raised and lowered figures, wrapping."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont

INK = (31, 35, 40)
MUTED = (112, 117, 124)
RULE = (228, 229, 226)
PAPER = (250, 250, 248)

_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True))
_SPELLED = str.maketrans(
    {"×": "x", "–": "-", "—": "-", "−": "-", "→": "->", "≤": "<=", "≥": ">=", "σ": "sigma", "η": "eta", "Δ": "delta "}
)
# Text is drawn this many times larger and reduced: the font's own hinting spaces small letters unevenly.
_SUPERSAMPLING = 4
# Whether a font has a letter is asked at this size.
_PROBE = 12
# Tried by name, wherever the system keeps its fonts, for prompts in scripts that the built-in font cannot write.
_SYSTEM_FONTS = ("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "YuGothM.ttc", "DejaVuSans.ttf", "arial.ttf")


@lru_cache(maxsize=64)
def built_in_font(size: int) -> Font:
    """Pillow's own scalable font, the same on every machine."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ValueError("Pillow was built without FreeType, so labels cannot be drawn: install Pillow from its wheel.")
    return font


@lru_cache(maxsize=64)
def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _glyph(font: Font, character: str) -> bytes:
    side = 2 * round(font.size)
    picture = Image.new("L", (side, side))
    ImageDraw.Draw(picture).text((0, 0), character, font=font, fill=255)
    return picture.tobytes()


def _writes(font: Font, text: str) -> bool:
    """Whether the font has a glyph of its own for every letter (U+FFFF is never assigned: its glyph is the box)."""
    return all(c.isspace() or _glyph(font, c) != _glyph(font, "\uffff") for c in text)


def _readable(text: str, size: int) -> tuple[str, Font]:
    """The text and a font that can write it: built-in, else a system font, else its nearest plain letters."""
    font, probe = built_in_font(size), built_in_font(_PROBE)
    plain = text.translate(_SPELLED)
    folded = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    for candidate in (plain, folded):
        if _writes(probe, candidate):
            return candidate, font
    for name in _SYSTEM_FONTS:
        other, other_probe = _system_font(name, size), _system_font(name, _PROBE)
        if other is not None and other_probe is not None and _writes(other_probe, text):
            return text, other
    return "".join(c if _writes(probe, c) else "?" for c in folded), font


def _runs(text: str, size: int) -> Iterator[tuple[str, Font, float]]:
    """Split into (characters, font, vertical shift) so that t₀ and x² are set as small figures; all enlarged."""
    size *= _SUPERSAMPLING
    run, kind = "", 0
    for character in text + "\0":
        here = 1 if character in _LOWERED else -1 if character in _RAISED else 0
        if run and (here != kind or character == "\0"):
            if kind == 0:
                yield *_readable(run, size), 0.0
            else:
                table = _LOWERED if kind == 1 else _RAISED
                shift = 0.15 * size if kind == 1 else -0.34 * size
                yield "".join(table[c] for c in run), built_in_font(round(0.66 * size)), shift
            run = ""
        run, kind = run + character, here


def _advance(part: str, font: Font, shift: float) -> float:
    return font.getlength(part) + (0.09 * font.size if shift else 0.0)


def text_width(text: str, size: int) -> float:
    """Width in pixels of one line."""
    return sum(_advance(*run) for run in _runs(text, size)) / _SUPERSAMPLING


def line_height(size: int) -> int:
    return round(size * 1.32)


def draw_text(
    draw: ImageDraw.ImageDraw,
    xy: tuple[float, float],
    text: str,
    size: int,
    fill: tuple[int, int, int] = INK,
    align: str = "left",
) -> None:
    """Draw one line; `xy` is the left, middle or right of the baseline as `align` says ("left", "center", "right")."""
    if not text:
        return
    width = text_width(text, size)
    x, y = xy[0] - {"left": 0.0, "center": 0.5, "right": 1.0}[align] * width - 1, xy[1] - 1.5 * size
    corner = (math.floor(x), math.floor(y))
    mask = Image.new("L", ((math.ceil(width) + 4) * _SUPERSAMPLING, 2 * size * _SUPERSAMPLING + _SUPERSAMPLING))
    pen = ImageDraw.Draw(mask)
    across, baseline = (x - corner[0] + 1) * _SUPERSAMPLING, (round(xy[1]) - corner[1]) * _SUPERSAMPLING
    for run in _runs(text, size):
        part, font, shift = run
        pen.text((round(across), round(baseline + shift)), part, font=font, fill=255, anchor="ls")
        across += _advance(*run)
    draw.bitmap(corner, mask.reduce(_SUPERSAMPLING), fill=fill)


def wrap(text: str, size: int, width: float, max_lines: int = 2) -> list[str]:
    """Break a label into at most `max_lines` lines no wider than `width`; what does not fit ends in an ellipsis.

    Where the label has line breaks of its own, each of its lines is kept as one.
    """
    if "\n" in text:
        return [_elide(line.strip(), size, width) for line in text.split("\n")]
    lines: list[str] = []
    words = text.split()
    while words:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size) <= width:
            count += 1
        if len(lines) == max_lines - 1 and count < len(words):
            lines.append(_elide(" ".join(words), size, width))
            return lines
        lines.append(_elide(" ".join(words[:count]), size, width))
        words = words[count:]
    return lines


def _elide(text: str, size: int, width: float) -> str:
    if text_width(text, size) <= width:
        return text
    # Halving, since a long prompt takes long to measure.
    fitting, beyond = 0, len(text)
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        fitting, beyond = (middle, beyond) if text_width(text[:middle] + "…", size) <= width else (fitting, middle)
    return text[:fitting].rstrip() + "…"
