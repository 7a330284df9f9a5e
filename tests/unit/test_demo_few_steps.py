"""The stage of the recipe that distils the model to four steps: a shard and two steps of it, and the file it writes."""

from __future__ import annotations

import json
from pathlib import Path

import comfy.ldm.modules.attention
import comfy.samplers
import pytest
import torch
from diffusion_path.demo.model import (
    FEW_STEPS,
    FEW_STEPS_WEIGHTS,
    LEVELS,
    WEIGHTS,
    load_demo_model,
    with_few_steps,
)  # fmt: skip
from diffusion_path.demo.scenes import full_caption
from diffusion_path.demo.training import few_steps
from diffusion_path.demo.training.common import Budget
from diffusion_path.demo.training.evaluate import accuracy, generate, unseen_scenes
from diffusion_path.nodes.demo import DemoModel
from diffusion_path.samplers import process
from diffusion_path.samplers.sigmas import sdedit_sigmas
from safetensors import safe_open


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small trajectory in a shard, of one step from each level; attention is put back."""
    for name in ("optimized_attention", "optimized_attention_masked"):
        monkeypatch.setattr(comfy.ldm.modules.attention, name, getattr(comfy.ldm.modules.attention, name))
    monkeypatch.setattr(few_steps, "SHARD", 1)
    monkeypatch.setattr(few_steps, "SIDE", 8)
    monkeypatch.setattr(few_steps, "_SEGMENTS", tuple((t,) for t in LEVELS))


def test_two_steps_can_be_resumed_and_cores_loader_applies_what_is_written(short: None, tmp_path: Path) -> None:
    def run(steps: int) -> few_steps.LowRank:
        return few_steps.train_few_steps(tmp_path, WEIGHTS, 1, Budget(steps=steps, batch=4, lr=1e-2, warmup=1), seed=3)

    begun = run(1)
    states, context = few_steps.read_trajectories(tmp_path, 3)
    assert states.shape == (1, len(LEVELS) + 1, 4, 8, 8)
    assert context.shape == (1, 32, 128)
    module = run(2)
    assert any(not torch.equal(a, b) for a, b in zip(begun.up, module.up, strict=True))
    path = tmp_path / "few-steps.safetensors"
    teacher = few_steps.Teacher(WEIGHTS)
    assert few_steps.pack_few_steps(module, {}, path) <= 2_000_000
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["timesteps"]) == list(LEVELS)
        assert json.loads(file.metadata()["sigmas"]) == teacher.sigmas[list(LEVELS)].tolist()
    base = load_demo_model()[0]
    loaded = with_few_steps(base, path)
    assert len(loaded.patches) == len(module.names) + len(module.biases)
    x, sigma, text = states[:, 1], teacher.sigmas[[749]], context
    with torch.no_grad():
        wanted = x - sigma * module(x / (1 + sigma**2).sqrt(), torch.tensor([749.0]), text)
        loaded.patch_model()
        found = loaded.model.apply_model(x, sigma, c_crossattn=text)
        loaded.unpatch_model()
    assert (found - wanted).abs().max() < 2e-2


@torch.inference_mode()
def test_the_node_applies_the_shipped_file_which_says_its_levels(tmp_path: Path) -> None:
    assert FEW_STEPS_WEIGHTS.stat().st_size <= 2_000_000
    with safe_open(FEW_STEPS_WEIGHTS, "pt") as file:
        assert json.loads(file.metadata()["timesteps"]) == list(LEVELS)
        keys = {key.rpartition(".lora_")[0] or key.removesuffix(".diff_b") for key in file.keys()}  # noqa: SIM118
    model = DemoModel.execute(FEW_STEPS).args[0]
    assert {key.rpartition(".")[0] for key in model.patches} == keys
    sampling = process.model_sampling(model)
    assert torch.equal(sampling.sigmas[list(LEVELS)], comfy.samplers.calculate_sigmas(sampling, "simple", 4)[:-1])
    for t0, steps in ((1.0, 4), (0.75, 3), (0.5, 2), (0.25, 1)):
        assert sdedit_sigmas(sampling, t0, steps, "simple")[:-1] == pytest.approx(
            sampling.sigmas[list(LEVELS)][4 - steps :], rel=5e-3
        )


def test_four_steps_at_cfg_1_follow_their_prompts() -> None:
    """The base model is right about 7 of 8 houses in four steps at cfg 1, and is blurred."""
    scenes = unseen_scenes(8, seed=77)
    pictures, _ = generate([full_caption(scene) for scene in scenes], seed=5, kind=FEW_STEPS)
    assert min(accuracy(pictures, scenes).values()) >= 7 / 8


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="LoRA for few steps .* is missing or damaged: reinstall the pack"):
        with_few_steps(None, tmp_path / "few-steps.safetensors")
