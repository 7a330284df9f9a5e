"""The forward process of every model family: x = a(sigma) x0 + b(sigma) n.

This is the only module that tells variance-exploding, variance-preserving and flow models apart, and it learns the
difference from the model itself (its ``noise_scaling``), so nothing else in the pack asks which family it works on.
In ComfyUI's coordinates eps and v models have a = 1, b = sigma; rectified flows have a = 1 - sigma, b = sigma.

Words: ``sampling`` is ComfyUI's model_sampling object; *model space* is what the network works on, *VAE space* is what
LATENT sockets carry; t0 is a fraction of the model's training time, 0 = clean, 1 = its prior.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_sampling
import torch
from torch import Tensor

from . import nested

_SMALLEST_T0 = 1e-6
_ITERATIONS = 60
_PRECISION = 4e-8
_LARGEST_VIEW = 1000.0  # a network may see VE states as they are, and those of real ones end below this
_WITH_SOUND = "AV"  # how core ends the names of formats of video with sound, which extend the video's own
_NEVER_ALONE = ("MiniMaxH3AV",)  # of networks that cannot do without the sound, and sample one video at a time


def model_sampling(model: Any) -> Any:
    """The model_sampling of a MODEL, object patches (ModelSamplingSD3, RescaleCFG, ...) included, on the CPU.

    It moves to the GPU with its model, where exponentials are rounded differently: noise levels computed with it, and
    pictures with them, would change by a bit once the model has been loaded.
    Raises ValueError for models that add no noise (see `check_diffusion`).
    """
    sampling = model.get_model_object("model_sampling")
    check_diffusion(sampling)
    buffers = getattr(sampling, "_buffers", {})
    if all(buffer is None or buffer.device == torch.device("cpu") for buffer in buffers.values()):
        return sampling
    here = copy.copy(sampling)
    here._buffers = {name: None if buffer is None else buffer.cpu() for name, buffer in buffers.items()}
    return here


def check_diffusion(sampling: Any) -> None:
    """Raises ValueError for models that turn a picture into another one without noise, along no diffusion path.

    They are flows whose states contain no noise (FlowRVS), and core's IMG_TO_IMG, which is given a picture at every
    level (Lotus). Also for CogVideoX as ComfyUI loads it: its network is shown states at their full size, thousands of
    times what it was trained on, by every sampler but one that keeps states of its own (VOIDSampler).
    """
    direct = isinstance(sampling, comfy.model_sampling.IMG_TO_IMG)
    if direct or float(coefficients(sampling, float(sampling.sigma_max))[1]) == 0.0:
        raise ValueError("This model turns pictures into pictures without any noise: use a diffusion or flow model.")
    if float(_shown_at_first(sampling)) > _LARGEST_VIEW:
        raise ValueError(
            "This model's network would be shown states far larger than those it was trained on (CogVideoX): connect "
            "ModelSamplingDiscrete with v_prediction and zsnr before this node."
        )


def _shown_at_first(sampling: Any) -> Tensor:
    """What the network is shown of noise of size 1 at the model's prior; about 1 in every family."""
    level, one = torch.as_tensor(sampling.sigma_max, dtype=torch.float32).reshape(1).cpu(), torch.ones(1)
    return sampling.calculate_input(level, sampling.noise_scaling(level, one, torch.zeros(1), True)).abs()


