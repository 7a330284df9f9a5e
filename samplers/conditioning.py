"""Prompts along a path: which one it was made with, and conditions that replace the negative one step by step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from comfy.conds import CONDConstant, CONDList, CONDRegular
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
    """A short digest of a CONDITIONING (or of a guider's converted one): equal for equal prompts, on every machine.

    It covers the text and the reference latents of edit models.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in conditioning:
        tokens, extra = part if isinstance(part, (list, tuple)) else (part.get("cross_attn"), part)
        for tensor in (tokens, extra.get("pooled_output"), *(extra.get("reference_latents") or ())):
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


_DERIVED = {"layout"}  # made by core from the rest; the network makes it again where it does not fit
_OF_THE_RUN = {"c_concat", "denoise_mask", "audio_denoise_mask", "latent_shapes"}
"""Model inputs that a run makes of its own latent and mask, whatever the prompt."""


def stored_tensors(cond: dict[str, Any], other: list[dict[str, Any]]) -> dict[str, Tensor]:
    """All model inputs of a processed condition, each as one step [1, ...] on the CPU, for `standing_in`.

    Tensors by name (NAME.int for whole numbers), the members of a list as NAME.0, NAME.1 and so on, numbers as tensors
    without dimensions; all are float32. What cannot be stored (names, settings) must be the same in `other`, the
    conditions that these are to replace; raises ValueError where it is not.
    """
    found: dict[str, Tensor] = {}
    for name, held in _of_the_prompt(cond).items():
        value = held.cond
        if isinstance(value, Tensor):
            found[name if value.is_floating_point() else f"{name}.int"] = value
        elif isinstance(held, CONDList):
            found |= {f"{name}.{number}": each for number, each in enumerate(value)}
        elif _is_number(value):
            found[name] = torch.tensor(float(value))
        elif not all(name in (theirs := _of_the_prompt(each)) and is_same(theirs[name].cond, value) for each in other):
            raise ValueError(
                f"The positive and the negative prompt have different model inputs {quoted(name)}, which a path cannot "
                "store: give both the same."
            )
    return {key: tensor.detach().to("cpu", torch.float32)[None].clone() for key, tensor in found.items()}


def standing_in(
    conds: list[dict[str, Any]], tensors: Mapping[str, Tensor], step: int, whole: bool = False
) -> list[dict[str, Any]]:
    """A run's processed conditions with a path's stored tensors of one step in place; the originals are unchanged.

    whole: the tensors are all that the prompt has (`stored_tensors`), so that nothing of this prompt remains.
    Raises ValueError where they are not one prompt, or not of a kind that takes these tensors.
    """
    cond = single_part(conds, "negative", "A path with stored embeddings")
    model_conds = dict(cond.get("model_conds", {}))
    values = {key: tensor[step if tensor.shape[0] > 1 else 0] for key, tensor in tensors.items()}
    if whole:
        return [{**cond, "model_conds": _replaced(model_conds, values)}]
    for key, value in values.items():
        if key not in model_conds:
            raise ValueError(
                f"The path stores '{key}' for the negative prompt, but this negative prompt has none: connect a prompt "
                "of the same text encoder."
            )
        model_conds[key] = _like(model_conds[key], value)
    return [{**cond, "model_conds": model_conds}]


def _replaced(own: dict[str, Any], stored: dict[str, Tensor]) -> dict[str, Any]:
    """The model inputs of a prompt with all that can be stored taken from another one."""
    kept = {name: held for name, held in own.items() if name in _OF_THE_RUN or isinstance(held, CONDConstant)}
    device = next((held.cond.device for held in own.values() if isinstance(held.cond, Tensor)), torch.device("cpu"))
    lists: dict[str, list[Tensor]] = {}
    for key, value in stored.items():
        value, (name, _, kind) = value.to(device), key.rpartition(".")
        if kind.isdigit():
            lists.setdefault(name, []).append(value)
        elif kind == "int":
            kept[name] = _like(own.get(name), value.long())
        else:
            kept[key] = _like(own.get(key), value)
    return kept | {name: CONDList(values) for name, values in lists.items()}


def _like(held: Any, value: Tensor) -> Any:
    """A model input of the kind that a prompt has, or of the kind that its value shows, with another value."""
    if held is not None and isinstance(held.cond, Tensor):
        return type(held)(value.to(held.cond.device, held.cond.dtype))
    if value.ndim > 0:
        return CONDRegular(value)
    number = float(value)
    return CONDConstant(int(number) if number.is_integer() and not isinstance(held and held.cond, float) else number)


def _of_the_prompt(cond: dict[str, Any]) -> dict[str, Any]:
    held = cond.get("model_conds", {})
    return {name: each for name, each in held.items() if name not in _OF_THE_RUN}


def is_same(a: Any, b: Any) -> bool:
    """Whether two values in a prompt are equal: tensors, and dicts, lists and tuples of them."""
    if a is b:
        return True
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        both = isinstance(a, Tensor) and isinstance(b, Tensor)
        return both and a.shape == b.shape and torch.equal(a, b.to(a.device))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        names = (a.keys() | b.keys()) - _DERIVED
        return all(name in a and name in b and is_same(a[name], b[name]) for name in names)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(is_same(x, y) for x, y in zip(a, b, strict=True))
    return isinstance(a, (str, int, float)) and type(a) is type(b) and a == b


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
