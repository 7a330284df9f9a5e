"""Stable Diffusion 3, Flux and their kind: text and picture in streams of their own, joined in attention."""

from __future__ import annotations

from dataclasses import fields

import comfy.supported_models as supported
import torch
from comfy.ldm.chroma_radiance.model import ChromaRadianceParams
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.families.family import Family, normal, of

_W, _N = tiny.WIDTH, tiny.TOKENS
_SD3 = {**tiny.SD3, "pos_embed_scaling_factor": None, "qk_norm": "rms"}
SD3 = Family("SD3", supported.SD3, _SD3, prefix="")
FLUX = Family(
    "Flux (dev)", supported.Flux,
    {**tiny.FLUX, "hidden_size": 128, "num_heads": 1, "axes_dim": [16, 56, 56], "mlp_ratio": 4.0, "depth": 1,
     "depth_single_blocks": 1, "guidance_embed": True},
    prefix="",
)  # fmt: skip
QWEN = Family(
    "Qwen-Image", supported.QwenImage,
    {"image_model": "qwen_image", "in_channels": 64, "num_layers": 2, "num_attention_heads": 1,
     "attention_head_dim": 32, "axes_dims_rope": (8, 12, 12), "joint_attention_dim": tiny.WIDTH},
    frames=1,
)  # fmt: skip
_GUIDED = {**tiny.FLUX, "guidance_embed": True}
_NO_CLIP = {**tiny.FLUX, "vec_in_dim": None, "txt_ids_dims": [1, 2]}
_FLUX2 = {
    **tiny.FLUX, "image_model": "flux2", "in_channels": 128, "out_channels": 128, "patch_size": 1, "mlp_ratio": 3.0,
    "axes_dim": [8, 8, 8, 8], "theta": 2000, "global_modulation": True, "mlp_silu_act": True, "qkv_bias": False,
    "ops_bias": False, "default_ref_method": "index", "ref_index_scale": 10.0, "txt_ids_dims": [3], "vec_in_dim": None,
    "depth": 1, "depth_single_blocks": 1, "hidden_size": 32, "num_heads": 1,
}  # fmt: skip
_CHROMA = {
    **{key: value for key, value in tiny.FLUX.items() if key != "guidance_embed"}, "image_model": "chroma",
    "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 64, "hidden_dim": 96, "n_layers": 2,
}  # fmt: skip
_RADIANCE = {
    **_CHROMA, "image_model": "chroma_radiance", "in_channels": 3, "out_channels": 3, "patch_size": 8,
    "nerf_hidden_size": 16, "nerf_mlp_ratio": 2, "nerf_depth": 1, "nerf_max_freqs": 4, "nerf_tile_size": 512,
    "nerf_final_head_type": "conv", "nerf_embedder_dtype": torch.float32, "use_x0": True,
}  # fmt: skip
if any(each.name == "use_sequential_txt_ids" for each in fields(ChromaRadianceParams)):  # not in an older ComfyUI
    _RADIANCE["use_sequential_txt_ids"] = False
_PIXELDIT = {
    "num_groups": 2, "hidden_size": 64, "pixel_hidden_size": 16, "pixel_attn_hidden_size": 64, "pixel_num_groups": 2,
    "patch_depth": 2, "pixel_depth": 1, "patch_size": 8, "txt_embed_dim": _W, "txt_max_length": _N,
}  # fmt: skip
_PID = {
    **_PIXELDIT, "image_model": "pid", "lq_latent_channels": 16, "lq_hidden_dim": 32, "lq_num_res_blocks": 1,
    "lq_interval": 2, "patch_size": 16,
}  # fmt: skip
_LENS = {
    "image_model": "lens", "in_channels": 128, "out_channels": 32, "num_layers": 2, "attention_head_dim": 32,
    "num_attention_heads": 2, "axes_dims_rope": (8, 12, 12), "enc_hidden_dim": _W,
    "multi_layer_encoder_feature": True, "selected_layer_index": (0, 1),
}  # fmt: skip
_HIDREAM = {
    "image_model": "hidream", "attention_head_dim": 32, "axes_dims_rope": [16, 8, 8], "caption_channels": [_W, _W],
    "max_resolution": [128, 128], "in_channels": 16, "llama_layers": [0, 1, 1, 1], "num_attention_heads": 2,
    "num_routed_experts": 2, "num_activated_experts": 1, "num_layers": 2, "num_single_layers": 2, "out_channels": 16,
    "patch_size": 2, "text_emb_dim": 8,
}  # fmt: skip
_MAGE = {
    "image_model": "mage_flow", "in_channels": 128, "num_layers": 2, "num_attention_heads": 2,
    "attention_head_dim": 32, "axes_dims_rope": (8, 12, 12), "joint_attention_dim": _W,
}  # fmt: skip
_JOY = {
    "image_model": "joyimage", "patch_size": [1, 2, 2], "in_channels": 16, "hidden_size": 64, "num_attention_heads": 2,
    "text_dim": _W, "num_layers": 2, "rope_dim_list": [8, 12, 12],
}  # fmt: skip
_LAYERED = {**QWEN.unet, "use_additional_t_cond": True, "default_ref_method": "negative_index"}
_REFERENCE = {"reference_latents": [normal(1, 16, 8, 8)]}
_GUIDED2 = {**_FLUX2, "guidance_embed": True}

JOINT = (
    SD3,
    of("SD3.5 medium", "SD3", {**_SD3, "x_block_self_attn_layers": [0]}),
    of("AuraFlow", "AuraFlow",
       {"cond_seq_dim": _W, "n_double_layers": 1, "n_layers": 2, "n_heads": 2, "dim": 64, "max_seq": 256}),
    FLUX,
    of("Flux (schnell)", "FluxSchnell", tiny.FLUX),
    of("Flux fill", "FluxInpaint", {**_GUIDED, "in_channels": 96}),
    of("Flux Kontext", "Flux", _GUIDED, extra=_REFERENCE),
    of("Flux.2 (klein)", "Flux2", _FLUX2),
    of("Flux.2 (dev)", "Flux2", _GUIDED2, extra={"reference_latents": [normal(1, 128, 8, 8)]}),
    of("LongCat-Image", "LongCatImage", _NO_CLIP),
    of("Ovis-Image", "Flux", {**_NO_CLIP, "yak_mlp": True, "txt_norm": True}),
    of("Chroma", "Chroma", _CHROMA),
    of("Chroma Radiance", "ChromaRadiance", _RADIANCE, grid=32, x0=True),
    of("Lens", "Lens", _LENS, width=2 * _W),
    QWEN,
    of("Qwen-Image-Edit", "QwenImage", QWEN.unet, frames=1, extra={"reference_latents": [normal(1, 16, 1, 8, 8)]}),
    of("Qwen-Image layered", "QwenImage", _LAYERED, frames=2),
    of("Mage-Flow", "MageFlow", _MAGE),
    of("JoyImage", "JoyImage", _JOY, frames=1, sizes={}),
    of("HiDream I1", "HiDream", _HIDREAM, extra={"conditioning_llama3": normal(1, 2, _N, _W)}),
    of("PixelDiT", "PixelDiTT2I", {**_PIXELDIT, "image_model": "pixeldit_t2i"}, grid=32),
    of("PiD", "PiD", _PID, grid=64,
       extra={"lq_latent": normal(1, 16, 2, 2), "degrade_sigma": torch.zeros(1)}),
)  # fmt: skip
