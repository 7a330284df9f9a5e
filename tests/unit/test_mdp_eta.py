"""The further settings of MDP's published code, amplify and eta, in float64."""

from __future__ import annotations

import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers import reverse_sde
from diffusion_path.samplers.mdp.states import inject_latent, inject_noise
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit.test_mdp_states import CFG, MU_B, MU_U, World


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("amplify", [1.0, 0.8])
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_amplify_and_eta_are_the_published_codes(eta: float, amplify: float, weight: float) -> None:
    """eps* = w amplify eps_A + (1 - w) eps_B, then DDIM's step with eta, in the code's own coordinates."""
    world, seed = World(ModelType.EPS), 0
    schedule = PathSchedule(0.9, 0.3, "linear", weight)
    manipulated = inject_noise(world.model, world.path, schedule, amplify=amplify)
    found = world.edit(manipulated, reverse_sde.sampler("ancestral", eta))
    drawn = noises.step_noise(world.noise, seed, [0, 1])
    abar = 1 / (1 + world.sigmas**2)
    states = world.path.states
    z = states[0] * abar[0].sqrt()
    for i, w in enumerate(schedule.weights(world.path.step_positions)):
        sigma, sigma_next = world.sigmas[i], world.sigmas[i + 1]
        recorded = (states[i + 1] - states[i]) / (sigma_next - sigma)  # eps_A
        x = z / abar[i].sqrt()
        denoised = world.model.model.denoise(x, sigma.expand(2), MU_U + CFG * (MU_B - MU_U))
        eps = w * amplify * recorded + (1 - w) * (x - denoised) / sigma
        x0 = (z - (1 - abar[i]).sqrt() * eps) / abar[i].sqrt()
        variance = eta**2 * (1 - abar[i + 1]) / (1 - abar[i]) * (1 - abar[i] / abar[i + 1])
        noise = drawn(sigma, sigma_next) if sigma_next > 0 else torch.zeros_like(z)
        z = abar[i + 1].sqrt() * x0 + (1 - abar[i + 1] - variance).clamp(min=0).sqrt() * eps + variance.sqrt() * noise
    torch.testing.assert_close(found, z, rtol=1e-9, atol=1e-9)


def test_eta_keeps_the_source_outside_a_mask_and_is_for_predicted_noise_alone() -> None:
    world, sampler = World(ModelType.FLOW, 0.9), reverse_sde.sampler("ancestral", 0.7)
    mask = torch.zeros(1, 4, 4)
    mask[..., 2:] = 1
    found = world.edit(inject_noise(world.model, world.path, PathSchedule(0.8, 0.3), mask), sampler)
    assert torch.equal(found[..., :2], world.path.picture[..., :2])
    with pytest.raises(ValueError, match="adds noise at every step"):
        world.edit(inject_latent(world.model, world.path, PathSchedule(0.8, 0.3)), sampler)
