"""The noise level of sound: MiniMax H3 keeps it on a schedule of its own where core does not scale it."""

from __future__ import annotations

from typing import Any

import comfy.model_sampling
import comfy.samplers
import pytest
import torch
from diffusion_path.devtools.direct import call
from diffusion_path.samplers import nested, process
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers.reverse_sde import sampler as reverse_sde
from diffusion_path.tests.unit.compatibility import SEED, T0, packed
from diffusion_path.tests.unit.with_sound import (
    H3,
    LTX2,
    flowedit,
    own_levels,
    sound_level,
    split,
    video_with_sound,
    world,
)
from torch import Tensor


@own_levels
@pytest.mark.parametrize("sigma", [1.0, 0.9, 0.4, 0.01, 0.0])
def test_the_schedule_of_the_sound_in_closed_form(sigma: float) -> None:
    """With x = (1 - s') x0 + s' n the network gives the velocity (n - x0) ds'/ds."""
    w = world(H3)
    shapes = nested.shapes_of(w.latent["samples"])
    own = nested.own_schedule(w.model.model, w.model.model_options, shapes)
    assert own is not None
    assert own.ratio == 4.0
    generator = torch.Generator().manual_seed(0)
    x0, n = (torch.randn(1, 1, own.begins + 5, generator=generator, dtype=torch.float64) for _ in range(2))
    level = sound_level(sigma)
    states = process.perturb(process.model_sampling(w.model), x0, own.noise(x0, n, sigma), sigma, prior=False)
    video, sound = states.split([own.begins, 5], dim=-1)
    torch.testing.assert_close(video, (1 - sigma) * x0[..., :-5] + sigma * n[..., :-5])
    torch.testing.assert_close(sound, (1 - level) * x0[..., -5:] + level * n[..., -5:])
    # On the video's schedule it is a flow to 4 x0, with that as the prediction.
    shared = own.shared(states, sigma)
    torch.testing.assert_close(shared[..., -5:], (1 - sigma) * 4 * x0[..., -5:] + sigma * n[..., -5:])
    torch.testing.assert_close(own.own(shared, sigma), states)
    denoised = states - sigma * (n - x0)
    rate = (sound_level(sigma + 1e-6) - sound_level(sigma - 1e-6)) / 2e-6
    denoised[..., -5:] = sound - sigma * rate * (n - x0)[..., -5:]
    torch.testing.assert_close(
        own.prediction(states, denoised, sigma)[..., -5:], 4 * x0[..., -5:], rtol=1e-6, atol=1e-6
    )
    if sigma == 1.0:
        assert torch.equal(own.noise(x0, n, sigma), n)


@own_levels
def test_only_h3_has_one_and_a_node_may_change_it() -> None:
    shapes = nested.shapes_of(video_with_sound(H3)["samples"])
    h3 = world(H3).model.model
    assert nested.own_schedule(world(LTX2).model.model, {}, nested.shapes_of(video_with_sound(LTX2)["samples"])) is None
    assert nested.own_schedule(h3, {}, None) is None
    equal = {"minimax_h3_sigma_shift_video": 3.0, "minimax_h3_sigma_shift_audio": 3.0}
    assert nested.own_schedule(h3, {"transformer_options": equal}, shapes) is None


@own_levels
def test_perturbed_sound_has_its_own_level() -> None:
    w = world(H3)
    sigma = float(w.sigmas[0])
    with torch.inference_mode():
        noisy = call("DPathPerturb", model=w.model, latent=w.latent, seed=SEED, t0=T0, sigmas=w.sigmas, vae=w.vae)[0]
    level = sound_level(sigma)
    for share, carried, x0, n in zip(
        (sigma, level), split(noisy), split(w.latent), noises.draw_noise(w.latent, SEED).unbind(), strict=True
    ):
        # A run without noise starts from (1 - sigma) times what it is given.
        torch.testing.assert_close((1 - sigma) * carried, (1 - share) * x0 + share * n, rtol=1e-4, atol=1e-4)


