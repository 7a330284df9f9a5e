"""Which activations of a network a predictor may read: the only place that distinguishes network architectures.

A *tap* is a block's name inside the diffusion model ("input_blocks.3", "double_blocks.7"); its value is the block's
output as a picture [B, C, h, w] on the latent grid or a coarser one. Video models count their frames as pictures.

Every network keeps its blocks in lists (ModuleList, ModuleDict), which is where they are found. A convolutional block
gives out a picture; where the picture's tokens are in what a transformer's block gives out is found by marking
(`places`). Only three things are known beforehand: how ComfyUI's U-Nets arrange their blocks, which the paper's choice
of layers is about, the names by which older files call four architectures, and which networks take no video alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy.ldm.modules.diffusionmodules.openaimodel import TimestepEmbedSequential, UNetModel
from torch import nn

from ..common.texts import quoted
from ..gradients.checkpoint import LISTS, listed_blocks
from ..samplers import process

FEATURE_SETS = ("levels", "decoder", "all")
_SPREAD = 9  # blocks of a transformer that "levels" takes: the number that the paper takes from a U-Net
ONLY_WITH_SOUND = ("MiniMaxH3Model",)  # networks that take no latent of video alone
_OLD_NAMES = {"U-Net": "UNetModel", "SD3": "OpenAISignatureMMDITWrapper", "Wan": "WanModel"}


def network_of(model: Any) -> nn.Module:
    """The network of a MODEL."""
    return model.get_model_object("diffusion_model")


# ---- blocks --------------------------------------------------------------------------------------------------------
def block_names(network: nn.Module) -> list[str]:
    """The names of all blocks in the network's lists, in their order there; lists inside of blocks do not count."""
    if isinstance(network, UNetModel):
        sides = {side: [f"{side}.{i}" for i in range(len(getattr(network, side)))]
                 for side in ("input_blocks", "output_blocks")}  # fmt: skip
        return [*sides["input_blocks"], "middle_block", *sides["output_blocks"]]
    return [name for name, _ in listed_blocks(network)]


def first_of_list(network: nn.Module, tap: str) -> nn.Module:
    """The first block of the list that the tap belongs to."""
    owner = network.get_submodule(tap.rpartition(".")[0])
    return next(iter(owner.children())) if isinstance(owner, LISTS) else network.get_submodule(tap)


def is_convolutional(network: nn.Module) -> bool:
    """Whether most of the network's blocks are in lists with convolutions, so that what they give out are pictures."""
    names = block_names(network)
    lists = {name.split(".")[0] for name in names}
    made = {one: any(isinstance(m, nn.Conv2d) for m in network.get_submodule(one).modules()) for one in lists}
    return 2 * sum(made[name.split(".")[0]] for name in names) > len(names)


def tap_module(network: nn.Module, tap: str) -> nn.Module | None:
    """The module whose output is the tap's value; None if the network has no such block.

    A U-Net's blocks are lists that are never called themselves, so the last layer of the list is used.
    """
    try:
        module = network.get_submodule(tap)
    except AttributeError:
        return None
    return module[-1] if isinstance(module, TimestepEmbedSequential) else module


