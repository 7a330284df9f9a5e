"""Makes the pictures that are named, or all of them."""

from __future__ import annotations

import sys

import torch

from ..console import say
from ..settings import ROOT
from ..world import save_picture
from . import concepts, demo, front, images, inverse, lep, mdp, paths, sdedit, widgets  # noqa: F401  each lists its pictures
from .shared import PICTURES

IN_DOCS = ("demo-sheet", "front-edits", "front-sketches", "front-strokes", "idea")

if __name__ == "__main__":
    names = sys.argv[1:] or list(PICTURES)
    if unknown := [name for name in names if name not in PICTURES]:
        raise SystemExit(f"There is no picture '{unknown[0]}': there are {', '.join(PICTURES)}.")
    for name in names:
        folder = ROOT / "docs" if name in IN_DOCS else ROOT / "web" / "docs"
        with torch.inference_mode():
            save_picture(PICTURES[name](), folder / "images" / f"{name}.jpg")
        say((folder / "images" / f"{name}.jpg").relative_to(ROOT))
