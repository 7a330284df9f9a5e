"""Reads activations while ComfyUI calls a model, by hooks that last as long as a ``with`` block.

Which blocks are read is decided in `families.py`, and where the picture is in their outputs in `places.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP
from torch import Tensor, nn

from ..samplers.caching import without_step_caches
from ..samplers.marking import Call
from ..samplers.noise import drawn_again, start_run
from ..samplers.own_sampler import run_inside
from .families import (
    ONLY_WITH_SOUND,
    block_names,
    check_width,
    first_of_list,
    is_convolutional,
    network_of,
    tap_module,
    tap_names,
)
from .places import Enough, Place, find_places, latent_of, signature_of
from .predictor import MapPredictor, PredictorNetwork

Transform = Callable[[int, Tensor], Any]
"""(index of the tap, its value [B, C, h, w]) -> what to keep of it."""

_KEY = "dpath_map_features"

Places = dict[tuple[Any, ...], dict[str, "Place | None"]]
"""Where the picture is in the blocks that are read, by the shapes of a call; kept for a run, to be found only once."""


@dataclass
class Reading:
    """The result of one model call: the call and, per tap, what the transform kept of its value.

    order: the taps whose value was read, as they were called.
    """

    call: Call
    values: list[Any]
    order: list[int] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return len(self.order) == len(self.values)


@dataclass
class Capture:
    """The readings of the model calls inside `capturing`, in order."""

    readings: list[Reading] = field(default_factory=list)


@contextmanager
def capturing(
    network: nn.Module, taps: Sequence[str], keep: Transform, stop: bool = False, gradients: bool = False,
    places: Places | None = None, any_block: bool = False,
) -> Iterator[Capture]:  # fmt: skip
    """Read the taps of every call of the network in the block.

    keep: what to keep of each value; the value itself must be copied where it is kept, since transformers update it in
    place afterwards. stop: end each call after its last tap, by `Enough`, which the caller catches. gradients: record
    history up to the last tap of each call and none after it; between calls recording is as before, because that is
    where ComfyUI cuts the next call's input out of the state. places: what earlier calls have shown. any_block: leave
    out the taps that do not show the picture. Where a wrapper runs the network several times in a call, as Reference
    ControlNet first runs it on its reference, the last run on the call's own latent is read. Raises ValueError if the
    network lacks a tap, or if one of them does not show the picture.
    """
    capture, handles = Capture(), []
    modules = {tap: _module(network, tap) for tap in taps}
    listener = _Listener(network, modules, keep, stop, gradients, {} if places is None else places, any_block, capture)
    try:
        handles.append(network.register_forward_pre_hook(listener.begin, with_kwargs=True))
        for index, (tap, module) in enumerate(modules.items()):
            handles.append(module.register_forward_hook(listener.reader(index, tap)))
        if gradients:
            handles.append(network.register_forward_hook(listener.end))
        yield capture
    finally:
        for handle in handles:
            handle.remove()
        listener.capture, listener.latent = Capture(), None  # blocks that are to be recomputed still hold the listener


@dataclass
class _Listener:
    """The hooks of `capturing`, and what they know of a call.

    recorded: whether history is recorded outside of the calls. latent: the network's first argument. own: whether it
    is what the network runs on, as far as it was read.
    """

    network: nn.Module
    modules: dict[str, nn.Module]
    keep: Transform
    stop: bool
    gradients: bool
    found: Places
    any_block: bool
    capture: Capture
    recorded: bool = True
    looking: bool = False
    here: dict[str, Place | None] = field(default_factory=dict)
    latent: Any = None
    own: bool = True

    def __post_init__(self) -> None:
        self.convolutional = is_convolutional(self.network)

    def begin(self, _: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """A call begins."""
        if self.looking:
            return None
        if not self.convolutional:
            self._find_places(arguments, keywords)
        self.capture.readings.append(Reading(Call.on(latent_of(arguments)), [None] * len(self.modules)))
        self.latent, self.own = arguments[0], True
        if self.gradients:
            self.recorded = torch.is_grad_enabled()
            torch.set_grad_enabled(True)
        return arguments, _inside_all(keywords, self.run)

    def _find_places(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        key = signature_of(arguments, keywords)
        if key not in self.found:
            self.looking = True
            try:
                self.found[key] = _find(self.network, self.modules, arguments, keywords, self.any_block)
            finally:
                self.looking = False
        self.here = self.found[key]

    def run(self, executor: WrapperExecutor, x: Any, *arguments: Any, **keywords: Any) -> Any:
        """The network runs, inside of all wrappers: what an earlier run of the call has shown does not count."""
        reading = self.capture.readings[-1]
        if x is self.latent or not (self.own and reading.order):
            self.own = x is self.latent
            self.capture.readings[-1] = Reading(reading.call, [None] * len(self.modules))
            if self.gradients:
                torch.set_grad_enabled(True)
        return executor(x, *arguments, **keywords)

    def end(self, *_: Any) -> None:
        """A call ends."""
        if not self.looking:
            torch.set_grad_enabled(self.recorded)

    def reader(self, index: int, tap: str) -> Callable[..., None]:
        """Reads a tap."""

        def read(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            readings = self.capture.readings
            if self.looking or not readings or index in readings[-1].order:
                return  # a mark, or a recomputed block in the backward pass
            reading = readings[-1]
            if self.convolutional:
                picture = output if isinstance(output, Tensor) and output.ndim == 4 else None
            else:
                place = self.here[tap]
                picture = None if place is None else place.picture(output, reading.call)
            if picture is None:
                return
            reading.values[index] = self.keep(index, picture)
            reading.order.append(index)
            if reading.complete:
                if self.stop and self.own:
                    raise Enough
                if self.gradients:
                    torch.set_grad_enabled(False)

        return read


def _inside_all(keywords: dict[str, Any], wrapper: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a network, with a wrapper inside of all those that they have."""
    options = keywords.get("transformer_options")
    if options is None:
        return keywords
    kind, wrappers = WrappersMP.DIFFUSION_MODEL, options.get("wrappers", {})
    wrappers = {**wrappers, kind: {**wrappers.get(kind, {}), _KEY: [wrapper]}}  # the last one is the innermost
    return {**keywords, "transformer_options": {**options, "wrappers": wrappers}}


