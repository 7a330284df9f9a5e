"""Video, with or without sound, and HunyuanVideo's kind, to which Hunyuan Image belongs."""

from __future__ import annotations

from typing import Any

import torch
from comfy_extras import nodes_model_advanced
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.families.family import normal, of
from diffusion_path.tests.unit.families.single import ATTENDED, PREDICT2

_W, _N = tiny.WIDTH, tiny.TOKENS
_MOCHI = {
    "image_model": "mochi_preview", "depth": 2, "patch_size": 2, "num_heads": 2, "hidden_size_x": 64,
    "hidden_size_y": 32, "mlp_ratio_x": 192.0, "mlp_ratio_y": 2.0, "learn_sigma": False, "in_channels": 12,
    "qk_norm": True, "qkv_bias": False, "out_bias": True, "attn_drop": 0.0, "patch_embed_bias": True,
    "posenc_preserve_area": True, "timestep_mlp_bias": True, "attend_to_padding": False, "timestep_scale": 1000.0,
    "use_t5": True, "t5_feat_dim": _W, "t5_token_length": _N,
}  # fmt: skip
_LTX = {
    "image_model": "ltxv", "in_channels": 128, "cross_attention_dim": 64, "attention_head_dim": 32,
    "num_attention_heads": 2, "caption_channels": _W, "num_layers": 2, "positional_embedding_max_pos": [20, 2048, 2048],
}  # fmt: skip
_LTX2 = {
    **_LTX, "image_model": "ltxav", "audio_in_channels": 128, "audio_cross_attention_dim": 32,
    "audio_attention_head_dim": 16, "audio_num_attention_heads": 2, "audio_positional_embedding_max_pos": [20],
    "connector_attention_head_dim": 16, "connector_num_attention_heads": 1, "connector_num_layers": 1,
}  # fmt: skip
_H3 = {
    "image_model": "minimax_h3", "hidden_size": 32, "num_layers": 2, "token_refiner_num_layers": 1,
    "num_attention_heads": 2, "attention_head_dim": 32, "ffn_hidden_size": 64, "text_dim": _W,
    "timestep_input_dim": 32, "time_embed_hidden_size": 32, "time_embed_dim": 32, "rope_inv_freq_len": 4,
}  # fmt: skip
_HUNYUAN = {
    "image_model": "hunyuan_video", "in_channels": 16, "patch_size": [1, 2, 2], "out_channels": 16, "vec_in_dim": 8,
    "axes_dim": [8, 12, 12], "meanflow": False, "context_in_dim": _W, "hidden_size": 64, "mlp_ratio": 2.0,
    "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "theta": 256, "qkv_bias": True, "byt5": False,
    "guidance_embed": True, "use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
_PICTURE = {
    **_HUNYUAN, "in_channels": 64, "out_channels": 64, "patch_size": [1, 1], "vec_in_dim": None, "axes_dim": [16, 16],
    "guidance_embed": False,
}  # fmt: skip
_REFINER = {**_PICTURE, "patch_size": [1, 1, 1], "in_channels": 128, "axes_dim": [8, 12, 12], "meanflow": True}
_HUNYUAN15 = {
    **_HUNYUAN, "in_channels": 65, "out_channels": 32, "patch_size": [1, 1, 1], "vec_in_dim": None,
    "guidance_embed": False, "vision_in_dim": 32, "meanflow_sum": True, "use_cond_type_embedding": True,
}  # fmt: skip
_COSMOS = {
    "image_model": "cosmos", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16,
    "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "model_channels": 64, "block_config": "FA-CA-MLP",
    "concat_padding_mask": True, "pos_emb_cls": "rope3d", "pos_emb_learnable": False, "pos_emb_interpolation": "crop",
    "block_x_format": "THWBD", "affline_emb_norm": True, "use_adaln_lora": True, "adaln_lora_dim": 16, "num_blocks": 2,
    "num_heads": 2, "extra_per_block_abs_pos_emb": True, "extra_per_block_abs_pos_emb_type": "learnable",
    "rope_h_extrapolation_ratio": 1.0, "rope_w_extrapolation_ratio": 1.0, "rope_t_extrapolation_ratio": 2.0,
    "crossattn_emb_channels": _W,
}  # fmt: skip
_KANDINSKY = {
    "image_model": "kandinsky5", "in_visual_dim": 16, "in_text_dim": _W, "in_text_dim2": 8, "time_dim": 32,
    "model_dim": 64, "ff_dim": 64, "visual_embed_dim": 132, "num_text_blocks": 1, "num_visual_blocks": 2,
    "axes_dims": (16, 24, 24),
}  # fmt: skip
_COG = {
    "image_model": "cogvideox", "num_attention_heads": 2, "attention_head_dim": 64, "in_channels": 16,
    "time_embed_dim": 32, "num_layers": 2, "text_embed_dim": _W, "patch_size": 2,
    "use_rotary_positional_embeddings": True, "max_text_seq_length": _N,
}  # fmt: skip
_SEED = {
    "image_model": "seedvr2", "vid_dim": 64, "heads": 2, "head_dim": 32, "num_layers": 2, "mm_layers": 1,
    "norm_eps": 1e-5, "rope_dim": 32, "mlp_type": "swiglu", "vid_out_norm": True, "txt_in_dim": _W,
}  # fmt: skip
_UNTOLD = {"concat_mask": torch.ones(1, 1, 2, 8, 8)}
_FIRST = {"concat_latent_image": normal(1, 16, 2, 8, 8)}


def _scaled(model: Any) -> Any:
    """CogVideoX: with states of the size that the network was trained on, which core leaves to a sampler."""
    return nodes_model_advanced.ModelSamplingDiscrete().patch(model, "v_prediction", zsnr=True)[0]


def _frequencies(base: Any) -> None:
    """A buffer that a file would fill."""
    frequencies = base.diffusion_model.rope.inv_freq
    frequencies.copy_(10000.0 ** -(torch.arange(len(frequencies)) / len(frequencies)))


_COG_VIDEO: dict[str, Any] = {"frames": 2, "prefix": "", "ready": _scaled}
VIDEO = (
    of("Mochi", "GenmoMochi", _MOCHI, frames=2, extra=ATTENDED),
    of("LTX-Video", "LTXV", _LTX, frames=2, extra=ATTENDED),
    of("LTX-2 (with sound)", "LTXAV", _LTX2, frames=2, width=2 * _W, parts=((128, 2, 8, 8), (8, 4, 16))),
    of("MiniMax H3 (with sound)", "MiniMaxH3", _H3, frames=2, parts=((24, 2, 8, 8), (32, 2, 6)), prefix="",
       change=_frequencies),
    of("HunyuanVideo", "HunyuanVideo", _HUNYUAN, frames=2),
    of("HunyuanVideo I2V", "HunyuanVideoI2V", {**_HUNYUAN, "in_channels": 33}, frames=2, extra=_FIRST),
    of("SkyReels I2V", "HunyuanVideoSkyreelsI2V", {**_HUNYUAN, "in_channels": 32}, frames=2, extra=_FIRST),
    of("HunyuanVideo 1.5", "HunyuanVideo15", _HUNYUAN15, frames=2, masked=_UNTOLD),
    of("HunyuanVideo 1.5 SR", "HunyuanVideo15_SR_Distilled", {**_HUNYUAN15, "in_channels": 98, "meanflow": True},
       frames=2),
    of("Hunyuan Image 2.1", "HunyuanImage21", _PICTURE),
    of("Hunyuan Image 2.1 distilled", "HunyuanImage21", {**_PICTURE, "guidance_embed": True, "meanflow": True}),
    of("Hunyuan Image 2.1 refiner", "HunyuanImage21Refiner", _REFINER, frames=1, empty=True,
       extra={"concat_latent_image": normal(1, 32, 1, 8, 8)}),
    of("Cosmos 1 T2V", "CosmosT2V", _COSMOS, frames=2),
    of("Cosmos 1 I2V", "CosmosI2V", {**_COSMOS, "in_channels": 17}, frames=2),
    of("Cosmos-Predict2 I2V", "CosmosI2VPredict2", {**PREDICT2, "in_channels": 17}, frames=2),
    of("Kandinsky 5 video", "Kandinsky5", _KANDINSKY, frames=2, masked=_UNTOLD),
    of("Kandinsky 5 image", "Kandinsky5Image",
       {**_KANDINSKY, "visual_embed_dim": 64, "rope_scale_factor": (1.0, 1.0, 1.0)}),
    of("CogVideoX", "CogVideoX_T2V", _COG, **_COG_VIDEO),
    of("CogVideoX 1.5", "CogVideoX_T2V", {**_COG, "patch_size_t": 2}, **_COG_VIDEO),
    of("CogVideoX I2V", "CogVideoX_I2V", {**_COG, "in_channels": 32}, **_COG_VIDEO),
    of("CogVideoX inpaint", "CogVideoX_Inpaint", {**_COG, "in_channels": 48}, **_COG_VIDEO),
    of("SeedVR2", "SeedVR2", _SEED, frames=1, extra={"condition": normal(1, 17, 1, 8, 8)}),
)  # fmt: skip
