"""Wan 2.1, 2.2 and all that was made of them."""

from __future__ import annotations

from typing import Any

import comfy.supported_models as supported
import torch
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.families.family import Family, normal, of

WAN = Family(
    "Wan 2.1", supported.WAN21_T2V,
    {**tiny.WAN, "dim": 128, "ffn_dim": 256, "freq_dim": 256, "text_dim": 4096, "num_heads": 1},
    width=4096, prefix="", frames=2,
)  # fmt: skip
_WAN = {**tiny.WAN, "dim": 64, "num_heads": 2}
_REFERENCE = {"reference_latents": [normal(1, 16, 1, 8, 8)]}


def _without(part: str) -> Any:
    """Drops a part of fixed full size (38 million weights) that is not used without its input."""
    return lambda base: setattr(base.diffusion_model, part, torch.nn.Identity())


_CHANGES = {"humo": _without("audio_proj"), "animate": _without("motion_encoder")}


def _wan(name: str, core_class: str, kind: str = "t2v", channels: int = 16, **more: Any) -> Family:
    extra = more.pop("extra", {})
    unet = {**_WAN, "model_type": kind, "in_dim": channels, **more}
    return of(name, core_class, unet, frames=2, extra=extra, change=_CHANGES.get(kind))


WANS = (
    WAN,
    _wan("Wan 2.1 with a reference", "WAN21_T2V", in_dim_ref_conv=16, extra=_REFERENCE),
    _wan("Wan 2.1 causal", "WAN21_CausalAR_T2V", causal_ar=True),
    _wan("Wan 2.1 I2V", "WAN21_I2V", "i2v", 36),
    _wan("Wan 2.1 Fun control", "WAN21_FunControl2V", "i2v", 48),
    _wan("Wan 2.1 VACE", "WAN21_Vace", "vace", vace_in_dim=96, vace_layers=1),
    _wan("Wan 2.1 camera", "WAN21_Camera", "camera", 32),
    _wan("Wan 2.2 camera", "WAN22_Camera", "camera_2.2", 36),
    _wan("Wan HuMo", "WAN21_HuMo", "humo", 36),
    _wan("Wan 2.2 S2V", "WAN22_S2V", "s2v"),
    _wan("Wan 2.2 Animate", "WAN22_Animate", "animate", 36),
    _wan("Wan Animate 2", "WAN_Animate2", "animate2", 36),  # its pose would belong to one number of frames
    _wan("Wan 2.2 5B", "WAN22_T2V", channels=48, out_dim=48),
    _wan("Wan FlowRVS", "WAN21_FlowRVS", "flow_rvs"),
    _wan("Wan SCAIL", "WAN21_SCAIL", "scail", 20),
    _wan("Wan SCAIL with a reference", "WAN21_SCAIL", "scail", 20, extra=_REFERENCE),
    _wan("Wan SCAIL 2", "WAN21_SCAIL2", "scail2", 20),
    _wan("Wan Dancer", "WAN22_WanDancer", "wandancer", 36, in_dim_ref_conv=None),
)
