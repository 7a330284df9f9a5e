"""The two manipulations that need the source's prompt alone: MDP-c and MDP-beta.

- conditioning (c): the model is called with c* = (1 - w) c_B + w c_A.
- guidance (beta): D* = (1 - w) D(x*, c_B) + w D(x*, c_A), both at the edited path.

Both only replace the positive prompt for the length of one prediction. In the second it becomes a combination of both
prompts, weighted by their strengths, which core evaluates with the negative one in one batch, in context windows and
under every guider. Core divides by the sum of strengths at each pixel, so prompts for parts of the picture would shift
these weights: they are evaluated one after the other and mixed here. Outside a mask the positive prompt is c_A.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import comfy.sampler_helpers
import torch
from torch import Tensor

from .. import process
from ..masks import edit_region
from ..schedule import PathSchedule, Weights
from .interpolation import Cond, interpolated
from .wrapper import Manipulation, Prediction

Mixture = list[tuple[list[Cond], float | Tensor]]
"""Prompts with their shares of a prediction: numbers, or masks without channels [B, ...]. They add up to 1."""

_REGIONAL = {"area", "mask"}


def mix_conditioning(model: Any, source: Any, schedule: PathSchedule, mask: Tensor | None = None) -> Any:
    """MDP-c (Wang et al. 2023): the target's prompt interpolated with the source's, pooled vectors too.

    source: CONDITIONING of the source's prompt. mask: [B or 1, H, W] in 0..1, 1 = edit. Returns a clone of the MODEL.
    Raises ValueError, when sampling, where the two prompts are of different kinds.
    """
    return InterpolatedConditioning(source, schedule, mask).on(model)


def mix_guidance(model: Any, source: Any, schedule: PathSchedule, mask: Tensor | None = None) -> Any:
    """MDP-beta (Wang et al. 2023): the guided predictions of both prompts mixed. See `mix_conditioning`."""
    return MixedGuidance(source, schedule, mask).on(model)


@dataclass(frozen=True)
class _PromptRun:
    weights: Weights
    mask: Tensor | None  # [B, ...] without channels, on the device, None where everything is edited


class _PromptManipulation(Manipulation):
    """A manipulation that replaces the positive prompt by a mixture; outside the mask it is the source's."""

    def __init__(self, source: Any, schedule: PathSchedule, mask: Tensor | None) -> None:
        self.source, self.schedule, self.mask = SourcePrompt(source), schedule, mask

    @abstractmethod
    def parts(self, target: list[Cond], source: list[Cond], weight: float) -> tuple[list[Cond], float, list[Cond]]:
        """The prompt where everything is edited, its share of the prediction there, and the prompt of all the rest."""

    def on(self, model: Any) -> Any:
        process.model_sampling(model)  # refuses models without noise, whose prompts have no path to be mixed along
        return super().on(model)

    def begin(
        self, guider: Any, noise: Any, sampler: Any, sigmas: Tensor, denoise_mask: Tensor | None
    ) -> _PromptRun | None:
        model = guider.model_patcher
        levels = sigmas.tolist()
        positions = process.positions(process.model_sampling(model), levels)
        weights = Weights(self.schedule, levels, positions) if len(levels) > 1 else None
        if weights is not None:
            weights.note_missed(self.name)
        everywhere = self.mask is None or bool((self.mask == 1).all())
        if weights is None or (weights.all_zero and everywhere):
            return None
        source = self.source.join(guider, self.name)
        mask = edit_region(self.mask, model, noise, model.load_device)
        mask = None if mask is None else mask[:, 0]
        caching = "easycache" in guider.model_options.get("transformer_options", {})
        if caching and not (weights.all_zero and mask is None) and regional([*guider.conds["positive"], *source]):
            raise ValueError(
                f"{self.name} evaluates prompts for parts of the picture one after the other, which EasyCache takes "
                "for steps without a change: leave EasyCache out, or use prompts for the whole picture."
            )
        return _PromptRun(weights, mask)

    def predict(self, run: _PromptRun, prediction: Prediction) -> Tensor:
        weight, conds = run.weights.at(prediction.sigma), prediction.guider.conds
        if weight == 0.0 and run.mask is None:
            return prediction()
        target = conds["positive"]
        mixture = self._mixture(active(target, prediction.timestep), self.source.active(prediction), weight, run.mask)
        try:
            if len(mixture) < 2 or not (_in_pairs(prediction.guider) or any(regional(part) for part, _ in mixture)):
                conds["positive"] = together(mixture)
                return prediction()
            mixed = torch.zeros_like(prediction.x)
            for part, share in mixture:
                conds["positive"] = part
                denoised = prediction()
                mixed = mixed + (share.unsqueeze(1).to(mixed) if isinstance(share, Tensor) else share) * denoised
            return mixed
        finally:
            conds["positive"] = target

    def _mixture(self, target: list[Cond], source: list[Cond], weight: float, mask: Tensor | None) -> Mixture:
        """What one prediction is made of."""
        inside, inner, outside = self.parts(target, source, weight)
        share = inner if mask is None or weight == 1.0 else mask * inner
        parts = [(inside, share), (outside, 1.0 - share)]
        # A prompt that is not in force at this level leaves its share to the other.
        return [(conds, share) for conds, share in parts if conds and (isinstance(share, Tensor) or share != 0.0)]


