"""MDP's fifth manipulation: Prompt-to-Prompt's control of attention maps (Hertz et al. 2022), for U-Nets.

At each step the source's branch is evaluated once, at the recorded state of its path and with its prompt. Its queries
and keys are kept, and from them the source's attention maps are rebuilt layer by layer in the target's branch:
cross-attention M* = w edit(M_A, M_B) + (1 - w) M_B, self-attention M* = w' M_A + (1 - w') M_B where there are at most
32 x 32 tokens. The unconditional branch is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.model_patcher
import comfy.samplers
import torch
from comfy.ldm.modules.attention import SpatialTransformer, SpatialVideoTransformer, optimized_attention
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor

from ..path import DiffusionPath
from ..path_fit import check_path_fits
from ..schedule import PathSchedule, Weights, refuse_idle
from .conditions import SourcePrompt
from .tokens import TokenMap
from .wrapper import Manipulation, Prediction, weights_along

LARGEST_SELF = 32**2

Maps = dict[tuple[Any, ...], tuple[Tensor, Tensor]]
"""Queries and keys by (attn1 or attn2, block, number, transformer)."""


def control_attention(
    model: Any,
    path: DiffusionPath,
    source: Any,
    tokens: TokenMap,
    cross: PathSchedule,
    self_attention: PathSchedule | None = None,
) -> Any:
    """Prompt-to-Prompt along a recorded path. source: CONDITIONING of the path's prompt; tokens: see `token_map`.

    cross, self_attention: weights of the source's maps; None leaves self-attention alone. Returns a clone of the MODEL.
    Raises ValueError for models other than U-Nets for pictures, a path of another model, and when sampling with prompts
    of other lengths than the token map's.
    """
    if not isinstance(model.model.diffusion_model, UNetModel):
        raise ValueError(
            f"Attention control by words needs a U-Net with separate cross-attention (SD 1.x, SD 2.x, SDXL), but this "
            f"model is a {type(model.model.diffusion_model).__name__}: choose the mode tokens if it is a transformer, "
            "or MDP-\u03b5 or MDP-x, which work with every model."
        )
    if any(isinstance(module, SpatialVideoTransformer) for module in model.model.diffusion_model.modules()):
        raise ValueError(
            "Attention control works on pictures, but this U-Net attends over time too (SVD, SV3D) and reads no text: "
            "use MDP-ε or MDP-x, which work with every model."
        )
    check_path_fits(path, model)
    refuse_idle((cross, self_attention), path.step_positions)
    return AttentionControl(path, source, tokens, cross, self_attention).on(model)


@dataclass
class _Step:
    """One prediction: the source's queries and keys, and how they are used."""

    tokens: TokenMap
    cross: float
    within: float
    targets: frozenset[Any] = frozenset()
    maps: Maps = field(default_factory=dict)


class AttentionControl(Manipulation):
    """Prompt-to-Prompt: `run` holds the weights of cross-attention and of self-attention."""

    name = "Attention control"

    def __init__(
        self, path: DiffusionPath, source: Any, tokens: TokenMap, cross: PathSchedule, within: PathSchedule | None
    ) -> None:
        self.path, self.source, self.tokens = path, SourcePrompt(source), tokens
        self.schedules = (cross, within)

    def begin(
        self, guider: Any, noise: Any, sampler: Any, sigmas: Tensor, denoise_mask: Tensor | None
    ) -> tuple[Weights | None, ...] | None:
        if all(each is None or each.weight == 0.0 for each in self.schedules):
            return None
        check_path_fits(self.path, guider.model_patcher, noise, sigmas)
        source = self.source.join(guider, self.name)
        if len(source) != 1:
            raise ValueError(
                f"Attention control needs a source prompt of one part, but this one has {len(source)}: connect one "
                "CLIP Text Encode."
            )
        for word, conds, length in (
            ("source", source, self.tokens.mapper.shape[0]),
            ("target", guider.conds["positive"], self.tokens.mapper.shape[1]),
        ):
            if any("area" in cond for cond in conds):
                raise ValueError(
                    f"The {word} prompt is for an area of the picture, but attention is controlled in all of it: "
                    "connect one CLIP Text Encode, or limit the prompt with Conditioning (Set Mask)."
                )
            lengths = {cond["cross_attn"].shape[1] for cond in conds}
            if lengths != {length}:
                raise ValueError(
                    f"The {word} prompt has {'/'.join(map(str, sorted(lengths)))} tokens, but this control was "
                    f"made for {length}: sample with the prompt that is written in its node."
                )
        return tuple(None if each is None else weights_along(self.path, each) for each in self.schedules)

    def predict(self, run: tuple[Weights | None, ...], prediction: Prediction) -> Tensor:
        sigma, guider = prediction.sigma, prediction.guider
        cross, within = (0.0 if weights is None else weights.at(sigma) for weights in run)
        if cross == 0.0 and within == 0.0:
            return prediction()
        step, network = _Step(self.tokens, cross, within), guider.inner_model.diffusion_model
        source = self.source.active(prediction)
        keep = patched(prediction.options, network, lambda *call: _keep(step, *call))
        state = self.path.at(sigma).to(prediction.x)
        comfy.samplers.calc_cond_batch(guider.inner_model, [source], state, prediction.timestep, keep)
        step.targets = frozenset(cond["uuid"] for cond in guider.conds["positive"])
        return prediction(options=patched(prediction.options, network, lambda *call: _edit(step, *call)))


