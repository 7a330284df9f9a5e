"""What a bypassed node passes on: the page takes an input of the output's type, by its place or the first one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from comfy_api.latest import io
from diffusion_path.devtools.direct import NODES

PASSED: dict[str, dict[str, str]] = {
    "DPathCompositeExact": {"IMAGE": "edited", "weight": "mask"},
    "DPathDrag": {"frames": "image", "mask": "mask", "strength": "mask"},
    "DPathFlowEdit": {"latent": "latent"},
    "DPathInvert": {"path": "earlier"},
    "DPathJoinModels": {"MODEL": "high_noise"},
    "DPathLatentMask": {"LATENT": "latent", "MASK": "mask"},
    "DPathJoinSweeps": {"grid": "images"},
    "DPathMDP": {"MODEL": "model"},
    "DPathMDPAttention": {"MODEL": "model", "positive": "positive"},
    "DPathMDPEdit": {"latent": "latent", "path": "path", "mask": "mask"},
    "DPathMDPSweep": {"latents": "latent", "path": "path"},
    "DPathMaskedSampler": {"SAMPLER": "sampler"},
    "DPathMeasurement": {"picture": "image"},
    "DPathMeasurementExact": {"IMAGE": "image"},
    "DPathMeasurementGuidance": {"MODEL": "model"},
    "DPathPerturb": {"latent": "latent"},
    "DPathReconstruct": {"walked": "path"},
    "DPathRecord": {"latent": "latent_image"},
    "DPathReport": {"path": "path"},
    "DPathSDEdit": {"latent": "guide", "perturbed": "guide"},
    "DPathSigmas": {"SIGMAS": "sigmas"},
    "DPathSketchGuidance": {"MODEL": "model"},
    "DPathStrengthMap": {"strength": "mask_1"},
    "DPathStrokeCanvas": {"image": "background"},
    "DPathStrokes": {"IMAGE": "image"},
    "DPathSweep": {"grid": "image"},
    "DPathToSampling": {"model": "model"},
    "DPathTrainMapPredictor": {"predictor": "predictor"},
}
"""By node: outputs and the inputs that take their place, if the node shows them. Others pass nothing."""

BY_TYPE_ALONE: dict[str, dict[str, str]] = {
    "DPathEdgeMap": {"edges": "image"},
    "DPathJoinSweeps": {"plot": "images"},
    "DPathMeasurementExact": {"change": "image"},
    "DPathStrokeCanvas": {"paint": "background", "sketch": "background"},
    "DPathSweep": {"plot": "image"},
    "DPathTrainMapPredictor": {"preview": "images"},
}
"""Where the page passes a picture for want of a better one: no input is of the output's kind."""

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def first_of_type(inputs: list[Any], outputs: list[Any]) -> dict[str, str]:
    """By output, the first input of its type."""
    found = {
        output.display_name or output.io_type: [each.id for each in inputs if each.io_type == output.io_type]
        for output in outputs
        if output.io_type not in WIDGETS
    }
    return {name: fitting[0] for name, fitting in found.items() if fitting}


def passed_on(inputs: list[Any], outputs: list[Any]) -> dict[str, str]:
    """As the page's getBypassSlotIndex does it: the input in the same place if its type fits, else the first one."""
    found = first_of_type(inputs, outputs)
    for output, same_place in zip(outputs, inputs, strict=False):
        name = output.display_name or output.io_type
        if name in found and same_place.io_type == output.io_type:
            found[name] = same_place.id
    return found


def shown_inputs(inputs: list[Any]) -> Iterator[list[Any]]:
    """The inputs as the page lists them, with those of each choice behind it."""
    choices = [each for each in inputs if isinstance(each, io.DynamicCombo.Input)]
    for options in itertools.product(*(each.options for each in choices)):
        chosen = {choice.id: option.inputs for choice, option in zip(choices, options, strict=True)}
        yield [shown for each in inputs for shown in (each, *chosen.get(each.id, ()))]


@pytest.mark.parametrize("node_id", sorted(NODES))
def test_a_bypassed_node_passes_what_it_would_have_changed(node_id: str) -> None:
    """Whether the page lists inputs in the order of the schema, or sockets before widgets."""
    schema = NODES[node_id].GET_SCHEMA()
    passing = {**PASSED.get(node_id, {}), **BY_TYPE_ALONE.get(node_id, {})}
    for listed in shown_inputs(list(schema.inputs)):
        wanted = {output: taken for output, taken in passing.items() if any(each.id == taken for each in listed)}
        for inputs in (listed, sorted(listed, key=lambda each: isinstance(each, io.WidgetInput))):
            assert passed_on(inputs, schema.outputs) == first_of_type(inputs, schema.outputs) == wanted
