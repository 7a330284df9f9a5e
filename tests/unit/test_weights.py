"""Weights in other precisions, batches taken apart, and latents of several parts, on the families users bring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.compatibility import CFG, NODES, SEED, World, call, outcome, world
from diffusion_path.tests.unit.families import FAMILIES, FLUX, SD3, SD15, Family

CASES = (
    "DPathSDEdit", "DPathRecord", "DPathInvert: residual", "DPathInvert: null text", "DPathMDP: noise",
    "DPathMDP: guidance", "DPathFlowEdit", "DPathSketchGuidance",
)  # fmt: skip
FP8 = torch.float8_e4m3fn
every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.mark.parametrize(
    ("family", "stored", "chosen"),
    [
        (SD15, torch.float16, None),
        (SD3, torch.float16, torch.float16),
        (SD3, torch.bfloat16, torch.bfloat16),
        (SD3, torch.float32, FP8),
        (FLUX, FP8, FP8),
        (FLUX, torch.bfloat16, None),
    ],
    ids=lambda value: value.name if isinstance(value, Family) else str(value).removeprefix("torch."),
)
def test_files_in_other_precisions(family: Family, stored: torch.dtype, chosen: Any, tmp_path: Path) -> None:
    """Stored in one precision, loaded in another (Load Diffusion Model's weight_dtype): exact stays exact."""
    file = tmp_path / "model.safetensors"
    with torch.inference_mode():
        safetensors.torch.save_file(families.state_dict(family, stored), file)
        model = families.load(family, file, **({} if chosen is None else {"dtype": chosen}))
        assert model.model.get_dtype() == (chosen or model.model.get_dtype())
        place = World(family, model)
    for label in CASES:
        found, sentence = outcome(label, place)
        assert found == outcome(label, world(family.name))[0], sentence


def test_scaled_fp8_as_checkpoints_of_flux_have_it(tmp_path: Path) -> None:
    """Weights with a scale each: core computes in a wider precision, and a gradient passes."""
    file = tmp_path / "model.safetensors"
    with torch.inference_mode():
        weights = families.state_dict(SD3)
        scaled: dict[str, Any] = {"scaled_fp8": torch.zeros(2, dtype=FP8)}
        for key, weight in weights.items():
            if weight.ndim == 2 and "joint_blocks" in key:
                scale = weight.abs().max() / 448
                scaled[key] = (weight / scale).to(FP8)
                scaled[key.removesuffix("weight") + "scale_weight"] = scale.float()
            else:
                scaled[key] = weight
        safetensors.torch.save_file(scaled, file)
        place = World(SD3, families.load(SD3, file))
    for label in CASES:
        found, sentence = outcome(label, place)
        assert found == outcome(label, world(SD3.name))[0], sentence


@every_family
def test_an_item_of_a_batch_is_its_own_single_run(name: str) -> None:
    """With its batch_index, also in the noise of stochastic steps and in the residuals of an inversion."""
    w, family = world(name), FAMILIES[name]
    with torch.inference_mode():
        batch = families.latent(family, 3)
        single = {"samples": batch["samples"][2:], "batch_index": [2]}
        given = {"model": w.model, **w.prompts, "seed": SEED, "steps": 2, "cfg": CFG}
        made = [call("DPathSDEdit", **given, guide=each, t0=0.6)[0] for each in (batch, single)]
        torch.testing.assert_close(made[0]["samples"][2:], made[1]["samples"], rtol=1e-3, atol=1e-3)
        assert made[1]["batch_index"] == [2]
        method = {"method": "residual", "eta": 1.0}
        paths = [call("DPathInvert", **given, latent=each, t0=0.6, method=method)[0] for each in (batch, single)]
        torch.testing.assert_close(paths[0].states[:, 2:], paths[1].states, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(paths[0].residuals[:, 2:], paths[1].residuals, rtol=1e-3, atol=1e-3)
        assert paths[1].batch_index == (2,)


def _takes_a_latent() -> list[str]:
    return sorted(
        node_id
        for node_id, node in NODES.items()
        if node_id != "DPathLatentMask"  # which has no model to ask
        and any(isinstance(each, io.Latent.Input) and not each.optional for each in node.GET_SCHEMA().inputs)
    )


@pytest.mark.parametrize("node_id", _takes_a_latent())
def test_video_with_audio_is_refused_with_a_sentence(node_id: str) -> None:
    w = world("Wan 2.1")
    with torch.inference_mode():
        sound = torch.randn(1, 8, 4, 16)
        nested: dict[str, Any] = {"samples": NestedTensor([w.latent["samples"], sound])}
        guider = core.CFGGuider.execute(w.model, w.positive, w.negative, CFG).args[0]
        euler = core.KSamplerSelect.execute("euler").args[0]
        known: dict[str, Any] = {
            "model": w.model, **w.prompts, "conditioning": w.positive, "source": w.source, "vae": w.vae, "path": w.path,
            "noise": core.Noise_RandomNoise(0), "guider": guider, "sampler": euler,
            "mask": w.mask, "sigmas": w.sigmas, "predictor": w.predictor, "method": {"method": "residual", "eta": 1.0},
        }  # fmt: skip
        needed = NODES[node_id].GET_SCHEMA().inputs
        given = {each.id: known[each.id] for each in needed if each.id in known}
        given |= {each.id: nested for each in needed if isinstance(each, io.Latent.Input)}
        if node_id == "DPathFlowEdit":
            del given["method"]
        if node_id.startswith("DPathMDP"):
            given |= {"path": None, "method": "recommended"}
            given = {key: value for key, value in given.items() if key in {each.id for each in needed}}
        with pytest.raises(ValueError, match="nested") as refusal:
            call(node_id, **given)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(".")
