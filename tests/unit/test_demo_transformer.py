"""The transformer of the embedded world: four steps of its training, and what the trained one makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import comfy.ldm.flux.math
import comfy.ldm.modules.attention
import comfy.model_management
import numpy as np
import pytest
import torch
from diffusion_path.demo.model import NOISE
from diffusion_path.demo.scenes import full_caption
from diffusion_path.demo.training import latents, transformer
from diffusion_path.demo.training.common import Budget
from diffusion_path.demo.training.evaluate import accuracy, generate, unseen_scenes
from diffusion_path.demo.training.style import PAINTED, PAPER
from diffusion_path.demo.training.transformer import TRANSFORMER, load_kind
from torch import nn


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> latents.LatentData:
    """A narrow network and a shard of four random latents; what training sets is put back."""
    for module, name in (
        (comfy.ldm.modules.attention, "optimized_attention"),
        (comfy.ldm.modules.attention, "optimized_attention_masked"),
        (comfy.ldm.flux.math, "optimized_attention"),
        (comfy.model_management, "in_training"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    sizes = {"hidden_size": 64, "num_heads": 2, "depth_single_blocks": 1, "axes_dim": [8, 12, 12]}
    monkeypatch.setattr(transformer, "CONFIG", transformer.CONFIG | sizes)
    monkeypatch.setattr(latents, "SHARD", 4)
    rng = np.random.default_rng(1)
    rows = np.concatenate([np.zeros((4, 7), int), np.arange(4)[:, None]], axis=1)
    np.savez(tmp_path / "latents-9-0.npz", latents=rng.standard_normal((4, 4, 8, 8)), rows=rows)
    return latents.LatentData(tmp_path, 9)


def test_four_steps_can_be_resumed_and_core_runs_what_is_written(
    small: latents.LatentData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(steps: int) -> nn.Module:
        budget = Budget(steps=steps, batch=4, lr=1e-2, warmup=1)
        return transformer.train_transformer(tmp_path, small, budget, seed=3)

    begun, trained = run(1), run(4)
    pairs = zip(begun.parameters(), trained.parameters(), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs), "every weight is trained"
    file = tmp_path / "transformer.safetensors"
    transformer.pack_transformer(trained, {}, file)
    model = load_kind(TRANSFORMER, path=file)[0]
    x, t, text = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.9]), torch.randn(2, 32, 128)
    with torch.no_grad():
        wanted = trained(x, t, context=text)
        monkeypatch.undo()
        found = x - t.view(-1, 1, 1, 1) * wanted
        assert wanted.abs().max() > 0
        torch.testing.assert_close(model.model.apply_model(x, t, c_crossattn=text), found, atol=5e-3, rtol=5e-3)


def test_it_follows_its_prompts() -> None:
    scenes = unseen_scenes(8, seed=77)
    pictures, _ = generate([full_caption(scene) for scene in scenes], seed=5, kind=TRANSFORMER)
    assert min(accuracy(pictures, scenes).values()) >= 7 / 8


def test_what_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="painted world only: choose --style painted"):
        load_kind(TRANSFORMER, PAPER)
    with pytest.raises(ValueError, match="missing.safetensors is missing or damaged .*train-demo-transformer"):
        load_kind(TRANSFORMER, path=tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match="weights are missing"):
        load_kind(NOISE, replace(PAINTED, weights=tmp_path))
