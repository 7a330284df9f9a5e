"""Colours that follow the greys: the minimum itself, edges that hold, luma that stays, and neutral settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusion_path.devtools.direct import call
from diffusion_path.inverse import measurement
from diffusion_path.inverse.colors import CONTRAST, smoothed_chroma
from diffusion_path.inverse.measurement import agreeing
from diffusion_path.inverse.operators import LUMA
from torch import Tensor

HEIGHT, WIDTH = 5, 7


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def luma(planes: Tensor) -> Tensor:
    return (planes * torch.tensor(LUMA, dtype=planes.dtype).reshape(3, 1, 1)).sum(dim=-3)


def two_halves(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Greys [16, 16] that are 0.4 on the left and 0.6 on the right, and chroma [3, 16, 16] of noise."""
    y = torch.full((16, 16), 0.4, dtype=torch.float64)
    y[:, 8:] = 0.6
    colors = random(3, 16, 16, seed=seed) - 0.5
    return y, colors - luma(colors)


def test_it_is_the_minimum_of_what_it_says() -> None:
    y, c, pixels = 0.02 * random(HEIGHT, WIDTH), random(3, HEIGHT, WIDTH, seed=1) - 0.5, 3.0

    def energy(u: Tensor) -> Tensor:
        total = (u - c).square().sum()
        for dim in (0, 1):
            near = (-y.diff(dim=dim).square() / (2 * CONTRAST**2)).exp()
            total = total + pixels**2 * (near * u.diff(dim=dim + 1).square()).sum()
        return total

    found = smoothed_chroma(c, y, pixels).requires_grad_()
    (gradient,) = torch.autograd.grad(energy(found), found)
    assert float(gradient.abs().max()) < 1e-3
    assert float(energy(found.detach())) < 0.5 * float(energy(c))


def test_colours_even_out_in_a_flat_area_and_not_across_an_edge() -> None:
    y, c = two_halves()
    c[0, :, :8] += 1.0
    found = smoothed_chroma(c, y, 8.0)
    left, right = found[:, :, :8], found[:, :, 8:]
    assert float(left.std(dim=(1, 2)).max()) < 0.1 * float(c[:, :, :8].std(dim=(1, 2)).min())
    torch.testing.assert_close(left.mean(dim=(1, 2)), c[:, :, :8].mean(dim=(1, 2)), rtol=0, atol=1e-3)
    torch.testing.assert_close(right.mean(dim=(1, 2)), c[:, :, 8:].mean(dim=(1, 2)), rtol=0, atol=1e-3)


def test_the_luma_of_chroma_stays_zero() -> None:
    y, c = two_halves()
    assert float(luma(smoothed_chroma(c, y, 4.0)).abs().max()) < 1e-5


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1)])
def test_the_smallest_pictures(shape: tuple[int, int]) -> None:
    c = random(3, *shape)
    found = smoothed_chroma(c, torch.zeros(shape, dtype=torch.float64), 100.0)
    torch.testing.assert_close(found, c.mean(dim=(1, 2), keepdim=True).expand_as(c), rtol=0, atol=1e-2)


def test_no_smoothing_is_the_projection_alone_and_other_kinds_ignore_it() -> None:
    truth, made = (random(2, 16, 16, 3, seed=seed).float() for seed in (1, 2))
    known = measurement.grey(truth)
    assert not torch.equal(agreeing(known, made, 4.0), agreeing(known, made))
    assert torch.equal(agreeing(known, truth), truth)
    other = measurement.smaller(truth, 4, measured=False)
    assert torch.equal(agreeing(other, made, 4.0), agreeing(other, made))


def test_a_smoothed_picture_agrees_and_a_batch_is_its_singles() -> None:
    truth, made = (random(2, 16, 16, 3, seed=seed).float() for seed in (1, 2))
    known = measurement.grey(truth)
    found = agreeing(known, made, 8.0)
    assert float(measurement.disagreement(known, found).max()) < 0.01
    for index in range(2):
        some = slice(index, index + 1)
        assert torch.equal(agreeing(known.of(some), made[some], 8.0), found[some])


def test_noise_in_the_greys_is_no_edge() -> None:
    y, c = two_halves()
    noisy = y + 0.03 * (random(16, 16, seed=5) - 0.5)
    spread = [float(smoothed_chroma(c, noisy, 8.0, contrast)[:, :, :8].std()) for contrast in (CONTRAST, 2 * 0.03)]
    assert spread[1] < spread[0]


def test_the_node_evens_out_colours_by_default() -> None:
    truth, made = (random(1, 16, 16, 3, seed=seed).float() for seed in (1, 2))
    known: Any = call("DPathMeasurement", image=truth.mean(dim=-1, keepdim=True).expand_as(truth), known="grey")[0]
    smoothed, kept = (
        call("DPathMeasurementExact", image=made, measurement=known, **given)[0]
        for given in ({}, {"color_smoothing": 0.0})
    )
    greys, saturation = (torch.stack([f(each.movedim(-1, 1)) for each in (smoothed, kept)]) for f in (luma, _spread))
    torch.testing.assert_close(greys[0], greys[1], rtol=0, atol=1e-4)
    assert float(saturation[0]) < float(saturation[1])


def _spread(planes: Tensor) -> Tensor:
    return (planes - planes.mean(dim=1, keepdim=True)).abs().mean()
