"""The results of a sweep or of a part of one, and how parts are joined."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..images.realism import RealPictures, l2, texture_share
from ..samplers import nested


class Measured(NamedTuple):
    """Distance to the guide, realism and its standard error; NaN for pictures with values that are not finite."""

    distance: float = math.nan
    realism: float = math.nan
    error: float = math.nan


def measured(pictures: Tensor, guide: Tensor, real: RealPictures | None) -> Measured:
    """pictures, guide: [B, H, W, 3]. Without real pictures, realism is the share of fine texture in percent."""
    if not bool(torch.isfinite(pictures).all()):
        return Measured()
    if real is None:
        return Measured(l2(pictures, guide), 100 * float(texture_share(pictures).mean()))
    realism = real.distance(pictures)
    return Measured(l2(pictures, guide), realism.value, realism.standard_error)


def check_measured(rows: Iterable[Measured]) -> None:
    """Raises ValueError where no pictures could be measured."""
    if all(math.isnan(row.distance) for row in rows):
        raise ValueError("All results contain NaN or infinite values: try the VAE, then the model, in fp32.")


@dataclass(frozen=True)
class Result:
    """One edit of a sweep: its pictures [B, H, W, 3] and what they measure, its latent samples and evaluations.

    What was run elsewhere has pictures alone. notes: lines of the report.
    """

    pictures: Tensor
    row: Measured = field(default_factory=Measured)
    samples: Any = None
    evaluations: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Swept(ABC):
    """The results of a sweep, or of one part of it, by their places in the whole sweep.

    names: of all results of the sweep, in order. same: what the parts of one sweep have in common, compared by ==.
    each: pictures that a VAE decodes from the latent of one result. wanted: how many results there should be here.
    joined: from how many parts.
    """

    names: tuple[str, ...]
    same: tuple[Any, ...]
    each: int
    wanted: int
    results: dict[int, Result]
    joined: int = 1

    @abstractmethod
    def grid(self) -> Tensor:
        """All results, labelled. IMAGE [1, H, W, 3]"""

    @abstractmethod
    def plot(self) -> Tensor:
        """Distance against realism. IMAGE [1, H, W, 3]"""

    @abstractmethod
    def report(self) -> str:
        """The numbers and notes of all results."""

    @abstractmethod
    def of_pictures(self, pictures: Tensor, before: Result | None) -> Result:
        """The result that these pictures [each, H, W, 3] show; before: the one in its place."""

    def latents(self) -> dict[str, Any]:
        """The LATENT of all results that were run here, as a batch in their order."""
        return {"samples": nested.joined([each.samples for each in self.results.values() if each.samples is not None])}

    def incomplete(self, kind: str) -> list[str]:
        """A line where results are missing. kind: what they are, with a verb in the plural: "values were run"."""
        if len(self.results) == self.wanted:
            return []
        return [f"{'joined' if self.joined > 1 else 'interrupted'}: {len(self.results)} of {self.wanted} {kind}"]


def join(found: Sequence[Swept], pictures: Tensor | None = None) -> Swept:
    """One sweep from its parts. pictures: of all results of the whole sweep in order, [N, H, W, 3], made elsewhere.

    Raises ValueError for parts of different sweeps, a result that is in two parts, another number of pictures, or where
    no result is finite.
    """
    first, results = found[0], {}
    for number, part in enumerate(found, start=1):
        if type(part) is not type(first) or part.same != first.same:
            raise ValueError(
                f"Part {number} is of another sweep than part 1: connect sweeps whose inputs are the same except for "
                "part."
            )
        twice = results.keys() & part.results.keys()
        if twice:
            raise ValueError(
                f"The result for {first.names[min(twice)]} is in two parts: give each sweep its own part, from 1 to "
                "the number of parts."
            )
        results |= part.results
    results = dict(sorted(results.items()))
    if pictures is not None:
        count = len(first.names) * first.each
        if len(pictures) != count:
            raise ValueError(
                f"There are {len(pictures)} images for the {len(first.names)} results of the sweep: connect {count}, "
                "those of all parts in their order."
            )
        chunks = pictures[..., :3].split(first.each)
        results = {place: first.of_pictures(chunk, results.get(place)) for place, chunk in enumerate(chunks)}
    check_measured(result.row for result in results.values())
    return replace(first, results=results, wanted=len(first.names), joined=len(found))
