"""The embedded model in ComfyUI's own classes: stock calls work, prompts are followed, bad files are one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.memory_management
import comfy.sample
import comfy.utils
import numpy as np
import pytest
import torch
from diffusion_path.demo.model import WEIGHTS, load_clip, load_demo_model, load_model, load_vae, read_weights
from diffusion_path.demo.render import render
from diffusion_path.demo.scenes import Scene, full_caption
from diffusion_path.demo.text import MAX_TOKENS
from diffusion_path.demo.training.evaluate import accuracy, generate, sheet, unseen_scenes
from diffusion_path.nodes.demo import DemoModel
from safetensors.torch import save_file


@pytest.fixture(scope="module")
def demo() -> Any:
    """MODEL, CLIP and VAE, loaded as ComfyUI runs nodes."""
    with torch.inference_mode():
        return load_demo_model()


def test_the_node_gives_model_clip_and_vae() -> None:
    """DPathDemoModel."""
    model, clip, vae = DemoModel.execute().result
    assert model.get_model_object("latent_format").latent_channels == 4
    assert clip.tokenize("a lake")
    assert vae.spacial_compression_encode() == 8


def test_the_file_is_small_and_says_what_it_is() -> None:
    assert WEIGHTS.stat().st_size <= 16_000_000
    weights, metadata = read_weights()
    assert all(value.dtype == torch.float16 for value in weights.values())
    assert {"lake", "winter", "blue"} <= set(metadata["vocabulary"])
    assert metadata["training"]["steps"] > 0


def test_it_is_the_same_where_layers_take_over_what_they_load(demo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamic VRAM, ComfyUI's default on NVIDIA's cards."""
    weights, metadata = read_weights()
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    with torch.inference_mode():
        pairs: Any = [(load_model(weights, metadata), demo[0]), (load_clip(weights, metadata), demo[1])]
        pairs.append((load_vae(weights), demo[2]))
        for made, wanted in pairs:
            found, kept = (getattr(each, "patcher", each).model.state_dict() for each in (made, wanted))
            assert {key: value.dtype for key, value in found.items()} == {k: v.dtype for k, v in kept.items()}
            assert all(torch.equal(value, kept[key]) for key, value in found.items())


def test_the_autoencoder_keeps_pictures(demo: Any) -> None:
    vae = demo[2]
    images = torch.from_numpy(np.stack([render(scene) for scene in unseen_scenes(8)])).float() / 255
    with torch.inference_mode():
        latents = vae.encode(images)
        back = vae.decode(latents)
    assert latents.shape == (8, 4, 32, 32)
    assert latents.std().item() == pytest.approx(1.0, abs=0.25)
    psnr = -10 * (back - images).square().mean(dim=(1, 2, 3)).log10()
    assert psnr.mean() > 27.9, psnr
    assert back.min() >= 0
    assert back.max() <= 1


def test_tiled_decoding_agrees(demo: Any) -> None:
    vae = demo[2]
    image = torch.from_numpy(render(Scene(seed=8), 512)).float()[None] / 255
    with torch.inference_mode():
        latent = vae.encode(image)
        whole, tiled = vae.decode(latent), vae.decode_tiled(latent, tile_x=48, tile_y=48, overlap=16)
    assert (whole - tiled).abs().mean() < 0.01


def test_prompts_of_any_kind_are_encoded(demo: Any) -> None:
    clip = demo[1]
    with torch.inference_mode():

        def encode(text: str) -> torch.Tensor:
            return clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0]

        plain = encode("a lake, winter")
        assert plain.shape == (1, MAX_TOKENS, 128)
        assert not torch.equal(plain, encode("(a lake:1.4), winter"))
        assert encode("a red house in summer, " * 20).shape[1] % MAX_TOKENS == 0
        for text in ("", "quetzalcoatl ¿? 42", "embedding:nothing", "((((", "雪"):
            assert encode(text).shape == plain.shape
            assert torch.isfinite(encode(text)).all()


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "uni_pc", "heun"])
def test_stock_samplers_run(demo: Any, sampler: str) -> None:
    model, clip, _ = demo
    with torch.inference_mode():
        cond = clip.encode_from_tokens_scheduled(clip.tokenize("a landscape, winter, a lake"))
        empty = torch.zeros(1, 4, 32, 32)
        noise = comfy.sample.prepare_noise(empty, 0)
        out = comfy.sample.sample(model, noise, 4, 3.0, sampler, "normal", cond, cond, empty, disable_pbar=True, seed=0)
    assert torch.isfinite(out).all()
    assert 0.3 < out.std() < 3


def test_pictures_follow_their_prompts() -> None:
    scenes = unseen_scenes(6, seed=77)
    pictures, _ = generate([full_caption(scene) for scene in scenes], seed=5, batch=6)
    got = accuracy(pictures, scenes)
    assert np.mean(list(got.values())) > 0.85, got
    assert min(got["time"], got["season"], got["lake"]) >= 5 / 6, got


def test_a_missing_damaged_or_foreign_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "landscapes.safetensors"
    with pytest.raises(ValueError, match="weights are missing .* reinstall the pack"):
        load_demo_model(path)
    path.write_bytes(WEIGHTS.read_bytes()[:5000])
    with pytest.raises(ValueError, match="is damaged .* reinstall the pack"):
        load_demo_model(path)
    save_file({"a": torch.zeros(2)}, path, {"format": "something else"})
    with pytest.raises(ValueError, match="is not a landscape model file"):
        load_demo_model(path)
    weights, metadata = comfy.utils.load_torch_file(str(WEIGHTS), safe_load=True, return_metadata=True)
    weights.pop(next(key for key in weights if key.startswith("unet.")))
    save_file(weights, path, metadata)
    with pytest.raises(ValueError, match="does not fit this version of the pack"):
        load_demo_model(path)


def test_a_sheet_of_fewer_pictures_than_a_row_is_a_shorter_row() -> None:
    pictures = torch.linspace(0, 1, 9).reshape(9, 1, 1, 1).expand(9, 4, 4, 3)
    assert sheet(pictures[:2]).shape == (4, 8, 3)
    assert sheet(pictures).shape == (4, 32, 3)
