"""Reads activations while ComfyUI calls a model, by hooks that last as long as a ``with`` block.

Which blocks are read is decided in `families.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
import torch
from torch import Tensor, nn

from ..samplers.caching import without_step_caches
from ..samplers.noise import drawn_again, start_run
from ..samplers.own_sampler import run_inside
from .families import Call, family_of, tap_module

Transform = Callable[[int, Tensor], Any]
"""(index of the tap, its value [B, C, h, w]) -> what to keep of it."""


class Enough(BaseException):
    """Ends a model call once every tap has been read. Not an Exception, so that no handler on the way catches it."""


@dataclass
class Reading:
    """The result of one model call: the call and, per tap, what the transform kept of its value."""

    call: Call
    batch: int
    values: list[Any]

    @property
    def complete(self) -> bool:
        return all(value is not None for value in self.values)


@dataclass
class Capture:
    """The readings of the model calls inside `capturing`, in order."""

    readings: list[Reading] = field(default_factory=list)


@contextmanager
def capturing(
    network: nn.Module, taps: Sequence[str], keep: Transform, stop: bool = False, gradients: bool = False
) -> Iterator[Capture]:
    """Read the taps of every call of the network in the block.

    keep: what to keep of each value; the value itself must be copied where it is kept, since transformers update it in
    place afterwards. stop: end each call after its last tap, by `Enough`, which the caller catches. gradients: record
    history up to the last tap of each call and none after it; between calls recording is as before, because that is
    where ComfyUI cuts the next call's input out of the state. Raises ValueError if the network lacks a tap.
    """
    family, capture, handles = family_of(network), Capture(), []

    recorded = True  # whether history is recorded outside of the calls

    def begin(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        nonlocal recorded
        x = arguments[0]
        frames = x.shape[2] if x.ndim == 5 else 1
        call = Call(int(x.shape[-2]), int(x.shape[-1]), int(frames))
        capture.readings.append(Reading(call, int(x.shape[0]), [None] * len(taps)))
        if gradients:
            recorded = torch.is_grad_enabled()
            torch.set_grad_enabled(True)

    def end(*_: Any) -> None:
        torch.set_grad_enabled(recorded)

    def reader(index: int) -> Callable[..., None]:
        def read(_: nn.Module, __: tuple[Any, ...], arguments: dict[str, Any], output: Any) -> None:
            if not capture.readings or capture.readings[-1].values[index] is not None:
                return  # a recomputed block in the backward pass
            reading = capture.readings[-1]
            reading.values[index] = keep(index, family.picture(network, output, arguments, reading.call))
            if reading.complete:
                if stop:
                    raise Enough
                if gradients:
                    torch.set_grad_enabled(False)

        return read

    try:
        handles.append(network.register_forward_pre_hook(begin))
        for index, tap in enumerate(taps):
            module = tap_module(network, tap)
            if module is None:
                raise ValueError(f"This model has no block {tap}: load the predictor that belongs to this model.")
            handles.append(module.register_forward_hook(reader(index), with_kwargs=True))
        if gradients:
            handles.append(network.register_forward_hook(end))
        yield capture
    finally:
        for handle in handles:
            handle.remove()


def run_with_prompts(
    model: Any, conds: Sequence[Any], like: Tensor, body: Callable[[Any, dict[str, Any], Tensor], None], seed: int = 0
) -> None:
    """Call body(guider, model_options, noise) inside a run of the model, as if it were sampling.

    conds: CONDITIONINGs, whose first entries are used; the guider then has them as conds["positive"][0], [1], ...
    like: a latent of the batch and size to work on, so that ComfyUI makes room for it. seed: for what the model's
    patches draw.
    """
    guider = comfy.samplers.CFGGuider(without_step_caches(model, "The edge predictor"))
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


def read_features(
    guider: Any,
    options: dict[str, Any],
    network: nn.Module,
    taps: Sequence[str],
    x: Tensor,
    sigma: Tensor,
    conds: Sequence[dict[str, Any]],
    keep: Transform,
) -> Reading:
    """The taps of one call of the model on a batch of states x [B, ...] at noise levels sigma [B], without gradients.

    conds: the run's cond of each item. The call ends at the last tap: later blocks are not computed.
    """
    arguments = batched_cond(conds)
    transformer = {**options.get("transformer_options", {})}
    transformer.update(cond_or_uncond=[0], uuids=[], sigmas=sigma)
    with capturing(network, taps, keep, stop=True) as capture, suppress(Enough):
        guider.inner_model.apply_model(x, sigma, transformer_options=transformer, **arguments)
    return capture.readings[-1]
