"""Attention control for transformers: the source's queries, keys and values at the picture's own tokens.

Where text and picture meet in one attention there are no maps to exchange, but the picture's tokens hold the same
places in both branches. So at each step the source's branch is evaluated at the recorded state of its path, and the
queries, keys and values of its picture's tokens take the place of the target's: q and k are the structure, v is the
content (P2P for MM-DiT, 2025; ConsistEdit, 2025, equation 5). Text keeps its own, so prompts may have any length.
Each branch of guidance is controlled: the negative prompt's by itself, evaluated at the recorded state.

Inside the mask q and k are mixed by the schedule and v in the first part of the path; outside of it all three are the
source's on the whole path. Everything goes through ComfyUI's attention override, and other overrides are called with
what it has made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...common.texts import check_length, quoted
from .. import nested
from ..caching import step_caches
from ..masks import on_grid_of
from ..path import DiffusionPath
from ..path_fit import check_path_fits
from ..schedule import PathSchedule, Weights, refuse_idle
from .conditions import SourcePrompt
from .token_features import NAME, Features, Replacing
from .token_places import Places
from .wrapper import Manipulation, Prediction, weights_along

_KEY = "diffusion_path_tokens"


def control_tokens(
    model: Any,
    path: DiffusionPath,
    source: Any,
    structure: PathSchedule,
    content: PathSchedule | None = None,
    layers: str = "",
    mask: Tensor | None = None,
) -> Any:
    """The source's queries and keys (structure) and values (content) along a recorded path.

    source: CONDITIONING of the path's prompt. structure, content: weights of the source inside the mask [B or 1, H, W],
    1 = edit; outside of it they are 1. layers: which of the network's attention, see `layer_numbers`. Returns a clone
    of the MODEL. Raises ValueError for a U-Net and for a path of another model, and when sampling with a model whose
    attention does not show the picture's tokens, or if the source's features do not fit into memory.
    """
    if isinstance(model.model.diffusion_model, UNetModel):
        raise ValueError(
            "The mode tokens is for transformers, but this model is a U-Net: choose replace or refine, or MDP-ε or "
            "MDP-x, which work with every model."
        )
    check_path_fits(path, model)
    if mask is None:
        refuse_idle((structure, content), path.step_positions)
    return TokenControl(path, source, (structure, content), layer_numbers(layers), mask).on(model)


def layer_numbers(text: str) -> frozenset[int] | None:
    """Numbers of layers from a text such as "0-18, 30", counted from 0; None for an empty one: all of them."""
    check_length(text, "list of layers")
    numbers: set[int] = set()
    for part in filter(None, map(str.strip, text.replace(";", ",").replace("\n", ",").split(","))):
        match = re.fullmatch(r"(\d{1,4})(?:\s*-\s*(\d{1,4}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ValueError(
                f"The layers {quoted(part)} cannot be read: write numbers and ranges such as '0-18, 30', or nothing "
                "for all layers."
            )
        numbers.update(range(first, last + 1))
    return frozenset(numbers) or None


@dataclass
class _Run:
    """structure, content: along the path. region: the MASK [B or 1, T, h, w], None where everything is edited."""

    structure: Weights
    content: Weights | None
    region: Tensor | None
    features: Features


class TokenControl(Manipulation):
    """The source's q, k and v at the picture's tokens."""

    name = NAME

    def __init__(
        self,
        path: DiffusionPath,
        source: Any,
        schedules: tuple[PathSchedule, PathSchedule | None],
        layers: frozenset[int] | None,
        mask: Tensor | None,
    ) -> None:
        self.path, self.source = path, SourcePrompt(source)
        self.schedules, self.layers, self.mask = schedules, layers, mask

    def begin(self, guider: Any, noise: Any, sampler: Any, sigmas: Tensor, denoise_mask: Tensor | None) -> _Run | None:
        region = self._region(guider.model_patcher, noise)
        if region is None and all(each is None or each.weight == 0.0 for each in self.schedules):
            return None
        check_path_fits(self.path, guider.model_patcher, noise, sigmas)
        if caches := step_caches(guider.model_patcher):
            raise ValueError(
                f"{self.name} needs every evaluation, but {', '.join(caches)} answers some of them from earlier steps: "
                "leave it out."
            )
        source = self.source.join(guider, self.name)
        if len(source) != 1:
            raise ValueError(
                f"{self.name} needs a source prompt of one part, but this one has {len(source)}: connect one CLIP "
                "Text Encode."
            )
        if any("area" in cond for conds in guider.conds.values() for cond in conds):
            raise ValueError(
                f"{self.name} works in the whole picture, but a prompt is for an area of it: limit the prompt with "
                "Conditioning (Set Mask)."
            )
        structure = weights_along(self.path, self.schedules[0])
        content = None if self.schedules[1] is None else weights_along(self.path, self.schedules[1])
        return _Run(structure, content, region, Features(Places(), self.layers))

    def _region(self, model: Any, noise: Any) -> Tensor | None:
        """The mask on the latent's grid [B or 1, T, h, w]; None where everything is edited."""
        if self.mask is None:
            return None
        grid = on_grid_of(model, self.mask, nested.video(noise).shape)[:, 0]
        return None if bool((grid == 1).all()) else grid.reshape(len(grid), -1, *grid.shape[-2:])

    def predict(self, run: _Run, prediction: Prediction) -> Tensor:
        structure, content = (
            0.0 if each is None else each.at(prediction.sigma) for each in (run.structure, run.content)
        )
        source = self.source.active(prediction)
        if (run.region is None and structure == content == 0.0) or not source:
            return prediction()
        replacing = Replacing(run.features, (structure, structure, content), run.region)
        state = self.path.at(prediction.sigma).to(prediction.x)
        branches = _Branches(replacing, state, source, prediction.guider)
        try:
            return prediction(options=_wrapped(prediction.options, WrappersMP.CALC_COND_BATCH, branches))
        finally:
            run.features.kept.clear()


