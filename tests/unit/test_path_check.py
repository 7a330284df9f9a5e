"""Every field of a path and of a predictor has a type and a range, and a wrong one is one sentence."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from diffusion_path.lep.predictor import MapPredictor, build_network
from diffusion_path.samplers.path import DiffusionPath, ModelKind
from diffusion_path.samplers.path_check import check_falling
from diffusion_path.samplers.replay import replay_sampler, stand_in
from diffusion_path.tests.unit.test_lep_checkpoint import own
from diffusion_path.tests.unit.test_path_file import full_path
from diffusion_path.views.reports import predictor_report

NAN, INF = math.nan, math.inf
STEPS = (3, 2, 4, 3, 3)  # shape of what the path stores for its steps


def filled(shape: tuple[int, ...], value: float) -> torch.Tensor:
    """Ones, but for the last number."""
    values = torch.ones(shape)
    values.view(-1)[-1] = value
    return values


WRONG_PATHS: list[tuple[str, Any, str]] = [
    ("sigmas", torch.tensor([NAN, 2.0, 0.3, 0.0]), "level 1 is nan"),
    ("sigmas", torch.tensor([2.0, 1.0, 0.3, -1.0]), "level 4 is -1"),
    ("sigmas", torch.tensor([INF, 2.0, 0.3, 0.0]), "level 1 is inf"),
    ("sigmas", torch.tensor([4, 3, 2, 1]), "sigmas must be floating point"),
    ("sigmas", [4.0, 3.0, 2.0, 1.0], "sigmas must be floating point"),
    ("states", torch.ones(4, 2), r"states are \[4, 2\], but"),
    ("states", torch.ones(4, 0, 4, 3, 3), r"states are \[4, 0, 4, 3, 3\], but"),
    ("states", filled((4, *STEPS[1:]), NAN), "not finite from noise level 0"),
    ("signal", torch.ones(3), "signal must be 4 numbers of 0 or more"),
    ("signal", torch.tensor([1.0, 1.0, -1.0, 1.0]), "signal must be 4 numbers of 0 or more"),
    ("signal", torch.tensor([1.0, 1.0, 1.0, 0.0]), "the signal above 0 there"),
    ("noise", torch.ones(5), "noise must be 4 numbers of 0 or more"),
    ("noise", torch.tensor([NAN, 1.0, 1.0, 0.0]), "noise must be 4 numbers of 0 or more"),
    ("noise", torch.tensor([0.0, 1.0, 1.0, 0.0]), "above 0 at every level but the last"),
    ("positions", torch.ones(3), "positions must be 4 fractions"),
    ("positions", torch.tensor([1.0, NAN, 0.5, 0.0]), "positions must be 4 fractions"),
    ("positions", torch.tensor([1.0, 0.2, 0.5, 0.0]), "that never rise"),
    ("positions", torch.tensor([1.5, 0.5, 0.2, 0.0]), "positions must be 4 fractions"),
    ("denoised", torch.ones(4, *STEPS[1:]), "denoised are"),
    ("denoised", filled(STEPS, INF), r"denoised must be finite numbers, not \(nan, inf\)"),
    ("residuals", filled(STEPS, NAN), "residuals must be finite numbers"),
    ("residuals", torch.ones(STEPS, dtype=torch.int64), "residuals must be floating point"),
    ("null", {"y": torch.ones(2, 1, 8)}, "does not match its 3 steps"),
    ("null", {"y": filled((1, 1, 8), NAN)}, "embeddings y must be finite"),
    ("null", {"y": 1.0}, "embeddings must be tensors"),
    ("progress", {"x": filled((1, 4), NAN)}, "progress x must be finite"),
    ("progress", {"x": None}, "progress must be tensors"),
    ("control", torch.ones(4), "does not match its 3 steps"),
    ("control", torch.tensor([NAN, 1.0, 0.0]), "control must be finite numbers"),
    ("out_scale", torch.ones(3), "out_scale must be 4 finite numbers"),
    ("out_shift", None, "without the other"),
    ("out_shift", torch.tensor([0.0, 0.0, 0.0, INF]), "out_shift must be 4 finite numbers"),
    ("model", ModelKind("SD15", 3, "SD15"), "model prediction must be a short name, not 3"),  # pyright: ignore
    ("method", "", "method must be a short name"),
    ("method", {"a": 1}, "method must be a short name"),
    ("sampler", "x" * 10_000, "sampler must be a short name"),
    ("sampler_options", {"eta": NAN}, "sampler options must be numbers, words and switches"),
    ("sampler_options", {"eta": [1]}, "sampler options must be"),
    ("sampler_options", [], "sampler options must be"),
    ("seed", -1, "seed must be a whole number from 0 to"),
    ("seed", 2**64, "seed must be a whole number from 0 to"),
    ("seed", True, "seed must be a whole number"),
    ("seed", 1.5, "seed must be a whole number"),
    ("seed", 10**5000, "not a number of 16610 bits"),
    ("cfg", NAN, "cfg must be a finite number"),
    ("cfg", "7", "cfg must be a finite number"),
    ("cfg", 10**400, "cfg must be a finite number"),
    ("eta", -0.5, "eta must be a number of 0 or more"),
    ("eta", None, "eta must be a number of 0 or more"),
    ("conditioning", 3, "conditioning must be the fingerprint"),
    ("asked", "nothing", "'asked' must be one of '', 'destination', 'origin', 'derivative', not 'nothing'"),
    ("continuous", 1, "'continuous' must be true or false"),
    ("batch_index", (1,), "batch_index must be 2 whole numbers"),
    ("batch_index", (1, -1), "batch_index must be 2 whole numbers"),
    ("batch_index", [1, 2], "batch_index must be 2 whole numbers"),
    ("latent_shapes", ((2, 4, 8, 8),), "latent_shapes must be the sizes of two parts or more"),
    ("latent_shapes", ((2, 4, 8), (2, 4, 8)), "that fill its states"),
    ("latent_shapes", ((2, 4, 0), (2, 4, 8)), "latent_shapes must be"),
    ("latent_shapes", "two", "latent_shapes must be"),
    ("figures", {"psnr": 3.0}, "figures must be numbers"),
    ("figures", {"psnr": ("x",)}, "figures must be numbers"),
]


@pytest.mark.parametrize(("field", "value", "sentence"), WRONG_PATHS, ids=[case[0] for case in WRONG_PATHS])
def test_a_wrong_field_of_a_path_is_one_sentence(field: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        full_path().replaced(**{field: value})
    text = str(caught.value)
    assert text.endswith(".")
    assert ". " not in text
    assert len(text) < 400


def test_every_field_of_a_path_is_checked() -> None:
    assert {case[0] for case in WRONG_PATHS} == {field.name for field in dataclasses.fields(DiffusionPath)}


def test_levels_of_a_schedule_are_finite() -> None:
    with pytest.raises(ValueError, match="level 2 is nan: give SIGMAS from a scheduler"):
        check_falling(torch.tensor([1.0, NAN, 0.0]))


@pytest.mark.parametrize(
    ("sampler", "options", "taken"),
    [
        ("dpmpp_2m_sde", {"eta": 0.5, "solver_type": "heun"}, True),
        ("euler", {"s_tmax": INF, "s_churn": 1}, True),
        ("lcm", {"s_noise_end": 0.5}, True),
        ("euler", {"eta": 0.5}, False),
        ("euler", {"model": 1.0}, False),
        ("euler", {"s_churn": "much"}, False),
        ("euler", {"s_churn": True}, False),
        ("dpmpp_2m_sde", {"eta": INF}, False),
        ("dpmpp_2m_sde", {"noise_sampler": 1.0}, False),
        ("lms", {"order": 2.5}, False),
        ("reverse_sde", {"kind": "sde_small", "eta": 0.5}, True),
        ("reverse_sde", {"kind": "none"}, False),
        ("reverse_sde", {"kind": "ancestral", "eta": "much"}, False),
    ],
)
def test_options_that_a_sampler_does_not_take_lead_to_euler(sampler: str, options: dict[str, Any], taken: bool) -> None:
    path = full_path().replaced(sampler=sampler, sampler_options=options, residuals=None)
    found = replay_sampler(path)
    assert (stand_in(path) == "") is taken
    assert (options.items() <= found.extra_options.items()) is taken
    if not taken:
        assert found.extra_options == {}
        assert found.sampler_function.__name__ == "sample_euler"


WRONG_PREDICTORS: list[tuple[str, Any]] = [
    ("kind", ""), ("taps", ()), ("taps", ("a", "")), ("taps", ["a", "b"]), ("channels", (8,)), ("channels", (8, 0)),
    ("channels", (8.0, 6)), ("model", {"family": [1]}), ("model", None), ("target", "depth"), ("target", []),
    ("map", "sound"), ("map", []), ("palette", ((0, 0, 0), (9, 9, 9))), ("palette", None),
    ("line_width", -1), ("line_width", 10**9), ("line_width", True), ("branch", "both"), ("noise_range", (0.5, 0.5)),
    ("noise_range", (-0.1, 1.0)), ("noise_range", (0.0, NAN)), ("noise_range", (0.0, 0.5, 1.0)), ("binarise", "false"),
    ("settings", {"width": 1.5}), ("settings", {"width": [8, -1]}), ("record", {"steps": "many"}), ("record", []),
    ("record", {"validation_loss": NAN}), ("record", {"pictures": -1}), ("record", {"loss": None}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG_PREDICTORS, ids=[case[0] for case in WRONG_PREDICTORS])
def test_a_wrong_field_of_a_predictor_is_one_sentence(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^The map predictor's .*{field}.* must be .*: train or save it again\.$"):
        dataclasses.replace(own(), **{field: value})


def test_every_field_of_a_predictor_is_checked() -> None:
    fields = {field.name for field in dataclasses.fields(MapPredictor)}
    assert {case[0] for case in WRONG_PREDICTORS} | {"network", "unfinished"} == fields  # the last is never in a file


@pytest.mark.parametrize("value", [NAN, INF])
def test_weights_are_finite(value: float) -> None:
    network = build_network("mlp", (8, 6), 4)
    next(network.parameters()).data.view(-1)[0] = value
    with pytest.raises(ValueError, match=r"weights first\.weights\.0 must be finite numbers"):
        dataclasses.replace(own(), network=network)


def test_a_record_may_lack_anything() -> None:
    for record in ({}, {"steps": 7}, {"validation_loss": 0.25}, {"steps": 7, "pictures": 2, "validation_loss": 0.25}):
        text = predictor_report(dataclasses.replace(own(), record=record))
        assert ("trained 7 steps on 2 pictures, validation loss 0.25" in text) is (len(record) == 3)