def projecting(predictor: MapPredictor, network: PredictorNetwork) -> Transform:
    """Keeps each tap's share of the predictor's first layer. Raises ValueError for a tap of another width."""

    def keep(index: int, value: Tensor) -> Tensor:
        check_width(predictor.taps[index], predictor.channels[index], int(value.shape[1]))
        return network.project(index, value)

    return keep


def _module(network: nn.Module, tap: str) -> nn.Module:
    module = tap_module(network, tap)
    if module is None:
        raise ValueError(f"This model has no block {tap}: load the predictor that belongs to this model.")
    return module


def _find(
    network: nn.Module, modules: Mapping[str, nn.Module], arguments: tuple[Any, ...], keywords: Mapping[str, Any],
    any_block: bool,
) -> dict[str, Place | None]:  # fmt: skip
    """The places in a call's outputs. Raises ValueError for a block without one, unless any block will do."""
    first = {tap: first_of_list(network, tap) for tap in modules}
    found = find_places(network, modules, first, arguments, keywords, stop=not any_block)
    missing = [tap for tap, place in found.items() if place is None]
    if missing and not any_block:
        raise ValueError(
            f"The block {missing[0]} of this model does not show the picture in rows and columns, so map predictors "
            "cannot read it: load the predictor that belongs to this model, or train one on it."
        )
    return found


