"""Calls of a run's model that a gradient can pass, and the text embedding in its conds as an input of them."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
import comfy.samplers
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor, nn


def model_roots(guider: Any) -> list[nn.Module]:
    """The networks of a run: the diffusion model and all that was loaded with it (ControlNets, adapters)."""
    loaded = [patcher.model for patcher in guider.loaded_models]
    return [guider.inner_model, *(model for model in loaded if isinstance(model, nn.Module))]


def gradient_options(model_options: dict[str, Any]) -> dict[str, Any]:
    """A copy of a run's model_options for a differentiable call.

    Attention becomes PyTorch's own: Sage and Flash attention have no backward pass and would silently leave its part
    out. Compiled models and calls on several GPUs are turned off for the same reason.
    """
    options = comfy.model_patcher.create_model_options_clone(model_options)
    options.pop("multigpu_clones", None)
    transformer = options.setdefault("transformer_options", {})
    transformer["optimized_attention_override"] = _plain_attention
    transformer.get("wrappers", {}).get("apply_model", {}).pop("torch.compile", None)
    return options


def branch(model: Any, conds: list[dict[str, Any]], x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Tensor:
    """D(x, sigma) of one branch (positive, negative, ...) without guidance, which takes half the memory of both."""
    return comfy.samplers.calc_cond_batch(model, [conds], x, sigma.clone(), options)[0]


def text_embedding(conds: list[dict[str, Any]]) -> Tensor:
    """The text embedding [1, tokens, width] of the first of a run's processed conds.

    Raises ValueError for a model that reads its prompts in another form.
    """
    for cond in conds:
        if "c_crossattn" in cond.get("model_conds", {}):
            return cond["model_conds"]["c_crossattn"].cond
    raise ValueError(
        "This model reads its prompts in another form than the text embedding that null text optimises: choose fixed "
        "point, residual or negative prompt."
    )


def with_text_embedding(conds: list[dict[str, Any]], embedding: Tensor) -> list[dict[str, Any]]:
    """A run's processed conds with another text embedding [1 or B, tokens, width] in each; originals are unchanged."""
    replaced = []
    for cond in conds:
        model_conds = dict(cond.get("model_conds", {}))
        if "c_crossattn" in model_conds:
            model_conds["c_crossattn"] = type(model_conds["c_crossattn"])(embedding)
        replaced.append({**cond, "model_conds": model_conds})
    return replaced


def _plain_attention(_: Any, *args: Any, **kwargs: Any) -> Tensor:
    return attention_pytorch(*args, **kwargs)
