"""Measurement guidance: the posterior of Gaussian data in closed form, neutrality, batches, masks, tiles."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from typing import Any

import comfy.model_patcher
import comfy.samplers
import pytest
import torch
from diffusion_path import gradients
from diffusion_path.inverse import decoder as decoders
from diffusion_path.inverse import measurement
from diffusion_path.inverse.decoder import Decoder
from diffusion_path.inverse.guidance import KEY, Guidance, guide
from diffusion_path.inverse.posterior import Prediction, posterior_mean, spread
from diffusion_path.samplers import process
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import analytic
from diffusion_path.tests.unit.several import Double, Listener
from torch import Tensor, nn

BLOCK, CHANNELS = 2, 4


class Stage(nn.Module):
    """A linear decoder of 4 channels to pictures twice as large, with a receptive field of 3 x 3 cells."""

    def __init__(self, bend: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            torch.manual_seed(0)
            self.grow = nn.ConvTranspose2d(CHANNELS, 3, BLOCK, stride=BLOCK)
            self.mix = nn.Conv2d(3, 3, 3, padding=1)
        self.bend = bend
        self.requires_grad_(False)

    def decode(self, z: Tensor) -> Tensor:
        x = self.mix(self.grow(z))
        return x + self.bend * torch.sin(3 * x)


class LinearVae:
    """A VAE around `Stage`, with the parts of core's that guidance reads."""

    vae_dtype, device, latent_dim, latent_channels = torch.float32, torch.device("cpu"), 2, CHANNELS

    def __init__(self, bend: float = 0.0) -> None:
        self.first_stage_model = Stage(bend)
        cpu = torch.device("cpu")
        self.patcher = comfy.model_patcher.ModelPatcher(self.first_stage_model, load_device=cpu, offload_device=cpu)
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)

    def memory_used_decode(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        return 1000 * shape[-1] * shape[-2]

    def spacial_compression_encode(self) -> int:
        return BLOCK

    def decode(self, samples: Tensor) -> Tensor:
        return self.process_output(self.first_stage_model.decode(samples)).movedim(1, -1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def picture(side: int, count: int = 1, seed: int = 3) -> Tensor:
    return torch.rand(count, side, side, 3, generator=torch.Generator().manual_seed(seed))


def run(
    model: Any, noise: Tensor, sampler: str = "euler", steps: int = 4, mask: Tensor | None = None,
    scheduler: str = "normal",
) -> Tensor:  # fmt: skip
    with torch.inference_mode():
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(analytic.cond(0.0), analytic.cond(0.0))
        guider.set_cfg(1.0)
        sigmas = comfy.samplers.calculate_sigmas(process.model_sampling(model), scheduler, steps)
        chosen = comfy.samplers.sampler_object(sampler)
        latent = torch.ones_like(noise) * (mask is not None)
        return guider.sample(noise, latent, chosen, sigmas, mask, disable_pbar=True, seed=1)


def seen_by(vae: LinearVae, known: measurement.Measurement, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The matrix and the offset of what a measurement sees of a decoded latent, in float64. [M, N], [M]"""
    size = torch.Size(shape).numel()

    def see(z: Tensor) -> Tensor:
        x = vae.first_stage_model.decode(z.reshape(-1, *shape).float()) / 2 + 0.5
        return known.operator.apply(x).flatten(1).double()

    offset = see(torch.zeros(1, size))
    return (see(torch.eye(size)) - offset).T, offset[0]


def test_a_run_in_two_parts_is_the_whole_where_every_step_is_solved() -> None:
    vae, noise = LinearVae(), random(1, CHANNELS, 4, 4)
    known = measurement.grey(picture(8))
    model = guide(analytic.gaussian_model(), Guidance(vae, known, every=1))
    sigmas = comfy.samplers.calculate_sigmas(process.model_sampling(model), "normal", 6)

    def sampled(noise: Tensor, latent: Tensor, levels: Tensor) -> Tensor:
        guider, euler = comfy.samplers.CFGGuider(model), comfy.samplers.sampler_object("euler")
        guider.set_conds(analytic.cond(0.0), analytic.cond(0.0))
        with torch.inference_mode():
            return guider.sample(noise, latent, euler, levels, disable_pbar=True, seed=1)

    empty = torch.zeros_like(noise)
    parted = sampled(empty, sampled(noise, empty, sigmas[:3]), sigmas[2:])
    torch.testing.assert_close(parted, sampled(noise, empty, sigmas), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["grey", "smaller", "masked"])
def test_the_mean_of_the_posterior_in_closed_form(kind: str) -> None:
    vae, model, shape = LinearVae(), analytic.gaussian_model(), (CHANNELS, 4, 4)
    image, r, precision = picture(8), 0.6, 150.0
    known = {
        "grey": measurement.grey(image),
        "smaller": measurement.smaller(image, 2, measured=False),
        "masked": measurement.masked(image, (torch.arange(64).reshape(1, 8, 8) % 3 > 0).float()),
    }[kind]
    matrix, offset = seen_by(vae, known, shape)
    denoised = random(1, *shape)
    with gradients.grad_ready([vae.first_stage_model], torch.device("cpu")) as take:
        found = posterior_mean(take, Decoder(model, vae), Prediction(denoised, known, r, precision), 80)
    d = denoised.double().flatten()
    hessian = torch.eye(len(d), dtype=torch.float64) / r**2 + precision * matrix.T @ matrix
    rest = known.value.double().flatten() - offset - matrix @ d
    exact = d + torch.linalg.solve(hessian, precision * matrix.T @ rest)
    torch.testing.assert_close(found.double().flatten(), exact, rtol=0, atol=1e-3)
    assert float((exact - d).norm()) > 0.3


@pytest.mark.parametrize(("kind", "scheduler"), zip(analytic.FAMILIES, ("karras", "simple"), strict=True))
def test_a_sampler_draws_from_the_posterior(kind: Any, scheduler: str) -> None:
    """Data N(0, 1), a linear decoder: the run is an affine map of its noise, whose image is compared exactly."""
    vae, model, shape = LinearVae(), analytic.gaussian_model(kind), (CHANNELS, 1, 1)
    known = measurement.smaller(picture(2), 2, measured=False)
    guidance = Guidance(vae, known, iterations=4, every=1)
    matrix, offset = seen_by(vae, known, shape)
    noise = torch.cat([torch.zeros(1, 4), torch.eye(4)]).reshape(5, *shape)
    made = run(guide(model, guidance), noise, "dpmpp_2m", 16, scheduler=scheduler).double().flatten(1)
    mean, spread_of = made[0], (made[1:] - made[0]).T
    precision = torch.eye(4, dtype=torch.float64) + guidance.precision * matrix.T @ matrix
    rest = known.value.double().flatten() - offset
    exact = torch.linalg.solve(precision, guidance.precision * matrix.T @ rest)
    covariance = torch.linalg.inv(precision)
    assert float((covariance - torch.eye(4)).norm()) > 0.5
    # The solver's error falls with the steps. A run of an eps model does not start where the measurement would have it.
    sampling = model.get_model_object("model_sampling")
    first = 1e-4 if kind is analytic.FAMILIES[1] else float(exact.norm() / sampling.sigma_max)
    torch.testing.assert_close(mean, exact, rtol=0, atol=first)
    torch.testing.assert_close(spread_of @ spread_of.T, covariance, rtol=0, atol=0.04)


def test_spread_is_that_of_unit_data() -> None:
    for kind, sigma in ((analytic.FAMILIES[0], 3.0), (analytic.FAMILIES[1], 0.75)):
        sampling = analytic.gaussian_model(kind).get_model_object("model_sampling")
        assert spread(sampling, sigma) == pytest.approx((9 / 10) ** 0.5)
        assert spread(sampling, 0.0) == 0.0


def test_neutral_is_core_bit_for_bit() -> None:
    model, noise = analytic.bent_model(analytic.FAMILIES[0], 0.8), random(1, CHANNELS, 4, 4)
    guidance = Guidance(LinearVae(), measurement.grey(picture(8)))
    plain = run(model, noise)
    neutral: list[dict[str, Any]] = [
        {"strength": 0.0},
        {"start": 0.3, "end": 0.3},
        {"schedule": PathSchedule(1.0, 0.0, weight=0.0)},
        {"schedule": PathSchedule(1.0, 0.0, weight=-1.0)},
    ]
    for change in neutral:
        assert torch.equal(run(guide(model, replace(guidance, **change)), noise), plain)
    again = guide(guide(model, guidance), replace(guidance, strength=0.0))
    assert torch.equal(run(again, noise), plain)
    assert not again.get_additional_models_with_key(KEY)
    assert not torch.allclose(run(guide(model, guidance), noise), plain)


def test_steps_outside_the_window_are_plain() -> None:
    model, noise = analytic.bent_model(analytic.FAMILIES[1], 0.8), random(1, CHANNELS, 4, 4)
    guided = guide(model, Guidance(LinearVae(), measurement.grey(picture(8)), start=0.4))
    seen: dict[str, list[Tensor]] = {"guided": [], "plain": []}
    for name, each in (("guided", guided), ("plain", model)):
        clone = each.clone()
        clone.set_model_sampler_post_cfg_function(
            lambda args, to=seen[name]: to.append(args["input"]) or args["denoised"]
        )
        run(clone, noise)
    same = [torch.equal(a, b) for a, b in zip(seen["guided"], seen["plain"], strict=True)]
    assert same == [True, True, True, False]


@pytest.mark.parametrize(("every", "solved"), [(1, range(10)), (3, (0, 3, 6, 9)), (4, (0, 1, 5, 9)), (20, (0, 9))])
def test_the_first_and_the_last_step_are_solved_and_every_nth_before_it(every: int, solved: tuple[int, ...]) -> None:
    vae, model = LinearVae(), analytic.bent_model(analytic.FAMILIES[0], 0.8)
    guided = guide(model, Guidance(vae, measurement.grey(picture(8)), every=every))
    called: list[str] = []
    guided.set_model_sampler_post_cfg_function(lambda args: called.append("predicted") or args["denoised"])
    vae.first_stage_model.mix.register_forward_hook(lambda *_: called.append("decoded"))
    run(guided, random(1, CHANNELS, 4, 4), steps=10)
    after = [following for each, following in itertools.pairwise([*called, ""]) if each == "predicted"]
    assert [step for step, name in enumerate(after) if name == "decoded"] == list(solved)


def test_a_batch_is_its_singles() -> None:
    model, noise = analytic.bent_model(analytic.FAMILIES[0], 0.8), random(3, CHANNELS, 4, 4)
    known = measurement.masked(picture(8, 3), (torch.arange(192).reshape(3, 8, 8) % 5 > 1).float())
    vae = LinearVae(0.1)
    together = run(guide(model, Guidance(vae, known)), noise)
    alone = [run(guide(model, Guidance(vae, known.of(slice(i, i + 1)))), noise[i : i + 1]) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))
    one = run(guide(model, Guidance(vae, known.of(slice(0, 1)))), noise)
    assert torch.equal(one[:1], together[:1])
    assert not torch.equal(one[1:], together[1:])


def test_tiles_have_the_gradient_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "TILE", 6)
    monkeypatch.setattr(decoders, "_MARGIN", 2)
    vae, model, z = LinearVae(0.2), analytic.gaussian_model(), random(1, CHANNELS, 14, 11)
    whole, tiles = Decoder(model, vae), Decoder(model, vae, tiled=True)
    torch.testing.assert_close(tiles.picture(z), whole.picture(z), rtol=0, atol=1e-6)
    with gradients.grad_ready([vae.first_stage_model], torch.device("cpu")) as take:
        found = [each.gradient(take, z, lambda picture: picture - 0.3) for each in (whole, tiles)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
    assert tiles.memory((1, 4, 64, 64)) < whole.memory((1, 4, 64, 64))


def test_kept_parts_stay_and_count_as_known() -> None:
    model, noise = analytic.bent_model(analytic.FAMILIES[0], 0.8), random(1, CHANNELS, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1.0
    vae = LinearVae()
    made = run(guide(model, Guidance(vae, measurement.grey(picture(8)))), noise, mask=mask)
    torch.testing.assert_close(made[..., 2:], torch.ones(1, CHANNELS, 4, 2))
    plain = run(model, noise, mask=mask)
    assert not torch.allclose(made[..., :2], plain[..., :2])
    # What the kept part itself shows changes nothing where it is kept, and guides the rest near it alone.
    agreeing = measurement.grey(vae.decode(made))
    again = run(
        guide(model, Guidance(vae, agreeing, strength=50.0, iterations=8)), random(1, CHANNELS, 4, 4, seed=1), mask=mask
    )
    error = (again - made)[..., :2].square().mean().sqrt()
    free = (run(model, random(1, CHANNELS, 4, 4, seed=1), mask=mask) - made)[..., :2].square().mean().sqrt()
    assert float(error) < float(free)


@pytest.mark.parametrize("sampler", ["heun", "euler_ancestral", "dpmpp_sde", "uni_pc", "lcm"])
def test_any_sampler(sampler: str) -> None:
    model, noise = analytic.gaussian_model(), random(1, CHANNELS, 4, 4)
    guidance = Guidance(LinearVae(), measurement.grey(picture(8)))
    assert bool(torch.isfinite(run(guide(model, guidance), noise, sampler)).all())


def test_what_does_not_fit_is_refused() -> None:
    model, vae = analytic.gaussian_model(), LinearVae()
    for shape, known, words in (
        ((1, CHANNELS, 40, 40), measurement.grey(picture(8)), "of a picture of 8 x 8, but this one is 80 x 80"),
        ((3, CHANNELS, 4, 4), measurement.grey(picture(8, 2)), "measurements of 2 pictures for a latent of 3"),
    ):
        with pytest.raises(ValueError, match=words):
            run(guide(model, Guidance(vae, known)), random(*shape))
    with pytest.raises(ValueError, match="decodes latents of 4 channels, but the model works on 16"):
        guide(analytic.gaussian_model(channels=16), Guidance(vae, measurement.grey(picture(8))))
    with pytest.raises(ValueError, match="no decoder of pictures"):
        guide(model, Guidance(object(), measurement.grey(picture(8))))


def test_the_memory_is_said_and_an_error_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    model, vae, noise = analytic.gaussian_model(), LinearVae(), random(1, CHANNELS, 4, 4)
    guided = guide(model, Guidance(vae, measurement.grey(picture(8))))
    with caplog.at_level(logging.INFO):
        before = run(guided, noise)
    assert "a gradient through the decoder takes about 0.0 GB" in caplog.text
    decode = vae.first_stage_model.decode

    def failing(z: Tensor) -> Tensor:
        raise RuntimeError("the decoder fails")

    vae.first_stage_model.decode = failing  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(RuntimeError, match="the decoder fails"):
        run(guided, noise)
    vae.first_stage_model.decode = decode
    assert torch.equal(run(guided, noise), before)


def test_a_guider_with_several_predictions_has_all_of_them_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    model, noise = analytic.bent_model(analytic.FAMILIES[0], 0.8), random(1, CHANNELS, 4, 4)
    listener, guidance = Listener(), Guidance(LinearVae(), measurement.grey(picture(8)))
    expected = run(guide(model, guidance), noise)
    monkeypatch.setattr(comfy.samplers, "CFGGuider", Double)
    assert torch.equal(run(guide(listener.on(model), guidance), noise), expected)
    assert listener.heard_alike(4)
