"""Walking paths again: starts, stored embeddings, control and residuals, through ComfyUI's guiders."""

from __future__ import annotations

import itertools
from typing import Any

import comfy.k_diffusion.sampling
import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from comfy.patcher_extension import WrappersMP
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.devtools.direct import call
from diffusion_path.samplers import process, replay, solvers
from diffusion_path.samplers.inversion import null_text
from diffusion_path.samplers.inversion.controlled import Controlled
from diffusion_path.samplers.inversion.euler import Euler
from diffusion_path.samplers.inversion.fixed_point import FixedPoint
from diffusion_path.samplers.inversion.invert import invert
from diffusion_path.samplers.inversion.negative_prompt import NegativePrompt
from diffusion_path.samplers.inversion.null_text import NullText
from diffusion_path.samplers.inversion.residual import Residual
from diffusion_path.samplers.inversion.run import Method
from diffusion_path.samplers.path_fit import drift, latent_psnr
from diffusion_path.samplers.record import record
from diffusion_path.samplers.sigmas import sdedit_sigmas
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model
from torch import Tensor

SOURCE, NULL, SPREAD = 0.7, -0.4, 1.3
EULER = comfy.samplers.sampler_object("euler")


def latent(batch: int = 1, **extra: Any) -> dict[str, Any]:
    samples = torch.randn(batch, 4, 4, 4, generator=torch.Generator().manual_seed(1)) * SPREAD + SOURCE
    return {"samples": samples, **extra}


def levels(model: Any, steps: int = 10, t0: float = 1.0) -> Tensor:
    return sdedit_sigmas(process.model_sampling(model), t0, steps, "normal")


def inverted(kind: ModelType, method: Method, cfg: float = 1.0, batch: int = 1, t0: float = 0.9) -> Any:
    model = gaussian_model(kind, SPREAD)
    return model, invert(model, (cond(SOURCE), cond(NULL)), latent(batch), levels(model, t0=t0), method, cfg, seed=4)