def patched(model_options: dict[str, Any], network: UNetModel, patch: Callable[..., Tensor]) -> dict[str, Any]:
    """Model options in which every attention calls patch(inner, kind, q, k, v, extra); inner is the function before.

    Other patches that replace the attention of a block, or of one transformer in it, keep their place.
    """
    replaced = model_options.get("transformer_options", {}).get("patches_replace", {})
    model_options = model_options.copy()  # core's helper exchanges its entries
    for kind in ("attn1", "attn2"):
        old = replaced.get(kind, {})
        names = [block for block in _attention_blocks(network) if block not in old]
        for name in [*names, *old]:
            inner = old.get(name, _core_attention)
            model_options = comfy.model_patcher.set_model_options_patch_replace(
                model_options, _bound(patch, inner, kind), kind, *name
            )
    return model_options


def _bound(patch: Callable[..., Tensor], inner: Callable[..., Tensor], kind: str) -> Callable[..., Tensor]:
    return lambda q, k, v, extra, **rest: patch(lambda: inner(q, k, v, extra, **rest), kind, q, k, v, extra)


def _core_attention(q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any], mask: Tensor | None = None) -> Tensor:
    precision = extra.get("attn_precision")
    # The options carry other packs' own attention functions.
    return optimized_attention(q, k, v, extra["n_heads"], mask, precision, transformer_options=extra)


def _attention_blocks(network: UNetModel) -> list[tuple[str, int]]:
    """(name, number) of each block of a U-Net that has attention."""
    groups: list[tuple[str, Sequence[Any]]] = [
        ("input", list(network.input_blocks)),
        ("middle", [network.middle_block] if network.middle_block is not None else []),
        ("output", list(network.output_blocks)),
    ]
    return [
        (name, number)
        for name, blocks in groups
        for number, block in enumerate(blocks)
        if any(isinstance(layer, SpatialTransformer) for layer in block)
    ]


def _place(kind: str, extra: dict[str, Any]) -> tuple[Any, ...]:
    return (kind, *extra["block"], extra.get("block_index", 0))


def _keep(
    step: _Step, inner: Callable[[], Tensor], kind: str, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]
) -> Tensor:
    """In the source's branch: keep the queries and keys that its maps are made of."""
    if step.cross if kind == "attn2" else step.within and q.shape[1] <= LARGEST_SELF:
        step.maps[_place(kind, extra)] = (q, k)
    return inner()


def _edit(
    step: _Step, inner: Callable[[], Tensor], kind: str, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]
) -> Tensor:
    """In the target's branch: attention with the edited maps, for the positive prompt's part of the batch."""
    source = step.maps.get(_place(kind, extra))
    out = inner()
    chunks = [i for i, uuid in enumerate(extra["uuids"]) if uuid in step.targets]
    if source is None or not chunks:
        return out
    size = q.shape[0] // len(extra["uuids"])
    heads = extra["n_heads"]
    maps_a = attention_maps(*source, heads)
    parts = list(out.split(size))
    for i in chunks:
        part = slice(i * size, (i + 1) * size)
        maps_b = attention_maps(q[part], k[part], heads)
        if kind == "attn2":
            maps = torch.lerp(maps_b, edited_maps(maps_a, maps_b, step.tokens), step.cross)
        else:
            maps = torch.lerp(maps_b, maps_a.expand_as(maps_b), step.within)
        parts[i] = _attend(maps, v[part], heads).to(out)
    return torch.cat(parts)


def edited_maps(source: Tensor, target: Tensor, tokens: TokenMap) -> Tensor:
    """Replace, refine and reweight: cross-attention maps [B, heads, N, S] and [B, heads, N, T] to [..., T]."""
    mapper, kept, scale = (each.to(target) for each in (tokens.mapper, tokens.kept, tokens.scale))
    # Core repeats a prompt's tokens if it is batched with a longer one, which does not change the sums over repeats.
    source, repeats = _folded(source, mapper.shape[0]), target.shape[-1] // mapper.shape[1]
    own = _folded(target, mapper.shape[1])
    edited = ((source @ mapper) * kept + own * (1.0 - kept)) * scale
    return edited.repeat(1, 1, 1, repeats) / repeats


def _folded(maps: Tensor, tokens: int) -> Tensor:
    """The attention that repeated tokens receive together."""
    return maps.unflatten(-1, (-1, tokens)).sum(-2)


def attention_maps(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d)) of [B, N, heads d] and [B, M, heads d]: [B, heads, N, M], in float32 or wider."""
    q, k = (_split(each, heads) for each in (q, k))
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


def _attend(maps: Tensor, v: Tensor, heads: int) -> Tensor:
    return (maps @ _split(v, heads)).transpose(1, 2).flatten(2)


def _split(tensor: Tensor, heads: int) -> Tensor:
    wide = tensor if tensor.dtype == torch.float64 else tensor.float()
    return wide.unflatten(-1, (heads, -1)).transpose(1, 2)
