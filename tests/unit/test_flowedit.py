"""FlowEdit on the exact Gaussian model: its closed form, what it leaves alone, and its noise."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.nodes.flowedit import FlowEdit
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers import process
from diffusion_path.samplers.flowedit import FlowEditSampler, FlowEditSettings, SourceTargetGuider, flowedit
from diffusion_path.samplers.sigmas import sdedit_sigmas
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model
from diffusion_path.tests.unit.exact_run import F64, Float64Guider
from torch import Tensor

SPREAD, MU_A, MU_B, MU_U = 1.25, 0.75, -0.5, 0.25
every_family = pytest.mark.parametrize("kind", FAMILIES)


class _Guider(Float64Guider, SourceTargetGuider):
    """Float64, with a source."""


def levels(model: Any, t0: float = 0.85, steps: int = 8) -> Tensor:
    sampling = process.model_sampling(model)
    return torch.tensor([process.t0_to_sigma(sampling, t0 * (1 - j / steps)) for j in range(steps + 1)], dtype=F64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def edit(model: Any, x: Tensor, sigmas: Tensor, seed: int = 1, target=MU_B, cfgs=(1.5, 4.0), mask=None, **options):
    guider = _Guider(model)
    guider.set_conds(cond(target), cond(MU_U))
    guider.set_source(cond(MU_A), cfgs[0])
    guider.set_cfg(cfgs[1])
    noise = noises.draw_noise({"samples": x.float()}, seed).to(x)
    return guider.sample(noise, x, FlowEditSampler(**options), sigmas, mask, disable_pbar=True, seed=seed)


@every_family
@pytest.mark.parametrize("n_avg", [1, 3])
def test_equal_spreads_give_the_closed_form_for_every_seed(kind: ModelType, n_avg: int) -> None:
    """e_N = dm (1 - G), independent of the noise."""
    model, x = gaussian_model(kind, SPREAD), random(2, 4, 4, 4)
    sigmas = levels(model)
    a, _ = process.coefficients(process.model_sampling(model), sigmas)
    ratio = sigmas[1:] / sigmas[:-1]
    gain = ratio + (1 - ratio) * (a * SPREAD**2 / (a**2 * SPREAD**2 + sigmas**2))[:-1]
    dm = (MU_U + 4.0 * (MU_B - MU_U)) - (MU_U + 1.5 * (MU_A - MU_U))
    e = torch.zeros((), dtype=F64)
    for r, g, level in zip(ratio, gain, a, strict=False):
        # D_tar - D_src = dm (1 - k a) + k e, and g = r + (1 - r) k
        k = (g - r) / (1 - r)
        e = r * e + (1 - r) * (dm * (1 - k * level) + k * e)
    if kind is ModelType.EPS:
        torch.testing.assert_close(e, dm * (1 - gain.prod()), rtol=1e-10, atol=1e-10)
    for seed in (1, 2):
        found = edit(model, x, sigmas, seed, n_avg=n_avg) - x
        torch.testing.assert_close(found, e.expand_as(found), rtol=1e-10, atol=1e-10)


@every_family
def test_equal_prompts_and_guidance_return_the_picture_bit_for_bit(kind: ModelType) -> None:
    model, x = gaussian_model(kind, SPREAD), random(2, 4, 4, 4)
    for n_avg in (1, 2):
        found = edit(model, x, levels(model), target=MU_A, cfgs=(3.0, 3.0), n_avg=n_avg)
        assert torch.equal(found, x)


@every_family
@pytest.mark.parametrize("refine", [0, 3, 8])
def test_outside_of_the_mask_the_picture_stays_bit_for_bit(kind: ModelType, refine: int) -> None:
    model, x = gaussian_model(kind, SPREAD), random(2, 4, 4, 4)
    mask = torch.zeros(2, 1, 4, 4)
    mask[..., 2:] = 1
    found = edit(model, x, levels(model), mask=mask, refine=refine)
    whole = edit(model, x, levels(model), refine=refine)
    assert torch.equal(found[..., :2], x[..., :2])
    torch.testing.assert_close(found[..., 2:], whole[..., 2:], rtol=0, atol=1e-12)


@every_family
def test_refining_every_step_is_sampling_the_noised_picture(kind: ModelType) -> None:
    model, x = gaussian_model(kind, SPREAD), random(1, 4, 4, 4)
    sigmas = levels(model)
    a, b = process.coefficients(process.model_sampling(model), sigmas)
    mean = MU_U + 4.0 * (MU_B - MU_U)
    found = edit(model, x, sigmas, refine=8)
    k = a * SPREAD**2 / (a**2 * SPREAD**2 + sigmas**2)
    ratio = sigmas[1:] / sigmas[:-1]
    gain = (ratio + (1 - ratio) * k[:-1]).prod()
    noise = ((found - mean) / gain + a[0] * mean - a[0] * x) / b[0]
    assert 0.6 < float(noise.std()) < 1.4, "what is left is the noise of the first level"


@every_family
def test_batch_of_two_equals_two_singles_and_seeds_differ(kind: ModelType) -> None:
    """With a soft mask the result depends on the noise; an item's noise is that of its batch index."""
    model = gaussian_model(kind, SPREAD)
    samples = random(2, 4, 4, 4).float()
    settings = FlowEditSettings(0.8, 6, 1.5, 4.0, refine=3)
    both, sigmas, _ = flowedit(model, cond(MU_A), cond(MU_B), cond(MU_U), {"samples": samples}, 5, settings)
    assert len(sigmas) == 7
    for item in range(2):
        single = {"samples": samples[item : item + 1], "batch_index": [item]}
        alone, *_ = flowedit(model, cond(MU_A), cond(MU_B), cond(MU_U), single, 5, settings)
        assert torch.equal(alone["samples"][0], both["samples"][item])
    other, *_ = flowedit(model, cond(MU_A), cond(MU_B), cond(MU_U), {"samples": samples}, 6, settings)
    assert not torch.allclose(other["samples"], both["samples"])


