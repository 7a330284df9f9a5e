"""Text on pictures: the font and colours of grids and plots; measuring, drawing and wrapping."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

Color = tuple[int, int, int]

INK: Color = (31, 35, 40)
MUTED: Color = (112, 117, 124)
RULE: Color = (228, 229, 226)
PAPER: Color = (250, 250, 248)

FONT = "DejaVu Sans"  # ships with matplotlib, so labels look alike on every machine
# System fonts, looked up by name, for prompts in scripts that DejaVu Sans does not cover.
_SYSTEM_FONTS = ("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "YuGothM.ttc", "arial.ttf")


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    """A font by file name; None if the system has no such font."""
    if name == FONT:
        import matplotlib

        name = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=len(_SYSTEM_FONTS) + 1)
def _characters(file: str) -> frozenset[int]:
    """The code points that a font file has glyphs for."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(file).get_charmap())


def _writes(font: ImageFont.FreeTypeFont, text: str) -> bool:
    return all(c.isspace() or ord(c) in _characters(str(font.path)) for c in text)


def _readable(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """The text and a font that covers it: our own or a system font; otherwise the text is reduced to plain letters."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    for name, candidate in ((FONT, text), *((name, text) for name in _SYSTEM_FONTS), (FONT, plain)):
        font = _font(name, size)
        if font is not None and _writes(font, candidate):
            return candidate, font
    font = _font(FONT, size)
    assert font is not None
    return "".join(c if _writes(font, c) else "?" for c in plain), font


def text_width(text: str, size: int) -> float:
    """Width in pixels of one line."""
    readable, font = _readable(text, size)
    return font.getlength(readable)


def line_height(size: int) -> int:
    return round(size * 1.32)


def draw_text(
    draw: ImageDraw.ImageDraw,
    xy: tuple[float, float],
    text: str,
    size: int,
    fill: Color = INK,
    align: str = "left",
) -> None:
    """Draw one line; `xy` is the left, centre or right of the baseline, by `align` ("left", "center", "right")."""
    readable, font = _readable(text, size)
    draw.text(xy, readable, fill=fill, font=font, anchor={"left": "l", "center": "m", "right": "r"}[align] + "s")


def wrap(text: str, size: int, width: float, max_lines: int = 2) -> list[str]:
    """Break a label into at most `max_lines` lines no wider than `width`; text that does not fit ends in an ellipsis.

    If the label has line breaks of its own, its lines are kept.
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
    # Bisection, because measuring a long prompt is slow.
    fitting, beyond = 0, len(text)
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        fitting, beyond = (middle, beyond) if text_width(text[:middle] + "…", size) <= width else (fitting, middle)
    return text[:fitting].rstrip() + "…"
