"""Whether a path belongs to a model, a latent or a schedule, and how far two paths lie apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from . import nested
from .path import DiffusionPath, model_kind
from .path_check import check_falling


def check_path_fits(path: DiffusionPath, model: Any = None, latent: Any = None, sigmas: Tensor | None = None) -> str:
    """Refuse a path that does not belong to this model, LATENT (dict or tensor) or schedule; None is not checked.

    Returns a note where the path can only be interpolated at these levels, else an empty string. Raises ValueError.
    """
    if model is not None and (kind := model_kind(model)) != path.model:
        raise ValueError(
            f"The path belongs to {path.model}, but the model is {kind}: record or invert the picture with this model."
        )
    if latent is not None:
        _check_shape(path, latent["samples"] if isinstance(latent, Mapping) else latent)
    if sigmas is None:
        return ""
    check_falling(sigmas)
    levels = [float(sigma) for sigma in sigmas]
    for sigma in (levels[0], levels[-1]):
        if path.level(sigma) is None and not float(path.sigmas[-1]) < sigma < float(path.sigmas[0]):
            raise ValueError(
                f"The run goes from noise level {levels[0]:.4g} to {levels[-1]:.4g}, but the path only from "
                f"{float(path.sigmas[0]):.4g} to {float(path.sigmas[-1]):.4g}: sample on the path's levels (in "
                "SamplerCustomAdvanced, the SIGMAS of Path to Sampling Inputs), or make a path for these levels."
            )
    foreign = [sigma for sigma in levels if path.level(sigma) is None]
    if not foreign:
        return ""
    if not path.continuous:
        raise ValueError(
            f"This path ({path.method}, {path.steps} steps) is defined only at its own noise levels, and "
            f"{len(foreign)} of the run's {len(levels)} levels differ from them: sample in "
            "SamplerCustomAdvanced, on the SIGMAS of Path to Sampling Inputs."
        )
    error = max(path.interpolation_error(sigma) for sigma in foreign)
    return (
        f"The path is interpolated at {len(foreign)} of {len(levels)} noise levels (estimated error at most "
        f"{error:.2g} of a unit-variance state)."
    )


def _check_shape(path: DiffusionPath, samples: Any) -> None:
    """samples: of a LATENT, or a state of a run, packed if it has parts."""
    shapes = nested.shapes_of(samples)
    if shapes is None and path.latent_shapes is not None and tuple(samples.shape) == path.shape:
        return
    if (shapes is None) != (path.latent_shapes is None):
        ours, theirs = ("video with sound", "a plain one") if shapes is None else ("plain latents", "video with sound")
        raise ValueError(
            f"The path holds {ours}, but the latent is {theirs}: use the LATENT of Path to Sampling Inputs, or make "
            "the path from this latent."
        )
    for shape, own in zip(shapes or [tuple(samples.shape)], path.latent_shapes or [path.shape], strict=True):
        _check_same(shape, own)


def _check_same(shape: tuple[int, ...], own: tuple[int, ...]) -> None:
    if len(shape) == 4 and len(own) == 5:
        shape = (*shape[:2], 1, *shape[2:])  # as core does for models of video
    if shape == own:
        return
    if shape[1:] == own[1:]:
        raise ValueError(
            f"The path holds {own[0]} pictures, but the latent {shape[0]}: make the path from the same batch."
        )
    raise ValueError(
        f"The path holds latents of {list(own)}, but the latent is {list(shape)}: make the path at this resolution."
    )


def drift(path: DiffusionPath, other: DiffusionPath) -> Tensor:
    """How far two paths lie apart at each level and item, [N + 1, B]: RMS in units of a state of unit variance.

    Of video with sound, the video.
    """
    check_path_fits(path, latent=nested.unpack(other.states[0], other.latent_shapes), sigmas=other.sigmas)
    if path.model != other.model:
        raise ValueError(f"The paths belong to different models, {path.model} and {other.model}: compare equal ones.")
    pairs = [(state, path.at(float(sigma))) for state, sigma in zip(other.states, other.sigmas, strict=True)]
    apart = torch.stack([_rms(path.visible(one) - path.visible(two)) for one, two in pairs])
    return apart / torch.hypot(other.signal, other.noise)[:, None]


def _rms(x: Tensor) -> Tensor:
    return x.flatten(1).square().mean(1).sqrt()


def latent_psnr(reference: Tensor, other: Tensor) -> tuple[float, ...]:
    """PSNR in dB per item of two latents [B, ...] in model space; infinite where they are equal.

    The peak is the item's own range, but at least 1, the spread of latents: a flat one has no range of its own.
    """
    a, b = (each.cpu().double().flatten(1) for each in (reference, other))
    error = (a - b).square().mean(1)
    peak = (a.amax(1) - a.amin(1)).square().clamp(min=1.0)
    values = 10 * torch.log10(peak / error)
    return tuple(math.inf if e == 0 else float(v) for e, v in zip(error, values, strict=True))
