"""A prompt between two others: their processed conditions interpolated, whatever a model's prompts carry.

Numbers are interpolated: token embeddings, pooled vectors, guidance, reference latents, image and sound embeddings.
What names or counts things (token ids, the number of references) has nothing in between: it must be equal in both.
"""

from __future__ import annotations

import math
from typing import Any

import comfy.utils
import torch
from comfy.conds import CONDConstant, CONDCrossAttn, CONDList
from torch import Tensor

from ..conditioning import is_same

_MOST_REPEATS = 4  # core's own limit on repeating tokens to bring two prompts to one length
_MASKS = {"attention_mask", "text_embedding_mask", "text_embedding_mask_t5"}  # 1 = a token of the prompt, [B, T]
_TOKENS_THIRD = {"encoder_hidden_states_llama3"}  # [B, layers, T, C]
_COUNTS = {"num_tokens"}  # of tokens: the mixture has those of the longer prompt
_WORDS = {
    "ref_latents": "reference latents", "reference_latent": "reference latents", "context_latents": "reference latents",
    "input_ids": "token ids", "t5xxl_ids": "token ids", "clip_fea": "image embeddings",
    "siglip_feats": "image embeddings", "txt_byt5": "embeddings of quoted text", "audio_embed": "sound embeddings",
    "control": "ControlNet", "gligen": "GLIGEN boxes", "hooks": "hooks (a LoRA on the prompt)",
}  # fmt: skip
_REMEDY = "give both the same, or use the kind guidance, which mixes their predictions."

Cond = dict[str, Any]


def interpolated(target: list[Cond], source: list[Cond], weight: float) -> list[Cond]:
    """(1 - w) c_B + w c_A for each part of the target. The source has one part, or one for each of the target's.

    At w = 0 and w = 1 it is one of the two, with everything that it carries. Raises ValueError where the two cannot be
    paired, or carry something that has nothing in between.
    """
    if weight in (0.0, 1.0):
        return source if weight else target
    if len(source) not in (1, len(target)):
        raise ValueError(
            f"The source prompt has {len(source)} parts and the target {len(target)}, so they cannot be paired: give "
            "the source one part, or the same number."
        )
    pairs = zip(target, source * len(target) if len(source) == 1 else source, strict=True)
    return [_between(b, a, weight) for b, a in pairs]


def _between(target: Cond, source: Cond, weight: float) -> Cond:
    for name in ("control", "gligen", "hooks"):
        own, other = target.get(name), source.get(name)
        if own is None and other is None:
            continue
        if own is None or other is None:
            raise _missing(name, target=own is not None)
        if not _same_parts(own, other):
            raise _differ(name)
    return {**target, "model_conds": mixed_inputs(target["model_conds"], source["model_conds"], weight)}


def mixed_inputs(target: Cond, source: Cond, weight: float) -> Cond:
    """The model inputs of two conditions, mixed, for weights other than 0 and 1.

    Prompts of different lengths: repeated tokens do not change cross-attention, so there they are repeated to a common
    length; elsewhere the shorter prompt is padded with zeros, as core's Conditioning Average does. Raises ValueError,
    with the name of the input, where both have different values of something that cannot be interpolated.
    """
    result = {}
    for name in [*target, *(name for name in source if name not in target)]:
        own, other = target.get(name), source.get(name)
        if name == "attention_mask":
            own, other = own or _every_token(target, other), other or _every_token(source, own)
        if own is None or other is None:
            raise _missing(name, target=own is not None)
        result[name] = own if own is other else _mixed(name, own, other, weight)
    return result


