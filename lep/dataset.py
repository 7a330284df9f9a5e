"""Training pictures from what a workflow has: core's dataset lists, or a batch of pictures with captions."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..common import limits
from ..common.interrupts import interruptible
from ..common.texts import check_length
from ..images.edges import DETAIL, SCALE, as_picture, edge_map, of_width
from ..images.palette import Palette, find_palette
from ..images.tensors import check_image, split_alpha
from ..samplers import process
from ..samplers.masks import block_of_vae
from .maps import EDGES, MAPS, encoding_of_kind
from .sketch import as_encoded, fit_lines, read_sketch
from .targets import Classes, Encoding, check_target, normal
from .training import Example, Plan
from .versions import Version, turned, version

LINE_WIDTH = 5  # pixels: about half a latent cell; thinner lines are hard to see through noise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """Training examples of one encoding.

    The pictures come first, then their further versions. kind: of map, of `MAPS`. maps: makes the map of one of the
    pictures, IMAGE [T, H, W, 3]; all of them at once would fill memory.
    """

    examples: list[Example]
    kind: str
    encoding: Encoding
    maps: Callable[[int], Tensor]

    def planned(self, plan: Plan) -> Plan:
        """The plan with what these examples decide: the kind of map, its classes, and the width of lines."""
        palette = self.encoding.palette if isinstance(self.encoding, Classes) else ()
        return replace(plan, map=self.kind, palette=palette, line_width=LINE_WIDTH if self.kind == EDGES else 0)


@dataclass(frozen=True)
class Wanted:
    """The kind of map to learn, of `MAPS`. detail, scale: of edges that are computed. palette: of known classes.

    versions: how many of each picture to learn from, itself included (`versions`); seed: of their choice.
    """

    map: str = EDGES
    detail: float = DETAIL
    scale: float = SCALE
    palette: Palette = ()
    versions: int = 1
    seed: int = 0


def gather(
    model: Any,
    vae: Any,
    latents: Sequence[dict[str, Any]],
    images: Sequence[Tensor],
    conds: Sequence[Any],
    maps: Sequence[Tensor],
    wanted: Wanted = Wanted(),
    listen: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Bring pictures, texts and maps together, one example per picture.

    latents: LATENTs (VAE space), or images: IMAGE batches, which are encoded; with both, the images are the latents'
    pictures. conds: a CONDITIONING for each picture or one for all. maps: IMAGE batches, one map per picture; none
    makes edges from the pictures (Canny, see `edge_map`). listen: called after each example with the number done and
    the total. Raises ValueError if the numbers or the sizes do not match, and where maps that cannot be computed are
    missing.
    """
    kind = MAPS[wanted.map]
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
    if kind.source and not maps:
        raise ValueError(
            f"There are no maps of {wanted.map} to learn: connect one for each picture to maps, from {kind.source}."
        )
    texts = _one_each(conds, count, "conditionings")

    source = _Given(vae, maps, count, wanted.map)
    palette = wanted.palette
    if kind.target == "classes" and not palette:
        palette = find_palette(picture for batch in maps for picture in check_image(batch, "maps"))
    made = _Edges(source, pictures, wanted.detail, wanted.scale) if wanted.map == EDGES else source
    maker = _Maker(model, vae, encoding_of_kind(wanted.map, palette), made, given, pictures)
    examples, total = [], count * max(1, wanted.versions)
    for example in itertools.chain(maker.originals(texts), maker.further(texts, wanted)):
        examples.append(example)
        if listen is not None:
            listen(len(examples), total)
    return Dataset(examples, wanted.map, maker.encoding, lambda index: made(index, maker.code(index)))


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
class _Maker:
    """Makes examples of what a workflow gives. given: latents of the pictures, or none. made: makes their maps."""

    model: Any
    vae: Any
    encoding: Encoding
    made: _Given | _Edges
    given: Sequence[Tensor]
    pictures: Sequence[Tensor]

    def code(self, index: int) -> Tensor:
        return self.given[index] if self.given else self.vae.encode(split_alpha(self.pictures[index])[0])

    def originals(self, texts: Sequence[Any]) -> Iterator[Example]:
        """An example of each picture as it is."""
        for index, text in enumerate(texts):
            code = self.code(index)
            yield self._example(code, self.made(index, code), text)

    def further(self, texts: Sequence[Any], wanted: Wanted) -> Iterator[Example]:
        """Examples of all pictures' further versions."""
        mirrors = MAPS[wanted.map].mirror != "unknown"
        for index, text in enumerate(texts) if wanted.versions > 1 else ():
            first = self.code(index)
            picture = self._picture(index, first)
            for number in range(1, wanted.versions):
                chosen = version(wanted.seed, index, number, mirrors)
                part = chosen.of(picture)
                drawn = self.made(index, first, chosen, part)
                yield self._example(self.vae.encode(part), drawn, text, index)

    def _example(self, code: Tensor, drawn: Tensor, text: Any, version_of: int | None = None) -> Example:
        size = (int(code.shape[-2]), int(code.shape[-1]))
        target = self.encoding.encode(self.model, self.vae, drawn, size)
        check_target(self.model, self.encoding, target, size, "a map")
        latent = normal(process.latent_in(self.model, code)).cpu()
        return Example(latent, normal(target).cpu(), text, version_of)

    def _picture(self, index: int, code: Tensor) -> Tensor:
        """A picture, or the frames of a video, as the VAE crops it: [T, H, W, 3]."""
        if not self.pictures or (code.ndim == 5 and code.shape[2] > 1):
            return self.vae.decode(code).flatten(0, -4)[..., :3].float().cpu()
        colour = split_alpha(self.pictures[index])[0]
        size = (int(code.shape[-2]), int(code.shape[-1]))
        return torch.stack([as_encoded(each, size, block_of_vae(self.vae), "image") for each in colour.unbind(-1)], -1)


