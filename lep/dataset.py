"""Training pictures from what a workflow has: core's dataset lists, or a batch of pictures with captions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..common import limits
from ..common.interrupts import interruptible
from ..common.texts import check_length
from ..images.edges import DETAIL, SCALE, as_picture, edge_map, of_width
from ..images.tensors import check_image, split_alpha
from ..samplers import process
from ..samplers.masks import block_of_vae
from .sketch import as_encoded, fit_lines, read_sketch
from .targets import check_target, edge_target, normal
from .training import Example

LINE_WIDTH = 5  # pixels: about half a latent cell; thinner lines are hard to see through noise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """Training examples. edges: makes the edge map [T, H, W] of one of them; all of them at once would fill memory."""

    examples: list[Example]
    edges: Callable[[int], Tensor]


def gather(
    model: Any,
    vae: Any,
    latents: Sequence[dict[str, Any]],
    images: Sequence[Tensor],
    conds: Sequence[Any],
    edge_maps: Sequence[Tensor],
    detail: float = DETAIL,
    scale: float = SCALE,
    listen: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Bring pictures, texts and edge maps together, one example per picture.

    latents: LATENTs (VAE space), or images: IMAGE batches, which are encoded; with both, the images are the latents'
    pictures. conds: a CONDITIONING for each picture or one for all. edge_maps: IMAGE batches, one map per picture; none
    makes them from the pictures (Canny, see `edge_map`). listen: called after each picture with the number done and the
    total. Raises ValueError if the numbers or the sizes do not match.
    """
    pictures = [picture.unsqueeze(0) for batch in images for picture in check_image(batch, "images")]
    given = _latent_items(model, latents)
    count = len(given) if latents else len(pictures)
    if not count:
        raise ValueError("There is nothing to train on: connect latents from Make Training Dataset, or images.")
    if latents and pictures and len(pictures) != count:
        raise ValueError(
            f"There are {len(pictures)} images for {count} latents: connect the images that the latents were "
            "made of, or none."
        )
    texts = _one_each(conds, count, "conditionings")

    def code_of(index: int) -> Tensor:
        return given[index] if given else vae.encode(split_alpha(pictures[index])[0])

    singles = [drawing.unsqueeze(0) for batch in edge_maps for drawing in batch]
    edges = _EdgeMaps(vae, pictures, edge_maps, singles, count, detail, scale)
    examples = []
    for index, text in enumerate(texts):
        code = code_of(index)
        target = edge_target(model, vae, as_picture(edges(index, code)), "latent")
        check_target(model, "latent", target, (int(code.shape[-2]), int(code.shape[-1])), "an edge map")
        examples.append(Example(normal(process.latent_in(model, code)).cpu(), normal(target).cpu(), text))
        if listen is not None:
            listen(index + 1, count)
    return Dataset(examples, lambda index: edges(index, code_of(index)))


def captioned(clip: Any, captions: str, count: int) -> list[Any]:
    """A CONDITIONING for each of `count` pictures from a text with one caption per line, or one line for all."""
    check_length(captions, "list of captions", limits.CAPTIONS)
    lines = [line.strip() for line in captions.splitlines() if line.strip()] or [""]
    if len(lines) not in (1, count):
        raise ValueError(f"There are {len(lines)} captions for {count} pictures: write one line each, or one for all.")
    encoded = {
        line: clip.encode_from_tokens_scheduled(clip.tokenize(line)) for line in interruptible(dict.fromkeys(lines))
    }
    return [encoded[line] for line in lines]


def _latent_items(model: Any, latents: Sequence[dict[str, Any]]) -> list[Tensor]:
    items: list[Tensor] = []
    for latent in latents:
        samples = latent["samples"]
        if samples.is_nested:
            raise ValueError(
                "Latents of video with sound cannot train a map predictor: separate them and connect the video alone."
            )
        process.check_layout(model, samples, "training latent")
        items.extend(samples[i : i + 1] for i in range(samples.shape[0]))
    return items


def _one_each(given: Sequence[Any], count: int, name: str) -> list[Any]:
    if len(given) == 1:
        return list(given) * count
    if len(given) != count:
        raise ValueError(f"There are {len(given)} {name} for {count} pictures: give one for each, or one for all.")
    return list(given)


@dataclass(frozen=True)
class _EdgeMaps:
    """Makes edge maps [T, H, W] for pictures, lines LINE_WIDTH pixels wide; T is 1, or a video's frames."""

    vae: Any
    pictures: Sequence[Tensor]
    given: Sequence[Tensor]
    singles: Sequence[Tensor]
    count: int
    detail: float
    scale: float

    def __call__(self, index: int, code: Tensor) -> Tensor:
        """The edge map of a picture with this latent."""
        if not self.given:
            picture = self.pictures[index] if self.pictures else self.vae.decode(code).flatten(0, -4)
            return of_width(edge_map(picture, "canny", self.detail, self.scale), LINE_WIDTH)
        lines = read_sketch(self._drawing(index, code.ndim == 5), name=f"edge map of picture {index + 1}")
        grid, block = (int(code.shape[-2]), int(code.shape[-1])), block_of_vae(self.vae)
        lines = as_encoded(lines, grid, block, "edge map")
        return of_width(fit_lines(lines, grid[0] * block, grid[1] * block), LINE_WIDTH)

    def _drawing(self, index: int, video: bool) -> Tensor:
        """[1, H, W, C], or a video's [T, H, W, C]."""
        if video and len(self.given) == self.count:
            return self.given[index]
        if len(self.singles) != self.count:
            raise ValueError(
                f"There are {len(self.singles)} edge maps for {self.count} pictures: give one for each, in the same "
                "order."
            )
        return self.singles[index]