class InterpolatedConditioning(_PromptManipulation):
    """MDP-c: one prompt between the two."""

    name = "MDP-c"

    def parts(self, target: list[Cond], source: list[Cond], weight: float) -> tuple[list[Cond], float, list[Cond]]:
        return interpolated(target, source, weight), 1.0, interpolated(target, source, 1.0)


class MixedGuidance(_PromptManipulation):
    """MDP-beta: the predictions for both."""

    name = "MDP-\u03b2"

    def parts(self, target: list[Cond], source: list[Cond], weight: float) -> tuple[list[Cond], float, list[Cond]]:
        return target, 1.0 - weight, source


class SourcePrompt:
    """The source's prompt among the conditions of a run, so that core encodes it and loads what it needs."""

    def __init__(self, conditioning: Any) -> None:
        self.conditioning = conditioning
        self._name = f"source of a manipulation {id(self)}"

    def join(self, guider: Any, name: str) -> list[Cond]:
        """Adds it to the run's conditions; raises ValueError if it is incompatible with the positive prompt.

        name: of the manipulation, for errors. Returns the source's conditions, before core encodes them.
        """
        if "positive" not in guider.conds:
            raise ValueError(f"{name} changes the positive prompt, but this guider has none: use CFGGuider.")
        source = comfy.sampler_helpers.convert_cond(self.conditioning)
        check_same_kind(guider.conds["positive"], source)
        check_hooks(source, guider.model_options)
        guider.conds[self._name] = source
        return source

    def active(self, prediction: Prediction) -> list[Cond]:
        """The parts of it that are in force. Core appends parts where areas differ; the prompt's own come first."""
        return active(prediction.guider.conds[self._name][: len(self.conditioning)], prediction.timestep)


def active(conds: list[Cond], timestep: Tensor) -> list[Cond]:
    """Those of a run's conditions that are in force at this noise level."""
    sigma = timestep.reshape(-1)[0]
    return [
        cond
        for cond in conds
        if not (("timestep_start" in cond and sigma > cond["timestep_start"])
                or ("timestep_end" in cond and sigma < cond["timestep_end"]))
    ]  # fmt: skip


def regional(conds: list[Cond]) -> bool:
    """Whether any of a run's conditions are for a part of the picture."""
    return any(_REGIONAL & set(cond) for cond in conds)


def _in_pairs(guider: Any) -> bool:
    """Whether the network takes a batch for pairs of a positive and a negative prompt (SeedVR2), so that two at once
    would be taken for such a pair."""
    return hasattr(guider.inner_model.diffusion_model, "_swap_pos_neg_halves")


def together(mixture: Mixture) -> list[Cond]:
    """Conditions whose average, as core takes it, is the mixture; for prompts for the whole picture."""
    if len(mixture) < 2:
        return mixture[0][0] if mixture else []
    result = []
    for conds, share in mixture:
        total = sum(float(cond.get("strength", 1.0)) for cond in conds)
        if total == 0.0:
            raise ValueError(
                "One of the prompts to mix has strength 0: raise it, or leave that prompt out by the weight."
            )
        for cond in conds:
            own = float(cond.get("strength", 1.0)) / total
            part = {"strength": own, "mask": share} if isinstance(share, Tensor) else {"strength": share * own}
            result.append({**cond, **part})
    return result


def check_same_kind(target: list[Cond], source: list[Cond]) -> None:
    """Raises ValueError where two converted CONDITIONINGs come from different text encoders."""
    if not source:
        raise ValueError("The source prompt is empty: connect the CONDITIONING of a CLIP Text Encode.")
    for name, word in (("cross_attn", "token embeddings"), ("pooled_output", "pooled vector")):
        widths = [sorted({_width(cond.get(name)) for cond in conds}) for conds in (target, source)]
        if widths[0] != widths[1]:
            kinds = [f"{word} of width {'/'.join(map(str, each))}" if any(each) else f"no {word}" for each in widths]
            raise ValueError(
                f"The target prompt has {kinds[0]} but the source {kinds[1]}: encode both with the same CLIP, in the "
                "same way."
            )


def check_hooks(source: list[Cond], model_options: dict[str, Any]) -> None:
    """Raises ValueError for hooks (LoRAs on a prompt) that core has not prepared, since no other prompt has them."""
    registered = model_options.get("registered_hooks")
    for cond in source:
        hooks = cond.get("hooks")
        if hooks is not None and (registered is None or not hooks.is_subset_of(registered)):
            raise ValueError(
                "The source prompt carries hooks (a LoRA on the prompt) that the target prompt does not have: give "
                "both the same hooks."
            )


def _width(tensor: Any) -> int:
    return int(tensor.shape[-1]) if isinstance(tensor, Tensor) else 0
