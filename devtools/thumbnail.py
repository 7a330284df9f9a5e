"""Makes a 512 x 512 thumbnail: one picture, or the left part of one beside the right part of another.

Run with a Python that has Pillow: `python thumbnail.py TARGET.jpg PICTURE [PICTURE ...]`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageOps

SIDE = 512
_LINE = 4
_NEARLY_SQUARE = 1.2


def thumbnail(pictures: Sequence[Image.Image]) -> Image.Image:
    """Vertical strips of the pictures, each cut from where the strip lies, with white lines between them."""
    squares = [_square(picture.convert("RGB")) for picture in pictures]
    result = squares[0].copy()
    draw = ImageDraw.Draw(result)
    for index, square in enumerate(squares[1:], start=1):
        left = SIDE * index // len(squares)
        result.paste(square.crop((left, 0, SIDE, SIDE)), (left, 0))
        draw.rectangle((left - _LINE // 2, 0, left + _LINE // 2 - 1, SIDE), fill="white")
    return result


def _square(picture: Image.Image) -> Image.Image:
    """A picture fills the square; a wide one, a grid with labels, is shown whole."""
    whole = max(picture.size) > _NEARLY_SQUARE * min(picture.size)
    size, sampling = (SIDE, SIDE), Image.Resampling.LANCZOS
    return ImageOps.pad(picture, size, sampling, "white") if whole else ImageOps.fit(picture, size, sampling)


if __name__ == "__main__":
    target, *sources = sys.argv[1:]
    thumbnail([Image.open(source) for source in sources]).save(target, quality=88, optimize=True)
