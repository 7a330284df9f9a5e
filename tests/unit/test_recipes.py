"""The tables of docs/recipes.md that follow from formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
from comfy.model_base import ModelType
from diffusion_path.samplers import process
from diffusion_path.tests.unit.analytic import gaussian_model

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"


def test_the_same_share_of_noise_is_at_these_t0() -> None:
    models = [
        gaussian_model(ModelType.EPS),
        gaussian_model(ModelType.FLUX, shift=1.15),
        gaussian_model(ModelType.FLOW, shift=1.0),
        gaussian_model(ModelType.FLOW, shift=3.0),
        gaussian_model(ModelType.FLOW, shift=5.0, multiplier=1000),
        gaussian_model(ModelType.FLOW, shift=8.0, multiplier=1000),
    ]
    text = PAGE.read_text(encoding="utf-8").partition("| share of noise |")[2]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()[2:] if line.startswith("|")][:7]
    assert len(rows) == 7
    first = process.model_sampling(models[0])
    for share, *t0s in rows:
        sigma = process.t0_to_sigma(first, float(t0s[0]))
        wanted = float(process.noise_fraction(first, sigma))
        assert round(100 * wanted) == int(share.removesuffix(" %"))
        for model, t0 in zip(models, t0s, strict=True):
            sampling = process.model_sampling(model)
            same = sigma if model is models[0] else sigma / (1 + sigma)  # a flow's level of the same ratio
            assert float(t0) == pytest.approx(process.sigma_to_t0(sampling, same), abs=0.0051)
            assert float(process.noise_fraction(sampling, same)) == pytest.approx(wanted, rel=1e-5)
