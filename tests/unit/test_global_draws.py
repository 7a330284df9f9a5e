"""Patches that draw from PyTorch's global generator: the same seed gives the same picture, whatever ran before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy_extras import nodes_custom_sampler as core
from comfy_extras.nodes_hypertile import HyperTile
from diffusion_path.devtools.direct import call
from diffusion_path.samplers.inversion.euler import Euler
from diffusion_path.samplers.inversion.invert import invert
from diffusion_path.samplers.mdp.difference import prompt_difference
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.compatibility import CASES, CFG, SEED, STEPS, T0, World
from diffusion_path.tests.unit.neighbours import UNET
from torch import Tensor

METHODS = {
    "euler": {"noise_label": "destination"},
    "fixed point": {"iterations": 2, "tolerance": 1e-6},
    "negative prompt": {},
    "null text": {"iterations": 1, "stop": 1e-9, "save_memory": True},
    "residual": {"eta": 1.0},
    "controlled": {"gamma": 0.5, "pull": 0.9, "stop_at": 0.25, "trend": "constant"},
}


def drawing(model: Any) -> Any:
    """A MODEL whose self-attention is scaled by numbers of the global generator, another at each call."""
    model = model.clone()
    model.set_model_attn1_output_patch(lambda x, options: x * (0.5 + torch.rand(())))
    return model


@pytest.fixture(scope="module")
def world() -> World:
    with torch.inference_mode():
        model = families.built(UNET)
        return World(UNET, drawing(model))


def given(w: World, **more: Any) -> dict[str, Any]:
    return {"model": w.model, **w.prompts, "seed": SEED, "cfg": CFG, **more}


def sdedit(w: World, **more: Any) -> Tensor:
    settings = {"t0": T0, "steps": STEPS, "scheduler": "simple", **more}
    return call("DPathSDEdit", **given(w, guide=w.latent, **settings))[0]["samples"]


def inverted(w: World, method: str) -> Any:
    sides = {"positive": w.source, "negative": w.negative}
    settings = {"t0": T0, "steps": 3, "method": {"method": method, **METHODS[method]}}
    return call("DPathInvert", **given(w, latent=w.latent, **settings) | sides)[0]


def recorded(w: World) -> tuple[Any, Any]:
    guider = core.CFGGuider.execute(w.model, w.source, w.negative, CFG).args[0]
    inputs = {"noise": core.Noise_RandomNoise(SEED), "guider": guider, "latent_image": w.latent, "sigmas": w.sigmas}
    return call("DPathRecord", **inputs, sampler=comfy.samplers.sampler_object("euler"))


def reconstructed(w: World, path: Any) -> Any:
    return call("DPathReconstruct", model=w.model, positive=w.source, negative=w.negative, path=path, cfg=CFG)


def mdp_edit(w: World, **more: Any) -> Tensor:
    return call("DPathMDPEdit", **given(w, source=w.source, latent=w.latent, **{"steps": 3, **more}))[0]["samples"]


def flowedit(w: World, **more: Any) -> Tensor:
    settings = {"source_cfg": CFG, "steps": STEPS, "start": T0, **more}
    return call("DPathFlowEdit", **given(w, source=w.source, latent=w.latent, **settings))[0]["samples"]


def sampled(w: World, model: Any) -> Tensor:
    return w.sampled(model)


def predicted(w: World) -> Tensor:
    inputs = {"predictor": w.predictor, "vae": w.vae, "latent": w.latent, "conditioning": w.positive}
    return call("DPathPredictMap", model=w.model, **inputs, t0=0.5, seed=1)[0]


def trained(w: World) -> Tensor:
    kept: list[Tensor] = []

    def listen(*results: Any) -> None:
        kept.extend(r for r in results if isinstance(r, Tensor))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusion_path.tests.unit.compatibility.finite", listen)
        CASES["DPathTrainMapPredictor"](w)
    return torch.cat([each.flatten() for each in kept])


def swept(w: World) -> Tensor:
    settings = {"steps": STEPS, "scheduler": "simple", "sweep": "t0", "values": "0.3, 0.6"}
    return call("DPathSweep", **given(w, vae=w.vae, image=w.image, **settings))[1]["samples"]


def mdp_swept(w: World) -> Tensor:
    settings = {"sweep": "weights", "weights": "0, 0.5", "vae": w.vae, "path": recorded(w)[0]}
    return call("DPathMDPSweep", **given(w, source=w.source, latent=w.latent, **settings))[1]["samples"]


RUNS: dict[str, Callable[[World], Tensor]] = {
    **{f"SDEdit, {solver}": lambda w, s=solver: sdedit(w, solver=s) for solver in ("ode", "sde_small", "dpmpp_2m")},
    "SDEdit, repeats": lambda w: sdedit(w, repeats=2),
    "SDEdit Sweep": swept,
    "MDP Edit": mdp_edit,
    "MDP Edit, empty latent": lambda w: call(
        "DPathMDPEdit", **given(w, source=w.source, latent={"samples": torch.zeros(1, 4, 8, 8)}, steps=3)
    )[0]["samples"],
    "MDP Sweep": mdp_swept,
    "FlowEdit": flowedit,
    **{f"Invert, {method}": lambda w, m=method: inverted(w, m).states for method in METHODS},
    "Record Path": lambda w: recorded(w)[0].states,
    "Reconstruct": lambda w: reconstructed(w, inverted(w, "euler"))[0]["samples"],
    "Predict Map": predicted,
    "Train Map Predictor": trained,
}


@pytest.mark.parametrize("name", RUNS)
def test_the_same_seed_gives_the_same_result(world: World, name: str) -> None:
    results = []
    with torch.inference_mode():
        for before in (1, 2):
            torch.manual_seed(before)  # what ran before differs
            results.append(RUNS[name](world))
    assert torch.isfinite(results[0]).all()
    assert torch.equal(*results)


def test_another_seed_draws_other_numbers(world: World) -> None:
    """The patch is at work: at t0 0.6 with a fixed noise, the plain model gives another picture."""
    with torch.inference_mode():
        plain = World(UNET, families.built(UNET))
        assert not torch.equal(sdedit(world, solver="ode"), sdedit(plain, solver="ode"))


def test_ode_is_cores_run_bit_for_bit_and_leaves_the_generator_as_core_does(world: World) -> None:
    with torch.inference_mode():
        torch.manual_seed(1)
        wanted = world.sampled()
        left = torch.get_rng_state()
        torch.manual_seed(2)
        made = sdedit(world, solver="ode")
    assert torch.equal(made, wanted)
    assert torch.equal(torch.get_rng_state(), left)


@pytest.mark.parametrize("indices", [None, [3, 1]])
def test_a_batch_is_cores_batch(world: World, indices: list[int] | None) -> None:
    latent = {**families.latent(UNET, batch=2), **({} if indices is None else {"batch_index": indices})}
    with torch.inference_mode():
        torch.manual_seed(1)
        wanted = world.sampled(latent=latent)
        torch.manual_seed(2)
        settings = {"t0": T0, "steps": STEPS, "solver": "ode", "scheduler": "simple"}
        made = call("DPathSDEdit", **given(world, guide=latent, **settings))[0]["samples"]
    assert torch.equal(made, wanted)


def test_cores_hypertile(world: World) -> None:
    with torch.inference_mode():
        plain = families.built(UNET)
        place = World(UNET, HyperTile.execute(plain, 16, 4, 0, False)[0])
        place.latent = {"samples": torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))}
        torch.manual_seed(1)
        wanted = place.sampled()
        torch.manual_seed(2)
        made = sdedit(place, solver="ode")
        assert torch.equal(made, wanted)
        place.model = plain
        assert not torch.equal(sdedit(place, solver="ode"), wanted)


def test_cells_of_a_sweep_are_edits_of_their_own(world: World) -> None:
    with torch.inference_mode():
        cells = swept(world)
        latent = {"samples": world.vae.encode(world.image)}
        for cell, t0 in zip(cells, (0.3, 0.6), strict=True):
            settings = {"t0": t0, "steps": STEPS, "scheduler": "simple", "guide": latent}
            assert torch.equal(cell, call("DPathSDEdit", **given(world, **settings))[0]["samples"][0])


def test_a_recorded_path_is_walked_with_the_numbers_it_was_made_with(world: World) -> None:
    with torch.inference_mode():
        path, result = recorded(world)
        assert torch.equal(result["samples"], world.sampled(positive=world.source))
        torch.manual_seed(7)
        made, walked, _ = reconstructed(world, path)
    assert min(walked.figures["latent_psnr"]) > 100
    torch.testing.assert_close(made["samples"], result["samples"], rtol=1e-5, atol=1e-4)


def test_flowedit_with_equal_prompts_shows_both_the_same_network(world: World) -> None:
    with torch.inference_mode():
        made = flowedit(world, positive=world.source)
    torch.testing.assert_close(made, world.latent["samples"], rtol=1e-5, atol=1e-5)


def test_equal_prompts_do_not_differ_along_a_path(world: World) -> None:
    with torch.inference_mode():
        sigmas = world.sigmas
        path = invert(world.model, (world.source, world.negative), world.latent, sigmas, Euler())
        torch.manual_seed(1)
        first = prompt_difference(world.model, path, world.source, world.positive)
        torch.manual_seed(2)
        assert torch.equal(first, prompt_difference(world.model, path, world.source, world.positive))
        assert float(prompt_difference(world.model, path, world.source, world.source).max()) < 1e-5


def test_a_block_that_runs_again_for_its_gradient_draws_the_same_numbers(world: World) -> None:
    sketch = torch.zeros_like(world.image)
    sketch[:, 32] = 1.0
    inputs = {"model": world.model, "predictor": world.predictor, "vae": world.vae, "sketch": sketch}
    with torch.inference_mode():
        fast, checkpointed, unguided = (
            world.sampled(call("DPathSketchGuidance", **inputs, beta=beta, end=0.0, memory=memory)[0])
            for beta, memory in ((0.5, "fast"), (0.5, "checkpointed"), (0.0, "fast"))
        )
    moved = float((fast - unguided).abs().max())
    assert moved > 0.01
    torch.testing.assert_close(checkpointed, fast, rtol=0, atol=1e-4 * moved)