@dataclass
class _Branches:
    """Core's evaluation of the branches of guidance, after that of their sources.

    Branches stay together as core has them, since some patches (NAG) look from one to the other.
    """

    replacing: Replacing
    state: Tensor
    source: list[Any]
    guider: Any

    def __call__(
        self,
        executor: Callable[..., Any],
        model: Any,
        conds: list[Any],
        x: Tensor,
        timestep: Tensor,
        options: dict[str, Any],
    ) -> list[Tensor]:
        if options["transformer_options"].get(_KEY):  # the source of another control
            return executor(model, conds, x, timestep, options)
        if x.shape != self.state.shape:
            raise ValueError(
                f"{NAME} needs the whole latent in one call, but this run works on parts of it: leave out Context "
                "Windows and tiled sampling."
            )
        targets = {cond["uuid"] for cond in self.guider.conds["positive"]}  # as other manipulations have made them
        keep, edit = (
            _wrapped(options, WrappersMP.APPLY_MODEL, each) for each in (self.replacing.keep, self.replacing.edit)
        )
        keep["transformer_options"][_KEY] = True
        controlled = [any(cond["uuid"] in targets for cond in branch or ()) for branch in conds]
        sources = [self.source if own else branch for branch, own in zip(conds, controlled, strict=True)]
        of_source = [cond["uuid"] for branch, own in zip(conds, controlled, strict=True) if own for cond in branch]
        self.replacing.begin(dict.fromkeys(of_source, self.source[0]["uuid"]))
        with torch.no_grad():
            executor(model, sources, self.state, timestep, keep)
        return executor(model, conds, x, timestep, edit)


def _wrapped(options: dict[str, Any], kind: str, wrapper: Callable[..., Any]) -> dict[str, Any]:
    """A run's model options with one more wrapper, the innermost."""
    transformer = options.get("transformer_options", {})
    wrappers = transformer.get("wrappers", {})
    by_key = wrappers.get(kind, {})
    more = {**wrappers, kind: {**by_key, _KEY: [*by_key.get(_KEY, []), wrapper]}}
    return {**options, "transformer_options": {**transformer, "wrappers": more}}
