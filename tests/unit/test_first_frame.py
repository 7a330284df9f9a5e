"""A picture as the first frame of a film (core's WanImageToVideo): SDEdit shows it to the network at every step."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_wan import WanImageToVideo
from diffusion_path.devtools.direct import call
from diffusion_path.samplers.experts import join
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.families import EVERY, Vae, built, cond
from torch import Tensor

I2V = EVERY["Wan 2.1 I2V"]
FRAMES, SIDE, BOUNDARY = 5, 64, 0.9
PICTURE, OTHER = (torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
GUIDE = {"samples": torch.randn(1, 16, FRAMES, 8, 8, generator=torch.Generator().manual_seed(2))}


@cache
def models() -> dict[str, Any]:
    found = {}
    with torch.inference_mode():
        for seed, name in enumerate(("high", "low")):
            found[name] = built(I2V)
            tiny.fill(found[name].model.diffusion_model, seed)
    return {**found, "pair": join(found["high"], found["low"], BOUNDARY)}


def prompts(picture: Tensor) -> dict[str, Any]:
    with torch.inference_mode():
        given = {"positive": cond(I2V, 0), "negative": cond(I2V, 1), "vae": Vae(I2V), "start_image": picture}
        size = {"width": SIDE, "height": SIDE, "length": FRAMES, "batch_size": 1}
        positive, negative, _ = WanImageToVideo.execute(**given, **size).args
    return {"positive": positive, "negative": negative}


def edited(model: Any, shown: dict[str, Any]) -> Tensor:
    usual = {"seed": 5, "t0": 0.94, "steps": 6, "cfg": 3.0, "solver": "ode", "scheduler": "simple"}
    strength = torch.ones(1, 1, FRAMES, 8, 8)
    strength[..., 2:5] = 0.86 / 0.94
    guide = {**GUIDE, "noise_mask": strength}
    with torch.inference_mode():
        return call("DPathSDEdit", model=model, **shown, guide=guide, **usual, mask_mode="threshold")[0]["samples"]


def test_both_experts_see_the_picture_and_which_frame_it_is() -> None:
    pair, shown = models()["pair"].clone(), prompts(PICTURE)
    seen: list[tuple[float, Any, Tensor]] = []

    def note(executor: Any, x: Tensor, t: Tensor, c_concat: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        seen.append((float(t[0]), executor.class_obj, c_concat.clone()))
        return executor(x, t, c_concat, *args, **kwargs)

    pair.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", note)
    edited(pair, shown)
    film = torch.cat((PICTURE, torch.full((FRAMES - 1, SIDE, SIDE, 3), 0.5)))  # what is not known is grey
    wanted = pair.model.process_latent_in(Vae(I2V).encode(film))
    known = torch.zeros(1, 4, FRAMES, 8, 8)
    known[:, :, 0] = 1.0
    for level, network, given in seen:
        assert network is models()["high" if level >= BOUNDARY else "low"].model
        for prompt in given:
            torch.testing.assert_close(prompt[None], torch.cat((known, wanted), dim=1))
    assert {network for _, network, _ in seen} == {models()[name].model for name in ("high", "low")}


@pytest.mark.parametrize("name", ["high", "low", "pair"])
def test_another_picture_is_another_film(name: str) -> None:
    model, shown = models()[name], prompts(PICTURE)
    before = shown["positive"][0][1]["concat_latent_image"].clone()
    first = edited(model, shown)
    assert torch.equal(first, edited(model, shown))
    assert torch.equal(shown["positive"][0][1]["concat_latent_image"], before)
    assert float((edited(model, prompts(OTHER)) - first).abs().max()) > 0.01