@every_family
def test_evaluations_and_progress(kind: ModelType) -> None:
    """Two predictions per step and draw; the callback counts every step once, refining ones too."""
    model, seen = gaussian_model(kind, SPREAD), []
    latent = {"samples": random(1, 4, 4, 4).float(), "downscale_ratio_spacial": 8}
    kept = dict(latent)
    settings = FlowEditSettings(0.8, 6, 1.5, 4.0, n_avg=2, refine=2)
    prompts = (cond(MU_A), cond(MU_B), cond(MU_U))
    *_, evaluations = flowedit(model, *prompts, latent, 1, settings, lambda i, *rest: seen.append((i, rest[-1])))
    assert evaluations == 2 * (4 * 2 * 2 + 2), "with the negative prompt"
    assert seen == [(i, 6) for i in range(6)]
    assert model.model.evaluations == 4 * 2 * 2 + 2
    assert latent == kept


def test_model_space_is_scaled_and_shifted() -> None:
    """In a shifted latent space equal prompts still return the latent bit for bit, though the way there rounds."""
    model = gaussian_model(ModelType.FLOW, SPREAD, comfy.latent_formats.Flux())
    samples = random(1, 16, 4, 4).float()
    out, *_ = flowedit(
        model, cond(MU_A), cond(MU_A), cond(MU_U), {"samples": samples}, 1, FlowEditSettings(0.8, 4, 3.0, 3.0)
    )
    assert torch.equal(out["samples"], samples)
    assert not torch.equal(process.latent_out(model, process.latent_in(model, samples)), samples)
    zero, sigmas, evaluations = flowedit(
        model, cond(MU_A), cond(MU_B), cond(MU_U), {"samples": samples}, 1, FlowEditSettings(0.0)
    )
    assert torch.equal(zero["samples"], samples)
    assert (len(sigmas), evaluations) == (0, 0)


