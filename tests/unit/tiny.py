"""Tiny random-weight networks of every kind behind ComfyUI's own classes, built in inference mode as loaders do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import comfy.latent_formats
import comfy.memory_management
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models_base
import torch
from comfy.model_base import ModelType
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

TOKENS, WIDTH = 5, 16

UNET: dict[str, Any] = {
    "image_size": 8,
    "in_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "use_spatial_transformer": True,
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "context_dim": WIDTH,
    "use_linear_in_transformer": False,
    "legacy": False,
    "num_heads": 2,
    "num_head_channels": -1,
    "adm_in_channels": None,
}
HEADS = {"num_heads": 2, "num_head_channels": -1}
OUTPUTS = {"out_channels": 4, "transformer_depth_output": [1, 1, 1, 1]}
SDXL = {
    **UNET,
    **OUTPUTS,
    "transformer_depth": [0, 2],
    "transformer_depth_middle": 2,
    "transformer_depth_output": [0, 0, 2, 2],
    "use_linear_in_transformer": True,
    "num_classes": "sequential",
    "adm_in_channels": 1536 + 8,
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": 8,
    "context_in_dim": WIDTH,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": False,
    "txt_ids_dims": [],
}
SD3 = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "depth": 2,
    "input_size": None,
    "adm_in_channels": 8,
    "pos_embed_max_size": 16,
    "num_patches": 256,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": WIDTH, "out_features": 128},
    },
}
WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "patch_size": (1, 2, 2),
    "text_len": TOKENS,
    "in_dim": 16,
    "dim": 48,
    "ffn_dim": 96,
    "freq_dim": 32,
    "text_dim": WIDTH,
    "out_dim": 16,
    "num_heads": 2,
    "num_layers": 2,
}


def _config(unet: dict[str, Any], latent_format: Any, dtype: torch.dtype, compute: torch.dtype | None) -> Any:
    class Config(comfy.supported_models_base.BASE):
        unet_config: dict[str, Any] = {}
        unet_extra_config: dict[str, Any] = HEADS if "model_channels" in unet else {}
        sampling_settings: dict[str, Any] = {}

    Config.latent_format = latent_format
    config = Config(dict(unet))
    config.set_inference_dtype(dtype, compute)
    return config


def fill(module: nn.Module, seed: int = 0) -> None:
    """Random weights: ComfyUI's layers come with uninitialised memory."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim <= 1:
            value = (1.0 if name.endswith(("weight", "scale")) else 0.0) + 0.1 * noise
        else:
            value = noise / max(1, parameter[0].numel()) ** 0.5
        parameter.data.copy_(value)
    for _, buffer in module.named_buffers():
        if buffer.is_floating_point() and buffer.ndim > 1:
            buffer.data.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)


@contextlib.contextmanager
def with_weights() -> Iterator[None]:
    """Networks that are built within it have memory for their weights at once, also under dynamic VRAM."""
    memory: Any = comfy.memory_management
    enabled, memory.aimdo_enabled = memory.aimdo_enabled, False
    try:
        yield
    finally:
        memory.aimdo_enabled = enabled


def _patcher(build: Any, dtype: torch.dtype, compute: torch.dtype | None) -> ModelPatcher:
    with torch.inference_mode(), with_weights():
        base = build(dtype, compute)
        fill(base.diffusion_model)
        base.train(False)
        return comfy.model_patcher.CoreModelPatcher(
            base, comfy.model_management.get_torch_device(), torch.device("cpu")
        )


def unet(
    dtype: torch.dtype = torch.float32, compute: torch.dtype | None = None, kind: ModelType = ModelType.EPS
) -> ModelPatcher:
    """An SD1.x-like U-Net: input blocks 0..3, middle, output blocks 0..3."""

    def build(dtype: torch.dtype, compute: torch.dtype | None) -> Any:
        config = _config({**UNET, **OUTPUTS}, comfy.latent_formats.SD15, dtype, compute)
        return comfy.model_base.BaseModel(config, model_type=kind)

    return _patcher(build, dtype, compute)


