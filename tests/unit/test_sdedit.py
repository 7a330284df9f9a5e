"""DPathSDEdit, DPathPerturb, DPathSigmas, DPathReverseSDE: against core, bit for bit, and against the exact model."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.nodes.sdedit import Perturb, ReverseSDE, SDEdit, SDEditSigmas
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers import process, reverse_sde
from diffusion_path.samplers.sdedit import SOLVERS
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.analytic import cond, gaussian_model
from diffusion_path.tests.unit.test_masked_paper import mixing_model, official_code, predicted_noise

KINDS = [ModelType.EPS, ModelType.V_PREDICTION, ModelType.FLOW, ModelType.FLUX]
POSITIVE, NEGATIVE = cond([0.4, -0.3, 0.2, 0.0]), cond(-0.2)
RUN: dict[str, Any] = {"t0": 0.6, "steps": 6, "cfg": 3.0, "solver": "ode", "scheduler": "normal", "repeats": 1}


def model_of(kind: ModelType, spread: float = 0.8) -> Any:
    latent_format = comfy.latent_formats.SD15() if kind in (ModelType.EPS, ModelType.V_PREDICTION) else None
    return gaussian_model(kind, spread, latent_format)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mask_of(kind: str, batch: int = 2) -> torch.Tensor:
    """A pixel mask for 8 x 8 latents. [B, 1, 64, 64]"""
    mask = torch.linspace(0, 1, 64).expand(batch, 1, 64, 64).clone()
    return mask if kind == "soft" else (mask > 0.5).float()


def edit(model: Any, guide: dict[str, Any], seed: int = 3, **changes: Any) -> tuple[dict, dict, str]:
    return SDEdit.execute(model, POSITIVE, NEGATIVE, guide, seed, **{**RUN, **changes}).args


def unrounded(samples: torch.Tensor, guide: dict[str, Any]) -> torch.Tensor:
    """Core's result with the guide's own numbers where the mask keeps them: core's last step rounds those."""
    if "noise_mask" not in guide:
        return samples
    grid = comfy.sampler_helpers.prepare_mask(guide["noise_mask"], samples.shape, samples.device)
    torch.testing.assert_close(samples[grid == 0], guide["samples"][grid == 0], rtol=1e-5, atol=1e-5)
    return torch.where(grid == 0, guide["samples"], samples)


