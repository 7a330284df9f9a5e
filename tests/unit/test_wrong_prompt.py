"""Another model's prompt is recognised in every family, with both widths; good prompts never are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comfy.samplers
import pytest
import torch
from diffusion_path.samplers.flowedit import FlowEditSettings, flowedit
from diffusion_path.samplers.inversion.euler import Euler
from diffusion_path.samplers.inversion.invert import invert
from diffusion_path.samplers.mdp import edit as mdp
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.samplers.sdedit import SDEditSettings, sdedit
from diffusion_path.samplers.wrong_prompt import explanation, sample_with
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.families import FAMILIES, FLUX, SD15, SDXL, Family

every_family = pytest.mark.parametrize("name", FAMILIES)
WRONG = 770


def sample(family: Family, positive: Any, negative: Any) -> torch.Tensor:
    latent = families.latent(family)["samples"]
    guider = comfy.samplers.CFGGuider(families.model(family.name))
    guider.set_conds(positive, negative)
    guider.set_cfg(2.0)
    euler = comfy.samplers.sampler_object("euler")
    return sample_with(
        guider, torch.randn_like(latent), latent, euler, torch.tensor([0.5, 0.0]), disable_pbar=True, seed=0
    )


def foreign(family: Family, width: int = WRONG, **changes: Any) -> Any:
    return families.cond(replace(family, width=width, **changes))


@every_family
def test_both_widths_and_the_input_are_named(name: str) -> None:
    family = FAMILIES[name]
    good, bad = families.cond(family), foreign(family)
    assert bool(torch.isfinite(sample(family, good, good)).all())
    with pytest.raises(ValueError, match=rf"^The positive and negative prompts are {WRONG} channels wide, but this .*"):
        sample(family, bad, bad)
    for positive, negative, said in ((bad, good, "positive"), (good, bad, "negative")):
        with pytest.raises(ValueError, match=rf"The {said} prompt is {WRONG} channels wide.* takes {family.width}\b"):
            sample(family, positive, negative)


def test_the_pooled_embedding_is_told_from_the_tokens() -> None:
    bad = foreign(SDXL, SDXL.width, pooled=12)
    with pytest.raises(ValueError, match="pooled embedding is 12 channels wide, but this model takes 8"):
        sample(SDXL, bad, bad)
    none = [[families.cond(SDXL)[0][0], {}]]
    with pytest.raises(ValueError, match="takes a pooled embedding"):
        sample(SDXL, none, none)


def methods(family: Family, bad: Any) -> dict[str, Callable[[], object]]:
    """Everything of ours that samples, with a wrong prompt."""
    model, good, latent = families.model(family.name), families.cond(family), families.latent(family)
    sigmas = torch.tensor([0.6, 0.3, 0.0])
    path = invert(model, (good, good), latent, sigmas, Euler())
    source, everywhere = mdp.Source(path, good), PathSchedule(1.0, 0.0, weight=0.3)
    return {
        "SDEdit": lambda: sdedit(model, bad, good, latent, 0, SDEditSettings(steps=1)),
        "FlowEdit, target": lambda: flowedit(model, good, bad, good, latent, 0, FlowEditSettings(steps=2)),
        "FlowEdit, source": lambda: flowedit(model, bad, good, good, latent, 0, FlowEditSettings(steps=2)),
        "inversion": lambda: invert(model, (bad, bad), latent, sigmas, Euler()),
        "MDP": lambda: mdp.edit(model, bad, good, source, mdp.MDPSettings("latent", everywhere, region=None)),
        "recording": lambda: mdp.find_source(
            model, bad, good, {"samples": torch.zeros_like(latent["samples"])}, 0, mdp.MDPSettings(steps=2)
        ),
    }


@pytest.mark.parametrize("name", ["SDEdit", "FlowEdit, target", "FlowEdit, source", "inversion", "MDP", "recording"])
@pytest.mark.parametrize("family", [SD15, FLUX], ids=lambda family: family.name)
def test_every_method_says_so(family: Family, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{WRONG} channels wide, but this model takes {family.width}\b"):
        methods(family, foreign(family))[name]()


def test_errors_of_another_kind_pass_as_they_are() -> None:
    prompts = {"positive": [{"cross_attn": torch.zeros(1, 77, 768)}]}
    assert explanation("mat1 and mat2 shapes cannot be multiplied (4x100 and 320x64)", prompts) is None
    assert explanation("CUDA error: an illegal memory access was encountered", prompts) is None
    assert explanation("", {}) is None
    said = explanation("mat1 and mat2 shapes cannot be multiplied (154x768 and 4096x3072)", prompts)
    assert said == (
        "The positive prompt is 768 channels wide (CLIP-L, as in Stable Diffusion 1.x), but this model takes 4096 "
        "(T5-XXL, as in SD3, Flux or Wan): encode the prompt with the text encoder that belongs to this model."
    )
    normed = "Given normalized_shape=[3584], expected input with shape [*, 3584], but got input of size[1, 77, 768]"
    said = explanation(normed, prompts)
    assert said is not None
    assert "takes 3584 (Qwen2.5-VL 7B" in said
