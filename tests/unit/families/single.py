"""Transformers of pictures with one stream: cross-attention to the text, or text and picture in one sequence."""

from __future__ import annotations

from typing import Any

import torch
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.families.family import normal, of
from torch import Tensor

_W, _N = tiny.WIDTH, tiny.TOKENS
ATTENDED = {"attention_mask": torch.ones(1, _N, dtype=torch.long)}
_PIXART = {
    "input_size": 64, "patch_size": 2, "in_channels": 4, "hidden_size": 96, "depth": 2, "num_heads": 2,
    "caption_channels": _W, "model_max_length": _N, "pe_interpolation": 1,
}  # fmt: skip
_HYDIT = {
    "depth": 4, "hidden_size": 64, "num_heads": 2, "text_states_dim": _W, "text_states_dim_t5": _W, "text_len": _N,
    "text_len_t5": _N,
}  # fmt: skip
_T5 = {
    **ATTENDED,
    "conditioning_mt5xl": normal(1, _N, _W),
    "attention_mask_mt5xl": ATTENDED["attention_mask"],
}
_LUMINA = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 96, "cap_feat_dim": _W, "n_layers": 2,
    "qk_norm": True, "n_heads": 2, "n_kv_heads": 1, "axes_dims": [16, 16, 16], "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0, "ffn_dim_multiplier": 4.0, "n_refiner_layers": 1,
}  # fmt: skip
_Z = {
    **_LUMINA, "dim": 256, "n_kv_heads": 2, "axes_dims": [32, 48, 48], "rope_theta": 256.0,
    "ffn_dim_multiplier": 8 / 3, "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32,
}  # fmt: skip
_Z_PIXEL = {
    **_Z, "image_model": "zimage_pixel", "in_channels": 3, "patch_size": 8, "decoder_in_channels": 192,
    "decoder_hidden_size": 32, "decoder_num_res_blocks": 1, "decoder_max_freqs": 4,
}  # fmt: skip
_OMNI = {
    "axes_dim_rope": [8, 12, 12], "axes_lens": [1024, 1664, 1664], "hidden_size": 64, "in_channels": 16,
    "multiple_of": 32, "num_attention_heads": 2, "num_kv_heads": 1, "num_layers": 2, "num_refiner_layers": 1,
    "patch_size": 2, "timestep_scale": 1000.0,
}  # fmt: skip
_OMNIGEN = {**_OMNI, "image_model": "omnigen2", "text_feat_dim": _W}
_BOOGU = {**_OMNI, "image_model": "boogu", "num_double_stream_layers": 1, "instruction_feat_dim": _W}
_O1 = {
    "image_model": "hidream_o1",
    "text_config_overrides": {
        "vocab_size": 151674, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "rope_dims": [4, 2, 2],
    },
    "vision_config_overrides": {
        "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "depth": 1, "num_position_embeddings": 16,
        "deepstack_visual_indexes": (),
    },
}  # fmt: skip
_TIME_TOKEN = 120
_IDEOGRAM = {
    "image_model": "ideogram4", "in_channels": 128, "num_layers": 2, "num_attention_heads": 2,
    "attention_head_dim": 32, "intermediate_size": 64, "adaln_dim": 32, "llm_features_dim": _W,
    "mrope_section": (6, 5, 5),
}  # fmt: skip
_KREA = {
    "image_model": "krea2", "features": 64, "channels": 16, "patch": 2, "layers": 2, "heads": 2, "kvheads": 1,
    "txtlayers": 2, "txtdim": _W, "tdim": 32, "txtheads": 2, "txtkvheads": 2,
}  # fmt: skip
_ERNIE = {
    "image_model": "ernie", "hidden_size": 64, "num_attention_heads": 2, "num_layers": 2, "ffn_hidden_size": 64,
    "text_in_dim": _W, "rope_axes_dim": (8, 12, 12),
}  # fmt: skip
PREDICT2 = {
    "image_model": "cosmos_predict2", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16,
    "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "concat_padding_mask": True, "model_channels": 64,
    "crossattn_emb_channels": _W, "pos_emb_cls": "rope3d", "pos_emb_learnable": True, "pos_emb_interpolation": "crop",
    "min_fps": 1, "max_fps": 30, "use_adaln_lora": True, "adaln_lora_dim": 16, "num_blocks": 2, "num_heads": 2,
    "extra_per_block_abs_pos_emb": False, "rope_h_extrapolation_ratio": 4.0, "rope_w_extrapolation_ratio": 4.0,
    "rope_t_extrapolation_ratio": 1.0, "rope_enable_fps_modulation": False,
}  # fmt: skip
_ANIMA = {**PREDICT2, "image_model": "anima", "crossattn_emb_channels": 1024}
_REFERENCE = {"reference_latents": [normal(1, 16, 8, 8)]}


def _prompt(generator: torch.Generator) -> Tensor:
    """Token ids, the time's token last."""
    ids = torch.randint(0, 100, (1, 7), generator=generator)
    ids[0, -1] = _TIME_TOKEN
    return ids


def _time_token(base: Any) -> None:
    base.diffusion_model.tms_token_id = _TIME_TOKEN


def _no_adapter(base: Any) -> None:
    """Anima's adapter of prompts has 135 million weights in any size; prompts here are what it would give."""
    base.diffusion_model.llm_adapter = torch.nn.Identity()


SINGLE = (
    of("PixArt alpha", "PixArtAlpha", {**_PIXART, "image_model": "pixart_alpha", "micro_condition": True}, grid=36,
       extra={"width": 288, "height": 288}),
    of("PixArt sigma", "PixArtSigma", {**_PIXART, "image_model": "pixart_sigma", "micro_condition": False}, grid=36),
    of("Hunyuan DiT 1.0", "HunyuanDiT1", {**_HYDIT, "image_model": "hydit1", "size_cond": True, "use_style_cond": True},
       extra=_T5),
    of("Hunyuan DiT 1.2", "HunyuanDiT", {**_HYDIT, "image_model": "hydit"}, extra=_T5),
    of("Lumina 2", "Lumina2", _LUMINA),
    of("NewBie", "Lumina2", {**_LUMINA, "clip_text_dim": 8}),
    of("Z-Image", "ZImage", _Z),
    of("Z-Image omni", "ZImage", {**_Z, "siglip_feat_dim": 8}, extra=_REFERENCE),
    of("Z-Image in pixels", "ZImagePixelSpace", _Z_PIXEL, grid=32, x0=True),
    of("OmniGen2", "Omnigen2", _OMNIGEN, extra=ATTENDED),
    of("OmniGen2 with a reference", "Omnigen2", _OMNIGEN, extra={**ATTENDED, **_REFERENCE}),
    of("Boogu", "Boogu", _BOOGU, extra=ATTENDED),
    of("HiDream O1", "HiDreamO1", _O1, grid=64, x0=True, extra={"text_input_ids": _prompt}, change=_time_token),
    of("Ideogram 4", "Ideogram4", _IDEOGRAM, sizes={}),
    of("Krea 2", "Krea2", _KREA, width=2 * _W, frames=1),
    of("ERNIE-Image", "ErnieImage", _ERNIE),
    of("Cosmos-Predict2", "CosmosT2IPredict2", PREDICT2, frames=1),
    of("Anima", "Anima", _ANIMA, frames=1, width=1024, change=_no_adapter),
)  # fmt: skip
