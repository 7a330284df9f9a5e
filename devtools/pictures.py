"""Makes the pictures of the README and the help pages from the project's own runs: `./dev pictures [NAME ...]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..demo.model import load_demo_model
from ..demo.render import render, render_with_masks
from ..demo.scenes import Scene, full_caption
from ..demo.training.evaluate import generate, sheet, unseen_scenes
from ..samplers.sdedit import SDEditSettings, sdedit
from . import (
    pictures_concepts,
    pictures_images,
    pictures_lep,
    pictures_mdp,
    pictures_paths,
    pictures_sdedit,
    pictures_widgets,
)
from .console import say
from .settings import ROOT

HELP = ROOT / "web" / "docs" / "images"
DOCS = ROOT / "docs" / "images"


def tensor(picture: object) -> Tensor:
    """uint8 [H, W, 3] or float mask [H, W] to an IMAGE [H, W, 3]."""
    x = torch.as_tensor(picture).clone()
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()[..., None].expand(-1, -1, 3)


def montage(pictures: list[Tensor] | Tensor, columns: int, gap: int = 6) -> Tensor:
    """Pictures [H, W, 3] side by side with white gaps, as one [H', W', 3]."""
    rows = [list(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    height, width, _ = pictures[0].shape
    canvas = torch.ones(len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            y, x = r * (height + gap), c * (width + gap)
            canvas[y : y + height, x : x + width] = picture
    return canvas


def demo_model() -> Tensor:
    prompts = [
        "a landscape, day, summer, a snowy mountain, a lake, pine trees, a red house, clouds",
        "a landscape, sunset, autumn, hills, a lake, broadleaf trees, a white house, clear sky",
        "a landscape, night, winter, a snowy mountain, a meadow, pine trees, a blue house, clear sky",
        "a landscape, day, winter, hills, a lake, broadleaf trees, a red house, clouds",
        "a landscape, sunset, summer, a rocky mountain, a lake, no trees, no house, clouds",
        "a landscape, day, autumn, a snowy mountain, a meadow, broadleaf trees, a blue house, clear sky",
        "a landscape, night, summer, a rocky mountain, a lake, pine trees, a white house, clouds",
        "a landscape, day, summer, hills, a meadow, broadleaf trees, a white house, clouds",
    ]
    return montage(generate(prompts, seed=12)[0], columns=4)


def demo_scene() -> Tensor:
    scene = Scene(seed=5, trees="broadleaf", time="sunset", house="red")
    picture, masks = render_with_masks(scene)
    return montage([tensor(picture), tensor(render(scene, detail=0.0)), tensor(masks["house"])], columns=3)


def demo_sheet() -> Tensor:
    scenes = unseen_scenes(40)
    made, _ = generate([full_caption(scene) for scene in scenes])
    return tensor(sheet(made, columns=8))


def front() -> Tensor:
    """Two stroke paintings, each with what SDEdit makes of it at a low and at a high t0."""
    model, clip, vae = load_demo_model()
    negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    shown: list[Tensor] = []
    for scene in (
        Scene(seed=5, time="sunset", season="autumn", trees="broadleaf"),
        Scene(seed=21, house="blue", clouds="cloudy"),
    ):
        strokes = tensor(render(scene, detail=0.0))
        positive = clip.encode_from_tokens_scheduled(clip.tokenize(full_caption(scene)))
        guide = {"samples": vae.encode(strokes[None])}
        shown.append(strokes)
        for t0 in (0.45, 0.7):
            edited = sdedit(model, positive, negative, guide, 1, SDEditSettings(t0=t0, steps=30)).latent
            shown.append(vae.decode(edited["samples"])[0])
    return montage(shown, columns=3)


PICTURES: dict[str, tuple[Callable[[], Tensor], Path]] = {
    "demo-model": (demo_model, HELP),
    "demo-scene": (demo_scene, HELP),
    "demo-sheet": (demo_sheet, DOCS),
    "front": (front, DOCS),
    **{name: (make, DOCS) for name, make in pictures_concepts.PICTURES.items()},
    **{name: (make, HELP) for name, make in pictures_images.PICTURES.items()},
    **{name: (make, HELP) for name, make in pictures_lep.PICTURES.items()},
    **{name: (make, HELP) for name, make in pictures_sdedit.PICTURES.items()},
    **{name: (make, HELP) for name, make in pictures_mdp.PICTURES.items()},
    **{name: (make, HELP) for name, make in pictures_paths.PICTURES.items()},
    **{name: (make, HELP) for name, make in pictures_widgets.PICTURES.items()},
}


def main() -> None:
    names = sys.argv[1:] or list(PICTURES)
    for name in names:
        if name not in PICTURES:
            raise SystemExit(f"There is no picture '{name}': there are {', '.join(PICTURES)}.")
        make, folder = PICTURES[name]
        path = folder / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with torch.inference_mode():
            pixels = (make().clamp(0, 1) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(path, quality=88)
        say(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
