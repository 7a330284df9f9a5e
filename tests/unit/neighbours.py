"""Worlds in which another feature of ComfyUI is at work on the model or the prompts, to run the same cases in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import comfy.hooks
import comfy.model_patcher
import comfy.supported_models as supported
import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras import (
    nodes_context_windows,
    nodes_custom_sampler,
    nodes_differential_diffusion,
    nodes_easycache,
    nodes_freelunch,
    nodes_model_advanced,
    nodes_nag,
    nodes_pag,
    nodes_sag,
    nodes_slg,
)
from diffusion_path.tests.unit import families, tiny
from diffusion_path.tests.unit.compatibility import CASES, World, outcome, short_name
from diffusion_path.tests.unit.families import FLUX, ONE_LEVEL, SD3, WAN, Family

UNET = Family("U-Net", supported.SD15, {**tiny.UNET, **tiny.OUTPUTS}, prefix=None)
FILM = replace(WAN, name="Wan 2.1, long", frames=6)

Change = Callable[[World], None]


def _model(make: Callable[[Any], Any]) -> Change:
    def change(w: World) -> None:
        made = make(w.model)
        w.model = made.args[0] if hasattr(made, "args") else made[0] if isinstance(made, tuple) else made

    return change


def _controlnet(w: World) -> None:
    control = tiny.controlnet(0.7)
    for name in ("positive", "source", "negative"):
        setattr(w, name, tiny.with_control(getattr(w, name), control))


def _regions(w: World) -> None:
    """Two prompts in two areas, one of them masked, and one from the middle of the run on."""
    side = 8 * w.family.grid
    mask = torch.zeros(1, side, side)
    mask[:, : side // 2] = 1.0
    for name, seed in (("positive", 10), ("source", 20)):
        other, late = families.cond(w.family, seed), families.cond(w.family, seed + 1)
        whole = getattr(w, name)
        area = [[whole[0][0], {**whole[0][1], "area": (w.family.grid // 2, w.family.grid, 0, 0), "strength": 1.0}]]
        masked = [[other[0][0], {**other[0][1], "mask": mask, "mask_strength": 1.0, "set_area_to_bounds": False}]]
        timed = [[late[0][0], {**late[0][1], "start_percent": 0.6, "end_percent": 1.0}]]
        setattr(w, name, [*area, *masked, *whole, *timed])


def _hooks(w: World) -> None:
    """A LoRA that is hooked onto one prompt."""
    key = "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
    weight = w.model.model.state_dict()[key]
    draw = torch.Generator().manual_seed(5)
    down, up = torch.randn(2, weight.shape[1], generator=draw), torch.randn(weight.shape[0], 2, generator=draw)
    name = "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q"
    lora = {f"{name}.lora_down.weight": down * 0.1, f"{name}.lora_up.weight": up}
    w.model, _, hooks = comfy.hooks.load_hook_lora_for_models(w.model, None, lora, 0.8, 0.0)
    assert w.model is not None
    w.positive = comfy.hooks.set_hooks_for_conditioning(w.positive, hooks)


def _adapter(model: Any) -> Any:
    """What IP-Adapter does: other keys and values in some cross-attention."""
    model = model.clone()
    model.set_model_attn2_patch(lambda q, k, v, options: (q, 0.9 * k, v + 0.1 * k))
    model.set_model_attn1_output_patch(lambda x, options: x * 0.95)
    return model


def _post_cfg(model: Any) -> Any:
    """Patches before and after guidance, as other packs leave them."""
    model = model.clone()
    model.set_model_sampler_pre_cfg_function(lambda args: [each * 1.01 for each in args["conds_out"]])
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.99)
    return model


def _cfg_override(w: World) -> None:
    if not hasattr(nodes_custom_sampler, "CFGOverride"):
        pytest.skip("This ComfyUI has no CFG Override.")
    w.model, w.one_sided = nodes_custom_sampler.CFGOverride.execute(w.model, 2.0, 0.0, 0.7).args[0], True


def _context_windows(w: World) -> None:
    windows = nodes_context_windows.WanContextWindowsManualNode
    made = windows.execute(w.model, 13, 4, "standard_static", 1, False, "pyramid", False)
    w.model, w.in_parts = made.args[0], True  # pyright: ignore[reportAttributeAccessIssue]


def _two_devices(w: World) -> None:
    """The branches of guidance on two devices, as core's MultiGPU node splits them: here a second name of the CPU."""
    other = comfy.model_patcher.ModelPatcher(families.fresh(w.family), torch.device("cpu", 0), torch.device("cpu"))
    other.is_multigpu_base_clone = True
    w.model = w.model.clone()
    w.model.set_additional_models("multigpu", [other])


