"""Every node that works on a model, on every family: the matrix of ``docs/compatibility.md``, cell by cell.

It names DPathReverseSDE, DPathFilmstrip and all others that a model reaches.
"""

from __future__ import annotations

import pytest
from comfy.model_base import ModelType
from comfy_api.latest import io
from diffusion_path.tests.unit import compatibility_page, families
from diffusion_path.tests.unit.compatibility import CASES, NODES, outcome, world
from diffusion_path.tests.unit.families import FAMILIES


@pytest.fixture(scope="module")
def cells() -> dict[str, dict[str, str]]:
    return compatibility_page.families_in(compatibility_page.PAGE.read_text(encoding="utf-8"))


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
@pytest.mark.parametrize("label", CASES)
def test_the_page_says_what_happens(label: str, name: str, cells: dict[str, dict[str, str]]) -> None:
    found, sentence = outcome(label, world(name))
    assert cells.get(label, {}).get(name) == found, f"{sentence} If that is meant, run ./dev compatibility."


def test_every_node_that_takes_a_model_is_in_the_matrix() -> None:
    sockets = (io.Model.Input, io.Guider.Input, io.Sampler.Input)
    taking = {
        node_id
        for node_id, node in NODES.items()
        if any(isinstance(each, sockets) for each in node.GET_SCHEMA().inputs)
    }
    assert taking <= {label.split(":")[0] for label in CASES}