def survey(model: Any, like: Tensor, cond: Any, feature_set: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The taps of a feature set in a MODEL and the number of channels of each, read off a call of the network.

    like: a latent of the size to work on, VAE or model space. cond: a CONDITIONING. Raises ValueError for a network
    none of whose blocks shows the picture.
    """
    network = network_of(model)
    names = block_names(network)
    if type(network).__name__ in ONLY_WITH_SOUND:
        raise ValueError(
            f"Map predictors cannot read a {type(network).__name__} model: it takes video only together with sound, "
            "and they are trained on pictures or on video alone, so use another model."
        )
    channels: dict[str, int] = {}

    def keep(index: int, value: Tensor) -> None:
        channels[names[index]] = int(value.shape[1])

    def body(guider: Any, options: dict[str, Any], noise: Tensor) -> None:
        device = guider.model_patcher.load_device
        x, sigma = noise.to(device), torch.ones(len(noise), device=device)
        conds = [guider.conds["positive"][0]] * len(noise)
        with capturing(network, names, keep, any_block=True):
            call_network(guider, options, x, sigma, conds)

    with torch.no_grad():
        run_with_prompts(model, [cond], like, body)
    usable = list(channels)
    if not usable:
        raise ValueError(
            f"Map predictors cannot read a {type(network).__name__} model: it has {len(names)} blocks in lists, and "
            "none of them shows the picture in rows and columns, so use another model."
        )
    taps = tap_names(network, feature_set, usable)
    return taps, tuple(channels[tap] for tap in taps)


def run_with_prompts(
    model: Any, conds: Sequence[Any], like: Tensor, body: Callable[[Any, dict[str, Any], Tensor], None], seed: int = 0
) -> None:
    """Call body(guider, model_options, noise) inside a run of the model, as if it were sampling.

    conds: CONDITIONINGs, whose first entries are used; the guider then has them as conds["positive"][0], [1], ...
    like: a latent of the batch and size to work on, so that ComfyUI makes room for it. seed: for what the model's
    patches draw.
    """
    guider = comfy.samplers.CFGGuider(without_step_caches(model, "The map predictor"))
    guider.inner_set_conds({"positive": [cond[0] for cond in conds]})
    sigmas = torch.ones(2)
    empty = torch.zeros_like(like)
    with drawn_again(guider.model_patcher.load_device):  # nothing is sampled here, so no later draw may change
        start_run({"samples": like}, seed)
        run_inside(
            guider, empty, empty.clone(), sigmas, lambda run: body(run.guider, run.model_options, run.noise), seed=seed
        )


def batched_cond(conds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The keyword arguments of one model call in which item i of the batch has the text of conds[i], a run's cond."""
    parts = [
        {name: cond.process_cond(batch_size=1, area=None) for name, cond in item.get("model_conds", {}).items()}
        for item in conds
    ]
    return comfy.samplers.cond_cat(parts)


def call_network(
    guider: Any, options: dict[str, Any], x: Tensor, sigma: Tensor, conds: Sequence[dict[str, Any]]
) -> Tensor:
    """D of a batch of states x [B, ...] at noise levels sigma [B] by one call; conds: the run's cond of each item."""
    transformer = {**options.get("transformer_options", {})}
    transformer.update(cond_or_uncond=[0], uuids=[], sigmas=sigma)
    return guider.inner_model.apply_model(x, sigma, transformer_options=transformer, **batched_cond(conds))


def read_features(
    guider: Any,
    options: dict[str, Any],
    taps: Sequence[str],
    x: Tensor,
    sigma: Tensor,
    conds: Sequence[dict[str, Any]],
    keep: Callable[[int, Tensor], Tensor],
    places: Places | None = None,
) -> list[Tensor]:
    """What is kept of the taps [B * frames, ...] for a batch of states x [B, ...] at noise levels sigma [B].

    conds: the run's cond of each item; those of different sizes take a call each. Without gradients; calls end at the
    last tap: later blocks are not computed.
    """
    groups, parts = _alike(conds), []
    for group in groups:
        with (
            capturing(guider.inner_model.diffusion_model, taps, keep, stop=True, places=places) as capture,
            suppress(Enough),
        ):
            call_network(guider, options, x[group], sigma[group], [conds[i] for i in group])
        parts.append(capture.readings[-1].values)
    if len(groups) == 1:
        return parts[0]
    order = torch.tensor([i for group in groups for i in group]).argsort()
    joined = (torch.cat([value.unflatten(0, (len(group), -1)) for group, value in zip(groups, values, strict=True)])
              for values in zip(*parts, strict=True))  # fmt: skip
    return [value[order.to(value.device)].flatten(0, 1) for value in joined]


def _alike(conds: Sequence[dict[str, Any]]) -> list[list[int]]:
    """The items whose conds one call can take together: core would repeat a text to the length of another."""

    def fits(one: dict[str, Any], other: dict[str, Any]) -> bool:
        one, other = one.get("model_conds", {}), other.get("model_conds", {})
        return one.keys() == other.keys() and all(
            one[name].size() == other[name].size() and one[name].can_concat(other[name]) for name in one
        )

    groups: list[list[int]] = []
    for index, cond in enumerate(conds):
        group = next((group for group in groups if fits(conds[group[0]], cond)), None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups
