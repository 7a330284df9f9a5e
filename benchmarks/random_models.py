"""Models of real size with random weights: nothing to download, and as fast and as large as trained ones."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.memory_management
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import torch

from ..demo.model import UNET_CONFIG, LandscapeConfig, LandscapeLatent
from ..lep import families
from ..lep.features import survey
from ..lep.predictor import MapPredictor, build_network

_SD15: dict[str, Any] = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": (1, 2, 4, 4), "use_spatial_transformer": True, "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "transformer_depth_middle": 1,
    "context_dim": 768, "use_linear_in_transformer": False, "legacy": False, "num_heads": 8, "num_head_channels": -1,
    "adm_in_channels": None,
}  # fmt: skip
_SDXL: dict[str, Any] = {
    **_SD15, "num_res_blocks": [2, 2, 2], "channel_mult": (1, 2, 4), "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "transformer_depth_middle": 10, "context_dim": 2048,
    "use_linear_in_transformer": True, "num_heads": -1, "num_head_channels": 64,
}  # fmt: skip
SIZES = {"demo": (UNET_CONFIG, LandscapeLatent), "sd15": (_SD15, comfy.latent_formats.SD15),
          "sdxl": (_SDXL, comfy.latent_formats.SDXL)}  # fmt: skip


def random_model(size: str, dtype: torch.dtype) -> Any:
    """A MODEL as ComfyUI's loaders give it, with random weights that keep the scale of activations."""
    unet, latent_format = SIZES[size]
    config = type("Config", (LandscapeConfig,), {"latent_format": latent_format})(dict(unet))
    config.set_inference_dtype(dtype, None)
    device = comfy.model_management.get_torch_device()
    memory: Any = comfy.memory_management
    with torch.inference_mode():
        dynamic, memory.aimdo_enabled = memory.aimdo_enabled, False  # or else there are no weights to fill
        base = comfy.model_base.BaseModel(config)
        memory.aimdo_enabled = dynamic
        for parameter in base.diffusion_model.parameters():
            spread = max(1, parameter[0].numel()) ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.data.copy_(torch.randn(parameter.shape, device=device) * spread)
        return comfy.model_patcher.CoreModelPatcher(
            base.train(False), device, comfy.model_management.unet_offload_device()
        )


def random_predictor(model: Any) -> MapPredictor:
    """A per-pixel predictor for the model."""
    text = [[torch.zeros(1, 77, families.signature(model)["context"]), {}]]
    taps, channels = survey(model, torch.zeros(1, 4, 32, 32), text, "levels")
    return MapPredictor(build_network("mlp", channels, 4), "mlp", taps, channels, families.signature(model, taps))


def random_text(size: str) -> list[list[Any]]:
    """A CONDITIONING of 77 tokens of the model's width."""
    return [[torch.randn(1, 77, SIZES[size][0]["context_dim"]), {}]]
