"""U-Nets of all kinds, and the cascades."""

from __future__ import annotations

from typing import Any

import comfy.supported_models as supported
import torch
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.families.family import Family, normal, of

_FULL: dict[str, Any] = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "use_spatial_transformer": True,
    "legacy": False, "adm_in_channels": None,
}  # fmt: skip
SD15 = Family(
    "SD1.5", supported.SD15,
    {
        **_FULL, "num_res_blocks": [1], "channel_mult": (1,), "transformer_depth": [1], "transformer_depth_middle": 1,
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
)  # fmt: skip
"""For tests that run every node many times: the smallest network that has all kinds of blocks."""
_SD2: dict[str, Any] = {
    "context_dim": 1024,
    "use_linear_in_transformer": True,
    "num_heads": -1,
    "num_head_channels": 64,
}
# Core tells v prediction by the spread of this weight, of a block that the small model does not have.
_TELLS_V = {"output_blocks.11.1.transformer_blocks.0.norm1.bias": torch.linspace(-1, 1, 320)}
SD21 = Family(
    "SD2.1 (v)", supported.SD20, {**SD15.unet, **_SD2}, width=1024, prefix=SD15.prefix, grid=4, stored=_TELLS_V
)
SDXL = Family("SDXL", supported.SDXL, tiny.SDXL)

_UNET = ONE_LEVEL.unet
_ADM = {**_UNET, "use_linear_in_transformer": True, "num_classes": "sequential"}
_XL = {**_ADM, "adm_in_channels": tiny.SDXL["adm_in_channels"]}
_VIDEO = {
    **_ADM, "in_channels": 8, "use_temporal_attention": True, "use_temporal_resblock": True,
    "extra_ff_mix_layer": True, "use_spatial_context": True, "merge_strategy": "learned_with_images",
    "merge_factor": 0.0, "video_kernel_size": [3, 1, 1],
}  # fmt: skip
_SMALL: dict[str, Any] = {"grid": 4, "sizes": tiny.HEADS}
_FILM: dict[str, Any] = {**_SMALL, "film": 2}
_W = tiny.WIDTH
_CAMERA = {"cc_projection.weight": torch.ones(_W, _W + 4) / 9, "cc_projection.bias": torch.zeros(_W)}
_CASCADE = {"c_cond": 32, "blocks": [[1, 1], [1, 1]], "c_r": 16}


def _inpaint(base: Any) -> None:
    base.set_inpaint()


UNETS = (
    SD15,
    SD21,
    of("SD1.5 inpaint", "SD15", {**_UNET, "in_channels": 9}, change=_inpaint, **_SMALL),
    of("SD1.5 InstructPix2Pix", "SD15_instructpix2pix", {**_UNET, "in_channels": 8}, **_SMALL),
    of("SD2.1 unCLIP L", "SD21UnclipL", {**_ADM, "adm_in_channels": 1536}, **_SMALL),
    of("SD2.1 unCLIP H", "SD21UnclipH", {**_ADM, "adm_in_channels": 2048}, **_SMALL),
    of("SD x4 upscaler", "SD_X4Upscaler", {**_ADM, "in_channels": 7, "num_classes": 1000}, **_SMALL),
    of("Stable Zero123", "Stable_Zero123", {**_UNET, "in_channels": 8}, stored=_CAMERA, width=_W + 4, **_SMALL),
    SDXL,
    of("SDXL v (zsnr)", "SDXL", _XL, stored={"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}, **_SMALL),
    of("Playground 2.5", "SDXL", _XL, stored={"edm_mean": torch.zeros(1), "edm_std": torch.ones(1)}, **_SMALL),
    of("CosXL", "SDXL", _XL,
       stored={"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)}, **_SMALL),
    of("SDXL refiner", "SDXLRefiner", {**_XL, "adm_in_channels": 5 * 256 + 8}, **_SMALL),
    of("SDXL InstructPix2Pix", "SDXL_instructpix2pix", {**_XL, "in_channels": 8}, **_SMALL),
    of("SSD-1B", "SSD1B", {**_XL, "transformer_depth": [2], "transformer_depth_output": [2, 2]}, **_SMALL),
    of("Segmind Vega", "Segmind_Vega", {**_XL, "transformer_depth_middle": -1}, **_SMALL),
    of("KOALA 700M", "KOALA_700M", {**_XL, "transformer_depth_middle": -1}, **_SMALL),
    of("KOALA 1B", "KOALA_1B", {**_XL, "transformer_depth_middle": 2}, **_SMALL),
)  # fmt: skip
OTHER_CONVOLUTIONS = (
    of("Stable Cascade C", "Stable_Cascade_C",
       {**_CASCADE, "stable_cascade_stage": "c", "c_hidden": [32, 32], "nhead": [2, 2], "c_clip_text": tiny.WIDTH,
        "c_clip_text_pooled": 8, "c_clip_img": 768}, extra={"pooled_output": normal(1, 1, 8)}),
    of("Stable Cascade B", "Stable_Cascade_B",
       {**_CASCADE, "stable_cascade_stage": "b", "c_hidden": [16, 32], "nhead": [-1, 2], "dropout": [0, 0],
        "block_repeat": [[1, 1], [1, 1]], "level_config": ["CT", "CTA"], "c_clip": 8},
       grid=16, extra={"pooled_output": normal(1, 1, 8), "stable_cascade_prior": normal(1, 16, 4, 4)}),
    of("SVD", "SVD_img2vid", {**_VIDEO, "adm_in_channels": 768}, **_FILM),
    of("SV3D u", "SV3D_u", {**_VIDEO, "adm_in_channels": 256}, **_FILM),
    of("SV3D p", "SV3D_p", {**_VIDEO, "adm_in_channels": 1280}, **_FILM),
)  # fmt: skip
"""In SVD and SV3D the frames are the batch."""
