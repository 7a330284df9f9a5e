"""The embedded model inside ComfyUI's own classes: a file of weights becomes MODEL, CLIP and VAE."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.ldm.models.autoencoder
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models_base
import torch
from torch import Tensor, nn

from ..samplers.tensor_file import DamagedFileError, read_tensors
from .autoencoder import DOWNSCALE, LATENT_CHANNELS, LandscapeAutoencoder
from .film import as_film
from .flow import SHIFT, FlowUNet
from .text import WIDTH, LandscapeClip, tokenizer_class

WEIGHTS = Path(__file__).parent / "weights" / "landscapes.safetensors"
FORMAT = "diffusion-path-landscapes"
FEW_STEPS_WEIGHTS = WEIGHTS.with_name("few-steps.safetensors")
LEVELS = (999, 749, 499, 249)
"""Timesteps that the LoRA for few steps is trained at: those of four steps of the scheduler `simple`."""
KINDS = NOISE, FLOW, FEW_STEPS, FILM = "noise prediction", "flow", "few steps", "film"
"""The same network in the coordinates of Stable Diffusion, in those of Flux and SD3, distilled to four steps, and with
batches as films."""
SAMPLING = {
    NOISE: (20, 4.0, "normal"),
    FLOW: (20, 4.0, "normal"),
    FEW_STEPS: (len(LEVELS), 1.0, "simple"),
    FILM: (20, 4.0, "normal"),
}
"""Steps, cfg and scheduler that suit each kind."""

UNET_CONFIG: dict[str, Any] = {
    "image_size": 32,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "model_channels": 64,
    "channel_mult": (1, 2, 2),
    "num_res_blocks": [1, 1, 1],
    "use_spatial_transformer": True,
    "transformer_depth": [0, 1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 1, 1, 1, 1],
    "context_dim": WIDTH,
    "use_linear_in_transformer": False,
    "legacy": False,
    "num_heads": -1,
    "num_head_channels": 64,
    "adm_in_channels": None,
}


class LandscapeLatent(comfy.latent_formats.LatentFormat):
    """Latents already have zero mean and unit variance, so nothing is scaled; previews are a linear map to RGB."""

    def __init__(self) -> None:
        self.scale_factor = 1.0
        self.latent_channels = LATENT_CHANNELS
        self.spacial_downscale_ratio = DOWNSCALE
        self.taesd_decoder_name = None


class LandscapeConfig(comfy.supported_models_base.BASE):
    """ComfyUI's description of the model: an SD1.x-like eps model on 4-channel latents."""

    unet_config = {}
    unet_extra_config = {}
    latent_format = LandscapeLatent
    sampling_settings = {}


class LandscapeFlowConfig(LandscapeConfig):
    """The same as a rectified flow."""

    sampling_settings = {"shift": SHIFT}


def build_base_model(
    dtype: torch.dtype = torch.float32, kind: str = NOISE, unet: Mapping[str, Any] | None = None
) -> comfy.model_base.BaseModel:
    """The diffusion model with uninitialised weights, compute and storage in `dtype`; kind: one of `KINDS`; unet: what
    differs from `UNET_CONFIG`.
    """
    config = (LandscapeFlowConfig if kind == FLOW else LandscapeConfig)({**UNET_CONFIG, **(unet or {})})
    config.set_inference_dtype(dtype, None)
    if kind == FLOW:
        return comfy.model_base.BaseModel(config, comfy.model_base.ModelType.FLOW, unet_model=FlowUNet)
    return comfy.model_base.BaseModel(config, comfy.model_base.ModelType.EPS)


class _FirstStage(nn.Module):
    """The autoencoder with the two calls that comfy.sd.VAE makes."""

    def __init__(self) -> None:
        super().__init__()
        self.autoencoder = LandscapeAutoencoder()

    def encode(self, x: Tensor) -> Tensor:
        return self.autoencoder.encode(x)

    def decode(self, z: Tensor, **_: Any) -> Tensor:
        return self.autoencoder.decode(z)


