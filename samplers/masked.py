"""Masked reverse SDE: any ComfyUI SAMPLER, with part of the picture held on the path of the original.

One convention everywhere: mask 1 = edit, 0 = keep. The modes differ in what the network sees in kept pixels, what the
prediction is there, and what is left there at the end.

- ``blend``: the network sees m x + (1 - m)(a keep + b n), and the prediction becomes m D + (1 - m) keep, a convex
  mixture for soft masks. The step itself starts from the unmixed x, as in core.
- ``threshold``: a soft mask is a strength per pixel. A pixel is held until the path has come down to m times the start
  (both in training time), then it is free: SDEdit with its own t0, as in Differential Diffusion (Levin & Fried 2023).
- ``langevin``: before each step the state takes a few Langevin steps at its level (`langevin.py`), in which edited and
  kept pixels come to agree. Kept pixels are put on the path of the original at the start alone; the network then sees
  them as they have become, and the prediction is mixed as in ``blend``.
- ``paper``: Algorithms 3 and 5 (Meng et al. 2022) to the letter. At a step from level i the network sees kept pixels
  as it saw them at the level before, c(i - 1)(a(i - 1) keep + b(i - 1) n) with the scale c of the network's input,
  which for eps and v models is sqrt(abar) keep + sqrt(1 - abar) n of that level. So kept pixels are one level noisier
  than the rest, and keep the last level's noise in the result. A soft mask is cut at 0.5, because the paper's mask is
  binary. Where core keeps places clean (video models that take a clean first frame) they are clean here too.

A network that takes its time from the mask gets that of the mask in force at each level (`mask_times`). Where places
of a frame share one time, kept places are clean only in frames that are kept as a whole, and noised in all others;
``blend`` leaves both to core, which gives such a frame the mean of its mask.

The noise of kept pixels is ``fixed`` through a repeat (core and the paper's code) or ``fresh`` at every level (the
paper's algorithms); ``auto`` is fixed, but fresh in ``paper``. ``paper`` with fixed noise and the solver ``sde_small``
is the official code, which knows VP models alone, and its equations in the other families.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy.model_base import BaseModel
from torch import Tensor

from . import langevin, mask_times, nested, process, remarks
from . import noise as noises
from .counting import counting_from
from .levels import Levels
from .masks import noise_mask
from .own_sampler import OwnSampler, SamplerRun, UnmaskedModel, with_options
from .reverse_sde import ReverseSDESampler
from .solvers import walks_residuals

MODES = ("blend", "threshold", "paper", "langevin")
KEEP_NOISES = ("auto", "fixed", "fresh")

log = logging.getLogger(__name__)
_TIME_TOLERANCE = 1e-6  # a level that lies exactly at a pixel's own t0 belongs to the edit


@dataclass(frozen=True)
class Original:
    """What the later part of a split run cannot know by itself: the untouched LATENT, the first seed, all levels."""

    latent: dict[str, Any] | None = None
    seed: int = 0
    sigmas: Tensor | None = None


@dataclass(frozen=True)
class KeepRegion:
    """The keep region of one repeat: mask, kept picture and its noise, all [B, C, ...] in model space."""

    mask: Tensor | None
    picture: Tensor
    noise: Tensor
    seed: int
    indices: Sequence[int]


class MaskedSampler(OwnSampler):
    """A SAMPLER that runs another one with a keep region, `repeats` times, the result of one being the next guide."""

    def __init__(
        self,
        sampler: Any,
        mode: str = "blend",
        keep_noise: str = "auto",
        repeats: int = 1,
        original: Original | None = None,
        indices: Sequence[int] | None = None,
        langevin_steps: int = langevin.STEPS,
    ) -> None:
        """indices: batch_index of each item, by default read back from the noise. langevin_steps: of ``langevin``."""
        if mode not in MODES or keep_noise not in KEEP_NOISES:
            raise ValueError(f"Masked sampling knows the modes {MODES} with noise {KEEP_NOISES}: choose from these.")
        super().__init__(sampler)
        self.mode = "blend" if mode == "langevin" and langevin_steps == 0 else mode
        if self.mode == "langevin":
            langevin.check_single_step(sampler)
        self.fresh = keep_noise == "fresh" or (keep_noise == "auto" and mode == "paper")
        self.langevin_steps = langevin_steps
        self.repeats = repeats
        self.original = original or Original()
        self.indices = indices

    def works_on(self, mask: Tensor | None) -> bool:
        return mask is not None or self.repeats > 1 or self.original.latent is not None

    def run(self, given: SamplerRun) -> Tensor:
        sigmas, noise, mask = given.sigmas, given.noise, given.denoise_mask
        guide = torch.zeros_like(noise) if given.latent_image is None else given.latent_image
        if self.repeats > 1 and sigmas[-1] != 0:
            raise ValueError(
                f"{self.repeats} repeats need a run that ends at sigma 0, but this one ends at "
                f"{float(sigmas[-1]):.3g}: set repeats to 1 in the first part of a split run."
            )
        # Inside another sampler a run may start at a state of its own, while kept pixels keep the whole run's noise.
        own = given.guider.noise if isinstance(given.guider, UnmaskedModel) else noise
        region = self._region(given.guider, guide, own, mask, given.seed)
        if self.original.latent is None and region.mask is not None and not noise.any() and sigmas[0] != 0:
            raise ValueError(
                "The kept pixels need the run's noise, but this sampler starts without any (DisableNoise): connect the "
                "untouched latent to `original` and give the seed of the first sampler."
            )
        for remark in remarks.about_shared_times(given.guider.inner_model, region.mask, self.mode):
            log.warning("%s", remark)
        plain = self.mode == "blend" and not self.fresh and self.repeats == 1 and self.original.latent is None
        if walks_residuals(self.inner) and not plain:
            raise ValueError(
                "The sampler of a residual path follows only that path, and applies the mask by itself: connect it "
                "without Masked Reverse SDE."
            )
        first, result = region, guide
        for repeat in range(self.repeats):
            args = dict(given.extra_args)
            if repeat > 0:
                seed = args["seed"] = noises.mix_seed(first.seed, "repeat", repeat)
                like = {"samples": noise.cpu(), "batch_index": list(region.indices)}
                guide, kept = self._next_guide(result, region)
                noise = given.leading(guide, noises.start_run(like, seed).to(noise), sigmas[0])
                region = replace(region, picture=kept, noise=noise, seed=seed)
            elif isinstance(self.inner, ReverseSDESampler):
                # Its noise is keyed by the level, so a later part of a split run may use the first part's seed again.
                args["seed"] = region.seed
            steps, counted = len(sigmas) - 1, given.callback
            if self.repeats > 1:
                counted = counting_from(counted, repeat * steps, self.repeats * steps)
            one = replace(given, extra_args=args, callback=counted, noise=noise, latent_image=guide)
            result = self._repeat(one, region)
        return result

    def _region(self, guider: Any, guide: Tensor, noise: Tensor, mask: Tensor | None, seed: int) -> KeepRegion:
        """The keep region of the first repeat: of the latent being sampled, or of the original of a split run."""
        original = self.original.latent
        if original is None:
            indices = self.indices or noises.batch_indices(noise, seed, noise.shape[0], nested.shapes_in(guider))
            return KeepRegion(mask, guide, noise, seed, indices)
        samples, shapes = original["samples"], nested.shapes_in(guider)
        if not samples.is_nested and samples.ndim == guide.ndim - 1:
            samples = samples.unsqueeze(2)
        found, wanted = nested.sizes(samples), nested.sizes(nested.unpack(guide, shapes))
        if found != wanted:
            raise ValueError(
                f"`original` has the shape {found} but the latent being sampled has {wanted}: connect the latent that "
                "the run started from."
            )
        drawn = nested.pack(noises.draw_noise({**original, "samples": samples}, self.original.seed))
        if mask is None and original.get("noise_mask") is not None:
            mask = nested.edit_mask(noise_mask(original["noise_mask"], samples), samples)
        kept = process.latent_in(guider.model_patcher, nested.pack(samples)).to(guide)
        mask = mask if mask is None else mask.to(guide)
        return KeepRegion(mask, kept, drawn.to(noise), self.original.seed, noises.indices_of(original))

    def _next_guide(self, result: Tensor, region: KeepRegion) -> tuple[Tensor, Tensor]:
        """Guide and kept picture of the next repeat: the result so far, but only where it may be edited."""
        if region.mask is None:
            return result, result
        if self.mode == "threshold":
            # A pixel with its own t0 starts again from what it has become; only strength 0 is never touched.
            guide = torch.where(region.mask > 0, result, region.picture)
            return guide, guide
        edit = self._edit_mask(region.mask)
        return edit * result + (1.0 - edit) * region.picture, region.picture

    def _edit_mask(self, mask: Tensor) -> Tensor:
        return (mask >= 0.5).to(mask) if self.mode == "paper" else mask

    def _repeat(self, given: SamplerRun, region: KeepRegion) -> Tensor:
        """One repeat, from sigmas[0] to sigmas[-1]."""
        sampler = with_options(self.inner, self.extra_options)
        if isinstance(sampler, ReverseSDESampler):
            sampler = sampler.for_items(region.indices)
        if region.mask is None:
            return given.by(sampler, denoise_mask=None)
        with mask_times.fitting(given.guider, region.mask):
            return self._masked(given, sampler, region, region.mask)

    def _masked(self, given: SamplerRun, sampler: Any, region: KeepRegion, mask: Tensor) -> Tensor:
        guider, sigmas = given.guider, given.sigmas
        if (
            self.mode == "blend"
            and not self.fresh
            and region.picture is given.latent_image
            and region.noise is given.noise
        ):
            # Exactly core's own masking, special cases of single samplers included.
            return _untouched_items(given.by(sampler, denoise_mask=mask), region, sigmas)
        process.check_diffusion(guider.inner_model.model_sampling)
        levels = guider.sigmas if isinstance(guider, UnmaskedModel) else sigmas
        levels = levels if self.original.sigmas is None else self.original.sigmas.to(sigmas)
        draw = noises.step_noise(region.picture, region.seed, region.indices) if self.fresh else None
        edit = self._edit_mask(mask)
        region = replace(region, mask=edit)
        masked = _MaskedModel(guider, self.mode, region, draw, levels, mask)
        if self.mode == "langevin":
            steps = noises.step_noise(region.picture, region.seed, region.indices)
            sampling = guider.inner_model.model_sampling
            sampler = langevin.stepwise(sampler, masked.thought, self.langevin_steps, sampling, steps)
        result = given.by(sampler, guider=masked, denoise_mask=None)
        if self.mode == "langevin" and sigmas[-1] == 0:
            return torch.where(edit > 0, result, region.picture)
        if self.mode != "paper":
            return _untouched_items(result, region, sigmas)
        left = masked.kept_state(result, sigmas[-1], edit)
        left = guider.inner_model.model_sampling.inverse_noise_scaling(sigmas[-1], left)
        return torch.where(edit > 0, result, left)


class _MaskedModel:
    """A guider as the inner sampler sees it, with the keep region held in every call."""

    def __init__(
        self,
        guider: Any,
        mode: str,
        region: KeepRegion,
        draw: noises.StepNoise | None,
        levels: Tensor,
        given_mask: Tensor,
    ) -> None:
        """given_mask: before it is cut."""
        self._guider, self._given_mask = guider, given_mask
        self._mode, self._region, self._draw, self._sigmas = mode, region, draw, levels
        self._levels = Levels(levels)
        self._shares: dict[float, float] = {}
        self._shared = mode != "blend" and mask_times.shares_times(guider.inner_model, given_mask)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guider, name)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None):
        options = model_options or {}
        mask = self._mask_at(sigma, options)
        return self._prediction(x, sigma, mask, options, seed) * mask + self._region.picture * (1.0 - mask)

    def _prediction(self, x: Tensor, sigma: Tensor, mask: Tensor, options: dict[str, Any], seed: int | None) -> Tensor:
        """What the network itself predicts, in kept pixels too."""
        if self._mode != "langevin" or mask_times.keeps_clean(self._guider.inner_model):
            x = x * mask + self.kept_state(x, sigma, mask) * (1.0 - mask)
        with mask_times.told(self._guider, self._told(mask)):
            return self._guider(x, sigma, model_options=options, seed=seed)

    def thought(self, x: Tensor, sigma: Tensor, count: int, extra_args: dict[str, Any]) -> Tensor:
        """The state [B, C, ...] at sigma (0-dim) after `count` Langevin steps."""
        region, options, seed = self._region, extra_args.get("model_options", {}), extra_args.get("seed")
        mask, sampling = self._mask_at(sigma, options), self._guider.inner_model.model_sampling
        if sigma == self._sigmas[0]:
            at_level = functools.partial(BaseModel.scale_latent_inpaint, self._guider.inner_model)
            x = x * mask + self._noised(x, sigma, at_level) * (1.0 - mask)
        own, every = nested.own_schedule_in(self._guider), x.new_ones([x.shape[0]])
        thinking = langevin.Thinking(sampling, mask, region.picture, region.seed, region.indices, own)
        return thinking.moved(x, sigma, count, lambda y: self._prediction(y, sigma * every, mask, options, seed))

    def _told(self, mask: Tensor) -> Tensor:
        """The mask whose times the network gets while `mask` is in force."""
        if self._mode == "blend":  # the run's at every level, as in core, even if Differential Diffusion changes it
            return self._given_mask
        # LTX-Video drops tokens where its guides have negative values.
        return torch.where(self._given_mask < 0, self._given_mask, mask_times.in_units(mask, self._shared))

    def _mask_at(self, sigma: Tensor, model_options: dict[str, Any]) -> Tensor:
        """The mask in force at this level."""
        mask = self._region.mask
        assert mask is not None
        if self._mode == "threshold":
            # Strength 0 is never free, not even at the first level of training, whose time is 0 too.
            return ((mask > 0) & (mask >= self._time_share(sigma) - _TIME_TOLERANCE)).to(mask)
        if self._mode == "blend" and "denoise_mask_function" in model_options:
            extra = {"model": self._guider, "sigmas": self._sigmas}
            return model_options["denoise_mask_function"](sigma, mask, extra_options=extra)
        return mask

    def _time_share(self, sigma: Tensor) -> float:
        """The training time of this level as a fraction of the start's: 1 at the start, towards 0 at the end."""
        level = float(sigma.reshape(-1)[0])
        if level not in self._shares:
            sampling = self._guider.inner_model.model_sampling
            start = process.sigma_to_t0(sampling, self._levels.sigmas[0])
            # A solver with churn begins above the start.
            self._shares[level] = min(1.0, process.sigma_to_t0(sampling, level) / start) if start > 0 else 1.0
        return self._shares[level]

    def kept_state(self, x: Tensor, sigma: Tensor, mask: Tensor) -> Tensor:
        """The kept picture as it enters the call at this level; mask: in force there."""
        model = self._guider.inner_model
        if not mask_times.keeps_clean(model):
            return self._noised(x, sigma, model.scale_latent_inpaint)
        sigmas = sigma.reshape(-1)[0] * x.new_ones([x.shape[0]])
        clean = model.scale_latent_inpaint(
            x=x, sigma=sigmas, noise=self._region.noise, latent_image=self._region.picture, denoise_mask=mask
        )
        if not self._shared:
            return clean
        noised = self._noised(x, sigma, functools.partial(BaseModel.scale_latent_inpaint, model))
        return torch.where(mask_times.in_units(mask, True) > 0, noised, clean)

    def _noised(self, x: Tensor, sigma: Tensor, at_level: Callable[..., Tensor]) -> Tensor:
        """The kept picture with its noise; at_level: how the model noises it."""
        sampling = self._guider.inner_model.model_sampling
        model_sigma, noise = sigma.reshape(-1)[0], self._region.noise
        level, redraw = model_sigma, self._draw is not None
        if self._mode == "paper":
            noisier = self._levels.preceding(float(level))
            redraw = redraw and noisier is not None
            level = level if noisier is None else model_sigma.new_tensor(noisier)
        if redraw and self._draw is not None:
            noise = self._draw(level, level)
        sigmas = level * x.new_ones([x.shape[0]])
        kept = at_level(x=x, sigma=sigmas, noise=noise, latent_image=self._region.picture)
        return kept if level is model_sigma else process.same_view(sampling, kept, level, model_sigma)


def _untouched_items(result: Tensor, region: KeepRegion, sigmas: Tensor) -> Tensor:
    """Batch items with nothing to edit, bit for bit as they came (a solver's last step rounds)."""
    if sigmas[-1] != 0 or region.mask is None:
        return result
    touched = region.mask.flatten(1).any(dim=1).reshape(-1, *[1] * (result.ndim - 1))
    return torch.where(touched, result, region.picture)
