"""Names a very common mistake, another model's prompt, where PyTorch only reports that matrices do not fit.

No single place states the width that a network takes (text adapters take several, some networks none), so it is not
guessed beforehand, and no valid prompt is refused: PyTorch's error itself holds both widths.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import comfy.utils
from torch import Tensor

ENCODERS = {
    768: "CLIP-L, as in Stable Diffusion 1.x",
    1024: "OpenCLIP-H, as in Stable Diffusion 2.x",
    1280: "OpenCLIP-G, as in SDXL's refiner",
    2048: "CLIP-L with OpenCLIP-G, as in SDXL",
    2304: "Gemma 2 2B, as in Lumina 2",
    2560: "Qwen3 4B, as in Z-Image",
    3584: "Qwen2.5-VL 7B, as in Qwen-Image",
    4096: "T5-XXL, as in SD3, Flux or Wan",
}
"""Text encoders by the width of their embeddings."""

# PyTorch's errors from a linear layer, and from a normalization, whose input has another width.
_LINEAR = re.compile(r"shapes cannot be multiplied \(\d{1,9}x(\d{1,9}) and (\d{1,9})x\d{1,9}\)")
_NORM = re.compile(r"normalized_shape=\[(\d{1,9})\].{0,80}?size ?\[(?:\d{1,9}, ){0,6}(\d{1,9})\]")


def sample_with(guider: Any, *args: Any, disable_pbar: bool | None = None, **kwargs: Any) -> Tensor:
    """`guider.sample`, for everything here that samples; a prompt for another model raises a ValueError.

    disable_pbar: no progress bar in the console; None uses ComfyUI's setting.
    """
    disabled = not comfy.utils.PROGRESS_BAR_ENABLED if disable_pbar is None else disable_pbar
    try:
        return guider.sample(*args, disable_pbar=disabled, **kwargs)
    except KeyError as error:
        if error.args != ("pooled_output",):
            raise
        raise ValueError(
            "This model takes a pooled embedding beside the prompt's tokens, which the prompts do not have: encode "
            "them with the text encoder that belongs to this model."
        ) from error
    except RuntimeError as error:
        sentence = explanation(str(error), getattr(guider, "original_conds", {}))
        if sentence is None:
            raise
        raise ValueError(sentence) from error


def explanation(message: str, prompts: Mapping[str, Any]) -> str | None:
    """The sentence for an error of PyTorch, or None if it is not about a prompt's width.

    prompts: by name, each a guider's list of conditions with "cross_attn" [B, tokens, width] and "pooled_output".
    """
    widths = _widths(message[:2000])
    if widths is None:
        return None
    given, taken = widths
    names = [name for name, parts in prompts.items() if given in _of(parts, "cross_attn")]
    if names:
        return (
            f"The {_listed(names)} {given} channels wide{_encoder(given)}, but this model takes {taken}"
            f"{_encoder(taken)}: encode the prompt with the text encoder that belongs to this model."
        )
    # Pooled embeddings often enter the network concatenated with others: the missing width is missing in them.
    for name, parts in prompts.items():
        for pooled in _of(parts, "pooled_output"):
            if pooled <= given and pooled + taken - given > 0:
                return (
                    f"The {name} prompt's pooled embedding is {pooled} channels wide, but this model takes "
                    f"{pooled + taken - given}: encode the prompt with the text encoder that belongs to this model."
                )
    return None


def _widths(message: str) -> tuple[int, int] | None:
    """The width of a layer's input, and the width that it expects."""
    if found := _LINEAR.search(message):
        return int(found[1]), int(found[2])
    if found := _NORM.search(message):
        return int(found[2]), int(found[1])
    return None


def _of(parts: Any, key: str) -> list[int]:
    return [part[key].shape[-1] for part in parts if isinstance(part.get(key), Tensor)]


def _listed(names: list[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} prompt is"
    return f"{', '.join(names[:-1])} and {names[-1]} prompts are"


def _encoder(width: int) -> str:
    return f" ({ENCODERS[width]})" if width in ENCODERS else ""
