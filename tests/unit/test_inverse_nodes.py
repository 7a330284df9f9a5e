"""The nodes of inverse problems: every kind of measurement, what they show and say, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusion_path.devtools.direct import call
from diffusion_path.nodes.inverse import ORIGINAL
from torch import Tensor

KINDS: list[dict[str, Any]] = [
    {"known": "grey"},
    {"known": "smaller", "factor": "2", "image_is": ORIGINAL},
    {"known": "gaussian blur", "sigma": 1.5, "image_is": ORIGINAL},
    {"known": "motion blur", "length": 7.0, "angle": 30.0, "image_is": ORIGINAL},
    {"known": "other blur", "kernel": torch.ones(1, 3, 5, 3), "image_is": ORIGINAL},
    {"known": "masked", "mask": torch.ones(1, 16, 16).triu()},
]


def picture(count: int = 1, seed: int = 0, side: int = 16) -> Tensor:
    return torch.rand(count, side, side, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("known", KINDS, ids=lambda known: known["known"])
def test_every_kind_agrees_and_says_so(known: dict[str, Any]) -> None:
    measured, shown = call("DPathMeasurement", image=picture(2), known=known)
    assert shown.shape == (2, 16, 16, 3)
    made, change, report = call("DPathMeasurementExact", image=picture(2, seed=1), measurement=measured)
    assert made.shape == change.shape == (2, 16, 16, 3)
    before, after = report.removeprefix("off by ").split(" before and ")
    after = after.split(" after")[0]
    assert all(float(value) > 5 for value in before.split(", "))
    assert all(float(value) <= 0.5 for value in after.split(", "))
    again, nothing, _ = call("DPathMeasurementExact", image=made, measurement=measured, color_smoothing=0.0)
    torch.testing.assert_close(again, made, rtol=0, atol=1e-6)
    torch.testing.assert_close(nothing, torch.full_like(nothing, 0.5), rtol=0, atol=1e-5)


def test_a_picture_that_is_small_already_is_enlarged() -> None:
    measured, shown = call("DPathMeasurement", image=picture(side=8), known={"known": "smaller", "factor": "4"})
    assert shown.shape == (1, 32, 32, 3)
    assert torch.equal(measured.value[0].movedim(0, -1), picture(side=8)[0])


def test_noise_is_given_in_steps_of_8_bits() -> None:
    measured, _ = call("DPathMeasurement", image=picture(), known="grey", noise=5.1)
    assert measured.noise == pytest.approx(0.02)


def test_what_does_not_fit_is_refused() -> None:
    measured, _ = call("DPathMeasurement", image=picture(2), known="grey")
    for image, words in (
        (picture(3), "measurements of 2 pictures for 3 pictures"),
        (picture(2, side=24), "of a picture of 16 x 16, but this one is 24 x 24"),
    ):
        with pytest.raises(ValueError, match=words):
            call("DPathMeasurementExact", image=image, measurement=measured)
    with pytest.raises(ValueError, match="measurement is .*, but a MEASUREMENT is expected"):
        call("DPathMeasurementExact", image=picture(), measurement=picture())
    with pytest.raises(ValueError, match="which leaves nothing at a factor of 8"):
        call("DPathMeasurement", image=picture(side=4), known={"known": "smaller", "factor": "8", "image_is": ORIGINAL})
    with pytest.raises(ValueError, match="The kernel is black"):
        call("DPathMeasurement", image=picture(), known={"known": "other blur", "kernel": torch.zeros(1, 3, 3, 3)})