def test_bad_settings_are_refused_with_a_sentence() -> None:
    model, latent = gaussian_model(ModelType.EPS), {"samples": torch.randn(1, 4, 4, 4)}
    with pytest.raises(ValueError, match="5 refining steps do not fit into 4 steps"):
        flowedit(model, cond(0.0), cond(1.0), cond(0.0), latent, 1, FlowEditSettings(steps=4, refine=5))


def test_pictures_of_a_video_model_have_a_mask_each() -> None:
    model = gaussian_model(ModelType.FLOW, 1.25, comfy.latent_formats.Wan21())
    masks = torch.zeros(2, 1, 8, 8)
    masks[1] = 1
    latent = {"samples": torch.randn(2, 16, 1, 8, 8), "noise_mask": masks}
    edited = flowedit(model, cond(0.0), cond(0.7), cond(0.0), latent, 3, FlowEditSettings(steps=3))[0]["samples"]
    assert torch.equal(edited[0], latent["samples"][0])
    assert bool((edited[1] != latent["samples"][1]).all())


@every_family
def test_a_soft_mask_counts_once_however_many_steps(kind: ModelType) -> None:
    model, x = gaussian_model(kind, SPREAD), random(2, 4, 4, 4)
    mask = torch.linspace(0, 1, 4, dtype=F64).expand_as(x)
    for steps, refine in ((8, 0), (40, 0), (8, 3)):
        sigmas = levels(model, steps=steps)
        whole = edit(model, x, sigmas, refine=refine) - x
        torch.testing.assert_close(edit(model, x, sigmas, mask=mask, refine=refine) - x, mask * whole)


def test_what_the_mask_keeps_comes_back_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the way to the model's space and back rounds."""
    model = gaussian_model(ModelType.EPS, SPREAD)
    monkeypatch.setattr(model.model, "latent_format", comfy.latent_formats.SD15())
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 2:] = 1
    latent = {"samples": random(1, 4, 4, 4).float(), "noise_mask": mask}
    edited, *_ = flowedit(model, cond(MU_A), cond(MU_B), cond(MU_U), latent, 1, FlowEditSettings(0.8, 6, 1.5, 4.0))
    assert torch.equal(edited["samples"][..., :2], latent["samples"][..., :2])
    assert not torch.equal(edited["samples"][..., 2:], latent["samples"][..., 2:])


def published_loop(
    velocity: Any, t: Tensor, x_src: Tensor, noise: Any, means: tuple[float, float], n_max: int, n_min: int, n_avg: int
) -> Tensor:
    """The loop of fallenshock/FlowEdit, FlowEdit_utils.py (SD3). t: timesteps / 1000 and a final 0; noise(t, draw)."""
    steps, z_edit, xt_tar = len(t) - 1, x_src.clone(), x_src
    for i in range(steps):
        if steps - i > n_max:
            continue
        t_i, t_im1 = t[i], t[i + 1]
        if steps - i > n_min:
            v_delta = torch.zeros_like(x_src)
            for draw in range(n_avg):
                zt_src = (1 - t_i) * x_src + t_i * noise(t_i, draw)
                zt_tar = z_edit + zt_src - x_src
                v_delta += (velocity(zt_tar, t_i, means[1]) - velocity(zt_src, t_i, means[0])) / n_avg
            z_edit = z_edit + (t_im1 - t_i) * v_delta
        else:
            if steps - i == n_min:
                xt_src = (1 - t_i) * x_src + t_i * noise(t_i, 0)
                xt_tar = z_edit + xt_src - x_src
            xt_tar = xt_tar + (t_im1 - t_i) * velocity(xt_tar, t_i, means[1])
    return z_edit if n_min == 0 else xt_tar