class _Starts(comfy.samplers.KSAMPLER):
    """A SAMPLER that keeps the states in which its runs start, and returns a constant."""

    def __init__(self) -> None:
        super().__init__(self.run_once)
        self.starts: list[Tensor] = []

    def run_once(self, model: Any, x: Tensor, sigmas: Tensor, **_: Any) -> Tensor:
        self.starts.append(x.clone())
        return torch.full_like(x, 0.5)


@own_levels
def test_each_repeat_enters_with_the_sound_at_its_own_level() -> None:
    w, starts = world(H3), _Starts()
    with torch.inference_mode():
        w.sampled(sampler=call("DPathMaskedSampler", sampler=starts, repeats=2)[0])
    shapes, sigma = nested.shapes_of(w.latent["samples"]), float(w.sigmas[0])
    assert shapes is not None
    video, sound = (part.flatten() for part in nested.unpack(starts.starts[1], shapes).unbind())
    level = sound_level(sigma)
    for found, share in ((video, sigma), (sound, level)):
        deviation = float((found - (1 - share) * 0.5).std()) / share
        assert 0.9 < deviation < 1.1


@own_levels
def test_the_reverse_sde_keeps_the_sound_on_its_schedule() -> None:
    """With a network that knows the picture, what is left at the end is the noise of the sound's own level."""
    w = world(H3)
    own = nested.own_schedule(w.model.model, w.model.model_options, nested.shapes_of(w.latent["samples"]))
    assert own is not None
    x0 = nested.pack(w.latent["samples"])

    def knowing(executor: Any, x: Tensor, sigma: Tensor, *args: Any) -> Tensor:
        share = float(sigma.reshape(-1)[0])
        rate = (sound_level(share + 1e-4) - sound_level(share - 1e-4)) / 2e-4
        velocity = (x - x0) / share
        velocity[..., own.begins :] = (x - x0)[..., own.begins :] / sound_level(share) * rate
        return x - share * velocity

    model = w.model.clone()
    model.add_wrapper_with_key("predict_noise", "test", knowing)
    sigmas = torch.tensor([0.9, 0.6, 0.3, 0.1])
    level = sound_level(0.1)
    with torch.inference_mode():
        for kind in ("sde_small", "ancestral"):
            made = w.sampled(model, reverse_sde(kind), sigmas=sigmas)
            # Core divides what a run ends at by the video's 1 - sigma.
            left = (made * 0.9 - (1 - level) * x0)[..., own.begins :] / level
            assert 0.9 < float(left.std()) < 1.1
            assert abs(float(left.mean())) < 0.15


@own_levels
@pytest.mark.parametrize("method", ["flowedit", "infedit"])
def test_flowedit_of_the_sound_ends_where_the_target_lies(method: str) -> None:
    """With a network that knows both pictures the edit is the target, whatever the level of the sound."""
    w = world(H3)
    begins, target = w.latent["samples"].unbind()[0].numel(), nested.pack(video_with_sound(H3)["samples"]).flip(-1)
    source = nested.pack(w.latent["samples"])

    def knowing(_: Any, model: Any, conds: list[Any], x: Tensor, sigma: Tensor, options: Any) -> list[Tensor]:
        share = float(sigma.reshape(-1)[0])
        rate = (sound_level(share + 1e-4) - sound_level(share - 1e-4)) / 2e-4
        found = []
        for cond in conds:
            asked = cond is not None and torch.equal(cond[0]["cross_attn"], w.source[0][0])
            apart = x - (source if asked else target)
            apart[..., begins:] *= share * rate / sound_level(share)
            found.append(torch.zeros_like(x) if cond is None else x - apart)
        return found

    model = w.model.clone()
    model.add_wrapper_with_key("calc_cond_batch", "test", knowing)
    made = flowedit(w, model=model, cfg=1.0, source_cfg=1.0, method=method)
    torch.testing.assert_close(packed(made), target, rtol=1e-3, atol=1e-3)
