"""Models whose latents are not what their network works on: every node that takes a latent says so in one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import comfy.latent_formats
import pytest
import torch
from comfy.latent_formats import LatentFormat
from comfy.model_base import ModelType
from comfy.nested_tensor import NestedTensor
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.devtools.direct import call
from diffusion_path.samplers import process
from diffusion_path.tests.unit.analytic import cond, gaussian_model

REFINER = "HunyuanImage21Refiner"
SENTENCE = "use the base model here"


def formats() -> list[type[LatentFormat]]:
    found = [each for _, each in inspect.getmembers(comfy.latent_formats, inspect.isclass)]
    # What follows a Trellis2 format is that of a list of voxels.
    kinds = [each for each in found if issubclass(each, LatentFormat) and each is not LatentFormat]
    return [each for each in kinds if not any(base.__name__ == "Trellis2" for base in each.__mro__[1:])]


def with_format(name: str) -> Any:
    model = gaussian_model(ModelType.FLOW, 0.8)
    model.add_object_patch("latent_format", getattr(comfy.latent_formats, name)())
    return model


def latents() -> list[dict[str, Any]]:
    plain = torch.ones(1, getattr(comfy.latent_formats, REFINER).latent_channels, 1, 8, 8)
    return [{"samples": plain}, {"samples": torch.zeros_like(plain)}, {"samples": NestedTensor([plain, plain])}]


def recorded(model: Any, latent: dict[str, Any]) -> Any:
    guider = core.CFGGuider.execute(model, cond(0.0), cond(0.0), 1.0).args[0]
    sampler, sigmas = core.KSamplerSelect.execute("euler").args[0], torch.tensor([0.9, 0.0])
    noise = core.DisableNoise.execute().args[0]
    inputs = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": latent}
    return call("DPathRecord", **inputs)


def prompted(node_id: str, key: str, **more: Any) -> Callable[[Any, dict[str, Any]], Any]:
    def run(model: Any, latent: dict[str, Any]) -> Any:
        prompts = {"positive": cond(0.0), "negative": cond(0.0), "seed": 1}
        return call(node_id, model=model, **prompts, **{key: latent}, **more)

    return run


RUNS = {
    "SDEdit": prompted("DPathSDEdit", "guide"),
    "SDE Perturb": lambda model, latent: call("DPathPerturb", model=model, latent=latent, seed=1, t0=0.5),
    "Record Path": recorded,
    "Invert": prompted("DPathInvert", "latent", method={"method": "euler", "noise_label": "destination"}),
    "MDP Edit": prompted("DPathMDPEdit", "latent", source=cond(0.1)),
    "FlowEdit": prompted("DPathFlowEdit", "latent", source=cond(0.1)),
}


@pytest.mark.parametrize("kind", formats(), ids=lambda kind: kind.__name__)
def test_all_other_formats_are_worked_on(kind: type[LatentFormat]) -> None:
    model = with_format(kind.__name__)
    if kind.__name__ == REFINER:
        with pytest.raises(ValueError, match=SENTENCE):
            process.check_one_latent(model)
    else:
        process.check_one_latent(model)


@pytest.mark.parametrize("run", RUNS)
def test_nodes_refuse_them_before_any_work(run: str) -> None:
    for latent in latents():
        with pytest.raises(ValueError, match=SENTENCE) as refusal:
            RUNS[run](with_format(REFINER), latent)
        assert "\n" not in str(refusal.value)


def test_the_sweep_refuses_them() -> None:
    class Vae:
        def encode(self, pixels: torch.Tensor) -> torch.Tensor:
            return latents()[0]["samples"]

        def decode(self, samples: torch.Tensor) -> torch.Tensor:
            raise AssertionError("nothing may be sampled, let alone decoded")

        def spacial_compression_encode(self) -> int:
            return 8

    prompts = {"positive": cond(0.0), "negative": cond(0.0), "seed": 1, "vae": Vae(), "image": torch.rand(1, 64, 64, 3)}
    with pytest.raises(ValueError, match=SENTENCE):
        call("DPathSweep", model=with_format(REFINER), **prompts, sweep="t0", values="0.5")
