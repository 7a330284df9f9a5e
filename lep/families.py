"""Which activations of each model family a predictor may read: the only place that distinguishes networks.

A *tap* is a block's name inside the diffusion model ("input_blocks.3", "double_blocks.7"); its value is the block's
output as a picture [B, C, h, w] on the latent grid or a coarser one. Video models count their frames as pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfy.ldm.flux.model import Flux
from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
from comfy.ldm.modules.diffusionmodules.openaimodel import TimestepEmbedSequential, UNetModel
from comfy.ldm.wan.model import WanModel
from torch import Tensor, nn

from ..common.texts import quoted
from ..samplers import process

FEATURE_SETS = ("levels", "decoder", "all")
_SPREAD = 9  # blocks of a transformer that "levels" takes: the number that the paper takes from a U-Net


@dataclass(frozen=True)
class Call:
    """What a hook knows of the current model call: latent size, frames, and the options given to the block."""

    height: int
    width: int
    frames: int = 1


@dataclass(frozen=True)
class Family:
    """How one architecture names its blocks and what their outputs look like."""

    name: str
    blocks: Callable[[Any], list[str]]
    picture: Callable[[Any, Any, dict[str, Any], Call], Tensor]
    """(network, block output, keyword arguments of the block, call) -> [B * frames, C, h, w]"""
    in_place: bool = True
    """Whether its blocks update their inputs in place, which gradients must guard against."""


def _count(network: Any, *lists: str) -> list[str]:
    return [f"{name}.{i}" for name in lists for i in range(len(getattr(network, name)))]


def _unet_blocks(network: Any) -> list[str]:
    return [*_count(network, "input_blocks"), "middle_block", *_count(network, "output_blocks")]


def _unet_picture(_: Any, output: Any, __: dict[str, Any], ___: Call) -> Tensor:
    return output


def _tokens(tokens: Tensor, patch: int, call: Call) -> Tensor:
    """Row-major tokens [B, frames * h * w (and more), C] to [B * frames, C, h, w]."""
    height, width = -(-call.height // patch), -(-call.width // patch)
    wanted = call.frames * height * width
    if tokens.shape[1] < wanted:
        raise ValueError(
            f"A block of this model gave {tokens.shape[1]} tokens where {wanted} belong to the picture: "
            "this variant of the model is not supported by edge predictors."
        )
    picture = tokens[:, :wanted].reshape(tokens.shape[0] * call.frames, height, width, tokens.shape[2])
    return picture.movedim(-1, 1)


def _flux_picture(network: Any, output: Any, arguments: dict[str, Any], call: Call) -> Tensor:
    if isinstance(output, tuple):
        image = output[0]
    else:  # single blocks carry the text in front of the picture
        image = output[:, arguments["transformer_options"]["img_slice"][0] :]
    return _tokens(image, network.patch_size, call)


def _sd3_picture(network: Any, output: Any, _: dict[str, Any], call: Call) -> Tensor:
    return _tokens(output[1], network.patch_size, call)


def _wan_picture(network: Any, output: Any, _: dict[str, Any], call: Call) -> Tensor:
    return _tokens(output, network.patch_size[1], call)


_FAMILIES: list[tuple[type[nn.Module], Family]] = [
    (UNetModel, Family("U-Net", _unet_blocks, _unet_picture, in_place=False)),
    (Flux, Family("Flux", lambda n: _count(n, "double_blocks", "single_blocks"), _flux_picture)),
    (MMDiT, Family("SD3", lambda n: _count(n, "joint_blocks"), _sd3_picture)),
    (WanModel, Family("Wan", lambda n: _count(n, "blocks"), _wan_picture)),
]


def network_of(model: Any) -> nn.Module:
    """The network of a MODEL."""
    return model.get_model_object("diffusion_model")


def family_of(network: nn.Module) -> Family:
    """How to read the network's blocks. Raises ValueError for an architecture that is not supported."""
    for kind, family in _FAMILIES:
        if isinstance(network, kind):
            return family
    supported = "Stable Diffusion 1.x, 2.x and SDXL, Flux, Stable Diffusion 3 and Wan"
    raise ValueError(
        f"Edge predictors cannot read a {type(network).__name__} model: use a model of the families {supported}."
    )


def signature(model: Any) -> dict[str, Any]:
    """What the model that a predictor was trained on and the model it is used with must have in common."""
    network = network_of(model)
    latent_format = model.get_model_object("latent_format")
    return {
        "family": family_of(network).name,
        "latent_format": type(latent_format).__name__,
        "latent_channels": int(latent_format.latent_channels),
        "prediction": prediction_of(process.model_sampling(model)),
        "context": _context_width(network),
    }


def prediction_of(sampling: Any) -> str:
    """What the network predicts, by the name of ComfyUI's class for it: EPS, V_PREDICTION, CONST (flow), ..."""
    return next(kind.__name__ for kind in type(sampling).__mro__ if "calculate_denoised" in vars(kind))


def _context_width(network: Any) -> int | None:
    """Width of the text that a U-Net's attention reads: it tells SD1.x (768) from SD2.x (1024)."""
    for name, module in network.named_modules():
        if name.endswith("attn2.to_k"):
            return int(module.in_features)
    return None


def check_fits(model: Any, wanted: dict[str, Any], taps: tuple[str, ...], channels: tuple[int, ...]) -> None:
    """Raise ValueError, in one sentence, if a predictor made for `wanted` and these taps does not fit the model.

    A value of None in `wanted` fits anything.
    """
    found = signature(model)
    for key, value in wanted.items():
        if value is not None and found.get(key) != value:
            raise ValueError(
                f"The edge predictor was made for a model with {key.replace('_', ' ')} {value}, and this one has "
                f"{found.get(key)}: load the predictor that belongs to this model, or train one on it."
            )
    network = network_of(model)
    for tap, width in zip(taps, channels, strict=True):
        found_width = tap_channels(network, tap)
        if found_width != width:
            given = "has no such block" if found_width is None else f"has {found_width}"
            raise ValueError(
                f"The edge predictor reads {width} channels of {tap}, and this model {given}: load the predictor "
                "that belongs to this model, or train one on it."
            )


def tap_names(network: nn.Module, feature_set: str) -> tuple[str, ...]:
    """The taps of a feature set: "all" blocks, the last block of each of its "levels", or the "decoder" half.

    "levels" follows the paper's choice of nine layers from all depths of the U-Net: the last block of each resolution
    of the encoder, the middle, and the last of each resolution of the decoder; for transformers, nine blocks evenly
    spread. Raises ValueError for another name.
    """
    blocks = family_of(network).blocks(network)
    unet = isinstance(network, UNetModel)
    if feature_set == "all":
        return tuple(blocks[1:] if unet else blocks)  # a U-Net's first block is one convolution of the latent
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


def tap_module(network: nn.Module, tap: str) -> nn.Module | None:
    """The module whose output is the tap's value; None if the network has no such block.

    A U-Net's blocks are lists that are never called themselves, so the last layer of the list is used.
    """
    try:
        module = network.get_submodule(tap)
    except AttributeError:
        return None
    return module[-1] if isinstance(module, TimestepEmbedSequential) else module


def tap_channels(network: nn.Module, tap: str) -> int | None:
    """How many channels the tap's value has; None where the network has no such block."""
    module = tap_module(network, tap)
    if module is None:
        return None
    if isinstance(module, nn.Sequential):
        module = module[-1]
    for owner, name in ((module, "out_channels"), (module, "in_channels"), (network, "hidden_size"), (network, "dim")):
        value = getattr(owner, name, None)
        if isinstance(value, int):
            return value
    return None
