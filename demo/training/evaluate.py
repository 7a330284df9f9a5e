"""Evaluates the packed model through ComfyUI: attributes of pictures for unseen prompts, and contact sheets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import comfy.sample
import comfy.samplers
import numpy as np
import torch
from skimage.measure import label, regionprops
from skimage.morphology import opening
from torch import Tensor

from ...images.realism import RealPictures
from ..attributes import read_attributes
from ..model import FEW_STEPS, NOISE
from ..render import SIZE
from ..scenes import ATTRIBUTES, Scene, full_caption, random_scene
from .style import PAINTED, Style
from .transformer import SAMPLING, TRANSFORMER, load_kind

SAMPLERS = {FEW_STEPS: ("euler", "simple"), TRANSFORMER: ("euler", "normal")}
SAMPLER, SCHEDULER = "dpmpp_2m", "karras"  # of the others
REFERENCE = 4  # renders to compare with, per picture


def unseen_scenes(count: int, seed: int = 20261) -> list[Scene]:
    """Scenes from a seed that training does not use."""
    rng = np.random.default_rng(seed)
    return [random_scene(rng) for _ in range(count)]


@torch.inference_mode()
def generate(
    prompts: Sequence[str], seed: int = 0, batch: int = 8, style: Style = PAINTED, kind: str = NOISE
) -> tuple[Tensor, float]:
    """Pictures [N, 256, 256, 3] for the prompts, one noise each, and the seconds per picture of sampling alone."""
    model, clip, vae = load_kind(kind, style)
    steps, cfg, _ = SAMPLING[kind]
    sampler, scheduler = SAMPLERS.get(kind, (SAMPLER, SCHEDULER))
    negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    pictures, seconds = [], 0.0
    for start in range(0, len(prompts), batch):
        texts = prompts[start : start + batch]
        # One conditioning for the whole batch: token tensors of equal length can be stacked.
        conds = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in texts]
        positive = [[torch.cat([c[0][0] for c in conds]), dict(conds[0][0][1])]]
        noise = torch.stack(
            [
                torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(seed + start + i))
                for i in range(len(texts))
            ]
        )
        begin = time.time()
        samples = comfy.sample.sample(
            model,
            noise,
            steps,
            cfg,
            sampler,
            scheduler,
            positive,
            negative,
            torch.zeros_like(noise),
            disable_pbar=True,
            seed=seed,
        )
        seconds += time.time() - begin
        pictures.append(vae.decode(samples).cpu())
    return torch.cat(pictures), seconds / len(prompts)


def accuracy(pictures: Tensor, scenes: Sequence[Scene], style: Style = PAINTED) -> dict[str, float]:
    """Share of pictures whose attribute is recognised as requested, per attribute."""
    read = read_attributes(pictures, style.attributes)
    return {
        name: sum(r[name] == getattr(s, name) for r, s in zip(read, scenes, strict=True)) / len(scenes)
        for name in ATTRIBUTES
    }


def single_houses(pictures: Tensor, scenes: Sequence[Scene], style: Style = PAINTED) -> float:
    """Of the pictures that should show one red or blue house, the share that shows exactly one, by its coloured walls.

    Counts connected areas of the wall's colour where the style has walls, at least a sixth of a wall wide and high.
    """
    right, asked = 0, 0
    for picture, scene in zip(pictures.numpy(), scenes, strict=True):
        # Only counted where nothing else has the colour of the walls: not blue at night, not red among autumn leaves.
        unique = {"red": scene.season != "autumn", "blue": scene.time != "night"}
        if not unique.get(scene.house, False):
            continue
        asked += 1
        red, green, blue = (picture[style.walls, :, k] for k in range(3))
        wall = red > 1.9 * np.maximum(green, blue) if scene.house == "red" else blue > 1.45 * np.maximum(red, green)
        wall &= (green < 0.42 * red + 0.02) if scene.house == "red" else (blue > 2.2 * red) & (green < 0.55 * blue)
        areas = regionprops(label(opening(wall, np.ones((5, 5), bool))))
        right += sum(area.area > 120 for area in areas) >= 1 and _one_place(areas)
    return right / max(1, asked)


def _one_place(areas: Sequence[Any]) -> bool:
    """Whether all large areas lie within the width of one house (door and windows split a wall into parts)."""
    columns = [area.bbox[1::2] for area in areas if area.area > 120]
    return max(right for _, right in columns) - min(left for left, _ in columns) < 0.26 * SIZE


def evaluate(
    style: Style = PAINTED, count: int = 200, seed: int = 0, kind: str = NOISE
) -> tuple[dict[str, float], Tensor, list[Scene]]:
    """Attribute accuracy over unseen full captions (with the patch KID and the seconds per picture), the pictures, and
    their scenes.
    """
    scenes = unseen_scenes(count)
    pictures, seconds = generate([full_caption(scene) for scene in scenes], seed, style=style, kind=kind)
    realism = RealPictures(style.rendered(*unseen_scenes(REFERENCE * count, 21_000))).distance(pictures)
    figures = {**accuracy(pictures, scenes, style), "single house": single_houses(pictures, scenes, style)}
    figures |= {"patch KID": realism.value, "its error": realism.standard_error, "seconds": seconds}
    return figures, pictures, scenes


def sheet(pictures: Tensor, columns: int = 8) -> np.ndarray:
    """A contact sheet of pictures, uint8 [rows 256, columns 256, 3]; fewer than a row make a shorter one."""
    columns = min(columns, len(pictures))
    count = len(pictures) // columns * columns
    tiles = (pictures[:count] * 255).round().byte().numpy()
    rows = [np.concatenate(list(tiles[i : i + columns]), axis=1) for i in range(0, count, columns)]
    return np.concatenate(rows, axis=0)
