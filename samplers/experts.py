"""Two models as one: an expert for high noise and one for low noise, as Wan 2.2 A14B has them.

The pair is a clone of the high-noise model with wrappers that come before all others. Below the boundary they send
ComfyUI's evaluation of the prompts (CALC_COND_BATCH) to the low-noise model, with everything that belongs to it: its
weights and LoRAs, its patches and wrappers, its guidance functions, its encoding of the prompts. What is added to the
pair itself counts for both. One expert is active at a time; changing it is what core does between two sampling runs:
the old one is cleaned up, the new one is loaded, and ComfyUI's memory management decides whether the old one stays.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP
from torch import Tensor

from . import process
from .experts_check import NAMES, check_pair, check_unchanged
from .experts_options import KEY, exchanged, holds, own_options

HIGH, LOW = 0, 1
_TOLERANCE = 1e-6  # of a boundary: float32 noise levels that are meant to lie on it may be smaller
_COMPILED = "torch.compile"  # core's key for a compiled network, which it puts in the place of the model's own

Options = dict[str, Any]

log = logging.getLogger(__name__)


def join(high: Any, low: Any, boundary: float) -> Any:
    """A MODEL that is `high` at noise levels of at least `boundary` and `low` below it.

    boundary: the share of noise in a state, b / (a + b) (`process.noise_share`); 0 gives `high` alone, unchanged.
    Raises ValueError for models that cannot share one path.
    """
    check_pair(high, low, experts_of)
    return high if boundary == 0.0 else _attached(high.clone(), Experts(high, low, boundary))


def is_high(sampling: Any, sigma: Tensor, boundary: float) -> Tensor:
    """Which of these levels [any shape] are the high-noise model's."""
    return process.noise_share(sampling, sigma) >= boundary - _TOLERANCE


def enter(guider: Any, sigma: Tensor, model_options: Options) -> Options:
    """Inside a run, for calls of the network that do not pass through the guider: loads the expert for this level.

    Afterwards it is the guider's `inner_model`. Returns its options. A model that is not a pair is left as it is.
    """
    experts = experts_of(guider)
    if experts is None:
        return model_options
    return experts.rebased(model_options, experts.current.enter(sigma))


def experts_of(model: Any) -> Experts | None:
    """The experts of a MODEL or of a guider's; None if it is not a pair."""
    found = comfy.patcher_extension.get_wrappers_with_key(
        WrappersMP.CALC_COND_BATCH, KEY, model.model_options, is_model_options=True
    )
    return found[0].__self__ if found else None


def refuse_pair(model: Any, remedy: str) -> None:
    """Raises ValueError for a pair, where one network is needed; remedy: what to do, as an imperative."""
    if experts_of(model) is not None:
        raise ValueError(f"The model is two that were joined, each with a network of its own: {remedy}.")


def with_low_noise(model: Any, change: Callable[[Any], Any]) -> Any:
    """The MODEL with `change` made to its low-noise expert too; itself if it has none or nothing changes."""
    experts = experts_of(model)
    if experts is None:
        return model
    high, low = experts.models
    changed = change(low)
    return model if changed is low else _attached(model.clone(), Experts(high, changed, experts.boundary))