def sdxl(dtype: torch.dtype = torch.float32, compute: torch.dtype | None = None) -> ModelPatcher:
    """SDXL's topology: no attention at the first level, two transformer blocks below, pooled text and sizes."""

    def build(dtype: torch.dtype, compute: torch.dtype | None) -> Any:
        return comfy.model_base.SDXL(_config(SDXL, comfy.latent_formats.SDXL, dtype, compute))

    return _patcher(build, dtype, compute)


def flux(dtype: torch.dtype = torch.float32, compute: torch.dtype | None = None) -> ModelPatcher:
    """Two double and two single blocks."""

    def build(dtype: torch.dtype, compute: torch.dtype | None) -> Any:
        return comfy.model_base.Flux(_config(FLUX, comfy.latent_formats.Flux, dtype, compute))

    return _patcher(build, dtype, compute)


def sd3(dtype: torch.dtype = torch.float32, compute: torch.dtype | None = None) -> ModelPatcher:
    """Two joint blocks."""

    def build(dtype: torch.dtype, compute: torch.dtype | None) -> Any:
        return comfy.model_base.SD3(_config(SD3, comfy.latent_formats.SD3, dtype, compute))

    return _patcher(build, dtype, compute)


def wan(dtype: torch.dtype = torch.float32, compute: torch.dtype | None = None) -> ModelPatcher:
    """A video transformer of two blocks."""

    def build(dtype: torch.dtype, compute: torch.dtype | None) -> Any:
        return comfy.model_base.WAN21(_config(WAN, comfy.latent_formats.Wan21, dtype, compute))

    return _patcher(build, dtype, compute)


MODELS = {"unet": unet, "sdxl": sdxl, "flux": flux, "sd3": sd3, "wan": wan}


def latent_shape(model: ModelPatcher, batch: int = 1, size: int = 8) -> tuple[int, ...]:
    """Shape of a latent for the model: video models get two frames."""
    fmt: Any = model.get_model_object("latent_format")
    frames = (2,) if fmt.latent_dimensions == 3 else ()
    return (batch, fmt.latent_channels, *frames, size, size)


def cond(seed: int = 0, batch: int = 1) -> list[list[Any]]:
    """A CONDITIONING of random text, with a pooled part for the models that want one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        tokens = torch.randn(batch, TOKENS, WIDTH, generator=generator)
        pooled = torch.randn(batch, 8, generator=generator)
        return [[tokens, {"pooled_output": pooled}]]


def controlnet(strength: float = 1.0) -> comfy.controlnet.ControlNet:
    """A ControlNet for `unet`, with a random hint."""
    with torch.inference_mode(), with_weights():
        config = {**UNET, "hint_channels": 3, "transformer_depth": [1, 1]}
        network = comfy.cldm.cldm.ControlNet(**config, operations=comfy.ops.disable_weight_init, dtype=torch.float32)
        fill(network, seed=7)
        control = comfy.controlnet.ControlNet(network, load_device=comfy.model_management.get_torch_device())
        hint = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(9))
        return control.set_cond_hint(hint, strength)


def with_control(conditioning: list[list[Any]], control: comfy.controlnet.ControlNet) -> list[list[Any]]:
    """The conditioning with a ControlNet, as core's Apply ControlNet does it."""
    return [[tokens, {**extra, "control": control, "control_apply_to_uncond": True}] for tokens, extra in conditioning]


def add_lora(model: ModelPatcher, seed: int = 3, strength: float = 0.5) -> ModelPatcher:
    """A clone with a LoRA-like difference on every two-dimensional weight of its blocks."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        state = model.model.state_dict()
        patches = {
            key: ("diff", (torch.randn(weight.shape, generator=generator) * 0.05,))
            for key, weight in state.items()
            if key.startswith("diffusion_model.") and weight.ndim == 2
        }
        clone = model.clone()
        clone.add_patches(patches, strength)
        return clone


def latent(model: ModelPatcher, batch: int = 1, size: int = 8, seed: int = 1) -> dict[str, Tensor]:
    """A LATENT of random numbers for the model."""
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(seed)
        return {"samples": torch.randn(latent_shape(model, batch, size), generator=generator)}
