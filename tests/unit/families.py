"""Models of the families that users bring: real classes, real file formats, random weights, as small as core accepts.

Where core's detection accepts small sizes, a file of the real format is written and loaded by core's own loader. SDXL
and Qwen-Image are told by their full sizes alone, so that their classes are built directly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models as supported
import safetensors.torch
import torch
from diffusion_path.tests.unit import tiny
from torch import Tensor

POOLED = 8


@dataclass(frozen=True)
class Family:
    """name: as users know it. config: core's description of it. unet: the sizes. width: of the text embeddings.

    prefix: of the keys in a file; None where core tells the family by its full size only. grid: height and width of the
    latent. frames: 0 for pictures.
    """

    name: str
    config: Any
    unet: dict[str, Any] = field(hash=False)
    width: int = tiny.WIDTH
    pooled: int = POOLED
    prefix: str | None = ""
    grid: int = 8
    frames: int = 0


_UNET: dict[str, Any] = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "use_spatial_transformer": True,
    "legacy": False, "adm_in_channels": None,
}  # fmt: skip
SD15 = Family(
    "SD1.5", supported.SD15,
    {
        **_UNET, "num_res_blocks": [1], "channel_mult": (1,), "transformer_depth": [1], "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1], "context_dim": 768, "use_linear_in_transformer": False,
        "num_heads": 8, "num_head_channels": -1,
    },
    width=768, prefix="model.diffusion_model.", grid=4,
)  # fmt: skip
ONE_LEVEL = Family(
    "U-Net", supported.SD15,
    {
        **tiny.UNET, "num_res_blocks": [1], "channel_mult": (1,), "transformer_depth": [1],
        "transformer_depth_output": [1, 1], "out_channels": 4,
    },
    prefix=None,
)  # fmt: skip
"""For tests that run every node many times: the smallest network that has all kinds of blocks."""
_SD2: dict[str, Any] = {
    "context_dim": 1024,
    "use_linear_in_transformer": True,
    "num_heads": -1,
    "num_head_channels": 64,
}
SD21 = Family("SD2.1 (v)", supported.SD20, {**SD15.unet, **_SD2}, width=1024, prefix=SD15.prefix, grid=4)
# Core tells v prediction by the spread of this weight, of a block that the small model does not have.
_TELLS_V = "output_blocks.11.1.transformer_blocks.0.norm1.bias"
SDXL = Family("SDXL", supported.SDXL, tiny.SDXL, prefix=None)
SD3 = Family("SD3", supported.SD3, {**tiny.SD3, "pos_embed_scaling_factor": None, "qk_norm": "rms"})
FLUX = Family(
    "Flux (dev)", supported.Flux,
    {**tiny.FLUX, "hidden_size": 128, "num_heads": 1, "axes_dim": [16, 56, 56], "mlp_ratio": 4.0, "depth": 1,
     "depth_single_blocks": 1, "guidance_embed": True},
)  # fmt: skip
QWEN = Family(
    "Qwen-Image", supported.QwenImage,
    {"image_model": "qwen_image", "in_channels": 64, "num_layers": 2, "num_attention_heads": 1,
     "joint_attention_dim": tiny.WIDTH},
    prefix=None, frames=1,
)  # fmt: skip
WAN = Family(
    "Wan 2.1", supported.WAN21_T2V,
    {**tiny.WAN, "dim": 128, "ffn_dim": 256, "freq_dim": 256, "text_dim": 4096, "num_heads": 1},
    width=4096, frames=2,
)  # fmt: skip
_LAST = ("out.2.", "final_layer.linear.", "head.head.", "proj_out.")
FAMILIES = {family.name: family for family in (SD15, SD21, SDXL, SD3, FLUX, QWEN, WAN)}


def state_dict(family: Family, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """What a file of the family holds, with random weights."""
    weights = {k: v.to(dtype) for k, v in fresh(family).diffusion_model.state_dict().items()}
    if family is SD21:
        weights[_TELLS_V] = torch.linspace(-1, 1, 320, dtype=dtype)
    return {f"{family.prefix or ''}{key}": tensor.clone() for key, tensor in weights.items()}


@cache
def model(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """The MODEL of a family as core's loader gives it."""
    family = FAMILIES[name]
    with torch.inference_mode():
        if family.prefix is None:
            return built(family, dtype)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "model.safetensors"
            safetensors.torch.save_file(state_dict(family, dtype), file)
            return load(family, file)


