"""Models of every architecture of pictures and video that ComfyUI knows: real classes, random weights, tiny sizes.

Where core's detection accepts small sizes, a file of the real format is written and loaded by core's own loader. The
others are told by their full sizes alone, so that their classes are built directly.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from diffusion_path.tests.unit.families.family import (
    POOLED,
    Clip,
    Family,
    Vae,
    built,
    cond,
    fresh,
    latent,
    load,
    made,
    state_dict,
)
from diffusion_path.tests.unit.families.joint import FLUX, JOINT, QWEN, SD3
from diffusion_path.tests.unit.families.single import SINGLE
from diffusion_path.tests.unit.families.unets import ONE_LEVEL, OTHER_CONVOLUTIONS, SD15, SD21, SDXL, UNETS
from diffusion_path.tests.unit.families.video import VIDEO
from diffusion_path.tests.unit.families.wan import WAN, WANS

GROUPS = {
    name: tuple(family for family in group if family.config is not None)
    for name, group in {
        "U-Nets": UNETS,
        "Stable Cascade and Stable Video": OTHER_CONVOLUTIONS,
        "Double streams": JOINT,
        "Single streams": SINGLE,
        "Video": VIDEO,
        "Wan": WANS,
    }.items()
}
"""The families that the ComfyUI under test knows, as the page groups them."""
EVERY = {family.name: family for group in GROUPS.values() for family in group}
FAMILIES = {family.name: family for family in (SD15, SD21, SDXL, SD3, FLUX, QWEN, WAN)}
"""The best-known kind of each network, for tests of one thing on all of them."""
LEFT_OUT = {
    "sound": ("StableAudio", "StableAudio3", "ACEStep", "ACEStep15", "MiniMaxMusic3"),
    "3D": ("Hunyuan3Dv2", "Hunyuan3Dv2_1", "Hunyuan3Dv2mini", "TripoSplat", "Trellis2"),
    "depth and normals": ("LotusD", "DepthAnything3"),
    "detection and segmentation": ("RT_DETR_v4", "SAM3", "SAM31"),
}
"""Classes of core that make neither pictures nor video, by what they do."""


@cache
def model(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """The MODEL of one of FAMILIES as core's loader gives it, the same one for all tests."""
    return made(FAMILIES[name], dtype)


def others(*groups: str) -> list[str]:
    """Names of the families of some groups without those in FAMILIES."""
    return [family.name for group in groups for family in GROUPS[group] if family.name not in FAMILIES]


__all__ = (
    "EVERY", "FAMILIES", "FLUX", "GROUPS", "LEFT_OUT", "ONE_LEVEL", "POOLED", "QWEN", "SD3", "SD15", "SD21", "SDXL",
    "WAN", "Clip", "Family", "Vae", "built", "cond", "fresh", "latent", "load", "made", "model", "others",
    "state_dict",
)  # fmt: skip


@cache
def one_of_each_network() -> frozenset[str]:
    """Names of the first family of each network, as core's detection tells networks apart."""
    first: dict[str, str] = {}
    for family in EVERY.values():
        kind = "U-Net" if "num_res_blocks" in family.unet else family.config.__name__
        first.setdefault(family.unet.get("image_model") or kind, family.name)
    return frozenset(first.values())
