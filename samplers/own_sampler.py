"""SAMPLERs of our own that look like core's KSAMPLER from outside.

All of core's samplers are KSAMPLERs, so other packs read and change `extra_options` and `inpaint_options`, and wrap
`sampler_function` in a KSAMPLER of their own. Ours work a level above such a function: on the guider, with the noise,
the picture and the mask of the whole run.
"""

from __future__ import annotations

import copy
import functools
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from comfy.samplers import KSAMPLER
from torch import Tensor

from . import nested, process
from .wrong_prompt import sample_with


@dataclass
class SamplerRun:
    """What ComfyUI gives a sampler, all tensors in model space; noise, latent_image, denoise_mask: [B, C, ...].

    Latents of several parts are packed (`samplers/nested.py`).
    """

    guider: Any
    sigmas: Tensor
    extra_args: dict[str, Any]
    callback: Callable[..., None] | None
    noise: Tensor
    latent_image: Any = None
    denoise_mask: Tensor | None = None
    disable_pbar: bool = False

    @property
    def seed(self) -> int:
        return self.extra_args.get("seed") or 0

    @property
    def model_options(self) -> dict[str, Any]:
        return self.extra_args.get("model_options", {})

    @property
    def shapes(self) -> nested.Shapes | None:
        """Shapes of the parts of the latent, None for a plain one."""
        return nested.shapes_in(self.guider)

    def noised(self, picture: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """The forward process inside a run; sound is taken to its own level. [B, C, ...]"""
        return process.perturb(
            self.guider.inner_model.model_sampling, picture, self.leading(picture, noise, sigma), sigma, prior=False
        )

    def leading(self, picture: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """The noise that leads from a picture to sigma, where sound may have a level of its own."""
        own = nested.own_schedule_in(self.guider)
        return noise if own is None else own.noise(picture, noise, sigma)

    def by(self, sampler: Any, **changes: Any) -> Tensor:
        """The result of another SAMPLER, with these fields changed."""
        # A copy of the levels, because uni_pc changes its own.
        given = {**vars(self), "sigmas": self.sigmas.clone(), **changes}
        return sampler.sample(*given.values())


class OwnSampler(KSAMPLER):
    """A SAMPLER that works on a whole run, in the form of a KSAMPLER. Subclasses write `run`.

    inner: the SAMPLER that it runs, if any; options that other packs change are passed on to it.
    """

    def __init__(self, inner: Any = None) -> None:
        inner_function = getattr(inner, "sampler_function", None)
        super().__init__(self._function(inner_function), dict(getattr(inner, "extra_options", {})),
                         dict(getattr(inner, "inpaint_options", {})))  # fmt: skip
        self.inner = inner
        self._own_function = self.sampler_function

    @abstractmethod
    def run(self, given: SamplerRun) -> Tensor:
        """The state at the end, [B, C, ...] in model space."""

    def sample(self, model_wrap: Any, *args: Any, **kwargs: Any) -> Tensor:
        """ComfyUI's Sampler contract. If another pack has replaced the function, runs as core's KSAMPLER with it."""
        own = self.sampler_function is self._own_function
        sample = super().sample
        return self.run(SamplerRun(model_wrap, *args, **kwargs)) if own else sample(model_wrap, *args, **kwargs)

    def works_on(self, mask: Tensor | None) -> bool:
        """Whether a run with this mask differs from the inner sampler's own."""
        return True

    def _function(self, inner: Callable[..., Tensor] | None) -> Callable[..., Tensor]:
        """The run as a k-diffusion function, with the name and the signature of the inner sampler's."""

        def function(
            model: Any,
            x: Tensor,
            sigmas: Tensor,
            extra_args: dict[str, Any] | None = None,
            callback: Callable[[dict[str, Any]], None] | None = None,
            disable: bool | None = None,
            **options: Any,
        ) -> Tensor:
            args = extra_args or {}
            if inner is not None and not self.works_on(args.get("denoise_mask")):
                return inner(model, x, sigmas, extra_args=args, callback=callback, disable=disable, **options)
            sampler = copy.copy(self)
            sampler.extra_options = options
            return _inside_ksampler(sampler, model, x, sigmas, args, callback, bool(disable))

        if inner is not None:
            return functools.wraps(inner)(function)
        function.__name__ = function.__qualname__ = type(self).__name__
        return function


class InsideSampler(OwnSampler):
    """A SAMPLER that samples nothing and returns its latent: it keeps the `result` of calling body in a run."""

    def __init__(self, body: Callable[[SamplerRun], Any]) -> None:
        super().__init__()
        self.body, self.result = body, None

    def run(self, given: SamplerRun) -> Tensor:
        self.result = self.body(given)
        return given.latent_image


def run_inside(
    guider: Any, noise: Any, latent: Any, sigmas: Tensor, body: Callable[[SamplerRun], Any],
    callback: Callable[..., None] | None = None, seed: int = 0,
) -> Any:  # fmt: skip
    """Calls body in a run of the guider, with model loaded, prompts encoded and patches active; returns its result.

    noise, latent: [B, C, ...] as LATENT carries them, or nested.
    """
    sampler = InsideSampler(body)
    sample_with(guider, noise, latent, sampler, sigmas, callback=callback, disable_pbar=True, seed=seed)
    result, sampler.result = sampler.result, None  # it refers to itself, so that it would keep the result for a while
    return result


def with_options(sampler: Any, options: dict[str, Any]) -> Any:
    """The SAMPLER with these extra options; itself where it has them already."""
    if getattr(sampler, "extra_options", {}) == options:
        return sampler
    changed = copy.copy(sampler)
    changed.extra_options = options
    return changed


class UnmaskedModel:
    """The model inside a KSAMPLER as the guider that a run works on: core's masking is left to the run.

    noise, sigmas: those of the whole run; the sampler may be given a part of it.
    """

    def __init__(self, model: Any) -> None:
        self._model, self.noise, self.sigmas = model, model.noise, model.sigmas

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model.inner_model, name)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None):
        return self._model(x, sigma, denoise_mask=None, model_options=model_options or {}, seed=seed)


