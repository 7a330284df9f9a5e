"""Training pictures from what a workflow has: core's dataset lists, or a batch of pictures with captions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..images.edges import DETAIL, SCALE, as_picture, edge_map, of_width
from ..images.morphology import check_proportions
from ..images.tensors import check_image, split_alpha
from ..samplers import process
from .sketch import fit_lines, read_sketch
from .targets import edge_target, normal
from .training import Example

LINE_WIDTH = 5  # pixels: half of a latent cell; thinner lines are hard to see through noise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """Training examples, with the edge map [T, H, W] that each target was made of."""

    examples: list[Example]
    edges: list[Tensor]


def gather(
    model: Any,
    vae: Any,
    latents: Sequence[dict[str, Any]],
    images: Sequence[Tensor],
    conds: Sequence[Any],
    edge_maps: Sequence[Tensor],
    detail: float = DETAIL,
    scale: float = SCALE,
) -> Dataset:
    """Bring pictures, texts and edge maps together, one example per picture.

    latents: LATENTs (VAE space), or images: IMAGE batches, which are encoded; with both, the images are the latents'
    pictures. conds: a CONDITIONING for each picture or one for all. edge_maps: IMAGE batches, one map per picture; none
    makes them from the pictures (Canny, see `edge_map`).
    Raises ValueError where the numbers or the sizes do not match.
    """
    pictures = [picture.unsqueeze(0) for batch in images for picture in check_image(batch, "images")]
    codes = _latent_items(latents) if latents else [vae.encode(split_alpha(picture)[0]) for picture in pictures]
    if not codes:
        raise ValueError("There is nothing to train on: connect latents from Make Training Dataset, or images.")
    if latents and pictures and len(pictures) != len(codes):
        raise ValueError(
            f"There are {len(pictures)} images for {len(codes)} latents: connect the images that the latents were "
            "made of, or none."
        )
    texts = _one_each(conds, len(codes), "conditionings")
    maps = _edge_maps(vae, codes, pictures, edge_maps, detail, scale)
    examples = []
    for code, text, lines in zip(codes, texts, maps, strict=True):
        target = edge_target(model, vae, as_picture(lines), "latent")
        if target.shape[-2:] != code.shape[-2:]:
            raise ValueError(
                f"The VAE makes a latent of {target.shape[-1]} x {target.shape[-2]} of an edge map, but the picture's "
                f"is {code.shape[-1]} x {code.shape[-2]}: connect the VAE that made the latents."
            )
        examples.append(Example(normal(process.latent_in(model, code)).cpu(), normal(target).cpu(), text))
    return Dataset(examples, maps)


def captioned(clip: Any, captions: str, count: int) -> list[Any]:
    """A CONDITIONING for each of `count` pictures from a text with one caption per line, or one line for all."""
    lines = [line.strip() for line in captions.splitlines() if line.strip()] or [""]
    if len(lines) not in (1, count):
        raise ValueError(f"There are {len(lines)} captions for {count} pictures: write one line each, or one for all.")
    encoded = {line: clip.encode_from_tokens_scheduled(clip.tokenize(line)) for line in dict.fromkeys(lines)}
    return [encoded[line] for line in lines]


def _latent_items(latents: Sequence[dict[str, Any]]) -> list[Tensor]:
    items: list[Tensor] = []
    for latent in latents:
        samples = latent["samples"]
        if samples.is_nested:
            raise ValueError(
                "Latents of several parts (video with audio) cannot train an edge predictor: use one part."
            )
        items.extend(samples[i : i + 1] for i in range(samples.shape[0]))
    return items


def _one_each(given: Sequence[Any], count: int, name: str) -> list[Any]:
    if len(given) == 1:
        return list(given) * count
    if len(given) != count:
        raise ValueError(f"There are {len(given)} {name} for {count} pictures: give one for each, or one for all.")
    return list(given)


def _edge_maps(
    vae: Any, codes: Sequence[Tensor], pictures: Sequence[Tensor], given: Sequence[Tensor], detail: float, scale: float
) -> list[Tensor]:
    """An edge map [T, H, W] for each picture, lines LINE_WIDTH pixels wide; T is 1, or a video's frames."""
    scaling = int(vae.spacial_compression_encode())
    if not given:
        maps = []
        for index, code in enumerate(codes):
            picture = pictures[index] if pictures else vae.decode(code).flatten(0, -4)
            maps.append(of_width(edge_map(picture, "canny", detail, scale), LINE_WIDTH))
        return maps
    if codes[0].ndim == 5 and len(given) == len(codes):
        single = [read_sketch(clip, name="edge map") for clip in given]
    else:
        single = [lines.unsqueeze(0) for batch in given for lines in read_sketch(batch, name="edge map")]
    if len(single) != len(codes):
        raise ValueError(
            f"There are {len(single)} edge maps for {len(codes)} pictures: give one for each, in the same order."
        )
    maps = []
    for lines, code in zip(single, codes, strict=True):
        height, width = int(code.shape[-2]) * scaling, int(code.shape[-1]) * scaling
        check_proportions(lines.shape[2], lines.shape[1], width, height, "edge map", "its picture")
        maps.append(of_width(fit_lines(lines, height, width), LINE_WIDTH))
    return maps
