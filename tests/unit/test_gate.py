"""What reaches a node through links: nonsense ends in a sentence that names the input."""

from __future__ import annotations

import asyncio
import inspect
import math
from typing import Any

import pytest
import torch
from diffusion_path.nodes import DiffusionPathExtension
from diffusion_path.nodes.gate import check_inputs
from diffusion_path.nodes.schedule import make_schedule
from diffusion_path.samplers.conditioning import check_conditioning
from diffusion_path.samplers.sigmas import check_levels
from diffusion_path.tests.unit.analytic import gaussian_model

NODES = {node.GET_SCHEMA().node_id: node for node in asyncio.run(DiffusionPathExtension().get_node_list())}
ANYTHING = (None, "text", 1.5, math.nan, [], {}, (), object(), torch.zeros(1), "x" * 10_000_000, 2**70, b"")
NOT_OF_THE_KIND = {
    "INT": ("text", 1.5, math.nan, [], None, 2**70, -(2**70)),
    "FLOAT": ("text", math.nan, math.inf, -math.inf, [], 1e30, None, "x" * 10_000_000),
    "STRING": (5, None, [], torch.zeros(1), "x" * 40_000_000),
    "BOOLEAN": ("text", 1.5, []),
    "IMAGE": ("text", 5, [], {}),
    "MASK": ("text", 5, [], {}),
    "LATENT": ("text", 5, {}, {"samples": None}, {"samples": torch.zeros(1, 4, 0, 8)}, {"samples": [[1.0]]}),
    "SIGMAS": ("text", [1.0, 0.0], torch.zeros(2, 3), torch.tensor(1.0), torch.tensor([math.nan, 0.0]), {}),
    "CONDITIONING": ("text", [], [[torch.zeros(1, 3, 4)]], [[torch.zeros(1, 0, 4), {}]], 5),
    "MODEL": ("text", 5, {}, torch.zeros(1)),
    "CLIP": ("text", 5, {}),
    "VAE": ("text", 5, {}),
    "NOISE": ("text", 5, {}),
    "SAMPLER": ("text", 5, {}),
    "GUIDER": ("text", 5, {}),
    "CLIP_VISION": ("text", 5, {}),
    "DIFFUSION_PATH": ANYTHING[1:],
    "PATH_SCHEDULE": ANYTHING[1:],
    "MAP_PREDICTOR": ANYTHING[1:],
    "MEASUREMENT": ANYTHING[1:],
    "COMFY_AUTOGROW_V3": (None, "text", {}, *({"part0": each} for each in ANYTHING)),
}
INPUTS = [
    (name, entry)
    for name, node in sorted(NODES.items())
    for entry in node.GET_SCHEMA().inputs
    if str(entry.get_io_type()) in NOT_OF_THE_KIND
]


def kinds() -> set[str]:
    return {str(entry.get_io_type()) for _, entry in INPUTS}


def test_every_kind_of_socket_of_the_pack_is_looked_at() -> None:
    given = {str(entry.get_io_type()) for node in NODES.values() for entry in node.GET_SCHEMA().inputs}
    assert given - kinds() <= {
        "COMBO",
        "STRING,CURVE",
        "DIFFUSION_PATH,CONDITIONING",
        "COMFY_DYNAMICCOMBO_V3",
        "FLOAT,INT",
    }


@pytest.mark.parametrize(("name", "entry"), INPUTS, ids=[f"{name}.{entry.id}" for name, entry in INPUTS])
def test_what_is_none_of_a_kind_is_one_sentence_that_names_the_input(name: str, entry: Any) -> None:
    for value in NOT_OF_THE_KIND[str(entry.get_io_type())]:
        if value is None and entry.optional:
            check_inputs((entry,), {entry.id: value})
            continue
        with pytest.raises(ValueError, match=entry.id) as refusal:
            check_inputs((entry,), {entry.id: value})
        assert len(str(refusal.value)) < 300
        assert "\n" not in str(refusal.value)
        assert str(refusal.value).endswith(".")


@pytest.mark.parametrize(("name", "entry"), INPUTS, ids=[f"{name}.{entry.id}" for name, entry in INPUTS])
def test_widgets_take_all_of_their_range(name: str, entry: Any) -> None:
    values = [getattr(entry, key, None) for key in ("default", "min", "max")]
    for value in values:
        if value is not None:
            check_inputs((entry,), {entry.id: value})