class Experts:
    """The wrappers of one pair. `run`: its sampling run, if one is in progress."""

    def __init__(self, high: Any, low: Any, boundary: float) -> None:
        self.models, self.boundary = (high, low), boundary
        self.own = (own_options(high), own_options(low))
        self.wrappers: dict[str, Callable[..., Any]] = {
            WrappersMP.OUTER_SAMPLE: self.outer_sample,
            WrappersMP.PREPARE_SAMPLING: self.prepare_sampling,
            WrappersMP.SAMPLER_SAMPLE: self.sampler_sample,
            WrappersMP.PREDICT_NOISE: self.predict_noise,
            WrappersMP.CALC_COND_BATCH: self.calc_cond_batch,
        }
        self.run: _Run | None = None

    @property
    def current(self) -> _Run:
        if self.run is None:
            raise ValueError(
                "Joined models were called outside of a sampling run, where nothing can be loaded: use a sampler of "
                "ComfyUI or of this pack, or one of the two models alone."
            )
        return self.run

    def side(self, sampling: Any, sigma: Tensor) -> int:
        """Which expert predicts at these levels [any shape]. Raises ValueError if they need both."""
        high = is_high(sampling, sigma, self.boundary)
        if bool(high.all()):
            return HIGH
        if bool(high.any()):
            raise ValueError(
                "One call of the network needs noise levels of both joined models: connect one of the two models, or "
                "a noise range on one side of the boundary."
            )
        return LOW

    def rebased(self, options: Options, side: int) -> Options:
        """A run's model_options for another expert: what the old one brought is exchanged for what the new one has."""
        now = options.get(KEY, HIGH)
        if now == side:
            return options
        changed = exchanged(options, self.own[now], self.own[side])
        changed[KEY] = side
        if side == LOW:  # these hold the high-noise model's weights
            changed.pop("multigpu_clones", None)
            apply = WrappersMP.APPLY_MODEL
            if not comfy.patcher_extension.get_wrappers_with_key(apply, _COMPILED, self.own[LOW], True):
                changed.get("transformer_options", {}).get("wrappers", {}).get(apply, {}).pop(_COMPILED, None)
        return changed

    def outer_sample(self, executor: Any, noise: Tensor, latent_image: Any, sampler: Any, sigmas: Tensor,
                     *args: Any, **kwargs: Any) -> Any:  # fmt: skip
        """One sampling run, which begins with the expert of its first level, so that no other one need be loaded."""
        guider = executor.class_obj
        pair = guider.model_patcher
        check_unchanged(pair, self.models[HIGH])
        run = _Run(self, guider, (pair, self._low_noise(guider)), process.model_sampling(pair), noise.shape,
                   kwargs.get("latent_shapes"))  # fmt: skip
        before, self.run = self.run, run
        try:
            run.start = run.active = self.side(run.sampling, sigmas[:1])
            guider.model_patcher = run.patchers[run.start]
            whole = WrapperExecutor.new_class_executor(executor, guider, self._low_only(WrappersMP.OUTER_SAMPLE))
            return whole.execute(noise, latent_image, sampler, sigmas, *args, **kwargs)
        finally:
            self.run, guider.model_patcher = before, pair
            run.end()

    def prepare_sampling(self, executor: Any, model: Any, noise_shape: Any, conds: Any,
                         model_options: Options | None = None, **kwargs: Any) -> Any:  # fmt: skip
        """Loads an expert, with the memory that its own patches ask for."""
        side = LOW if self.run is not None and model is self.run.patchers[LOW] else HIGH
        options = self.rebased(model_options or {}, side)
        chain = WrapperExecutor.new_executor(executor.original, self._others(WrappersMP.PREPARE_SAMPLING, options))
        return chain.execute(model, noise_shape, conds, model_options=options, **kwargs)

    def sampler_sample(self, executor: Any, guider: Any, sigmas: Tensor, extra_args: Options, callback: Any,
                       noise: Tensor, latent_image: Any = None, denoise_mask: Any = None,
                       disable_pbar: bool = False) -> Any:  # fmt: skip
        """The sampler's part of a run: by now the prompts are encoded, by the expert that it began with."""
        self.current.remember(noise, latent_image, denoise_mask, extra_args.get("seed"))
        whole = WrapperExecutor.new_class_executor(
            executor, executor.class_obj, self._low_only(WrappersMP.SAMPLER_SAMPLE)
        )
        return whole.execute(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)

    def predict_noise(self, executor: Any, x: Tensor, timestep: Tensor, model_options: Options | None = None,
                      seed: int | None = None) -> Tensor:  # fmt: skip
        """One evaluation of D, with the guidance functions of the expert."""
        guider = executor.class_obj
        side = self.current.enter(timestep)
        options = self.rebased(model_options or {}, side)
        if side == HIGH:
            return executor(x, timestep, options, seed)
        others = self._others(WrappersMP.PREDICT_NOISE, self.rebased(guider.model_options, side))
        return WrapperExecutor.new_class_executor(executor.original, guider, others).execute(x, timestep, options, seed)

    def calc_cond_batch(self, executor: Any, model: Any, conds: list[Any], x: Tensor, timestep: Tensor,
                        model_options: Options) -> list[Tensor]:  # fmt: skip
        """The predictions for the prompts, by the expert's network."""
        run = self.current
        side = run.enter(timestep)
        options = self.rebased(model_options, side)

        def evaluate(model: Any, conds: list[Any], x: Tensor, timestep: Tensor, options: Options) -> list[Tensor]:
            return executor.original(model, run.encoded(side, conds), x, timestep, options)

        run.called[side].append(float(timestep.max()))
        chain = WrapperExecutor.new_executor(evaluate, self._others(WrappersMP.CALC_COND_BATCH, options))
        return chain.execute(run.patchers[side].model, conds, x, timestep, options)

    def _others(self, kind: str, options: Options) -> list[Callable[..., Any]]:
        """The wrappers of a kind without the pair's own."""
        wrappers = comfy.patcher_extension.get_all_wrappers(kind, options, is_model_options=True)
        return [wrapper for wrapper in wrappers if wrapper != self.wrappers[kind]]

    def _low_only(self, kind: str) -> list[Callable[..., Any]]:
        """The low-noise model's wrappers of a whole run, which surround the high-noise model's."""
        high, low = (comfy.patcher_extension.get_all_wrappers(kind, own, is_model_options=True) for own in self.own)
        return [wrapper for wrapper in low if not holds(high, wrapper)]

    def _low_noise(self, guider: Any) -> Any:
        """The low-noise model for one run of the guider, with the prompts' hooks."""
        pair, (high, low) = guider.model_patcher, self.models
        if low.is_dynamic() and not pair.is_dynamic():  # as core decides for prompts with hooks
            low = low.get_non_dynamic_delegate()
        low = low.clone()
        # One path has one noise schedule, also where the shifts of the two models differ.
        low.add_object_patch("model_sampling", copy.deepcopy(pair.get_model_object("model_sampling")))
        low.callbacks = exchanged(pair.callbacks, high.callbacks, low.callbacks)
        low.hook_mode = pair.hook_mode
        options = comfy.model_patcher.create_model_options_clone(low.model_options)
        comfy.sampler_helpers.prepare_model_patcher(low, guider.conds, options)
        return low