def sampled(model: Any, noise: Any, sigmas: Tensor, start: dict[str, Any], cfg: float, sampler: Any = EULER) -> Tensor:
    guider = core.CFGGuider.execute(model, cond(SOURCE), cond(NULL), cfg).args[0]
    return core.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, start).args[0]["samples"]


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("t0", [0.5, 1.0])
def test_core_samplers_start_exactly_where_the_path_starts(kind: ModelType, t0: float) -> None:
    model, path = inverted(kind, Euler(), t0=t0)
    noise, start = replay.start(model, path)
    seen: list[Tensor] = []

    def look(executor: Any, x: Tensor, *args: Any) -> Tensor:
        seen.append(x.clone())
        return executor(x, *args)

    watched = model.clone()
    watched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "test", look)
    sampled(watched, noise, path.sigmas, start, 1.0)
    torch.testing.assert_close(seen[0], path.states[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(start["samples"], path.picture)
    with pytest.raises(ValueError, match=r"belongs to a path of latents \[1, 4, 4, 4\], but the latent is \[2, 4, 4"):
        noise.generate_noise(latent(2))


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_path_without_anything_stored_leaves_the_model_as_it_is(kind: ModelType) -> None:
    model, path = inverted(kind, Euler(exact=False))
    noise, start = replay.start(model, path)
    plain = sampled(model, noise, path.sigmas, start, 3.0)
    assert torch.equal(sampled(replay.attach(model, path), noise, path.sigmas, start, 3.0), plain)
    idle = path.replaced(control=torch.zeros(path.steps))
    assert torch.equal(sampled(replay.attach(model, idle), noise, path.sigmas, start, 3.0), plain)


@pytest.mark.parametrize("kind", FAMILIES)
def test_with_the_source_prompt_on_both_sides_guidance_cancels(kind: ModelType) -> None:
    """Negative-prompt inversion is the path of cfg 1 at any cfg."""
    model, path = inverted(kind, NegativePrompt())
    at_one, _ = replay.replay(model, cond(SOURCE), cond(NULL), path, 1.0)
    for cfg in (4.0, 7.5):
        walked, _ = replay.replay(model, cond(SOURCE), cond(NULL), path, cfg)
        torch.testing.assert_close(walked.states, at_one.states, rtol=1e-5, atol=1e-5)
    without, _ = replay.replay(model, cond(SOURCE), cond(NULL), path.replaced(null={}), 7.5)
    assert drift(at_one, without).max() > 0.1


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_best_null_text_of_two_gaussians_is_the_source_prompt(kind: ModelType, monkeypatch) -> None:
    """The free mean converges to mu_c, the loss to 0, and the walk to the pivots (here exact ones)."""
    monkeypatch.setattr(null_text, "Euler", lambda: FixedPoint(40, 1e-7))
    model, path = inverted(kind, NullText(iterations=12, stop=1e-12), cfg=7.5)
    found = path.null[null_text.KEY]
    assert found.shape[:2] == (10, 1)
    torch.testing.assert_close(found, torch.full_like(found, SOURCE), rtol=2e-3, atol=2e-3)
    walked, _ = replay.replay(model, cond(SOURCE), cond(NULL), path, 7.5)
    assert drift(path, walked)[:-1].max() < 1e-3
    assert path.figures["latent_psnr"][0] == pytest.approx(walked.figures["latent_psnr"][0], abs=1.0)


@pytest.mark.parametrize("kind", FAMILIES)
def test_null_text_beats_euler_as_published(kind: ModelType) -> None:
    figures = {}
    for method in (Euler(), NegativePrompt(), NullText(iterations=4)):
        model, path = inverted(kind, method, cfg=7.5)
        figures[method.name] = replay.replay(model, cond(SOURCE), cond(NULL), path, 7.5)[0].figures["latent_psnr"][0]
    assert figures["null text"] > figures["euler"] + 9
    assert figures["negative prompt"] > figures["euler"] + 8


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("cfg", [1.0, 4.0, 7.5])
def test_residuals_replay_exactly_at_the_cfg_they_were_made_for(kind: ModelType, cfg: float) -> None:
    """Exact through core's guider in float32, with core's rescaling and noise in between; every state is met."""
    model, path = inverted(kind, Residual(), cfg, batch=2)
    walked, out = replay.replay(model, cond(SOURCE), cond(NULL), path, cfg)
    assert min(walked.figures["latent_psnr"]) > 100
    assert drift(path, walked).max() < 1e-5
    torch.testing.assert_close(out["samples"], latent(2)["samples"], rtol=1e-5, atol=2e-5)
    later = path.from_sigma(float(path.sigmas[4]))
    assert min(replay.replay(model, cond(SOURCE), cond(NULL), later, cfg)[0].figures["latent_psnr"]) > 100


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_pull_towards_the_picture_is_the_published_one(kind: ModelType) -> None:
    """x + dt [(1 - eta) v + eta v_cond] is Euler with D* = (1 - eta) D + eta y0; eta 1 at the end gives y0."""
    model, path = inverted(kind, Controlled(eta=0.9, stop=0.5))
    walked, _ = replay.replay(model, cond(SOURCE), cond(NULL), path, 1.0)
    y0 = path.picture
    for i in range(path.steps):
        x, sigma = walked.states[i], path.sigmas[i]
        derivative = (x - model.model.denoise(x, sigma.repeat(1), SOURCE)) / sigma
        eta = 0.9 if i < path.steps // 2 else 0.0
        x = x + (path.sigmas[i + 1] - sigma) * ((1 - eta) * derivative + eta * (x - y0) / sigma)
        torch.testing.assert_close(walked.states[i + 1], x, rtol=1e-5, atol=1e-4)
    pinned = path.replaced(control=torch.ones(path.steps))
    model.model.evaluations = 0
    walked, _ = replay.replay(model, cond(SOURCE), cond(NULL), pinned, 7.5)
    torch.testing.assert_close(walked.picture, y0, rtol=1e-6, atol=1e-6)
    assert model.model.evaluations == 0, "where the picture decides alone, the model is not asked"


def test_a_recorded_path_is_walked_by_its_own_solver() -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    guider = core.CFGGuider.execute(model, cond(SOURCE), cond(NULL), 3.0).args[0]
    names = {"dpmpp_2m": {}, "euler_ancestral": {"eta": 0.5}, "uni_pc": {}, "uni_pc_bh2": {}, "ddim": {}}
    for sampler in (ksampler(name, options) for name, options in names.items()):
        noise = core.Noise_RandomNoise(5).generate_noise(latent())
        path, _ = record(guider, sampler, levels(model), noise, latent(), seed=5, disable_pbar=True)
        walked, _ = replay.replay(model, cond(SOURCE), cond(NULL), path, 3.0)
        assert min(walked.figures["latent_psnr"]) > 90


def ksampler(name: str, options: dict[str, Any]) -> Any:
    sampler = comfy.samplers.sampler_object(name)
    sampler.extra_options = {**sampler.extra_options, **options}
    return sampler


class Foreign:
    """A sampler of another pack: two Euler steps in one, under a name that says nothing."""

    @staticmethod
    def sampler(model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None, disable: Any = None,
                scale: float = 1.0) -> Any:  # fmt: skip
        for sigma, sigma_next in itertools.pairwise(sigmas):
            denoised = model(x, sigma * x.new_ones(x.shape[0]), **(extra_args or {}))
            x = x + scale * (x - denoised) / sigma * (sigma_next - sigma)
        return x


def recorded_by_another_pack() -> tuple[Any, Any, Any]:
    model, sampler = gaussian_model(ModelType.EPS, SPREAD), comfy.samplers.KSAMPLER(Foreign.sampler, {"scale": 0.9})
    guider = core.CFGGuider.execute(model, cond(SOURCE), cond(NULL), 3.0).args[0]
    noise = core.Noise_RandomNoise(5).generate_noise(latent())
    path, _ = record(guider, sampler, levels(model), noise, latent(), seed=5, disable_pbar=True)
    return model, sampler, path


def test_the_report_says_where_euler_stands_in_and_what_to_do() -> None:
    model, sampler, path = recorded_by_another_pack()
    prompts = {"positive": cond(SOURCE), "negative": cond(NULL), "cfg": 3.0}
    _, walked, text = call("DPathReconstruct", model=model, path=path, **prompts)
    assert "made with the sampler 'Foreign.sampler'" in text
    assert "connect the node that gave it as `sampler`" in text
    assert "Foreign.sampler" in call("DPathToSampling", model=model, path=path, t0=1.0)[-1]
    assert min(walked.figures["latent_psnr"]) < 40
    _, walked, text = call("DPathReconstruct", model=model, path=path, sampler=sampler, **prompts)
    assert "Foreign" not in text
    assert min(walked.figures["latent_psnr"]) > 90


def test_a_sampler_that_a_pack_has_added_to_core_s_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, path = recorded_by_another_pack()
    monkeypatch.setattr(comfy.k_diffusion.sampling, "sample_Foreign.sampler", Foreign.sampler, raising=False)
    assert replay.stand_in(path) == ""
    walked, _ = replay.replay(model, cond(SOURCE), cond(NULL), path, 3.0)
    assert min(walked.figures["latent_psnr"]) > 90


def test_a_path_of_the_reverse_sde_without_its_kind_has_a_stand_in() -> None:
    path = recorded_by_another_pack()[2].replaced(sampler="reverse_sde", sampler_options={})
    assert replay.stand_in(path)
    assert replay.replay_sampler(path).sampler_function is comfy.k_diffusion.sampling.sample_euler


METHODS: dict[str, tuple[Method, float]] = {
    "euler": (Euler(), 1.0),
    "fixed point": (FixedPoint(), 1.0),
    "residual": (Residual(), 4.0),
    "negative prompt": (NegativePrompt(), 4.0),
    "null text": (NullText(iterations=2), 4.0),
    "controlled": (Controlled(), 1.0),
}
EXACT = ("euler", "fixed point", "negative prompt", "residual")


def gentle(name: str) -> Any:
    """A tiny network with a weak last layer: random weights are chaotic otherwise, unlike trained ones."""
    model = tiny.MODELS[name]()
    with torch.inference_mode():
        for key, weight in model.model.diffusion_model.named_parameters():
            if key.startswith(("out.2.", "final_layer.linear.", "head.head.")):
                weight.mul_(0.1)
    return model


@pytest.mark.parametrize("name", sorted(tiny.MODELS))
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_on_every_kind_of_network_and_the_exact_ones_are_exact(name: str, method: str) -> None:
    model = gentle(name)
    with torch.inference_mode():
        chosen, cfg = METHODS[method]
        given = tiny.latent(model, 2)
        before = given["samples"].clone()
        path = invert(model, (tiny.cond(0), tiny.cond(1)), given, levels(model, 6, 0.4), chosen, cfg, seed=2)
        assert torch.equal(given["samples"], before)
        assert path.method == method
        assert path.shape == tuple(before.shape)
        walked, out = replay.replay(model, tiny.cond(0), tiny.cond(1), path, cfg)
    assert out["samples"].shape == before.shape
    if method in EXACT:
        assert min(walked.figures["latent_psnr"]) > 60
    if method == "null text":
        assert path.figures["latent_psnr"] == pytest.approx(walked.figures["latent_psnr"], abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_three_is_three_single_runs(method: str) -> None:
    model = gentle("unet")
    with torch.inference_mode():
        chosen, cfg = METHODS[method]
        batch = tiny.latent(model, 3)
        path = invert(model, (tiny.cond(0), tiny.cond(1)), batch, levels(model, 5, 0.4), chosen, cfg, seed=2)
        for i in range(3):
            single = {"samples": batch["samples"][i : i + 1], "batch_index": [i]}
            alone = invert(model, (tiny.cond(0), tiny.cond(1)), single, levels(model, 5, 0.4), chosen, cfg, seed=2)
            torch.testing.assert_close(path.states[:, i : i + 1], alone.states, rtol=2e-4, atol=2e-4)
            if path.residuals is not None and alone.residuals is not None:
                torch.testing.assert_close(path.residuals[:, i : i + 1], alone.residuals, rtol=2e-4, atol=2e-4)
            for key, tensor in alone.null.items():
                mine = path.null[key] if path.null[key].shape[1] == 1 else path.null[key][:, i : i + 1]
                torch.testing.assert_close(mine, tensor, rtol=5e-3, atol=5e-3)


def test_null_text_that_the_model_does_not_read_is_refused() -> None:
    """A model that takes its text in another form (HiDream O1: token ids): nothing would be optimised, silently."""
    model = tiny.unet().clone()

    def deaf(executor: Any, x: Tensor, t: Tensor, c_concat: Any = None, c_crossattn: Any = None, *args: Any, **kw: Any):
        return executor(x, t, c_concat, c_crossattn.detach(), *args, **kw)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "deaf", deaf)
    with torch.inference_mode(), pytest.raises(ValueError, match=r"does not depend on the text embedding.*fixed point"):
        invert(model, (tiny.cond(0), tiny.cond(1)), tiny.latent(model), levels(model, 2), NullText(2, 0.0), 4.0)


def test_null_text_of_another_text_encoder_is_refused() -> None:
    model = tiny.unet()
    given = tiny.latent(model)
    with torch.inference_mode():
        made = invert(model, (tiny.cond(0), tiny.cond(1)), given, levels(model, 3), NullText(1), 4.0)
    wide = made.replaced(null={key: torch.cat([tensor, tensor], -1) for key, tensor in made.null.items()})
    assert "made with this text encoder" in refusal(model, given, NullText(1, earlier=wide), levels(model, 3), cfg=4.0)


def refusal(model: Any, given: dict[str, Any], method: Method, sigmas: Tensor | None = None, **conds: Any) -> str:
    positive, negative = conds.get("positive", cond(SOURCE)), conds.get("negative", cond(NULL))
    with pytest.raises(ValueError) as raised:
        invert(
            model,
            (positive, negative),
            given,
            levels(model) if sigmas is None else sigmas,
            method,
            conds.get("cfg", 4.0),
        )
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_inverted_is_refused_with_a_sentence() -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    assert "connect VAE Encode" in refusal(model, {"samples": torch.zeros(1, 4, 4, 4)}, Euler())
    assert "has 16 channels but this model works on 4" in refusal(model, {"samples": torch.ones(1, 16, 4, 4)}, Euler())
    assert "1 values that are NaN" in refusal(
        model,
        {"samples": torch.ones(1, 4, 4, 4).index_fill(3, torch.tensor([0]), 1.0).masked_fill_(_first(), float("nan"))},
        Euler(),
    )
    assert "must fall" in refusal(model, latent(), Euler(), levels(model).flip(0))
    assert "0 noise levels" in refusal(model, latent(), Euler(), torch.empty(0))
    assert "a picture is at 0" in refusal(model, latent(), Euler(), levels(model)[:-1])
    assert "At cfg 1 the negative prompt is never used" in refusal(model, latent(), NullText(), cfg=1.0)
    parts = [*cond(SOURCE), *cond(NULL)]
    assert "prompt of one part, but this one has 2" in refusal(model, latent(), NullText(), positive=parts)
    assert "prompt of one part, but this one has 2" in refusal(model, latent(), NegativePrompt(), positive=parts)
    foreign = inverted(ModelType.EPS, Euler())[1]
    assert "holds no null text for these 10 steps" in refusal(model, latent(), NullText(earlier=foreign))


def _first() -> Tensor:
    mask = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    mask[0, 0, 0, 0] = True
    return mask


def test_walks_that_cannot_be_right_are_refused_with_a_sentence() -> None:
    model, path = inverted(ModelType.EPS, Euler())
    prompts = (cond(SOURCE), cond(NULL))
    for name in ("euler_ancestral", "dpmpp_2m_sde", "lcm", "ddpm"):
        with pytest.raises(ValueError, match=f"{name} adds noise of its own at every step.*found by euler"):
            replay.replay(model, *prompts, path, 1.0, comfy.samplers.sampler_object(name))
    with pytest.raises(ValueError, match="but the model is"):
        replay.replay(gaussian_model(ModelType.FLOW, SPREAD), *prompts, path, 1.0)
    _, residual = inverted(ModelType.EPS, Residual())
    with pytest.raises(ValueError, match="replayed by its own sampler"):
        replay.replay(model, *prompts, residual, 1.0, EULER)
    noise, start = replay.start(model, residual)
    other = torch.cat([residual.sigmas[:1], residual.sigmas[2:]])
    with pytest.raises(ValueError, match="Residuals belong to the steps they were found for"):
        sampled(model, noise, other, start, 1.0, replay.replay_sampler(residual))
    with pytest.raises(ValueError, match="holds 1 pictures, but the latent 2"):
        sampled(model, core.Noise_RandomNoise(0), residual.sigmas, latent(2), 1.0, replay.replay_sampler(residual))


def test_solvers_that_add_noise_are_known() -> None:
    quiet = {
        "euler", "heun", "heunpp2", "exp_heun_2_x0", "dpm_2", "lms", "dpmpp_2m", "dpmpp_2m_cfg_pp", "ipndm", "ipndm_v",
        "deis", "res_multistep", "res_multistep_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "ddim",
        "uni_pc", "uni_pc_bh2", "dpm_fast", "dpm_adaptive", "euler_cfg_pp",
    }  # fmt: skip
    found = {
        name for name in comfy.samplers.SAMPLER_NAMES if not solvers.adds_noise(comfy.samplers.sampler_object(name))
    }
    assert found == quiet
    assert solvers.adds_noise(comfy.samplers.ksampler("heun", {"s_churn": 1.0}))
    assert not solvers.adds_noise(comfy.samplers.ksampler("euler_ancestral", {"eta": 0.0}))


def test_the_latent_of_a_walk_is_where_core_keeps_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = inverted(ModelType.EPS, Euler())
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: torch.device("meta"))
    assert replay.replay(model, cond(SOURCE), cond(NULL), path, 1.0)[1]["samples"].device.type == "meta"


def test_latent_psnr_of_a_walk_is_that_of_its_end() -> None:
    model, path = inverted(ModelType.EPS, Euler())
    walked, out = replay.replay(model, cond(SOURCE), cond(NULL), path, 1.0)
    assert walked.figures["latent_psnr"] == latent_psnr(path.picture, out["samples"])