@dataclass(frozen=True)
class _Given:
    """The map [T, H, W, 3] of each picture, as the VAE crops it; T is 1, or a video's frames. kind: of `MAPS`."""

    vae: Any
    batches: Sequence[Tensor]
    count: int
    kind: str

    def __call__(self, index: int, code: Tensor, chosen: Version | None = None, part: Tensor | None = None) -> Tensor:
        """The map of a picture with this latent, or of its chosen version."""
        drawn = split_alpha(check_image(self.drawing(index, code.ndim == 5), f"map of picture {index + 1}"))[0]
        planes = [self.cropped(plane, code) for plane in drawn.unbind(-1)]
        if chosen is None:
            return torch.stack(planes, dim=-1)
        changed = chosen.of(torch.stack(planes, dim=-1), flat=MAPS[self.kind].target == "classes")
        return turned(changed) if chosen.mirrored and MAPS[self.kind].mirror == "normals" else changed

    def drawing(self, index: int, video: bool) -> Tensor:
        """[1, H, W, C], or a video's [T, H, W, C]."""
        if video and len(self.batches) == self.count:
            return self.batches[index]
        if len(self.singles) != self.count:
            raise ValueError(
                f"There are {len(self.singles)} maps for {self.count} pictures: give one for each, in the same order."
            )
        return self.singles[index]

    @functools.cached_property
    def singles(self) -> list[Tensor]:
        return [drawing.unsqueeze(0) for batch in self.batches for drawing in batch]

    def cropped(self, plane: Tensor, code: Tensor) -> Tensor:
        """A plane [T, H, W] of a map, as the VAE crops it for this latent."""
        return as_encoded(plane, (int(code.shape[-2]), int(code.shape[-1])), block_of_vae(self.vae), "map")


@dataclass(frozen=True)
class _Edges:
    """Maps of edges [T, H, W, 3] with lines LINE_WIDTH pixels wide: those given, or else computed."""

    given: _Given
    pictures: Sequence[Tensor]
    detail: float
    scale: float

    def __call__(self, index: int, code: Tensor, chosen: Version | None = None, part: Tensor | None = None) -> Tensor:
        """The edges of a picture with this latent, or of its chosen version, whose picture is `part`."""
        vae = self.given.vae
        if self.given.batches:
            drawing = self.given.drawing(index, code.ndim == 5)
            lines = self.given.cropped(read_sketch(drawing, name=f"map of picture {index + 1}"), code)
            block = block_of_vae(vae)
            lines = fit_lines(lines, code.shape[-2] * block, code.shape[-1] * block)
            if chosen is not None:
                lines = chosen.of(lines.unsqueeze(-1)).squeeze(-1)
        else:
            picture = part
            if picture is None:
                picture = self.pictures[index] if self.pictures else vae.decode(code).flatten(0, -4)
            lines = self.given.cropped(edge_map(picture, "canny", self.detail, self.scale), code)
        return as_picture(of_width(lines, LINE_WIDTH))
