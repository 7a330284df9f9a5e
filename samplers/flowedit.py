"""FlowEdit (Kulikov et al. 2024) and its kin: from source to target without inversion, in every family of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.samplers import CFGGuider
from torch import Tensor
from tqdm.auto import trange

from . import mask_times, nested, process, reverse_sde
from . import noise as noises
from .caching import without_step_caches
from .counting import Counter
from .experts import enter
from .flowedit_methods import FlowEditMethod
from .own_sampler import OwnSampler, SamplerRun
from .sdedit import prepared
from .sigmas import levels_of
from .wrong_prompt import sample_with


class SourceTargetGuider(CFGGuider):
    """Core's guider for the target (positive, negative, cfg) that can also predict for a source prompt.

    By some methods the source prompt guides the target in place of the negative one; source_cfg is then 1.
    """

    source_cfg = 1.0
    method = FlowEditMethod()

    def set_source(self, source: Any, cfg: float, method: FlowEditMethod | None = None) -> None:
        self.inner_set_conds({"source": source})
        self.method = method or self.method
        self.source_cfg = 1.0 if self.method.guided_by_source else cfg

    def predict_source(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        """The source's guided prediction, [B, C, ...]; the negative prompt is shared."""
        return self._predicted("source", self.source_cfg, x, timestep, model_options, seed)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        """The target's guided prediction, [B, C, ...], inside the model's wrappers."""
        if not self.method.guided_by_source:
            return super().predict_noise(x, timestep, model_options or {}, seed)
        # Calls of one prompt each, as the source's own is: equal prompts then give equal predictions to the last bit.
        with noises.drawn_again(x.device):
            without = self._predicted("source", 1.0, x, timestep, model_options, seed)
        difference = self._predicted("positive", 1.0, x, timestep, model_options, seed) - without
        return without + self._guidance(difference) * difference

    def _guidance(self, difference: Tensor) -> Tensor | float:
        """The method's scale on the difference, [B, 1, ...] or for each number of a packed one; by its parts."""
        shapes = nested.shapes_in(self)
        if shapes is None:
            return self.method.guidance(difference, self.cfg)
        by_part = nested.unpack(difference, shapes)
        return nested.pack(
            nested.each(lambda part: self.method.guidance(part, self.cfg) * torch.ones_like(part), by_part)
        )

    def _predicted(
        self, prompt: str, cfg: float, x: Tensor, timestep: Tensor, options: dict[str, Any] | None, seed: int | None
    ) -> Tensor:
        options = enter(self, timestep, options or {})
        conds = self.conds.get("negative"), self.conds[prompt]
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, *conds, cfg, model_options=options, seed=seed
        )


class FlowEditSampler(OwnSampler):
    """FlowEdit as a SAMPLER for a `SourceTargetGuider`, by the method that its guider has.

    With e = z_edit - x_src, r = sigma' / sigma and, for each of n_avg draws of noise n, z_src = a x_src + b n:
    e' = r e + (1 - r) mean(D_tar(z_src + e) - D_src(z_src)). The last `refine` steps sample z_src + e as usual. A soft
    mask is the share of the edit that is blended into the source. Networks that take their time from a mask see the
    source without noise where nothing is edited (`mask_times.told_region`). indices: batch_index of each item, by
    default read back from the noise. How the other methods differ: `flowedit_methods.py`.
    """

    def __init__(self, n_avg: int = 1, refine: int = 0, indices: Sequence[int] | None = None) -> None:
        super().__init__()
        self.n_avg, self.refine, self.indices = n_avg, refine, indices

    def run(self, given: SamplerRun) -> Tensor:
        """denoise_mask: 1 = edit, 0 stays bit for bit."""
        picture = given.latent_image
        mask = torch.ones_like(picture) if given.denoise_mask is None else given.denoise_mask.to(picture)
        with mask_times.told_region(given.guider, given.denoise_mask, picture) as seen:
            return self._run(given, mask, seen)

    def _run(self, given: SamplerRun, mask: Tensor, seen: mask_times.Seen) -> Tensor:
        guider, sigmas, callback, own = given.guider, given.sigmas, given.callback, nested.own_schedule_in(given.guider)
        picture = given.latent_image if own is None else own.shared(given.latent_image, 0.0)
        seed, total = given.seed, len(sigmas) - 1
        indices = self.indices or noises.batch_indices(given.noise, seed, len(picture), given.shapes)
        # Where a soft mask is grey the edit is made in full and blended in at the end: blended in at each step, the
        # next step would take it for the source, and it would vanish.
        region = mask > 0
        levels = picture.new_ones([picture.shape[0]])
        method = guider.method
        signal, _ = process.coefficients(guider.inner_model.model_sampling, sigmas)
        edit = torch.zeros_like(picture)

        def noised(sigma: Tensor, draw: int = 0) -> Tensor:
            fresh = noises.step_noise(picture, noises.mix_seed(seed, "draw", draw), indices)(sigma, sigma)
            return process.perturb(guider.inner_model.model_sampling, picture, fresh, sigma, prior=False)

        def predicted(model: Any, x: Tensor, sigma: Tensor) -> Tensor:
            """The prediction of a model at x; sound comes from its own levels and goes there."""
            shown = seen(x if own is None else own.own(x, sigma), sigma)
            found = model(shown, sigma * levels, **given.extra_args)
            return found if own is None else own.prediction(shown, found, sigma)

        for i in trange(total - self.refine, disable=given.disable_pbar):
            sigma, ratio = sigmas[i], sigmas[i + 1] / sigmas[i]
            apart = torch.zeros_like(edit)
            for draw in range(self.n_avg):
                source = noised(sigma, draw)
                with noises.drawn_again(source.device):
                    before = predicted(guider.predict_source, source, sigma)
                after = predicted(guider, method.state(source, edit, signal[i]), sigma)
                apart += (after - before) / self.n_avg
            edit = region * method.next_edit(edit, apart, ratio)
            if callback is not None:
                callback(i, picture + mask * apart, picture + mask * edit, total)
        if self.refine == 0:
            return picture + mask * edit if own is None else own.own(picture + mask * edit, 0.0)

        x = method.state(noised(sigmas[total - self.refine]), edit, signal[total - self.refine])
        for i in range(total - self.refine, total):
            denoised = torch.where(region, predicted(guider, x, sigmas[i]), picture)
            if callback is not None:
                callback(i, torch.lerp(picture, denoised, mask), x, total)
            x = reverse_sde.euler_step(x, denoised, sigmas[i], sigmas[i + 1])
        edited = torch.where(region, torch.lerp(picture, x, mask), picture)
        return edited if own is None else own.own(edited, 0.0)