def test_the_node_itself_refuses() -> None:
    with pytest.raises(ValueError, match=r"t0 is inf: give a number from 0\.0 to 1\.0"):
        NODES["DPathSigmas"].execute(model=gaussian_model(), t0=math.inf, steps=3, scheduler="simple")
    with pytest.raises(ValueError, match="model is Identity, but a MODEL is expected"):
        NODES["DPathSigmas"].execute(model=torch.nn.Identity(), t0=0.5, steps=3, scheduler="simple")
    with pytest.raises(ValueError, match="choose one of"):
        NODES["DPathInvert"].execute(method={"method": "x" * 10**7})
    # Core leaves out a choice that it does not know, and passes on links to inputs of any choice.
    with pytest.raises(ValueError, match="known is None: choose one of"):
        NODES["DPathMeasurement"].execute(**{"image": torch.zeros(1, 8, 8, 3), "known.mask": torch.zeros(1, 8, 8)})


def test_a_link_to_an_input_of_another_choice_changes_nothing() -> None:
    given = {"image": torch.rand(1, 8, 8, 3), "known": {"known": "grey"}, "noise": 0.0}
    picture = NODES["DPathMeasurement"].execute(**given, **{"known.mask": object()}).result[1]
    assert torch.equal(picture, NODES["DPathMeasurement"].execute(**given).result[1])


def test_none_for_an_optional_input_is_its_default() -> None:
    """A link can give None, which core passes on."""
    given = {"model": gaussian_model(), "t0": 0.5, "steps": 3, "scheduler": "simple"}
    usual = NODES["DPathSigmas"].execute(**given).result[0]
    assert torch.equal(NODES["DPathSigmas"].execute(**given, levels=None).result[0], usual)
    for name, node in NODES.items():
        parameters = inspect.signature(node.execute).parameters
        for entry in node.GET_SCHEMA().inputs:
            if entry.optional and entry.id in parameters:
                assert parameters[entry.id].default is not inspect.Parameter.empty, f"{name}.{entry.id}"


@pytest.mark.parametrize("index", [[], [0], [0, 1, 2]])
def test_a_batch_index_has_one_number_for_each_item(index: list[int]) -> None:
    (entry,) = (entry for entry in NODES["DPathPerturb"].GET_SCHEMA().inputs if entry.id == "latent")
    check_inputs((entry,), {"latent": {"samples": torch.zeros(2, 4, 8, 8), "batch_index": [5, 5]}})
    with pytest.raises(ValueError, match=rf"batch_index of latent has {len(index)} numbers for 2 items"):
        check_inputs((entry,), {"latent": {"samples": torch.zeros(2, 4, 8, 8), "batch_index": index}})


@pytest.mark.parametrize(
    "curve",
    [
        5,
        {},
        {"points": []},
        {"points": 3},
        [],
        [1, 2],
        [["a", "b"]],
        [[0.0, math.nan]],
        [[0.0, 1.0]] * 10_001,
        object(),
    ],
    ids=lambda curve: type(curve).__name__,
)
def test_a_connected_curve_has_points(curve: Any) -> None:
    with pytest.raises(ValueError, match="The connected curve") as refusal:
        make_schedule(1.0, 0.0, "curve", 1.0, curve)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([1.0, 2.0, 0.0], r"level 2 \(2\) is above level 1 \(1\)"),
        ([math.inf, 1.0], "Level 1 of sigmas is inf"),
        ([2.0, math.nan, 0.0], "Level 2 of sigmas is nan"),
        ([1.0, -0.5], r"Level 2 of sigmas is -0\.5"),
        ([0.0] * 10_002, "has 10002 noise levels: give at most 10001"),
    ],
)
def test_sigmas_are_levels_that_fall(levels: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_levels(torch.tensor(levels))


@pytest.mark.parametrize("levels", [[], [1.0], [3.0, 1.0, 0.0], [2.0, 2.0, 1.0], [1.0, -0.0]])
def test_sigmas_that_a_scheduler_makes_pass(levels: list[float]) -> None:
    check_levels(torch.tensor(levels))


def test_prompts_that_text_encoders_make_pass() -> None:
    check_conditioning([[torch.zeros(1, 77, 768), {"pooled_output": torch.zeros(1, 768)}]], "positive")
    check_conditioning([[torch.zeros(1, 8, 64), {"pooled_output": None}], [None, {}]], "positive")
    with pytest.raises(ValueError, match="positive has values that are not finite"):
        check_conditioning([[torch.full((1, 8, 64), math.nan), {}]], "positive")
