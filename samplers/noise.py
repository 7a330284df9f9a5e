"""Noise that belongs to a seed: drawn on the CPU, per batch item, the same on every device.

Two kinds. The *initial* noise is core's own (`draw_noise`), so that a run equals a core run. The *step* noise of
stochastic samplers is keyed by (seed, batch index, sigma), so that it does not depend on the rest of the batch, on
the number of steps drawn before it, or on how the schedule was split over samplers.

Patches of a model may draw from PyTorch's global generator (core's HyperTile does). Core seeds it with every initial
noise, and so does everything here that runs a model: it begins with `start_run`, and the same seed gives the same
picture whatever was drawn before. Like core, a run does not put the generator's state back.

Batch of N equals N singles: item i of a LATENT run alone with ``batch_index = [i]`` (core's LatentFromBatch sets it)
and the same seed gets the noise it had in the batch. For the initial noise this is core's rule and holds for every
latent whose item has a multiple of 16 elements (any 4-channel latent of even height and width), except for the sound of
a video, which core draws after the video of all items that come first; for the step noise it holds always.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.sample
import torch
from torch import Tensor

from . import nested

# How far the seed's stream is searched for an item that was taken out of its batch: places, and numbers drawn.
_MAX_INDEX, _MOST_NUMBERS = 256, 2**24

StepNoise = Callable[[Tensor, Tensor], Tensor]
"""k-diffusion's noise_sampler: (sigma, sigma_next) -> unit noise shaped as the state."""


def mix_seed(seed: int, *parts: int | float | str) -> int:
    """A 63-bit seed from a seed and any keys that tell its uses apart; the same on every machine."""
    digest = hashlib.blake2b(struct.pack("<Q", seed % 2**64), digest_size=8)
    for part in parts:
        digest.update(struct.pack("<d", part) if isinstance(part, (int, float)) else part.encode())
    return int.from_bytes(digest.digest(), "little") >> 1


def start_run(latent: dict[str, Any], seed: int) -> Any:
    """The initial noise of a run of the model; it also seeds PyTorch's global generator for the run, as core does.

    Bit for bit core's ``prepare_noise`` with the LATENT's ``batch_index``, on the CPU, so that a patch draws during the
    run what it draws in core's. Call it right before the run, even where the noise itself is not used.
    """
    return comfy.sample.prepare_noise(latent["samples"], seed, latent.get("batch_index"))


@contextmanager
def drawn_again(device: torch.device) -> Iterator[None]:
    """Restores PyTorch's global generators (the CPU's and the device's) at the end of the block.

    What the block draws is drawn again after it: for two predictions that should differ by their prompts alone.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def draw_noise(latent: dict[str, Any], seed: int) -> Any:
    """The initial noise of a LATENT: bit for bit core's ``prepare_noise`` with its ``batch_index``, on the CPU.

    Unlike `start_run` it leaves PyTorch's global generator alone: for noise that does not begin a run. Nested latents
    get nested noise.
    """
    indices, generator = latent.get("batch_index"), torch.Generator("cpu").manual_seed(seed)
    return nested.each(lambda part: comfy.sample.prepare_noise_inner(part, generator, indices), latent["samples"])


def indices_of(latent: Mapping[str, Any]) -> Sequence[int]:
    """The batch_index of each item of a LATENT; without one they count from 0."""
    return latent.get("batch_index") or range(latent["samples"].shape[0])


def batch_indices(noise: Tensor | None, seed: int | None, batch: int, shapes: nested.Shapes | None = None) -> list[int]:
    """Which batch_index each item has, read back from its initial noise: the inverse of `draw_noise`.

    A SAMPLER is not passed the LATENT's batch_index, but its noise was drawn with it. Items whose noise is not from
    this seed (no noise, noise of another pack) get their position in the batch. shapes: see `nested.shapes_in`.
    """
    places = list(range(batch))
    if noise is None or seed is None or torch.count_nonzero(noise) == 0:
        return places
    generator = torch.Generator("cpu").manual_seed(seed)
    wanted, found = nested.video(noise, shapes).detach().cpu().float(), {}  # the part that is drawn first
    for index in range(max(batch, min(_MAX_INDEX, _MOST_NUMBERS // wanted[0].numel()))):
        drawn = torch.randn([1, *wanted.shape[1:]], generator=generator)[0]
        for item in places:
            # Half-precision latents round their noise, hence the tolerance.
            if item not in found and torch.allclose(wanted[item], drawn, atol=1e-2):
                found[item] = index
        if len(found) == batch:
            return [found[item] for item in places]
    return places


def item_noise(like: Tensor, seed: int, index: int, *key: int | float | str) -> Tensor:
    """Unit noise for one item: float32 numbers from (seed, index, key), in the shape, dtype and device of ``like``."""
    generator = torch.Generator("cpu").manual_seed(mix_seed(seed, index, *key))
    return torch.randn(like.shape, generator=generator, dtype=torch.float32).to(like)


def step_noise(x: Tensor, seed: int, indices: Sequence[int]) -> StepNoise:
    """A noise_sampler whose noise for the step from sigma depends on (seed, batch index, sigma) alone."""

    def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return torch.stack(
            [item_noise(item, seed, index, float(sigma)) for item, index in zip(x, indices, strict=True)]
        )

    return noise