def _inside_ksampler(
    sampler: OwnSampler,
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any],
    callback: Callable[[dict[str, Any]], None] | None,
    disable: bool,
) -> Tensor:
    """`OwnSampler.run` from the state x at sigmas[0] to the state at sigmas[-1], as a KSAMPLER's function gives it."""
    if len(sigmas) < 2:
        return x
    if getattr(model, "noise", None) is None or getattr(model, "latent_image", None) is None:
        raise ValueError(
            "Another node's sampler runs this one and hides the picture and its noise from it: connect that node's "
            "SAMPLER to Masked Reverse SDE instead."
        )
    sampling, picture = model.inner_model.inner_model.model_sampling, model.latent_image
    noise = model.noise
    if not torch.equal(process.perturb(sampling, picture, noise, sigmas[0]), x):
        # A state in the middle of a run: the noise that leads to it replaces the run's.
        base = process.perturb(sampling, picture, torch.zeros_like(x), sigmas[0])
        unit = process.perturb(sampling, torch.zeros_like(x), torch.ones_like(x), sigmas[0])
        noise = (x - base) / unit

    def report(i: int, denoised: Tensor, state: Tensor, _: int) -> None:
        level = sigmas[min(i, len(sigmas) - 1)]
        if callback is not None:
            callback({"x": state, "i": i, "sigma": level, "sigma_hat": level, "denoised": denoised})

    args = {name: value for name, value in extra_args.items() if name != "denoise_mask"}
    mask = extra_args.get("denoise_mask")
    samples = sampler.run(SamplerRun(UnmaskedModel(model), sigmas, args, report, noise, picture, mask, disable))
    return process.perturb(sampling, samples, torch.zeros_like(samples), sigmas[-1], prior=False)