def _mixed(name: str, own: Any, other: Any, weight: float) -> Any:
    if isinstance(own, CONDList):
        if [each.shape for each in own.cond] != [each.shape for each in other.cond]:
            raise _differ(name, "numbers or sizes of ")
        return type(own)([_mixed_tensors(name, b, a, weight) for b, a in zip(own.cond, other.cond, strict=True)])
    if isinstance(own, CONDConstant) or not isinstance(own.cond, Tensor):
        if name in _COUNTS:
            return own if own.cond >= other.cond else other
        return type(own)(_mixed_values(name, own.cond, other.cond, weight))
    batch = max(other.cond.shape[0], own.cond.shape[0])
    a, b = (comfy.utils.repeat_to_batch_size(each.cond, batch) for each in (other, own))
    if a.ndim == b.ndim == 3:
        a, b = same_length(a, b, repeat=type(own) is CONDCrossAttn)
    elif a.ndim == b.ndim and name in _TOKENS_THIRD | _MASKS:
        a, b = _zero_padded(a, b, 2 if name in _TOKENS_THIRD else 1)
    if a.shape != b.shape:
        raise ValueError(
            f"The '{name}' of the two prompts have the shapes {list(b.shape)} and {list(a.shape)}, which cannot be "
            "mixed: encode both in the same way."
        )
    return type(own)(torch.maximum(a.to(b), b) if name in _MASKS else _mixed_tensors(name, b, a, weight))


def _mixed_tensors(name: str, own: Tensor, other: Tensor, weight: float) -> Tensor:
    if is_same(own, other):
        return own
    if not (own.is_floating_point() and other.is_floating_point()):
        raise _differ(name)
    return torch.lerp(own, other.to(own), weight)


def _mixed_values(name: str, own: Any, other: Any, weight: float) -> Any:
    """Numbers with a fraction are interpolated, in lists too; everything else must be the same."""
    if is_same(own, other):
        return own
    if {type(own), type(other)} in ({float}, {float, int}):
        return own + weight * (other - own)
    if isinstance(own, list) and isinstance(other, list) and len(own) == len(other):
        return [_mixed_values(name, b, a, weight) for b, a in zip(own, other, strict=True)]
    raise _differ(name)


def _every_token(inputs: Cond, like: Any) -> Any:
    """The mask that core leaves out where it would be 1 for every token. like: the other prompt's."""
    text = inputs.get("c_crossattn")
    return text and type(like)(torch.ones(text.cond.shape[:2], dtype=like.cond.dtype, device=like.cond.device))


def _missing(name: str, target: bool) -> ValueError:
    side = "target" if target else "source"
    return ValueError(f"Only the {side} prompt has {_words(name)}, so nothing lies between the two: {_REMEDY}")


def _differ(name: str, how: str = "") -> ValueError:
    return ValueError(f"The two prompts have different {how}{_words(name)}, which cannot be interpolated: {_REMEDY}")


def _words(name: str) -> str:
    return f"{_WORDS[name]} ({name})" if name in _WORDS else f"model inputs '{name}'"


def same_length(a: Tensor, b: Tensor, repeat: bool) -> tuple[Tensor, Tensor]:
    """Two token sequences [B, T, C] brought to one length, by repetition where that is harmless and not too long."""
    common = math.lcm(a.shape[1], b.shape[1])
    if repeat and common // min(a.shape[1], b.shape[1]) <= _MOST_REPEATS:
        return a.repeat(1, common // a.shape[1], 1), b.repeat(1, common // b.shape[1], 1)
    return _zero_padded(a, b, 1)


def _zero_padded(a: Tensor, b: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    longest = max(a.shape[dim], b.shape[dim])

    def padded(tensor: Tensor) -> Tensor:
        shape = list(tensor.shape)
        shape[dim] = longest - tensor.shape[dim]
        return torch.cat([tensor, tensor.new_zeros(shape)], dim)

    return padded(a), padded(b)


def _same_parts(a: Any, b: Any) -> bool:
    """Whether two ControlNets, groups of hooks or GLIGEN boxes do the same (core copies ControlNets)."""
    if hasattr(a, "hooks") and hasattr(b, "hooks"):
        return set(a.hooks) == set(b.hooks)
    if not hasattr(a, "previous_controlnet"):
        return is_same(a, b)
    weights = "control_weights" if hasattr(a, "control_weights") else "control_model"
    names = ("t2i_model", "strength", "timestep_percent_range", "cond_hint_original", "extra_concat_orig", "extra_args")
    return (
        type(a) is type(b)
        and all(is_same(getattr(a, name, None), getattr(b, name, None)) for name in (weights, *names))
        and _same_parts(a.previous_controlnet, b.previous_controlnet)
    )
