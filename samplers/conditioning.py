"""Prompts along a path: which one it was made with, and conditions that replace the negative one step by step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..common.texts import quoted


def check_conditioning(conditioning: Any, name: str) -> None:
    """Raises ValueError unless a CONDITIONING has at least one part, each [embeddings or None, extras], all finite."""
    if not isinstance(conditioning, (list, tuple)):
        raise ValueError(f"{name} is {quoted(conditioning)}, but a CONDITIONING is expected: connect CLIP Text Encode.")
    if not conditioning:
        raise ValueError(
            f"{name} is an empty CONDITIONING: connect CLIP Text Encode, with an empty text for no prompt."
        )
    for part in conditioning:
        if not (isinstance(part, (list, tuple)) and len(part) == 2 and isinstance(part[1], Mapping)):
            raise ValueError(
                f"{name} has a part that is not a pair of embeddings and extras: connect the CONDITIONING of CLIP Text "
                "Encode."
            )
        tokens, pooled = part[0], part[1].get("pooled_output")
        if isinstance(tokens, Tensor) and (tokens.ndim < 2 or 0 in tokens.shape):
            raise ValueError(
                f"{name} holds embeddings of the shape {list(tokens.shape)}, where items, tokens and channels are "
                "expected: connect the CONDITIONING of CLIP Text Encode."
            )
        for tensor in (tokens, pooled):
            if isinstance(tensor, Tensor) and not bool(torch.isfinite(tensor).all()):
                raise ValueError(
                    f"{name} has values that are not finite (NaN or infinite): encode the prompt again, with the text "
                    "encoder in fp32 if that is where they come from."
                )


def fingerprint(conditioning: Any) -> str:
    """A short digest of a CONDITIONING (or of a guider's converted one): equal for equal prompts, on every machine."""
    digest = hashlib.blake2b(digest_size=8)
    for part in conditioning:
        tokens, extra = part if isinstance(part, (list, tuple)) else (part.get("cross_attn"), part)
        for tensor in (tokens, extra.get("pooled_output")):
            if isinstance(tensor, Tensor):
                digest.update(str(list(tensor.shape)).encode())
                digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def single_part(conds: list[dict[str, Any]] | None, name: str, method: str) -> dict[str, Any]:
    """The only part of a run's processed conditions; raises ValueError where there are areas, masks or schedules."""
    if not conds or len(conds) != 1:
        raise ValueError(
            f"{method} needs a {name} prompt of one part, but this one has {len(conds or [])}: connect one CLIP Text "
            "Encode without areas, masks or time ranges."
        )
    return conds[0]


def stored_tensors(cond: dict[str, Any]) -> dict[str, Tensor]:
    """The model inputs of a processed condition: its tensors by name, each as one step [1, B, ...] on the CPU."""
    found = {
        key: value.cond
        for key, value in cond.get("model_conds", {}).items()
        if isinstance(getattr(value, "cond", None), Tensor) and key != "c_concat"
    }
    return {key: tensor.detach().to("cpu", torch.float32)[None].clone() for key, tensor in found.items()}


def standing_in(conds: list[dict[str, Any]], tensors: Mapping[str, Tensor], step: int) -> list[dict[str, Any]]:
    """A run's processed conditions with a path's stored tensors of one step in place; the originals are unchanged.

    Raises ValueError where they are not one prompt, or not of a kind that takes these tensors.
    """
    cond = single_part(conds, "negative", "A path with stored embeddings")
    model_conds = dict(cond.get("model_conds", {}))
    for key, tensor in tensors.items():
        if key not in model_conds:
            raise ValueError(
                f"The path stores '{key}' for the negative prompt, but this negative prompt has none: connect a prompt "
                "of the same text encoder."
            )
        old = model_conds[key]
        value = tensor[step if tensor.shape[0] > 1 else 0]
        model_conds[key] = type(old)(value.to(old.cond.device, old.cond.dtype))
    return [{**cond, "model_conds": model_conds}]