def coefficients(sampling: Any, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
    """The signal and noise coefficients (a, b) of x = a x0 + b n at noise level sigma.

    sigma: any shape; a python float is computed in float64. Returns two tensors of sigma's shape.
    """
    sigma = torch.as_tensor(sigma, dtype=None if isinstance(sigma, Tensor) else torch.float64)
    flat = sigma.reshape(-1)
    zero, one = torch.zeros_like(flat), torch.ones_like(flat)
    a = sampling.noise_scaling(flat, zero, one)
    b = sampling.noise_scaling(flat, one, zero)
    return a.reshape(sigma.shape), b.reshape(sigma.shape)


def snr_coordinate(sampling: Any, sigma: Tensor | float) -> Tensor:
    """s = b / a: the noise-to-signal ratio, equal for equal noise in every family (infinite at a flow's sigma = 1)."""
    a, b = coefficients(sampling, sigma)
    return b / a


def noise_fraction(sampling: Any, sigma: Tensor | float) -> Tensor:
    """Share of the variance that is noise, b^2 / (a^2 + b^2), for data of unit variance: 0 = clean, 1 = pure noise."""
    a, b = coefficients(sampling, sigma)
    return b**2 / (a**2 + b**2)


def noise_share(sampling: Any, sigma: Tensor) -> Tensor:
    """Share of a state that is noise, b / (a + b): a flow's sigma itself, and sigma / (1 + sigma) in eps and v models.

    Computed in float64 on the CPU; 1 = pure noise.
    """
    a, b = coefficients(sampling, sigma.cpu().double())
    return b / (a + b)


def t0_to_sigma(sampling: Any, t0: float) -> float:
    """The noise level at training-time fraction t0, never beyond the model's own range.

    t0 = 0 gives 0 and t0 = 1 gives sigma_max; between them it is ``percent_to_sigma(1 - t0)``, which is continuous for
    discrete models too (log-linear between training steps). Raises ValueError outside 0..1.
    """
    if not 0.0 <= t0 <= 1.0:
        raise ValueError(f"t0 is {t0}, but it is a fraction of the training time: give a number from 0 to 1.")
    if t0 == 0.0:
        return 0.0
    sigma_max = float(sampling.sigma_max)
    return sigma_max if t0 == 1.0 else min(float(sampling.percent_to_sigma(1.0 - t0)), sigma_max)


def sigma_to_t0(sampling: Any, sigma: float) -> float:
    """The training-time fraction of noise level sigma: the inverse of `t0_to_sigma`, to float32's precision of sigma.

    0 for sigma at or below the smallest level that the model was trained on, 1 at or above sigma_max. Found by regula
    falsi (Illinois), which needs no more of a family than that its noise rises with time.
    """
    sigma = float(sigma)
    if sigma <= t0_to_sigma(sampling, _SMALLEST_T0):
        return 0.0
    if sigma >= float(sampling.sigma_max):
        return 1.0

    def excess(t0: float) -> float:
        level = t0_to_sigma(sampling, t0)
        return (level - sigma) / (level + sigma)

    low, high, below, above = 0.0, 1.0, -1.0, excess(1.0)
    middle, moved = 1.0, 0
    for _ in range(_ITERATIONS):
        middle = (low * above - high * below) / (above - below)
        off = excess(middle)
        if abs(off) < _PRECISION:
            break
        # Illinois: the value at an end that stays twice in a row is halved, or the other end would crawl.
        if off > 0:
            high, above, below = middle, off, below / 2 if moved > 0 else below
            moved = 1
        else:
            low, below, above = middle, off, above / 2 if moved < 0 else above
            moved = -1
    return middle


def positions(sampling: Any, sigmas: Sequence[float] | Tensor) -> list[float]:
    """Where noise levels lie on the model's path: their training-time fractions, 1 = its prior, 0 = the picture."""
    return [sigma_to_t0(sampling, float(sigma)) for sigma in sigmas]


def is_prior(sampling: Any, sigma: float) -> bool:
    """Whether sampling from sigma starts at the model's prior (core's ``max_denoise`` rule)."""
    sigma_max = float(sampling.sigma_max)
    return math.isclose(sigma_max, float(sigma), rel_tol=1e-05) or float(sigma) > sigma_max


def perturb(sampling: Any, x0: Tensor, noise: Tensor, sigma: Tensor | float, prior: bool | None = None) -> Tensor:
    """The forward process x = a x0 + b n, exactly as core's samplers start (model space, shape and device of x0).

    prior: start as from the model's prior, where eps models scale the noise by sqrt(1 + sigma^2) (core's
    ``max_denoise``); None decides as core does, from sigma and sigma_max. Set it to False for levels inside a run.
    """
    level = torch.as_tensor(sigma, dtype=x0.dtype, device=x0.device)
    if prior is None:
        prior = is_prior(sampling, float(level.max()))
    # Noise is drawn on the CPU, while latents may live on the GPU (--gpu-only).
    return sampling.noise_scaling(level, noise.to(x0.device), x0, prior)


def resumable(sampling: Any, x: Tensor, sigma: Tensor | float) -> Tensor:
    """The model-space latent from which a sampler *without noise* starts exactly at x (noise level sigma).

    Core's samplers multiply their latent by a(sigma); this divides by it first. Neutral for eps and v models.
    Raises ValueError where nothing of the latent is left (a = 0: a flow model at sigma = 1).
    """
    level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if float(coefficients(sampling, level)[0].min()) <= 0.0:
        raise ValueError(
            "At t0 = 1 a flow model starts from noise alone, which a LATENT cannot carry: lower t0 to 0.999, "
            "or let the sampler add the noise (RandomNoise)."
        )
    return sampling.inverse_noise_scaling(level, x)


def guidance_embedded(model: Any) -> bool:
    """Whether a MODEL's network takes the strength of guidance as an input (Flux dev, HunyuanVideo).

    Such a network is distilled to predict what guidance makes of two prompts. Core evaluates a negative prompt beside
    it at any cfg but 1, as on every model; models distilled otherwise (turbo, lightning) cannot be told from others.
    """
    return bool(getattr(model.model.model_config, "unet_config", {}).get("guidance_embed"))


def network_view(sampling: Any, x: Tensor, sigma: Tensor | float) -> Tensor:
    """The network's input for x at noise level sigma: of about unit variance, so that a VAE can decode it."""
    level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    return sampling.calculate_input(level, x)


def check_one_latent(model: Any) -> None:
    """Raises ValueError for a MODEL whose network cannot be given latents in the shape that its VAE makes."""
    latent_format = model.get_model_object("latent_format")
    probe = torch.zeros([1, latent_format.latent_channels, *[1] * latent_format.latent_dimensions])
    if latent_format.process_in(probe).shape != probe.shape:
        raise ValueError(
            "This model's network works on latents of another shape than its VAE makes (a refiner with packed frames), "
            "which paths and edits cannot follow: use the base model here, and the refiner in a KSampler afterwards."
        )


def makes_sound(model: Any) -> bool:
    """Whether a MODEL cannot make video without sound."""
    return type(model.get_model_object("latent_format")).__name__ in _NEVER_ALONE


def check_parts(model: Any, samples: Any, name: str) -> None:
    """Raises ValueError unless LATENT samples have the parts that the MODEL works on: video with sound, or one part."""
    check_one_latent(model)
    if not samples.is_nested:
        if makes_sound(model):
            raise ValueError(
                f"The {name} is a plain latent, but this model works on video and sound together: connect a latent of "
                "both (Concat AV Latent)."
            )
        return
    if not type(model.get_model_object("latent_format")).__name__.endswith(_WITH_SOUND):
        raise ValueError(
            f"The {name} is a nested latent (video with sound), but this model works on plain ones: connect the "
            "video's part (Separate AV Latent)."
        )
    shapes = nested.shapes_of(samples) or ()
    if len(shapes) != 2 or len(shapes[0]) != 5 or len(shapes[1]) != 4 or shapes[0][0] != shapes[1][0]:
        raise ValueError(
            f"The {name} has the parts {nested.sizes(samples)}, but a video and its sound are expected: connect them "
            "in this order (Concat AV Latent)."
        )
    if makes_sound(model) and shapes[0][0] > 1:
        raise ValueError(
            f"The {name} is a batch of {shapes[0][0]}, but this model works on one video at a time: connect one."
        )


def same_view(sampling: Any, x: Tensor, sigma: Tensor, model_sigma: Tensor) -> Tensor:
    """The state that gives the network the same input at level `model_sigma` as x does at sigma (both 0-dim)."""
    one = torch.ones_like(model_sigma)
    view = sampling.calculate_input
    return x * (view(sigma.reshape(1), one.reshape(1)) / view(model_sigma.reshape(1), one.reshape(1)))


def check_layout(model: Any, samples: Any, name: str) -> None:
    """Raises ValueError unless LATENT samples have the parts, channels and dimensions that the MODEL works on."""
    check_parts(model, samples, name)
    latent_format = model.get_model_object("latent_format")
    # The format of video with sound may have room for the channels of both.
    wanted = (type(latent_format).__mro__[1] if samples.is_nested else latent_format).latent_channels
    samples = nested.video(samples)
    channels = samples.shape[1] if samples.ndim > 1 else 0
    remedy = "encode the picture with the VAE that belongs to the model."
    if samples.ndim < 3 or channels != wanted:
        raise ValueError(f"The {name} has {channels} channels but this model works on {wanted}: {remedy}")
    if samples.ndim == 5 and latent_format.latent_dimensions == 2:
        raise ValueError(f"The {name} is that of a video model, but this model works on pictures: {remedy}")


def latent_in(model: Any, samples: Any) -> Any:
    """VAE space to model space. All-zero latents stay zero, as in core (an empty latent is not shifted)."""
    if samples.is_nested:
        return _with_sound_scaled(nested.each(_convert(model, "process_in"), samples), _sound_scale(model))
    if torch.count_nonzero(samples) == 0:
        return samples
    return model.get_model_object("process_latent_in")(samples)


def latent_out(model: Any, samples: Any) -> Any:
    """Model space to VAE space, in float32 as core returns it."""
    if samples.is_nested:
        return nested.each(_convert(model, "process_out"), _with_sound_scaled(samples.float(), 1 / _sound_scale(model)))
    return model.get_model_object("process_latent_out")(samples.to(torch.float32))


def _convert(model: Any, way: str) -> Callable[[Tensor], Tensor]:
    """A latent format's conversion of one part of a nested latent.

    Core's own would scale the sound by what the last run has left in the model.
    """
    convert = getattr(model.get_model_object("latent_format"), way)
    return lambda part: convert(part) if way == "process_out" or part.any() else part


def _sound_scale(model: Any) -> float:
    """By how much a run scales the sound of a nested latent, to have it on the schedule of the video."""
    return float(getattr(model.get_model_object("model_sampling"), "audio_scale", 1.0))


def _with_sound_scaled(samples: Any, scale: float) -> Any:
    video, *sound = samples.unbind()
    return samples if scale == 1.0 else type(samples)([video, *(part * scale for part in sound)])


def untouched(model: Any, edited: Any, original: Any) -> Any:
    """An edited latent (VAE space) with the original's own values wherever the edit did not change it in model space.

    The conversion to model space and back rounds by up to 2e-7, which would look like an edit.
    """
    original = nested.each(lambda part, like: part.to(like), original, edited)
    same = latent_out(model, latent_in(model, original))
    return nested.each(lambda new, old, back: torch.where(new == back, old, new), edited, original, same)