def core_run(model: Any, latent: dict, sigmas: torch.Tensor, sampler: Any, noise: Any, cfg: float = 3.0) -> dict:
    guider = core.CFGGuider.execute(model, POSITIVE, NEGATIVE, cfg).args[0]
    return core.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).args[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", [None, "binary", "soft"])
@pytest.mark.parametrize(("solver", "core_sampler"), [("ode", "euler"), ("dpmpp_2m", "dpmpp_2m")])
@pytest.mark.parametrize("t0", [0.45, 1.0])
def test_it_is_cores_run_bit_for_bit(
    kind: ModelType, mask: str | None, solver: str, core_sampler: str, t0: float
) -> None:
    model = model_of(kind)
    guide: dict[str, Any] = {"samples": random(2, 4, 8, 8), "batch_index": [4, 1], "downscale_ratio_spacial": 8}
    if mask is not None:
        guide["noise_mask"] = mask_of(mask)
    (sigmas,) = SDEditSigmas.execute(model, t0, 6, "normal").args
    expected = core_run(
        model, guide, sigmas, comfy.samplers.sampler_object(core_sampler), core.RandomNoise.execute(3).args[0]
    )
    latent, _, _ = edit(model, guide, t0=t0, solver=solver)
    assert torch.equal(latent["samples"], unrounded(expected["samples"], guide))
    assert latent.keys() == expected.keys()
    assert latent["batch_index"] == [4, 1]


def core_levels(kind: ModelType) -> torch.Tensor:
    """Levels that no t0 of a scheduler gives."""
    if kind in (ModelType.FLOW, ModelType.FLUX):
        return torch.tensor([0.93, 0.71, 0.4, 0.11, 0.0])
    return torch.tensor([5.1, 2.2, 0.9, 0.31, 0.0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", [None, "binary", "soft"])
@pytest.mark.parametrize("prior", [False, True])
def test_with_sigmas_it_is_cores_run_on_them_bit_for_bit(kind: ModelType, mask: str | None, prior: bool) -> None:
    """Whatever t0, steps and scheduler say; from the prior on too."""
    model = model_of(kind)
    sigmas = core_levels(kind)
    if prior:
        sigmas = comfy.samplers.calculate_sigmas(process.model_sampling(model), "karras", 5)
    guide: dict[str, Any] = {"samples": random(2, 4, 8, 8), "batch_index": [4, 1]}
    if mask is not None:
        guide["noise_mask"] = mask_of(mask)
    for solver, name in (("ode", "euler"), ("dpmpp_2m", "dpmpp_2m")):
        sampler = comfy.samplers.sampler_object(name)
        expected = core_run(model, guide, sigmas, sampler, core.RandomNoise.execute(3).args[0])
        latent, _, text = edit(model, guide, t0=0.0, steps=9, scheduler="beta", solver=solver, sigmas=sigmas)
        assert torch.equal(latent["samples"], unrounded(expected["samples"], guide))
    steps = len(sigmas) - 1
    assert f"start sigma {float(sigmas[0]):.4g}" in text
    assert (
        f"{steps} steps, {2 * steps} evaluations (dpmpp_2m, connected sigmas instead of t0, steps and scheduler)"
        in text
    )


def test_the_report_names_the_t0_of_sigmas_and_repeats_run_them_again() -> None:
    model, guide = model_of(ModelType.EPS), {"samples": random(1, 4, 8, 8)}
    (sigmas,) = SDEditSigmas.execute(model, 0.37, 5, "karras").args
    latent, perturbed, text = edit(model, guide, sigmas=sigmas, repeats=2)
    same, seen, _ = edit(model, guide, t0=0.37, steps=5, scheduler="karras", repeats=2)
    assert torch.equal(latent["samples"], same["samples"])
    assert torch.equal(perturbed["samples"], seen["samples"])
    assert text.startswith("t0 0.37: ")
    assert "5 steps x 2 repeats, 20 evaluations" in text


def test_sigmas_without_a_step_return_the_guide_and_bad_ones_are_refused() -> None:
    model, guide = model_of(ModelType.EPS), {"samples": random(1, 4, 8, 8)}
    latent, _, text = edit(model, guide, sigmas=torch.empty(0))
    assert torch.equal(latent["samples"], guide["samples"])
    assert text.startswith("the connected sigmas hold no step: the guide is returned")
    with pytest.raises(ValueError, match="give SIGMAS that end with 0"):
        edit(model, guide, sigmas=torch.tensor([2.0, 1.0, 0.1]))
    with pytest.raises(ValueError, match="must fall from step to step"):
        edit(model, guide, sigmas=torch.tensor([2.0, 2.5, 0.0]))


@pytest.mark.parametrize("kind", [ModelType.EPS, ModelType.V_PREDICTION])
def test_on_the_official_levels_it_is_the_official_code(kind: ModelType) -> None:
    """The node in float32, masked: DDPM's linear betas, t = 400 of 1000 in steps of 20."""
    model = mixing_model(kind, beta_schedule="linear", linear_start=1e-4**0.5, linear_end=0.02**0.5)
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)[:400:20].flip(0)
    sigmas = torch.cat([((1 - abar) / abar).sqrt(), torch.zeros(1)])
    x0, mask = random(1, 4, 8, 8), torch.zeros(1, 1, 64, 64)
    mask[..., 32:] = 1
    latent = SDEdit.execute(
        model, cond(0.3), cond(0.3), {"samples": x0, "noise_mask": mask}, 3, 0.9, steps=3, cfg=1.0, scheduler="karras",
        mask_mode="paper", keep_noise="fixed", sigmas=sigmas.float(),
    ).args[0]  # fmt: skip
    step = noises.step_noise(x0, 3, [0])
    draws = [step(s, s) for s in sigmas[:-1].float()]
    noise, omega = noises.draw_noise({"samples": x0}, 3), mask[..., ::8, ::8].expand_as(x0)
    expected = official_code(predicted_noise(model), abar.float(), x0, omega, noise, draws)
    torch.testing.assert_close(latent["samples"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_t0_0_returns_the_guide_without_an_evaluation(kind: ModelType) -> None:
    model = model_of(kind)
    guide = {"samples": random(2, 4, 8, 8), "batch_index": [0, 1]}
    latent, perturbed, text = edit(model, guide, t0=0.0)
    assert torch.equal(latent["samples"], guide["samples"])
    assert torch.equal(perturbed["samples"], guide["samples"])
    assert model.model.evaluations == 0
    assert "0 evaluations" in text


@pytest.mark.parametrize("kind", KINDS)
def test_t0_1_starts_at_the_prior(kind: ModelType) -> None:
    """The guide's trace is gone from a flow, and at most S^2 / (S^2 + sigma_max^2) of it stays in an eps model."""
    model = gaussian_model(kind, 0.8)
    far, near = ({"samples": torch.full((1, 4, 8, 8), value)} for value in (0.0001, 1.0))
    results = [edit(model, guide, t0=1.0, steps=30)[0]["samples"] for guide in (far, near)]
    trace = float((results[1] - results[0]).abs().max())
    assert trace < (1e-5 if kind in (ModelType.FLOW, ModelType.FLUX) else 0.06)


@pytest.mark.parametrize("scheduler", comfy.samplers.SCHEDULER_NAMES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_are_evaluations(scheduler: str, solver: str) -> None:
    model = model_of(ModelType.EPS)
    for t0, steps, repeats in ((0.37, 5, 1), (0.5, 3, 2)):
        model.model.evaluations = 0
        _, _, text = edit(
            model, {"samples": random(1, 4, 8, 8)}, t0=t0, steps=steps, solver=solver, scheduler=scheduler,
            repeats=repeats, cfg=1.0,
        )  # fmt: skip
        assert model.model.evaluations == steps * repeats
        assert f"{steps * repeats} evaluations" in text


def test_report_says_what_was_run() -> None:
    _, _, text = edit(model_of(ModelType.EPS), {"samples": random(1, 4, 8, 8)}, t0=0.5, repeats=2)
    assert text == "t0 0.5: start sigma 1.616, 72.3% noise, 6 steps x 2 repeats, 24 evaluations (ode, normal)"


@pytest.mark.parametrize("kind", KINDS)
def test_trained_levels_are_the_models_own_and_the_report_says_which(kind: ModelType) -> None:
    """A run of 4 steps at t0 0.6 begins at the third of the model's own levels, and is core's from there."""
    model, guide = model_of(kind), {"samples": random(1, 4, 8, 8)}
    few = {"t0": 0.6, "steps": 4, "scheduler": "simple", "cfg": 1.0, "solver": "consistency"}
    (full,) = core.BasicScheduler.execute(model, "simple", 4, 1.0).args
    latent, _, text = edit(model, guide, **few, levels="trained")
    assert torch.equal(latent["samples"], edit(model, guide, **few, sigmas=full[2:])[0]["samples"])
    connected = {**few, "steps": 9, "levels": "trained", "sigmas": full}
    same, _, of_sigmas = edit(model, guide, **connected)
    assert torch.equal(latent["samples"], same["samples"])
    assert text.startswith("t0 0.5: start sigma ") or text.startswith("t0 0.4995: start sigma ")
    assert "2 steps of 4, 2 evaluations (consistency, simple)" in text
    assert "2 steps of 4, 2 evaluations (consistency, connected sigmas instead of steps and scheduler)" in of_sigmas
    assert "the nearest: 0.6 to 0.5." in text
    _, _, text = edit(model, guide, **few)
    assert "set levels to trained, where an edit in 4 steps begins at t0 1, 0.75, 0.5, 0.25." in text
    for silent in ({"cfg": 3.0}, {"steps": 9}, {"t0": 1.0}, {"sigmas": full}, {"t0": 0.5, "levels": "trained"}):
        assert "of the full run" not in (report := edit(model, guide, **{**few, **silent})[2]), silent
        assert "distilled" not in report, silent
    none, _, text = edit(model, guide, **{**connected, "t0": 0.0})
    assert text == "t0 is 0: the guide is returned as it is, 0 steps, 0 evaluations"
    assert torch.equal(none["samples"], guide["samples"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("mask", [None, "soft"])
def test_a_batch_equals_its_singles(kind: ModelType, solver: str, mask: str | None) -> None:
    model = model_of(kind)
    samples, masks = random(3, 4, 8, 8), mask_of("soft", 3)
    masks[1] = masks[1].flip(-1)
    extra = {} if mask is None else {"noise_mask": masks}
    for repeats in (1, 2):
        batch = edit(model, {"samples": samples, **extra}, solver=solver, repeats=repeats)
        for i in range(3):
            single = {"samples": samples[i : i + 1], "batch_index": [i]}
            if mask is not None:
                single["noise_mask"] = masks[i : i + 1]
            alone = edit(model, single, solver=solver, repeats=repeats)
            for whole, one in zip(batch[:2], alone[:2], strict=True):
                assert torch.equal(whole["samples"][i], one["samples"][0])


@pytest.mark.parametrize("mask_mode", ["blend", "threshold", "paper"])
def test_nothing_to_edit_returns_the_guide_bit_for_bit(mask_mode: str) -> None:
    model = model_of(ModelType.EPS)
    samples = random(3, 4, 8, 8)
    guide = {"samples": samples, "noise_mask": torch.zeros(3, 1, 64, 64)}
    latent, _, text = edit(model, guide, solver="sde_small", repeats=2, mask_mode=mask_mode)
    assert torch.equal(latent["samples"], samples)
    assert model.model.evaluations == 0
    assert "mask is 0 everywhere" in text
    guide["noise_mask"] = torch.cat([torch.zeros(1, 1, 64, 64), mask_of("binary")])
    latent, _, _ = edit(model, guide, mask_mode=mask_mode)
    assert torch.equal(latent["samples"][0], samples[0])
    assert not torch.equal(latent["samples"][1], samples[1])


@pytest.mark.parametrize("mask_mode", ["blend", "threshold"])
@pytest.mark.parametrize("kind", KINDS)
def test_kept_pixels_carry_no_noise_and_edited_ones_change(kind: ModelType, mask_mode: str) -> None:
    model = model_of(kind)
    guide = {"samples": random(2, 4, 8, 8), "noise_mask": mask_of("binary")}
    for solver in SOLVERS:
        out = edit(model, guide, solver=solver, mask_mode=mask_mode)[0]["samples"]
        assert torch.equal(out[..., :3], guide["samples"][..., :3])
        assert float((out - guide["samples"])[..., 5:].abs().min()) > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t0", [0.2, 0.6, 0.99])
@pytest.mark.parametrize("mask", [None, "binary"])
def test_a_perturbed_latent_is_finished_by_core_without_noise(kind: ModelType, t0: float, mask: str | None) -> None:
    model = model_of(kind)
    latent: dict[str, Any] = {"samples": random(2, 4, 8, 8), "batch_index": [2, 0]}
    (sigmas,) = SDEditSigmas.execute(model, t0, 8, "karras").args
    euler = comfy.samplers.sampler_object("euler")
    expected = core_run(model, latent, sigmas, euler, core.RandomNoise.execute(5).args[0])["samples"]
    pixels = None if mask is None else mask_of(mask)[:, 0]
    for levels in (None, sigmas):
        made = Perturb.execute(model, latent, 5, t0, levels, pixels).args[0]
        assert made["batch_index"] == [2, 0]
        out = core_run(model, made, sigmas, euler, core.DisableNoise.execute().args[0])["samples"]
        if pixels is None:
            torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-4)
        else:
            assert torch.equal(made["samples"][..., :3], latent["samples"][..., :3])
            torch.testing.assert_close(out[..., :3], latent["samples"][..., :3], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(out[..., 5:], expected[..., 5:], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_perturb_shows_what_sdedit_saw(kind: ModelType) -> None:
    class Decoder:
        """A VAE that shows the latent itself."""

        def decode(self, samples: torch.Tensor) -> torch.Tensor:
            return samples.movedim(1, -1)[..., :3]

    model = model_of(kind)
    latent = {"samples": random(1, 4, 8, 8)}
    made, seen, text = Perturb.execute(model, latent, 3, 0.6, vae=Decoder()).args
    perturbed = edit(model, latent)[1]
    torch.testing.assert_close(seen, perturbed["samples"].movedim(1, -1)[..., :3])
    assert text.startswith("t0 0.6: sigma ")
    shifted = gaussian_model(kind, latent_format=comfy.latent_formats.SD3())
    for each, channels in ((model, 4), (shifted, 16)):
        given = {"samples": random(1, channels, 8, 8)}
        assert torch.equal(Perturb.execute(each, given, 3, 0.0).args[0]["samples"], given["samples"])
    assert made["samples"].shape == latent["samples"].shape


def test_perturb_at_a_flows_prior_is_refused_with_its_fix() -> None:
    with pytest.raises(ValueError, match=r"lower t0 to 0\.999"):
        Perturb.execute(model_of(ModelType.FLOW), {"samples": random(1, 4, 8, 8)}, 0, 1.0)


def test_reverse_sde_sampler_is_the_samplers_own() -> None:
    (sampler,) = ReverseSDE.execute("ancestral", 0.5, 1.1, True).args
    assert sampler.sampler_function is reverse_sde.sample_reverse_sde
    assert sampler.extra_options == {"kind": "ancestral", "eta": 0.5, "s_noise": 1.1, "last_noise": True}


def test_inputs_are_never_changed() -> None:
    model = model_of(ModelType.EPS)
    guide = {"samples": random(2, 4, 8, 8), "noise_mask": mask_of("soft"), "batch_index": [0, 1], "type": "x"}
    before = {key: value.clone() if isinstance(value, torch.Tensor) else list(value) for key, value in guide.items()}
    options = model.model_options.copy()
    latent, perturbed, _ = edit(model, guide, repeats=2, solver="sde_small")
    Perturb.execute(model, guide, 0, 0.5)
    assert guide.keys() == before.keys()
    for key, value in before.items():
        assert torch.equal(guide[key], value) if isinstance(value, torch.Tensor) else list(guide[key]) == value
    assert latent["type"] == perturbed["type"] == "x"
    assert model.model_options == options


@pytest.mark.parametrize("kind", KINDS)
def test_at_a_start_of_ksamplers_denoise_it_gives_the_same_numbers(kind: ModelType) -> None:
    """KSampler with denoise 0.5 and SDEdit with the t0 of its first level."""
    model, guide = model_of(kind), {"samples": random(2, 4, 8, 8)}
    start = float(comfy.samplers.KSampler(model, 10, "cpu", "euler", "karras", denoise=0.5).sigmas[0])
    noise: Any = comfy.sample.prepare_noise(guide["samples"], 3)
    expected = comfy.sample.sample(
        model, noise, 10, 3.0, "euler", "karras", POSITIVE, NEGATIVE, guide["samples"], denoise=0.5, seed=3
    )
    t0 = process.sigma_to_t0(process.model_sampling(model), start)
    latent, _, _ = edit(model, guide, t0=t0, steps=10, scheduler="karras")
    torch.testing.assert_close(latent["samples"], expected, rtol=1e-4, atol=1e-4)


def test_distance_to_the_guide_grows_without_steps_where_denoise_has_them() -> None:
    """Fractional starts: every bit of t0 counts; core's denoise stands still and jumps."""
    model = model_of(ModelType.EPS)
    guide = {"samples": random(1, 4, 8, 8) * 0.3}

    def distances(run: Any, strengths: list[float]) -> torch.Tensor:
        return torch.tensor([float((run(s) - guide["samples"]).norm()) for s in strengths])

    def denoise(strength: float) -> torch.Tensor:
        sigmas = comfy.samplers.KSampler(model, 10, "cpu", "euler", "normal", denoise=strength).sigmas
        return core_run(
            model, guide, sigmas, comfy.samplers.sampler_object("euler"), core.RandomNoise.execute(3).args[0]
        )["samples"]

    strengths = torch.linspace(0.4, 0.6, 41).tolist()
    ours = distances(lambda t0: edit(model, guide, t0=t0, steps=10)[0]["samples"], strengths).diff()
    theirs = distances(denoise, strengths).diff()
    assert (ours > 0).all()
    assert float(ours.max() / ours.mean()) < 2
    assert int((theirs == 0).sum()) > 10
    assert float(theirs.max() / theirs.mean()) > 2.5


def test_an_interrupt_passes_through_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(ModelType.EPS)
    guide = {"samples": random(1, 4, 8, 8)}
    expected = edit(model, guide, repeats=2)[0]["samples"]
    real, options = model.model._apply_model, model.model_options.copy()
    calls = 0

    def interrupted(*args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 9:
            comfy.model_management.interrupt_current_processing()
            comfy.model_management.throw_exception_if_processing_interrupted()
        return real(*args, **kwargs)

    monkeypatch.setattr(model.model, "_apply_model", interrupted)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        edit(model, guide, repeats=2, cfg=1.0)
    monkeypatch.undo()
    assert model.model_options == options
    assert torch.equal(edit(model, guide, repeats=2)[0]["samples"], expected)


def test_progress_counts_every_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "comfy.utils.PROGRESS_BAR_HOOK", lambda value, total, preview, node_id=None: seen.append((value, total))
    )
    edit(model_of(ModelType.EPS), {"samples": random(1, 4, 8, 8)}, repeats=2)
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {12}
    assert seen[-1] == (12, 12)


@pytest.mark.parametrize("name", tiny.MODELS)
@pytest.mark.parametrize("solver", ["dpmpp_2m", "sde_small"])
def test_it_runs_on_real_networks_in_inference_mode(name: str, solver: str) -> None:
    with torch.inference_mode():
        model = tiny.MODELS[name]()
        guide = tiny.latent(model, batch=2)
        mask = torch.zeros(1, 1, 64, 64)
        mask[..., 32:] = 1
        settings = {"t0": 0.6, "steps": 3, "cfg": 2.0, "solver": solver, "scheduler": "simple", "repeats": 2}
        for mode in ("blend", "threshold", "paper"):
            masked = {**guide, "noise_mask": mask}
            latent, perturbed, _ = SDEdit.execute(
                model, tiny.cond(0), tiny.cond(1), masked, 1, **settings, mask_mode=mode
            ).args
            assert latent["samples"].shape == perturbed["samples"].shape == guide["samples"].shape
            assert torch.isfinite(latent["samples"]).all()
        batch = SDEdit.execute(model, tiny.cond(0), tiny.cond(1), guide, 1, **settings).args[0]["samples"]
        single = {"samples": guide["samples"][1:], "batch_index": [1]}
        alone = SDEdit.execute(model, tiny.cond(0), tiny.cond(1), single, 1, **settings).args[0]["samples"]
        torch.testing.assert_close(alone[0], batch[1], rtol=1e-3, atol=1e-3)


def test_v_prediction_and_eps_of_one_gaussian_agree() -> None:
    outs = [edit(model_of(kind), {"samples": random(1, 4, 8, 8)})[0]["samples"] for kind in KINDS[:2]]
    assert torch.equal(*outs)
    assert process.model_sampling(model_of(ModelType.FLUX)).sigma_max == 1


def test_pictures_of_a_video_model_have_a_mask_each() -> None:
    """Latents [B, C, 1, H, W] (Qwen-Image, Wan), whose masks core takes for the frames of one video."""
    model = gaussian_model(ModelType.FLOW, 1.25, comfy.latent_formats.Wan21())
    masks = torch.zeros(2, 1, 8, 8)
    masks[1, ..., 4:] = 1
    guide = {"samples": torch.randn(2, 16, 1, 8, 8), "noise_mask": masks}
    widgets = {"seed": 3, "t0": 0.5, "steps": 3, "cfg": 1.0, "solver": "ode", "scheduler": "simple"}
    edited, _, _ = SDEdit.execute(model, cond(0.5), cond(0.0), guide, **widgets).args
    carried = Perturb.execute(model, guide, 3, 0.5).args[0]
    for found in (edited, carried):
        assert torch.equal(found["samples"][0], guide["samples"][0])
        changed = (found["samples"] != guide["samples"])[1, ..., 4:]
        assert bool(changed.all())
        torch.testing.assert_close(found["samples"][1, ..., :4], guide["samples"][1, ..., :4], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="mask of the guide is a batch of 3, but there are 2 pictures"):
        SDEdit.execute(model, cond(0.5), cond(0.0), {**guide, "noise_mask": torch.ones(3, 1, 8, 8)}, **widgets)
