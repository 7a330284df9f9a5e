"""What can be known of a picture: adjoints, right inverses, and projections that agree to half an 8-bit step."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusion_path.inverse import kernels, measurement
from diffusion_path.inverse.measurement import agreeing, disagreement
from diffusion_path.inverse.operators import HALF_STEP, LUMA, Blurred, Grey, Masked, Smaller
from torch import Tensor

SIDE = 16


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


KNOWN = (random(1, 1, SIDE, SIDE, seed=9) > 0.4).double()
SKEW = torch.tensor([[0.0, 0.1, 0.2], [0.0, 0.4, 0.0], [0.3, 0.0, 0.0]], dtype=torch.float64)
OPERATORS: dict[str, Any] = {
    "grey": Grey(),
    "smaller, 2": Smaller(2),
    "smaller, 4": Smaller(4),
    "masked": Masked(KNOWN),
    "blurred": Blurred(kernels.gaussian(1.5).double()),
    "moved": Blurred(kernels.motion(9.0, 30.0).double()),
    "any kernel": Blurred(SKEW),
    "kernel larger than the picture": Blurred(random(41, 41, seed=3) / 41**2 * 2),
}
WITH_INVERSE = [name for name in OPERATORS if not isinstance(OPERATORS[name], Blurred)]
every = pytest.mark.parametrize("name", OPERATORS)


@every
def test_the_transpose_is_the_adjoint(name: str) -> None:
    operator = OPERATORS[name]
    x = random(2, 3, SIDE, SIDE) - 0.5
    y = random(*operator.apply(x).shape, seed=1) - 0.5
    forth, back = (operator.apply(x) * y).sum(), (x * operator.transpose(y)).sum()
    torch.testing.assert_close(forth, back, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", WITH_INVERSE)
def test_the_inverse_is_one(name: str) -> None:
    operator, x = OPERATORS[name], random(2, 3, SIDE, SIDE)
    y = operator.apply(x)
    torch.testing.assert_close(operator.apply(operator.inverse(y)), y, rtol=0, atol=1e-14)
    shortest = operator.inverse(y)  # of all pictures that agree: it is across what A does not see
    torch.testing.assert_close((shortest * (x - shortest)).sum(), torch.zeros((), dtype=y.dtype), rtol=0, atol=1e-11)


@every
def test_a_projection_agrees_stays_a_picture_and_is_idempotent(name: str) -> None:
    operator = OPERATORS[name]
    y = operator.apply(random(2, 3, SIDE, SIDE))
    made = operator.project(1.6 * random(2, 3, SIDE, SIDE, seed=2) - 0.3, y)
    assert float(made.min()) >= 0.0
    assert float(made.max()) <= 1.0
    exact = 1.01 * HALF_STEP if isinstance(operator, Blurred) else 1e-8
    assert float((operator.apply(made) - y).abs().max()) <= exact
    torch.testing.assert_close(operator.project(made, y), made, rtol=0, atol=1e-8)


@every
def test_what_agrees_is_unchanged_bit_for_bit(name: str) -> None:
    x = random(2, 3, SIDE, SIDE, dtype=torch.float32)
    operator = OPERATORS[name]
    assert torch.equal(operator.project(x, operator.apply(x)), x)


@every
def test_in_8_bits_the_measurement_is_off_by_half_a_step_at_most(name: str) -> None:
    operator, x = OPERATORS[name], random(1, 3, SIDE, SIDE, dtype=torch.float32)
    y = operator.apply(x)
    made = (operator.project(random(1, 3, SIDE, SIDE, seed=2, dtype=torch.float32), y) * 255).round() / 255
    off = (operator.apply(made) - y).abs()
    # A blur is allowed half a step before rounding, which then averages out.
    assert float(off.max()) <= (2 if isinstance(operator, Blurred) else 1) * HALF_STEP + 1e-6
    assert float(off.square().mean().sqrt()) <= HALF_STEP


def test_luma_keeps_the_hue() -> None:
    assert math.isclose(sum(LUMA), 1.0)
    v, y = random(1, 3, 8, 8), random(1, 1, 8, 8, seed=1)
    made = Grey().project(v, y)
    before, after = v - Grey().apply(v), made - y
    torch.testing.assert_close(torch.cosine_similarity(before, after, dim=1), torch.ones(1, 8, 8, dtype=v.dtype))
    assert bool((after.norm(dim=1) <= before.norm(dim=1) + 1e-12).all())


def test_the_last_correction_of_blocks_is_the_smallest() -> None:
    """Kuhn-Tucker: a block moves by one amount, except where it is clipped, which goes no further than that."""
    operator, v = Smaller(4), random(1, 3, 8, 8)
    y = operator.apply(random(1, 3, 8, 8, seed=5))
    moved = (operator._moved(v, y) - v).unfold(2, 4, 4).unfold(3, 4, 4).flatten(-2)
    made = (moved + v.unfold(2, 4, 4).unfold(3, 4, 4).flatten(-2)).clamp(0, 1)
    inside = (made > 1e-6) & (made < 1 - 1e-6)
    amount = moved.where(inside, torch.nan).nanmean(-1, keepdim=True).expand_as(moved)
    torch.testing.assert_close(moved[inside], amount[inside], rtol=0, atol=1e-6)
    assert bool((moved >= amount - 1e-6)[made <= 1e-6].all())
    assert bool((moved <= amount + 1e-6)[made >= 1 - 1e-6].all())


def test_blocks_do_not_show() -> None:
    """A smooth picture that is off by a smooth amount: the result has no more of an edge between blocks than inside."""
    place = torch.linspace(0, 3, 32, dtype=torch.float64)
    truth = 0.5 + 0.3 * torch.sin(place[:, None] + 2 * place).expand(1, 3, 32, 32)
    made = Smaller(4).project(torch.full_like(truth, 0.5), Smaller(4).apply(truth))
    steps = made.diff(dim=-1).abs()[..., 4:-4, 4:-4]
    assert float(steps[..., 3::4].mean()) < 1.2 * float(steps.mean())
    assert float((made - truth)[..., 4:-4, 4:-4].abs().mean()) < 0.01


def test_kernels() -> None:
    for kernel in (kernels.gaussian(3.0), kernels.motion(15.0, 20.0), kernels.motion(1.0, 0.0)):
        assert kernel.shape[0] % 2 == kernel.shape[1] % 2 == 1
        torch.testing.assert_close(kernel.sum(), torch.ones(()))
        torch.testing.assert_close(kernel, kernel.flip(0, 1))
    line = kernels.motion(5.0, 0.0)
    torch.testing.assert_close(line[line.shape[0] // 2, 1:6], torch.full((5,), 0.2))
    places = torch.arange(-9.0, 10.0)
    torch.testing.assert_close(
        (kernels.gaussian(3.0).sum(0) * places**2).sum().sqrt(), torch.tensor(3.0), rtol=0.02, atol=0
    )
    point = torch.zeros(1, 4, 5, 3)
    point[0, 1, 2] = 0.5
    assert kernels.of_picture(point).shape == (5, 5)
    for wrong in (torch.zeros(1, 3, 3, 3), torch.ones(2, 3, 3, 3), torch.ones(1, 131, 3, 3)):
        with pytest.raises(ValueError, match=r"^The kernel is .*\.$"):
            kernels.of_picture(wrong)


def test_a_point_is_blurred_to_the_kernel() -> None:
    point = torch.zeros(1, 3, 9, 9, dtype=torch.float64)
    point[..., 4, 4] = 1.0
    torch.testing.assert_close(Blurred(SKEW).apply(point)[0, 0, 3:6, 3:6], SKEW)


def measurements(image: Tensor, measured: bool = False) -> dict[str, measurement.Measurement]:
    height, width = image.shape[1:3]
    return {
        "grey": measurement.grey(image),
        "smaller": measurement.smaller(image, 4, measured),
        "blurred": measurement.blurred(image, kernels.gaussian(1.0), measured),
        "masked": measurement.masked(image, torch.arange(height * width).reshape(1, height, width) % 2),
    }  # fmt: skip


def test_agreeing_pictures() -> None:
    image, other = (random(2, SIDE, SIDE, 3, seed=seed, dtype=torch.float32) for seed in (0, 1))
    for known in measurements(image).values():
        assert known.picture.shape == image.shape
        assert known.size == (SIDE, SIDE)
        assert bool((disagreement(known, image) < 1e-3).all())
        assert bool((disagreement(known, other) > 10).all())
        assert bool((disagreement(known, agreeing(known, other)) <= 0.5).all())
        single = known.of(slice(1, 2))
        torch.testing.assert_close(agreeing(single, other[1:]), agreeing(known, other)[1:], rtol=0, atol=1e-6)


def test_a_noisy_measurement_is_followed_to_its_noise() -> None:
    image, other = (random(1, SIDE, SIDE, 3, seed=seed, dtype=torch.float32) for seed in (0, 1))
    known = measurement.grey(image, noise=4 / 255)
    assert float(disagreement(known, agreeing(known, other))) == pytest.approx(4.0, rel=1e-3)
    near = (image + 2 / 255).clamp(0, 1)
    assert torch.equal(agreeing(known, near), near)


def test_a_given_small_picture_is_the_measurement() -> None:
    image = random(1, 8, 6, 3, dtype=torch.float32)
    known = measurement.smaller(image, 4, measured=True)
    assert known.size == (32, 24)
    assert torch.equal(known.value[0].movedim(0, -1), image[0])


def test_crops() -> None:
    image = random(1, 44, 40, 3, dtype=torch.float32)
    for name, known in measurements(image).items():
        if name == "smaller":
            with pytest.raises(ValueError, match="of 40 x 44, but this one is 40 x 40"):
                known.cropped(40, 40)
            continue
        middle = known.cropped(40, 40)
        assert middle.size == (40, 40)
        if name != "blurred":  # whose border is another one
            assert bool((disagreement(middle, image[:, 2:42]) < 1e-3).all())
    whole = measurement.smaller(random(1, 48, 40, 3), 4, measured=False)
    assert torch.equal(whole.cropped(40, 40).value, whole.value[..., 1:11, :])
    for size in ((200, 40), (16, 16)):
        with pytest.raises(ValueError, match="start from the measurement's own picture"):
            measurement.grey(random(1, 100, 100, 3)).cropped(*size)
