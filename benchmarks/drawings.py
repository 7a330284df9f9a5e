"""Freehand drawings of landscapes, as the Stroke Canvas writes them: invented as doodles, with no picture to trace.

They were laid out point by point, with trees and clouds after a few patterns; bends, gaps, overshoots and double lines,
more for some than for others, come from a program that imitates unsteady hands. Each file in `freehand/` can be pasted
into the node. It has one field more, "landscape": the attributes of what is drawn, from which its caption is made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..demo.render import SIZE
from ..demo.scenes import Scene
from ..images.strokes_document import Drawing, read_drawing
from ..images.strokes_render import render_drawing

FOLDER = Path(__file__).parent / "freehand"


@dataclass(frozen=True)
class Freehand:
    """scene: the attributes of what was drawn; its seed means nothing."""

    scene: Scene
    drawing: Drawing

    def lines(self, size: int = SIZE) -> Tensor:
        """Light on dark, [size, size]."""
        return render_drawing(self.drawing, size, size).sketch[0]


def freehand(folder: Path = FOLDER) -> list[Freehand]:
    """All drawings of a folder, by name."""
    return [_read(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]


def _read(text: str) -> Freehand:
    return Freehand(Scene(**json.loads(text)["landscape"]), read_drawing(text))