def read_weights(path: Path = WEIGHTS) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a weights file; raises a ValueError for a missing, damaged or foreign file."""
    if not path.is_file():
        raise ValueError(
            f"The landscape model's weights are missing ({path.name}): reinstall the pack, "
            "or train them with './dev train-demo-model'."
        )
    try:
        weights, metadata = read_tensors(path)
        if metadata.get("format") == FORMAT:
            return weights, {key: json.loads(value) if key != "format" else value for key, value in metadata.items()}
    except ValueError as error:
        reason = str(error) if isinstance(error, DamagedFileError) else "its metadata cannot be read"
        raise ValueError(f"{path.name} is damaged ({reason}): reinstall the pack to restore it.") from error
    raise ValueError(f"{path.name} is not a landscape model file: reinstall the pack to restore it.")


def _load(module: nn.Module, weights: dict[str, Tensor], prefix: str, name: str) -> None:
    # Under dynamic VRAM ComfyUI's layers take over the given tensors, in their dtype.
    part = {key.removeprefix(prefix): value.float() for key, value in weights.items() if key.startswith(prefix)}
    try:
        module.load_state_dict(part)
    except RuntimeError as error:
        raise ValueError(
            f"The {name} in {WEIGHTS.name} does not fit this version of the pack: reinstall it."
        ) from error


def load_model(
    weights: dict[str, Tensor], metadata: dict[str, Any], kind: str = NOISE
) -> comfy.model_patcher.ModelPatcher:
    """MODEL: ComfyUI's BaseModel and UNetModel around the weights."""
    base = build_base_model(kind=kind, unet=metadata.get("unet"))
    _load(base.diffusion_model, weights, "unet.", "diffusion model")
    base.latent_format.latent_rgb_factors = metadata["preview"]["factors"]
    base.latent_format.latent_rgb_factors_bias = metadata["preview"]["bias"]
    mm = comfy.model_management
    return comfy.model_patcher.ModelPatcher(base.train(False), mm.get_torch_device(), mm.unet_offload_device())


def with_few_steps(model: Any, path: Path = FEW_STEPS_WEIGHTS) -> Any:
    """The MODEL for four steps: ComfyUI's own LoRA loader on the file of the distilled one.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        changes, _ = read_tensors(path)
    except DamagedFileError as error:
        raise ValueError(
            f"The LoRA for few steps ({path.name}) is missing or damaged: reinstall the pack, or train it with "
            "'./dev train-demo-model'."
        ) from error
    return comfy.sd.load_lora_for_models(model, None, changes, 1.0, 0.0)[0]


def load_clip(weights: dict[str, Tensor], metadata: dict[str, Any]) -> comfy.sd.CLIP:
    """CLIP: word tokenizer and text encoder, for CLIPTextEncode with weights and long prompts."""

    class Target:
        params: dict[str, Any] = {}
        clip = LandscapeClip
        tokenizer = tokenizer_class(metadata["vocabulary"])

    clip = comfy.sd.CLIP(Target, model_options={"dtype": torch.float32}, disable_dynamic=True)
    encoder = clip.cond_stage_model.clip_l.transformer
    _load(encoder, weights, "text.", "text encoder")
    return clip


def load_vae(weights: dict[str, Tensor]) -> comfy.sd.VAE:
    """VAE: the small autoencoder in place of ComfyUI's first stage."""
    # comfy.sd.VAE can only build its own architectures, so it starts from the smallest of them.
    tiny = {"double_z": True, "z_channels": 4, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32}
    tiny |= {"ch_mult": [1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}
    params = {"ddconfig": tiny, "embed_dim": 4}
    stub = comfy.ldm.models.autoencoder.AutoencoderKL(**params)
    vae = comfy.sd.VAE(sd=stub.state_dict(), config={"params": params}, dtype=torch.float32)  # pyright: ignore[reportArgumentType]
    stage = _FirstStage().train(False).requires_grad_(False)
    _load(stage.autoencoder, weights, "vae.", "autoencoder")
    vae.first_stage_model = stage  # pyright: ignore[reportAttributeAccessIssue]
    vae.patcher = comfy.model_patcher.ModelPatcher(
        stage, load_device=vae.device, offload_device=vae.patcher.offload_device
    )
    comfy.model_management.archive_model_dtypes(stage)
    vae.downscale_ratio = vae.upscale_ratio = DOWNSCALE
    vae.disable_offload = True  # ComfyUI would leave PyTorch's own layers behind on a full GPU
    vae.latent_channels = LATENT_CHANNELS
    vae.memory_used_encode = lambda shape, dtype: 200 * shape[2] * shape[3] * 4
    vae.memory_used_decode = lambda shape, dtype: 200 * shape[2] * shape[3] * 64 * 4
    vae.size = None
    vae.model_size()
    return vae


def load_demo_model(
    path: Path = WEIGHTS, kind: str = NOISE
) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """MODEL, CLIP and VAE of the landscape model; kind: one of `KINDS`.

    Raises:
        ValueError: the weights file is missing, damaged or of another version.
    """
    weights, metadata = read_weights(path)
    model = load_model(weights, metadata, kind)
    if kind == FEW_STEPS:
        model = with_few_steps(model, path.with_name(FEW_STEPS_WEIGHTS.name))
    elif kind == FILM:
        model = as_film(model)
    return model, load_clip(weights, metadata), load_vae(weights)