def built(family: Family, dtype: torch.dtype = torch.float32) -> Any:
    """A MODEL made without a file."""
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(fresh(family, dtype), device, torch.device("cpu"))


def load(family: Family, file: Path, **options: Any) -> Any:
    """A MODEL by core's own loader of checkpoints or of diffusion models."""
    if family.prefix:
        return comfy.sd.load_checkpoint_guess_config(
            str(file), output_vae=False, output_clip=False, model_options=options
        )[0]
    return comfy.sd.load_diffusion_model(str(file), model_options=options)


def fresh(family: Family, dtype: torch.dtype = torch.float32) -> Any:
    """Core's model with the family's weights, the same ones each time."""
    config = family.config(dict(family.unet))
    config.set_inference_dtype(dtype, None)
    with tiny.with_weights():
        base = config.get_model({}, "", device=None)
    tiny.fill(base.diffusion_model)
    for key, weight in base.diffusion_model.named_parameters():
        if key.startswith(_LAST):
            weight.mul_(0.1)  # random weights are chaotic otherwise, unlike trained ones
    return base.train(False)


def cond(family: Family, seed: int = 0, batch: int = 1) -> list[list[Any]]:
    """A CONDITIONING of random text of the family's width."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        tokens = torch.randn(batch, tiny.TOKENS, family.width, generator=generator)
        return [[tokens, {"pooled_output": torch.randn(batch, family.pooled, generator=generator)}]]


def latent(family: Family, batch: int = 1, seed: int = 1) -> dict[str, Tensor]:
    """A LATENT of random numbers."""
    frames = (family.frames,) if family.frames else ()
    shape = (batch, family.config.latent_format().latent_channels, *frames, family.grid, family.grid)
    with torch.inference_mode():
        return {"samples": torch.randn(shape, generator=torch.Generator().manual_seed(seed))}


class Vae:
    """A VAE whose code is known: means of 8 x 8 pixels. For video the batch is the frames, as in core."""

    def __init__(self, family: Family) -> None:
        self.channels, self.video = family.config.latent_format().latent_channels, family.frames > 0

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, pixels: Tensor) -> Tensor:
        pooled = torch.nn.functional.avg_pool2d(pixels[..., :3].movedim(-1, 1), 8) * 2 - 1
        code = pooled.repeat(1, -(-self.channels // 3), 1, 1)[:, : self.channels]
        return code.movedim(0, 1).unsqueeze(0) if self.video else code

    def decode(self, latent: Tensor) -> Tensor:
        pixels = latent[:, :3].repeat_interleave(8, -2).repeat_interleave(8, -1)
        return (pixels.movedim(1, -1) / 2 + 0.5).clamp(0, 1)


class Clip:
    """CLIP's own tokenizer with an encoder of random embeddings of the family's width."""

    def __init__(self, family: Family) -> None:
        self.family, self.tokenizer = family, comfy.sd1_clip.SD1Tokenizer()
        self.tokenize = self.tokenizer.tokenize_with_weights

    def encode_from_tokens_scheduled(self, tokens: dict[str, list[list[tuple[int, float]]]]) -> list[list[Any]]:
        encoded = []
        for token, *_ in tokens["l"][0]:
            generator = torch.Generator().manual_seed(token)
            encoded.append(torch.randn(self.family.width, generator=generator))
        return [[torch.stack(encoded)[None], {"pooled_output": torch.zeros(1, self.family.pooled)}]]
