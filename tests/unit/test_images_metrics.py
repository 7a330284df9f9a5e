"""Metrics of pairs and of sets (DPathMetrics) against other references."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_path.images.distribution import kernel_distance
from diffusion_path.images.metrics import edit_metrics
from diffusion_path.images.perceptual import lpips_missing
from diffusion_path.nodes import metrics as nodes_metrics
from diffusion_path.nodes.metrics import Metrics
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return torch.from_numpy(data.astronaut()[100:228:, 160:320].copy()).float()[None] / 255


def pairs(reference: Tensor, edited: Tensor, region: str = "whole", **given: Any) -> tuple[Any, ...]:
    return Metrics.execute(reference, edited, {"compare": "pairs", "region": region, **given}).args


def sets(reference: Tensor, edited: Tensor, **given: Any) -> tuple[Any, ...]:
    return Metrics.execute(reference, edited, {"compare": "sets", **given}).args


def noisy(picture: Tensor, amount: float, seed: int = 0) -> Tensor:
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))
    return (picture + amount * noise).clamp(0, 1)


def half_mask(picture: Tensor) -> Tensor:
    mask = torch.zeros(picture.shape[:3])
    mask[:, :, :70] = 1.0
    return mask


def test_whole_picture_agrees_with_scikit_image(photo: Tensor) -> None:
    edited = noisy(photo, 0.1)
    metrics = edit_metrics(photo, edited)
    a, b = photo[0].double().numpy(), edited[0].double().numpy()
    assert metrics.mean("whole", "l2") == pytest.approx(np.linalg.norm((a - b).ravel()), rel=1e-12)
    assert metrics.mean("whole", "rms") == pytest.approx(np.sqrt(np.mean((a - b) ** 2)), rel=1e-12)
    assert metrics.mean("whole", "psnr") == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0), rel=1e-9)
    wanted = structural_similarity(
        a, b, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert metrics.mean("whole", "ssim") == pytest.approx(float(np.asarray(wanted)), rel=1e-9)


def test_l2_of_a_known_difference_is_its_norm_summed_over_pixels_and_colours() -> None:
    a, b = torch.zeros(1, 256, 256, 3), torch.full((1, 256, 256, 3), 0.1)
    assert edit_metrics(a, b).mean("whole", "l2") == pytest.approx(0.1 * math.sqrt(256 * 256 * 3), rel=1e-6)


def test_regions_split_the_picture(photo: Tensor) -> None:
    edited, mask = noisy(photo, 0.1), half_mask(photo)
    edited[:, :, 70:] = photo[:, :, 70:]
    metrics = edit_metrics(photo, edited, mask)
    assert metrics.mean("outside", "l2") == 0
    assert math.isinf(metrics.mean("outside", "psnr"))
    assert metrics.mean("inside", "l2") == pytest.approx(metrics.mean("whole", "l2"))
    difference = (photo - edited)[:, :, :70].double()
    assert metrics.mean("inside", "psnr") == pytest.approx(-10 * math.log10(difference.square().mean().item()))
    assert metrics.mean("inside", "ssim") < metrics.mean("whole", "ssim") < metrics.mean("outside", "ssim")
    assert metrics.mean("inside", "edges") > 0


def test_more_noise_is_farther_in_every_metric(photo: Tensor) -> None:
    rows = [edit_metrics(photo, noisy(photo, amount)) for amount in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)]
    for name, sign in (("l2", 1), ("rms", 1), ("psnr", -1), ("ssim", -1), ("edges", 1)):
        values = [sign * row.mean("whole", name) for row in rows]
        assert values == sorted(values), name
        assert len(set(values)) == len(values), name


def test_edge_distance_sees_structure_and_not_brightness(photo: Tensor) -> None:
    def edges(edited: Tensor) -> float:
        return edit_metrics(photo, edited).mean("whole", "edges")

    assert edges(photo) == pytest.approx(0, abs=1e-12)
    assert edges(photo * 0.5 + 0.2) == pytest.approx(0, abs=1e-6)
    assert edges(1 - photo) == pytest.approx(0, abs=1e-6)
    assert edges(photo.roll(1, dims=2)) < 0.2 < edges(photo.flip(2))
    assert edges(torch.full_like(photo, 0.5)) == 1.0
    flat = torch.full_like(photo, 0.3)
    assert edit_metrics(flat, flat + 0.1).mean("whole", "edges") == 0.0


def test_node_gives_numbers_a_table_and_strict_json(photo: Tensor) -> None:
    edited = torch.cat((photo, noisy(photo, 0.1)))
    l2, psnr, ssim, edges, kid, error, text, values = pairs(photo, edited, region="inside", mask=half_mask(photo))
    parsed = json.loads(values, parse_constant=pytest.fail)["regions"]
    assert parsed["inside"]["l2"]["mean"] == l2
    assert parsed["inside"]["l2"]["items"][0] == 0
    assert parsed["inside"]["identical"] == [True, False]
    assert parsed["inside"]["psnr"]["items"][0] is None
    assert math.isinf(psnr)
    assert ssim == parsed["inside"]["ssim"]["mean"]
    assert edges == parsed["inside"]["edges"]["mean"]
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["whole", "inside", "outside"]
    assert "LPIPS" not in text
    assert [each.message for each in (kid, error)] == [
        f"Metrics measures {name} only for sets: set compare to sets." for name in ("kid", "standard_error")
    ]


def test_batch_items_are_measured_one_by_one(photo: Tensor) -> None:
    edited = torch.cat([noisy(photo, a) for a in (0.05, 0.1, 0.2)])
    many = edit_metrics(photo, edited, half_mask(photo))
    for item in range(3):
        single = edit_metrics(photo, edited[item : item + 1], half_mask(photo))
        for region, row in many.values.items():
            for name, items in row.items():
                assert items[item] == pytest.approx(single.values[region][name][0], rel=1e-12, nan_ok=True)


def test_empty_regions_and_small_pictures_have_no_number_and_no_crash() -> None:
    picture = torch.rand(1, 8, 8, 3)
    metrics = edit_metrics(picture, picture.flip(1), torch.ones(1, 64, 64))
    assert math.isnan(metrics.mean("outside", "l2"))
    assert math.isnan(metrics.mean("whole", "ssim"))
    *_, text, values = pairs(picture, picture.flip(1), mask=torch.ones(1, 64, 64))
    assert json.loads(values)["regions"]["outside"]["l2"]["mean"] is None
    assert text.splitlines()[3].split()[:2] == ["outside", "-"]


def test_alpha_is_left_out(photo: Tensor) -> None:
    with_alpha = torch.cat((photo, torch.rand(photo[..., :1].shape)), dim=-1)
    assert edit_metrics(photo, with_alpha).mean("whole", "l2") == 0


def test_bad_input_is_named(photo: Tensor) -> None:
    with pytest.raises(ValueError, match="160 x 128 .* 160 x 64, and resizing would change"):
        edit_metrics(photo, photo[:, :64])
    with pytest.raises(ValueError, match="'inside' need a mask"):
        pairs(photo, photo, region="inside")
    with pytest.raises(ValueError, match="edited holds .* NaN"):
        edit_metrics(photo, photo * float("nan"))
    with pytest.raises(ValueError, match="batch of 2.*has 3"):
        edit_metrics(photo.repeat(2, 1, 1, 1), photo.repeat(3, 1, 1, 1))


def test_lpips_is_one_sentence_where_it_cannot_run(photo: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = lpips_missing()
    assert missing.count(".") == 1
    *_, text, values = pairs(photo, photo, lpips=True)
    assert text.endswith(missing)
    assert json.loads(values)["note"] == missing


def test_a_perceptual_map_is_averaged_by_region(photo: Tensor) -> None:
    edited, mask = noisy(photo, 0.1), half_mask(photo)
    ramp = torch.arange(160.0).expand(128, 160)
    metrics = edit_metrics(photo, edited, mask, lambda a, b: ramp)
    assert metrics.mean("whole", "lpips") == pytest.approx(79.5)
    assert metrics.mean("inside", "lpips") == pytest.approx(34.5)
    assert metrics.mean("outside", "lpips") == pytest.approx(114.5)


def direct_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, pair by pair: mean kernel within each side without i = j, minus twice that across."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / len(a) + 1.0) ** 3

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_kernel_distance_agrees_with_its_definition_and_its_jackknife_with_deleting_pictures() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(0.3, 1.0, (11, 5)), rng.normal(0.0, 1.2, (8, 5))
    distance = kernel_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert distance.value == pytest.approx(direct_mmd2(x, y), rel=1e-12)
    without_x = [direct_mmd2(np.delete(x, i, 0), y) for i in range(11)]
    without_y = [direct_mmd2(x, np.delete(y, i, 0)) for i in range(8)]
    variance = 10 / 11 * sum((v - np.mean(without_x)) ** 2 for v in without_x)
    variance += 7 / 8 * sum((v - np.mean(without_y)) ** 2 for v in without_y)
    assert distance.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_kernel_distance_of_gaussians_is_the_known_one_and_its_error_is_honest() -> None:
    """In one dimension E (ab + 1)^3 has a closed form in the moments m1, m2, m3 of both sides."""

    def kernel_mean(p: tuple[float, float], q: tuple[float, float]) -> float:
        (a1, a2, a3), (b1, b2, b3) = ((m, m * m + s * s, m**3 + 3 * m * s * s) for m, s in (p, q))
        return a3 * b3 + 3 * a2 * b2 + 3 * a1 * b1 + 1

    p, q = (0.5, 1.0), (0.0, 0.8)
    wanted = kernel_mean(p, p) + kernel_mean(q, q) - 2 * kernel_mean(p, q)
    rng = np.random.default_rng(0)
    runs = [
        kernel_distance(*(torch.from_numpy(rng.normal(m, s, (200, 1))) for m, s in (p, q))) for _ in range(200)
    ]  # fmt: skip
    values = np.array([run.value for run in runs])
    assert abs(values.mean() - wanted) < 4 * values.std() / math.sqrt(len(values)), "the estimate is biased"
    errors = np.mean([run.standard_error for run in runs])
    assert 0.8 < errors / values.std(ddof=1) < 1.25


def test_kernel_distance_rises_with_the_difference_and_is_unbiased_at_zero() -> None:
    rng = np.random.default_rng(1)
    reference = torch.from_numpy(rng.normal(0, 1, (300, 16)))
    near, shifted, far = (
        kernel_distance(torch.from_numpy(rng.normal(m, 1, (300, 16))), reference) for m in (0, 0.3, 1)
    )
    assert abs(near.value) < 3 * near.standard_error
    assert shifted.value > 5 * shifted.standard_error
    assert far.value > 5 * shifted.value


def test_few_pictures_and_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 pictures on each side, got 1 and 5"):
        kernel_distance(torch.rand(1, 4), torch.rand(5, 4))
    with pytest.raises(ValueError, match="4 and 5 wide"):
        kernel_distance(torch.rand(3, 4), torch.rand(3, 5))
    assert math.isnan(kernel_distance(torch.rand(2, 4), torch.rand(5, 4)).standard_error)


@pytest.fixture(scope="module")
def clip_vision(tmp_path_factory: pytest.TempPathFactory):
    """ComfyUI's own CLIP vision wrapper around a tiny network with random weights."""
    from comfy.clip_vision import ClipVisionModel

    config = {
        "model_type": "clip_vision_model", "hidden_act": "quick_gelu", "hidden_size": 32, "image_size": 32,
        "intermediate_size": 64, "num_attention_heads": 2, "num_channels": 3, "num_hidden_layers": 2, "patch_size": 8,
        "projection_dim": 24,
    }  # fmt: skip
    file = tmp_path_factory.mktemp("clip_vision") / "config.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        model = ClipVisionModel(str(file))
        weights = {k: torch.randn(v.shape, generator=generator) * 0.2 for k, v in model.get_sd().items()}
        model.load_sd(weights)
    return model


