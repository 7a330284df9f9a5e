"""Where two prompts differ along a path: exact on the Gaussian model, and what becomes of it as a region."""

from __future__ import annotations

import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.samplers import process
from diffusion_path.samplers.mdp import edit as mdp
from diffusion_path.samplers.mdp.difference import RegionSettings, compared_steps, prompt_difference, region_of
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model


@pytest.mark.parametrize("kind", FAMILIES)
def test_difference_of_two_gaussians(kind: ModelType) -> None:
    """D_B - D_A = (1 - k a) (mu_B - mu_A) at any state; four evaluations, without guidance."""
    model = gaussian_model(kind, 1.25)
    latent = {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))}
    found = mdp.find_source(model, cond(0.75), cond(0.25), latent, 1, mdp.MDPSettings(steps=10))
    before = model.model.evaluations
    difference = prompt_difference(model, found.path, cond([0.75] * 4), cond([-0.5, 0.75, 0.75, 0.75]))
    assert model.model.evaluations - before == 2, "both prompts in one call"
    sigmas = found.path.sigmas[[1, 2]]
    a, b = process.coefficients(process.model_sampling(model), sigmas)
    gain = a * 1.25**2 / (a**2 * 1.25**2 + b**2)
    wanted = ((1 - gain * a) * 1.25 / 2).mean() / latent["samples"].flatten(1).std(1)
    torch.testing.assert_close(difference, wanted.reshape(2, 1, 1, 1).expand(2, 1, 8, 8), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="encode both with the same CLIP"):
        prompt_difference(model, found.path, [[torch.zeros(1, 1, 3), {}]], cond(0.1))


def test_prompts_are_compared_at_steps_of_their_own() -> None:
    assert compared_steps([1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7]) == [2, 5]
    assert compared_steps([1.0, 0.83, 0.67, 0.5, 0.33, 0.17]) == [1, 2], "not twice at 0.83"
    assert compared_steps([1.0, 0.5]) == [0, 1]
    assert compared_steps([1.0]) == [0]


def test_region_is_soft_grown_and_empty_where_nothing_differs() -> None:
    difference = torch.zeros(2, 1, 12, 12)
    difference[0, :, 4:8, 4:8] = 0.5
    region = region_of(difference)
    assert region.shape == (2, 1, 12, 12)
    assert bool((region[0, :, 3:9, 3:9] == 1).all())
    assert float(region[0, 0, 0, 0]) == 0
    assert not region[1].any()
    assert region_of(difference, RegionSettings(grow=0)).sum() < region.sum()
    assert not region_of(difference, RegionSettings(threshold=1.0)).any()
    most = torch.zeros(1, 1, 12, 12)
    most[..., 2:] = 0.5
    assert bool((region_of(most) == 1).all()), "nearly everything is everything"
    video = region_of(difference[:, :, None].expand(2, 1, 3, 12, 12))
    assert torch.equal(video[:, :, 1], region)


def test_threshold_goes_down_where_even_the_strongest_differences_are_weak() -> None:
    weak = torch.full((1, 1, 12, 12), 0.04)
    weak[..., :6] = 0.05
    assert bool((region_of(weak) == 1).all()), "an edit of the whole picture, as of the time of day"
    assert not region_of(weak, RegionSettings(threshold=1.0)).any(), "a threshold that is set counts"
    assert not region_of(0.01 * weak).any(), "what no prompt asks is no edit"
    strong = weak.clone()
    strong[..., 6:, 6:] = 0.5
    assert float(region_of(torch.cat([weak, strong]))[1, 0, 0, 0]) < 0.1, "each picture has its own"
