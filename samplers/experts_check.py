"""Which models can be joined as the two experts of one path, and what may happen to the pair afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import process

NAMES = ("high_noise", "low_noise")


def check_pair(high: Any, low: Any, pair_of: Callable[[Any], Any]) -> None:
    """Raises ValueError for models that cannot share one path."""
    for name, model in zip(NAMES, (high, low), strict=True):
        if pair_of(model) is not None:
            raise ValueError(f"{name} is a pair of joined models already: connect a single model.")
    kinds = [type(model.model).__name__ for model in (high, low)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"high_noise is a {kinds[0]} model and low_noise a {kinds[1]} model: join two of the same architecture."
        )
    if _architecture(high) != _architecture(low):
        raise ValueError(
            f"Both models are {kinds[0]}, but their networks differ in size or inputs (text to video and image to "
            "video, for example): join two of the same kind."
        )
    if high.load_device != low.load_device:
        raise ValueError(
            f"high_noise runs on {high.load_device} and low_noise on {low.load_device}: load both for the same device."
        )
    if not _alike(process.model_sampling(high), process.model_sampling(low)):
        raise ValueError(
            "The two models' noise schedules or kinds of prediction differ, so they cannot share a path: give both the "
            "same Model Sampling nodes."
        )


def _architecture(model: Any) -> dict[str, Any]:
    config = getattr(model.model.model_config, "unet_config", {})
    return {name: value for name, value in config.items() if name != "dtype"}


def _alike(one: Any, other: Any) -> bool:
    """Whether two networks are called in the same way at every level; their schedules may be spaced differently."""
    sigma = torch.linspace(float(one.sigma_min), float(one.sigma_max), 9)
    x, output = torch.ones_like(sigma), torch.full_like(sigma, 0.5)

    def seen(sampling: Any) -> Tensor:
        denoised = sampling.calculate_denoised(sigma, output, x)
        parts = [sampling.timestep(sigma), sampling.calculate_input(sigma, x), denoised]
        return torch.stack([*(part.float() for part in parts), *process.coefficients(sampling, sigma)])

    return torch.allclose(seen(one), seen(other), rtol=1e-4, atol=1e-6, equal_nan=True)


def check_unchanged(pair: Any, high: Any) -> None:
    """Raises ValueError where weights were changed after joining: the low-noise model would not get the change."""
    own = high.object_patches
    changed = [name for name, patch in pair.object_patches.items() if own.get(name) is not patch]
    if _patched(pair) != _patched(high) or set(changed) - {"model_sampling"}:
        raise ValueError(
            "A LoRA or another change of the network comes after Join Models by Noise Level and would reach high_noise "
            "alone: put one before it for each of the two models."
        )


def _patched(model: Any) -> dict[tuple[str, str], int]:
    """How many changes each of a model's weights gets when it is loaded."""
    kinds = {"patch": model.patches, "wrapper": model.weight_wrapper_patches}
    return {(kind, name): len(changes) for kind, found in kinds.items() for name, changes in found.items()}
