"""The matrix of ``docs/compatibility.md``: which families and nodes it covers, and the well-known families in it.

The others are in test_families_unets.py, test_families_pictures.py and test_families_video.py. All name
DPathReverseSDE, DPathFilmstrip and every other node that a model reaches.
"""

from __future__ import annotations

import comfy.supported_models
import comfyui_version
import pytest
from comfy.model_base import ModelType
from comfy_api.latest import io
from diffusion_path.tests.unit import compatibility_page, families
from diffusion_path.tests.unit.compatibility import CASES, NODES, row
from diffusion_path.tests.unit.families import EVERY, FAMILIES, LEFT_OUT


@pytest.mark.parametrize("name", FAMILIES)
def test_core_takes_the_model_for_what_it_is(name: str) -> None:
    model, family = families.model(name), FAMILIES[name]
    assert type(model.model.model_config) is family.config
    discrete = {"SD1.5": ModelType.EPS, "SD2.1 (v)": ModelType.V_PREDICTION, "SDXL": ModelType.EPS}
    if name in discrete:
        assert model.model.model_type == discrete[name]
    else:
        assert model.model.model_type in (ModelType.FLOW, ModelType.FLUX)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_page_says_what_happens(name: str) -> None:
    compatibility_page.check(name, row(FAMILIES[name]))


def test_every_class_of_core_is_in_the_matrix_or_left_out_for_a_reason() -> None:
    covered = {family.config.__name__ for family in EVERY.values()}
    left_out = {name for names in LEFT_OUT.values() for name in names}
    assert not covered & left_out
    assert {each.__name__ for each in comfy.supported_models.models} <= covered | left_out


def test_the_page_is_whole() -> None:
    text = compatibility_page.PAGE.read_text(encoding="utf-8")
    cells = compatibility_page.families_in(text)
    assert set(cells) == set(CASES)
    if f"ComfyUI {comfyui_version.__version__} " in text:
        assert {name for outcomes in cells.values() for name in outcomes} == set(EVERY)


def test_every_node_that_takes_a_model_is_in_the_matrix() -> None:
    sockets = (io.Model.Input, io.Guider.Input, io.Sampler.Input)
    taking = {
        node_id
        for node_id, node in NODES.items()
        if any(isinstance(each, sockets) for each in node.GET_SCHEMA().inputs)
    }
    assert taking <= {label.split(":")[0] for label in CASES}
