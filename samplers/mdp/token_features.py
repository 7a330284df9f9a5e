"""The picture's queries, keys and values in calls of a network: kept from the source's, replaced in the target's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import comfy.model_management
import torch
import torch.nn.functional as F
from torch import Tensor

from .token_places import OVERRIDE, Layer, Layers, Places, token_axis

NAME = "Attention control by tokens"
_ROOM = 1.5  # times the memory that core takes a call to need, as core reserves

log = logging.getLogger(__name__)


@dataclass
class Features:
    """The source's q, k and v of one step. layers: numbers of those to use, None for all.

    kept: the picture's tokens by (prompt's uuid, number of the layer, 0 to 2 for q, k and v).
    """

    places: Places
    layers: frozenset[int] | None
    kept: dict[tuple[Any, int, int], Tensor] = field(default_factory=dict)
    logged: int = 0  # bytes that the log has named

    def chosen(self, found: Layers, network: Any) -> list[tuple[int, Layer] | None]:
        """Number and place of the layers to use, in the order of the network's attention calls.

        Raises ValueError if there are none.
        """
        name = type(network).__name__
        if not any(found):
            why = "does not show the picture in rows and columns" if found else "does not go through ComfyUI's hook"
            raise ValueError(
                f"{NAME} replaces the picture's tokens, but this model is a {name}, whose attention {why}: use MDP-ε "
                "or MDP-x, which work with every model."
            )
        places: list[tuple[int, Layer] | None] = []
        count = 0
        for layer in found:
            places.append(None if layer is None else (count, layer))
            count += layer is not None
        if self.layers is not None:
            places = [place if place and place[0] in self.layers else None for place in places]
        if not any(places):
            raise ValueError(
                f"None of the layers {min(self.layers or ())} to {max(self.layers or ())} is in this {name} model, "
                f"which has {count} of them: give numbers from 0 to {count - 1}."
            )
        return places

    def device_for(self, model: Any, x: Tensor, needed: int, layers: int) -> torch.device:
        """Where the features of one call go: the model's device if there is room, else the CPU's memory.

        Raises ValueError where neither has room.
        """
        device = x.device
        around = _ROOM * model.memory_required([*x.shape])
        if device.type != "cpu" and needed + around > _free_memory(device):
            device = torch.device("cpu")
        free = _free_memory(device)
        if device.type == "cpu" and needed > free:
            raise ValueError(
                f"{NAME} keeps {_gigabytes(needed)} of the source at each step, but only {_gigabytes(free)} of memory "
                "are free: choose fewer layers, or a smaller latent."
            )
        if needed > self.logged:
            self.logged = needed
            log.info("%s keeps %s of the source at each step, from %d layers, on %s.", NAME, _gigabytes(needed), layers,
                     device)  # fmt: skip
        return device


def _free_memory(device: torch.device) -> int:
    return cast("int", comfy.model_management.get_free_memory(device))  # a pair where more is requested


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


@dataclass
class Replacing:
    """What one prediction does with the features.

    weights: of the source's q, k and v where everything is edited. region: see `on_tokens`; the source is all there is
    where it is 0. owners: the uuids of the prompts whose features others use; by default each has its own.
    """

    features: Features
    weights: tuple[float, float, float]
    region: Tensor | None
    owners: dict[Any, Any] = field(default_factory=dict)

    def begin(self, owners: dict[Any, Any]) -> None:
        """The next evaluation of the branches of guidance."""
        self.owners = owners
        self.features.kept.clear()

    def keep(self, executor: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """APPLY_MODEL wrapper of the source's branch."""
        model, options, layers = self._begin(executor, x, *args, **kwargs)
        uuids = options["uuids"]
        used = [part for part in range(3) if self._used(part)]
        items = len(x) // len(uuids)
        sizes = [sum(place[1].bytes[part] for part in used) for place in layers if place]
        device = self.features.device_for(model, x, len(x) * sum(sizes), len(sizes))

        def keep(seen: _Seen) -> list[Tensor]:
            for part in used:
                picture = seen.tensors[part].narrow(seen.axis, seen.starts[part], seen.layer.count)
                for uuid, own in zip(uuids, picture.split(items), strict=True):
                    self.features.kept[uuid, seen.number, part] = own.to(device, copy=True)
            return seen.tensors

        return _with_attention(executor, x, args, kwargs, layers, keep)

    def edit(self, executor: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """APPLY_MODEL wrapper of the target's branch."""
        _, options, layers = self._begin(executor, x, *args, **kwargs)
        uuids = [self.owners.get(uuid, uuid) for uuid in options["uuids"]]
        used = [part for part in range(3) if self._used(part)]
        items = len(x) // len(uuids)

        def edit(seen: _Seen) -> list[Tensor]:
            edited = list(seen.tensors)
            for part in used:
                sources = [self.features.kept[uuid, seen.number, part] for uuid in uuids]
                start = seen.starts[part]
                before, own, after = edited[part].tensor_split((start, start + seen.layer.count), seen.axis)
                weight = self._weight(part, seen.layer, own, seen.axis)
                mixed = [_mixed(*pair, weight) for pair in zip(own.split(items), sources, strict=True)]
                edited[part] = torch.cat([before, torch.cat(mixed), after], seen.axis)
            return edited

        return _with_attention(executor, x, args, kwargs, layers, edit)

    def _begin(self, executor: Any, x: Tensor, t: Tensor, c_concat: Any = None, c_crossattn: Any = None,
               control: Any = None, transformer_options: Any = None, **more: Any):  # fmt: skip
        """The BaseModel, the call's options, and the layers to work on."""

        def apply(state: Tensor, options: dict[str, Any]) -> Any:
            return executor(state, t, c_concat, c_crossattn, None, options, **more)

        model, options = executor.class_obj, transformer_options or {}
        given = {**more, "c_concat": c_concat, "c_crossattn": c_crossattn}
        network = model.diffusion_model
        found = self.features.places.of(network, apply, x, given, options)
        return model, options, self.features.chosen(found, network)

    def _used(self, part: int) -> bool:
        return self.region is not None or self.weights[part] != 0.0

    def _weight(self, part: int, layer: Layer, own: Tensor, axis: int) -> Tensor | float:
        """Of the source in the picture's tokens: a number, or [B or 1, ...] to multiply with them."""
        weight = self.weights[part]
        if self.region is None or weight == 1.0:
            return weight
        tokens = 1.0 + on_tokens(self.region, layer) * (weight - 1.0)  # [B or 1, tokens]
        return tokens.to(own).reshape(len(tokens), *(1,) * (axis - 1), -1, *(1,) * (own.ndim - axis - 1))


def on_tokens(region: Tensor, layer: Layer) -> Tensor:
    """A mask [B or 1, T, h, w] on a layer's tokens [B or 1, tokens]: a token is edited if any of its cells is."""
    frames, side = layer.patch
    over = [wanted * size - have for wanted, size, have in
            zip(layer.grid, (frames, side, side), region.shape[1:], strict=True)]  # fmt: skip
    padded = F.pad(region[:, None], (0, over[2], 0, over[1], 0, over[0]))
    return F.max_pool3d(padded.float(), (frames, side, side)).flatten(1)


def _mixed(own: Tensor, source: Tensor, weight: Tensor | float) -> Tensor:
    source = source.to(own, non_blocking=True)
    return source if isinstance(weight, float) and weight == 1.0 else torch.lerp(own, source, weight)


@dataclass(frozen=True)
class _Seen:
    """One attention. tensors: q, k and v; starts: of the picture in each; axis: of the tokens."""

    number: int
    layer: Layer
    tensors: list[Tensor]
    starts: list[int]
    axis: int


def _with_attention(
    executor: Callable[..., Tensor], x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any],
    layers: list[tuple[int, Layer] | None], handle: Callable[[_Seen], list[Tensor]],
) -> Tensor:  # fmt: skip
    """The call of the model in which each of the layers is handled before whatever attends there otherwise."""
    t, c_concat, c_crossattn, control, options = args
    places = iter(layers)
    inner = options.get(OVERRIDE)

    def attend(function: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, *rest: Any,
               **more: Any) -> Tensor:  # fmt: skip
        place = _next(places)
        tensors = [q, k, v]
        if place is not None:
            number, layer = place
            axis = token_axis(more["skip_reshape"] if "skip_reshape" in more else len(rest) > 2 and rest[2])
            starts = [layer.start(part, each.shape[axis]) for part, each in enumerate(tensors)]
            if min(starts) < 0:
                raise _changed_calls()
            tensors = handle(_Seen(number, layer, tensors, starts, axis))
        if inner is None:
            return function(*tensors, heads, *rest, **more)
        return inner(function, *tensors, heads, *rest, **more)

    result = executor(x, t, c_concat, c_crossattn, control, {**options, OVERRIDE: attend}, **kwargs)
    if next(places, places) is not places:
        raise _changed_calls()
    return result


def _next(places: Iterator[tuple[int, Layer] | None]) -> tuple[int, Layer] | None:
    try:
        return next(places)
    except StopIteration:
        raise _changed_calls() from None


def _changed_calls() -> ValueError:
    return ValueError(
        f"{NAME} found other attention in this call of the network than in an earlier one: leave out the nodes that "
        "skip, repeat or recompute blocks."
    )
