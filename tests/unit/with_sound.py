"""Tiny models of video with sound (LTX-2, MiniMax H3), and what tests do with them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import comfy.model_sampling
import comfy.samplers
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from diffusion_path.devtools.direct import call
from diffusion_path.samplers.path import DiffusionPath
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.compatibility import CFG, SEED, STEPS, T0, World
from diffusion_path.tests.unit.families import EVERY, Family
from torch import Tensor


def _small(name: str) -> Family | None:
    """One of the families with a single block and a grid of 4 x 4; None where this ComfyUI does not know it."""
    family = EVERY.get(name)
    if family is None:
        return None
    (channels, frames, *_), sound = family.parts
    grid = 4
    unet, shapes = {**family.unet, "num_layers": 1}, ((channels, frames, grid, grid), sound)
    return replace(family, unet=unet, grid=grid, parts=shapes, prefix=None)


LTX2, H3 = (_small(name) for name in ("LTX-2 (with sound)", "MiniMax H3 (with sound)"))
KNOWN = [family for family in (LTX2, H3) if family is not None]
SCALED = hasattr(comfy.model_sampling, "ModelSamplingAV")  # core carries the sound on the video's schedule
both = pytest.mark.parametrize("family", KNOWN, ids=lambda family: family.name)
with_h3 = pytest.mark.skipif(H3 not in KNOWN, reason="This ComfyUI has no MiniMax H3.")
own_levels = pytest.mark.skipif(H3 not in KNOWN or SCALED, reason="In this ComfyUI no sound has its own levels.")


def video_with_sound(family: Family, batch: int = 1) -> dict[str, Any]:
    return {"samples": NestedTensor([part.clone() for part in families.latent(family, batch)["samples"].unbind()])}


@cache
def world(family: Family) -> World:
    w = World(family)
    w.vae.channels = family.parts[0][0]
    return w


def split(latent: dict[str, Any]) -> list[Tensor]:
    return latent["samples"].unbind()


def sound_level(sigma: float) -> float:
    """Where MiniMax H3's sound is when its video is at sigma: the same time under flow shift 3 instead of 12."""
    time = sigma / (12.0 - 11.0 * sigma)
    return 3.0 * time / (1.0 + 2.0 * time)


def silent(latent: dict[str, Any], video: Tensor | None = None) -> dict[str, Any]:
    """The LATENT with a mask that keeps the sound."""
    seen, heard = split(latent)
    video = torch.ones_like(seen) if video is None else video
    return {**latent, "noise_mask": NestedTensor([video, torch.zeros(1, 1, *heard.shape[2:])])}


def sdedit(w: World, **given: Any) -> dict[str, Any]:
    usual = {"model": w.model, **w.prompts, "seed": SEED, "t0": T0, "steps": STEPS, "cfg": CFG, "scheduler": "simple"}
    with torch.inference_mode():
        return call("DPathSDEdit", **{"guide": w.latent, **usual, **given})[0]


def flowedit(w: World, **given: Any) -> dict[str, Any]:
    usual = {"model": w.model, **w.prompts, "source": w.source, "seed": SEED, "cfg": CFG, "steps": STEPS, "start": T0}
    with torch.inference_mode():
        return call("DPathFlowEdit", **{"latent": w.latent, **usual, **given})[0]


def invert(w: World, latent: dict[str, Any], method: str = "residual", **given: Any) -> DiffusionPath:
    usual = {"model": w.model, "positive": w.source, "negative": w.negative, "seed": SEED, "cfg": CFG, "t0": T0}
    with torch.inference_mode():
        return call("DPathInvert", latent=latent, **usual, steps=STEPS, method=method, **given)[0]