_SLG = nodes_slg.SkipLayerGuidanceDiT

NEIGHBOURS: dict[str, tuple[Family, Change]] = {
    "ControlNet": (ONE_LEVEL, _controlnet),
    "LoRA": (ONE_LEVEL, _model(tiny.add_lora)),
    "LoRA hooked onto a prompt": (ONE_LEVEL, _hooks),
    "regional prompts": (ONE_LEVEL, _regions),
    "attention patches (IP-Adapter)": (ONE_LEVEL, _model(_adapter)),
    "Differential Diffusion": (ONE_LEVEL, _model(nodes_differential_diffusion.DifferentialDiffusion.execute)),
    "PAG": (ONE_LEVEL, _model(lambda m: nodes_pag.PerturbedAttentionGuidance.execute(m, 3.0))),
    "SAG": (UNET, _model(lambda m: nodes_sag.SelfAttentionGuidance.execute(m, 0.5, 2.0))),
    "NAG": (FLUX, _model(lambda m: nodes_nag.NAGuidance.execute(m, 5.0, 0.5, 1.5))),
    "SLG": (SD3, _model(lambda m: _SLG.execute(m, 3.0, 0.0, 1.0, "0", "", 0.0))),
    "FreeU": (UNET, _model(lambda m: nodes_freelunch.FreeU_V2.execute(m, 1.3, 1.4, 0.9, 0.2))),
    "RescaleCFG": (ONE_LEVEL, _model(lambda m: nodes_model_advanced.RescaleCFG().patch(m, 0.7))),
    "pre-CFG and post-CFG patches": (ONE_LEVEL, _model(_post_cfg)),
    "CFG Override": (ONE_LEVEL, _cfg_override),
    "guidance split over two devices": (ONE_LEVEL, _two_devices),
    "EasyCache": (FLUX, _model(lambda m: nodes_easycache.EasyCacheNode.execute(m, 0.2, 0.0, 1.0, False))),
    "context windows": (FILM, _context_windows),
    "another shift (ModelSamplingSD3)": (SD3, _model(lambda m: nodes_model_advanced.ModelSamplingSD3().patch(m, 5.0))),
}  # fmt: skip


@cache
def world(name: str) -> World:
    """The world of a neighbour."""
    family, change = NEIGHBOURS[name]
    with torch.inference_mode():
        place = World(family, families.built(family))
        change(place)
        return place


@cache
def compiled() -> World:
    """A world with torch.compile at work, as core's node does it, on two small parts: the whole takes minutes."""
    with torch.inference_mode():
        place = World(ONE_LEVEL, families.built(ONE_LEVEL))
        place.model = place.model.clone()
        set_torch_compile_wrapper(
            place.model, backend="eager", keys=["diffusion_model.time_embed", "diffusion_model.out"]
        )
        return place


LIKE = {UNET.name: "SD1.5", FILM.name: "Wan 2.1"}
"""The family of the page that a world's own stands for, where it is not in the page itself."""


_APART = {"DPathSigmas", "DPathFilmstrip", "DPathSweep", "DPathMDPSweep"}
"""Cases that a neighbour cannot reach, or reaches in the node that they are made of."""


def changes(name: str, usual: dict[str, str]) -> str:
    """What comes out otherwise than usual (outcomes by label) beside a neighbour, in the page's words."""
    found = {label: outcome(label, world(name))[0] for label in CASES if label not in _APART}
    other: dict[str, list[str]] = {}
    for label, result in found.items():
        if result != usual[label]:
            other.setdefault(result, []).append(short_name(label))
    return "; ".join(f"{result}: {', '.join(labels)}" for result, labels in other.items()) or "nothing"