def test_node_measures_batches_of_different_sizes_by_clip_vision(clip_vision, photo: Tensor) -> None:
    crops = torch.cat([photo[:, y : y + 64, x : x + 64] for y in (0, 20, 40) for x in (0, 16, 32, 48, 64, 80, 96)])
    large = torch.nn.functional.interpolate(crops.movedim(-1, 1), size=(96, 80)).movedim(1, -1)
    with torch.inference_mode():
        given = {"features": nodes_metrics.CLIP_FEATURES, "clip_vision": clip_vision}
        *pair, same, _, _, _ = sets(large, crops, **given)
        *_, other, error, text, values = sets(large, 1 - crops, **given)
    assert other > same
    assert other > 2 * error
    assert "21 pictures against 21, 24 features by CLIP vision" in text
    parsed = json.loads(values, parse_constant=pytest.fail)
    assert parsed == {"kid": other, "standard_error": error, "pictures": [21, 21], "features": "CLIP vision"}
    assert [each.message for each in pair] == [
        f"Metrics measures {name} only for pairs: set compare to pairs."
        for name in ("l2", "psnr", "ssim", "edge_distance")
    ]


def test_node_refuses_what_cannot_be_measured(photo: Tensor) -> None:
    with pytest.raises(ValueError, match="connect Load CLIP Vision"):
        sets(photo, photo, features=nodes_metrics.CLIP_FEATURES)
    with pytest.raises(ValueError, match="at least 2 pictures on each side, got 1 and 1"):
        sets(photo, photo, features=nodes_metrics.DEMO_FEATURES)


def test_node_measures_landscapes_by_the_demo_network() -> None:
    from diffusion_path.demo.render import render
    from diffusion_path.demo.scenes import random_scene
    from diffusion_path.images.strokes import simulate_strokes

    rng = np.random.default_rng(0)
    scenes = torch.stack([torch.from_numpy(render(random_scene(rng), 128)) for _ in range(60)]).float() / 255
    half, rest = scenes[:30], scenes[30:]
    *_, same, error, _, _ = sets(rest, half, features=nodes_metrics.DEMO_FEATURES)
    *_, strokes, strokes_error, _, _ = sets(rest, simulate_strokes(half), features=nodes_metrics.DEMO_FEATURES)
    assert abs(same) < 3 * error
    assert strokes > 3 * strokes_error
    assert strokes > 2 * same