def tap_names(network: nn.Module, feature_set: str, usable: Sequence[str] | None = None) -> tuple[str, ...]:
    """The taps of a feature set: "all" blocks, the last block of each of its "levels", or the "decoder" half.

    usable: the blocks that show the picture, in the order in which they are called (`features.survey`); None: all.
    "levels" follows the paper's choice of nine layers from all depths of the U-Net: the last block of each resolution
    of the encoder, the middle, and the last of each resolution of the decoder; for other networks, nine blocks evenly
    spread. Raises ValueError for another name.
    """
    blocks = block_names(network) if usable is None else list(usable)
    unet = isinstance(network, UNetModel)
    if feature_set == "all":
        return tuple(b for b in blocks if not unet or b != "input_blocks.0")  # a convolution of the latent
    if feature_set == "decoder":
        return tuple(b for b in blocks if b.startswith("output")) if unet else _spread(blocks[len(blocks) // 2 :])
    if feature_set == "levels":
        return _level_ends(network, blocks) if unet else _spread(blocks)
    raise ValueError(f"There is no feature set {quoted(feature_set)}: choose one of {', '.join(FEATURE_SETS)}.")


def _spread(blocks: list[str]) -> tuple[str, ...]:
    count = min(_SPREAD, len(blocks))
    return tuple(dict.fromkeys(blocks[round((i + 1) * len(blocks) / count) - 1] for i in range(count)))


def _level_ends(network: Any, blocks: list[str]) -> tuple[str, ...]:
    kinds = [{type(layer).__name__ for layer in network.get_submodule(block).children()} for block in blocks]
    ends = []
    for place, block in enumerate(blocks[:-1]):
        encoder_end = "Downsample" in kinds[place + 1] or blocks[place + 1] == "middle_block"
        if encoder_end or block == "middle_block" or "Upsample" in kinds[place]:
            ends.append(block)
    return (*ends, blocks[-1])


# ---- which model a predictor belongs to ----------------------------------------------------------------------------
def signature(model: Any, taps: Sequence[str] = ()) -> dict[str, Any]:
    """What the model that a predictor was trained on and the model it is used with must have in common.

    taps: what the predictor reads. The widths of the blocks are the predictor's `channels`, checked as they are read.
    """
    network = network_of(model)
    latent_format = model.get_model_object("latent_format")
    lists = {tap.rpartition(".")[0] for tap in taps}
    return {
        "network": type(network).__name__,
        "latent_format": type(latent_format).__name__,
        "latent_channels": int(latent_format.latent_channels),
        "prediction": prediction_of(process.model_sampling(model)),
        "context": _context_width(network),
        "blocks": sum(name.rpartition(".")[0] in lists for name in block_names(network)) if taps else None,
    }


def renewed(signature: dict[str, Any]) -> dict[str, Any]:
    """A signature from a file in which architectures had names of their own, with those of ComfyUI's classes."""
    if not isinstance(signature.get("family"), str):
        return signature
    name = signature["family"]
    return {"network": _OLD_NAMES.get(name, name), **{key: signature[key] for key in signature if key != "family"}}


def prediction_of(sampling: Any) -> str:
    """What the network predicts, by the name of ComfyUI's class for it: EPS, V_PREDICTION, CONST (flow), ..."""
    return next(kind.__name__ for kind in type(sampling).__mro__ if "calculate_denoised" in vars(kind))


def _context_width(network: Any) -> int | None:
    """Width of the text that a U-Net's attention reads: it tells SD1.x (768) from SD2.x (1024)."""
    for name, module in network.named_modules():
        if name.endswith("attn2.to_k"):
            return int(module.in_features)
    return None


def check_fits(model: Any, wanted: dict[str, Any], taps: Sequence[str]) -> None:
    """Raise ValueError, in one sentence, if a predictor made for `wanted` and these taps does not fit the model.

    A value of None in `wanted` fits anything.
    """
    found = signature(model, taps)
    for key, value in wanted.items():
        if value is not None and found.get(key) != value:
            raise ValueError(
                f"The map predictor was made for a model with {key.replace('_', ' ')} {value}, and this one has "
                f"{found.get(key)}: load the predictor that belongs to this model, or train one on it."
            )
    network = network_of(model)
    for tap in taps:
        if tap_module(network, tap) is None:
            raise ValueError(
                f"The map predictor reads {tap}, and this model has no such block: load the predictor that belongs to "
                "this model, or train one on it."
            )


def check_width(tap: str, wanted: int, found: int) -> None:
    """Raise ValueError if a tap has another number of channels than the predictor reads."""
    if wanted != found:
        raise ValueError(
            f"The map predictor reads {wanted} channels of {tap}, and this model has {found}: load the predictor that "
            "belongs to this model, or train one on it."
        )