@pytest.mark.parametrize(("n_min", "n_avg"), [(0, 1), (0, 2), (3, 1)])
def test_on_the_published_schedule_the_node_is_the_published_loop(n_min: int, n_avg: int) -> None:
    """SD3: 50 steps of its scheduler at shift 3, of which the first 17 are skipped; guidance 3.5 and 13.5."""
    model, x_src = gaussian_model(ModelType.FLOW, SPREAD, shift=3.0), random(1, 4, 8, 8).float()
    alone = model.model.denoise
    model.model.denoise = lambda x, sigma, mean: alone(x, sigma, mean) + 0.1 * torch.sin(3 * x + mean)
    shifted = [3 * s / (1 + 2 * s) for s in (torch.linspace(1, 3 / (1000 + 2), 50, dtype=F64), torch.zeros(1))]
    t = torch.cat(shifted).float().double()
    settings: dict[str, Any] = {"start": 0.2, "steps": 4, "source_cfg": 3.5, "cfg": 13.5}
    found, report = FlowEdit.execute(
        model, cond(MU_B), cond(MU_U), cond(MU_A), {"samples": x_src}, 6, n_avg=n_avg, refine=n_min,
        scheduler="karras", sigmas=t[17:].float(), **settings,
    ).args  # fmt: skip

    def velocity(x: Tensor, level: Tensor, mean: float) -> Tensor:
        cfg = {MU_A: 3.5, MU_B: 13.5}[mean]
        guess = [(x - model.model.denoise(x, level.reshape(1), m)) / level for m in (MU_U, mean)]
        return guess[0] + cfg * (guess[1] - guess[0])

    def noise(level: Tensor, draw: int) -> Tensor:
        return noises.step_noise(x_src.double(), noises.mix_seed(6, "draw", draw), [0])(level, level)

    wanted = published_loop(velocity, t, x_src.double(), noise, (MU_A, MU_B), 33, n_min, n_avg)
    exact = edit(model, x_src.double(), t[17:], 6, cfgs=(3.5, 13.5), n_avg=n_avg, refine=n_min)
    torch.testing.assert_close(exact, wanted, rtol=1e-9, atol=1e-9)
    # The node in float32: guidance of 13.5 multiplies its rounding.
    assert float((found["samples"].double() - wanted).abs().max()) < 2e-5 * float(wanted.abs().max())
    assert f"sigma {float(t[17]):.4g}" in report
    assert "33 steps" in report
    assert "(connected sigmas instead of start, steps and scheduler)" in report


def test_the_start_of_sigmas_is_theirs_and_bad_ones_are_refused() -> None:
    model, latent = gaussian_model(ModelType.EPS), {"samples": random(1, 4, 4, 4).float()}
    prompts, sampling = (cond(MU_A), cond(MU_B), cond(MU_U)), process.model_sampling(model)
    sigmas = sdedit_sigmas(sampling, 0.6, 5, "karras")
    by_levels, run, _ = flowedit(model, *prompts, latent, 1, FlowEditSettings(0.9, 2, sigmas=sigmas))
    by_start, same, _ = flowedit(model, *prompts, latent, 1, FlowEditSettings(0.6, 5, scheduler="karras"))
    assert torch.equal(by_levels["samples"], by_start["samples"])
    assert torch.equal(run, same)
    with pytest.raises(ValueError, match="6 refining steps do not fit into 5 steps"):
        flowedit(model, *prompts, latent, 1, FlowEditSettings(refine=6, sigmas=sigmas))
    untouched, nothing, evaluations = flowedit(model, *prompts, latent, 1, FlowEditSettings(sigmas=torch.empty(0)))
    assert torch.equal(untouched["samples"], latent["samples"])
    assert (len(nothing), evaluations) == (0, 0)
    with pytest.raises(ValueError, match="give SIGMAS that end with 0"):
        flowedit(model, *prompts, latent, 1, FlowEditSettings(sigmas=sigmas[:-1]))