@dataclass(frozen=True)
class FlowEditSettings:
    """start: training time at which the edit begins (1 - skip); steps: all after it. sigmas: levels to run, falling
    to 0, instead of those of start, steps and scheduler. source_cfg has no effect where the source prompt guides.
    """

    start: float = 0.95
    steps: int = 19
    source_cfg: float = 4.0
    cfg: float = 4.0
    scheduler: str = "normal"
    n_avg: int = 1
    refine: int = 0
    sigmas: Tensor | None = None
    method: FlowEditMethod = field(default_factory=FlowEditMethod)

    @property
    def path_steps(self) -> int:
        return self.steps if self.sigmas is None else max(self.sigmas.numel() - 1, 0)


def flowedit(
    model: Any,
    source: Any,
    target: Any,
    negative: Any,
    latent: dict[str, Any],
    seed: int,
    settings: FlowEditSettings,
    callback: Callable[..., None] | None = None,
) -> tuple[dict[str, Any], Tensor, int]:
    """Edits a LATENT from one prompt to another; returns it, the SIGMAS that were run, and the evaluations per picture.

    The latent's noise_mask (1 = edit) and batch_index are honoured. Equal prompts and cfgs return the latent bit for
    bit where the model gives equal predictions for equal inputs, and so does start 0, where nothing is run.
    """
    levels = levels_of(
        process.model_sampling(model), settings.start, settings.steps, settings.scheduler, settings.sigmas, True
    )
    if len(levels) == 0:  # neutral: the edit starts at the picture
        return dict(latent), levels, 0
    if settings.refine > len(levels) - 1:
        raise ValueError(f"{settings.refine} refining steps do not fit into {len(levels) - 1} steps: give fewer.")
    model = without_step_caches(model, "FlowEdit")
    latent = prepared(model, latent)
    mask = latent.get("noise_mask")
    counter = Counter(model, latent["samples"].shape[0])
    guider = SourceTargetGuider(counter.model)
    guider.set_conds(target, negative)
    guider.set_source(source, settings.source_cfg, settings.method)
    guider.set_cfg(settings.cfg)
    sampler = FlowEditSampler(settings.n_avg, settings.refine, noises.indices_of(latent))
    noise = noises.start_run(latent, seed)
    edited = sample_with(guider, noise, latent["samples"], sampler, levels, mask, callback, seed=seed)
    edited = process.untouched(model, edited.to(comfy.model_management.intermediate_device()), latent["samples"])
    if mask is not None:  # kept values were rounded on their way to model space and back
        grid, packed = nested.edit_mask(mask, edited), nested.pack(edited)
        packed = torch.where(grid > 0, packed, nested.pack(latent["samples"]).to(packed))
        edited = nested.unpack(packed, nested.shapes_of(edited))
    return {**latent, "samples": edited}, levels, counter.evaluations