@dataclass
class _Run:
    """One sampling run of a pair: which expert is active, and what the other one needs when its turn comes.

    encodings: by expert, what takes the place of the model inputs that the first one encoded, by their ids.
    called: by expert, the noise levels of its calls.
    """

    experts: Experts
    guider: Any
    patchers: tuple[Any, Any]
    sampling: Any
    shape: Any
    latent_shapes: Any
    start: int = HIGH
    active: int = HIGH
    processed: dict[str, list[Options]] = field(default_factory=dict)
    noise: Any = None
    inputs: Options = field(default_factory=dict)
    encodings: dict[int, dict[int, Any]] = field(default_factory=dict)
    called: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    def remember(self, noise: Tensor, latent_image: Any, denoise_mask: Any, seed: Any) -> None:
        """What core encodes the prompts with."""
        self.processed = {name: list(conds) for name, conds in self.guider.conds.items()}
        self.noise, self.inputs = noise, {"latent_image": latent_image, "denoise_mask": denoise_mask, "seed": seed}

    def enter(self, sigma: Tensor) -> int:
        """Makes the expert of this level the active one."""
        side = self.experts.side(self.sampling, sigma)
        if side != self.active:
            self._change(side)
        return side

    def _change(self, side: int) -> None:
        """What core does at the end of one run and at the beginning of the next."""
        guider, patcher = self.guider, self.patchers[side]
        self.patchers[self.active].cleanup()
        self.active = side
        options = self.experts.rebased(guider.model_options, side)
        _, _, guider.loaded_models = comfy.sampler_helpers.prepare_sampling(patcher, self.shape, guider.conds, options)
        guider.inner_model = patcher.model
        comfy.samplers.cast_to_load_options(options, device=patcher.load_device, dtype=patcher.model_dtype())
        patcher.pre_run()
        for conds in guider.conds.values():
            comfy.samplers.pre_run_control(patcher.model, conds)
        if side != self.start and side not in self.encodings:
            self.encodings[side] = self._encodings(patcher)

    def _encodings(self, patcher: Any) -> dict[int, Any]:
        """The prompts as this expert encodes them, where that differs from the first one's encoding."""
        found: dict[int, Any] = {}
        # For each area of one prompt, core appends to the other a part with the inputs of one that it has: they are
        # that one's, while the rest of the part, from which it would be encoded, is the first prompt's.
        known: set[int] = set()
        for name, conds in self.processed.items():
            own = comfy.samplers.encode_model_conds(
                patcher.model.extra_conds, list(conds), self.noise, patcher.load_device, name,
                **self.inputs, latent_shapes=self.latent_shapes,
            )  # fmt: skip
            for before, after in zip(conds, own, strict=True):
                for key, value in after["model_conds"].items():
                    old = before["model_conds"].get(key)
                    if old is None or id(old) in known:
                        continue
                    known.add(id(old))
                    if not _same_input(old, value):
                        found[id(old)] = value
        return found

    def encoded(self, side: int, conds: list[Any]) -> list[Any]:
        """Prompts for this expert. Inputs that a method has made itself (null text, mixtures) stay as they are."""
        exchange = self.encodings.get(side)
        if not exchange:
            return conds

        def own(cond: Options) -> Options:
            inputs = {name: exchange.get(id(value), value) for name, value in cond["model_conds"].items()}
            return {**cond, "model_conds": inputs}

        return [None if part is None else [own(cond) for cond in part] for part in conds]

    def end(self) -> None:
        if self.active != self.start:
            self.patchers[self.active].cleanup()
        for name, levels in zip(NAMES, self.called, strict=True):
            if levels:
                log.info("%s: %d calls, sigma %.4g to %.4g", name, len(levels), max(levels), min(levels))


def _attached(patcher: Any, experts: Experts) -> Any:
    """The patcher with the pair's wrappers before all others, those of its own model included."""
    wrappers = patcher.model_options["transformer_options"].setdefault("wrappers", {})
    for kind, wrapper in experts.wrappers.items():
        wrappers[kind] = {KEY: [wrapper], **{k: v for k, v in wrappers.get(kind, {}).items() if k != KEY}}
    return patcher


def _same_input(one: Any, other: Any) -> bool:
    a, b = one.cond, other.cond
    return a is b or (isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b))
