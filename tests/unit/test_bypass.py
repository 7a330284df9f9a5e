"""What a bypassed node passes on: the page takes an input of the output's type, by its place or the first one."""

from __future__ import annotations

from typing import Any

import pytest
from comfy_api.latest import io
from diffusion_path.devtools.direct import NODES

PASSED: dict[str, dict[str, str]] = {
    "DPathCompositeExact": {"IMAGE": "edited", "weight": "mask"},
    "DPathEdgeMap": {"edges": "image"},
    "DPathFlowEdit": {"latent": "latent"},
    "DPathInvert": {"path": "earlier"},
    "DPathLatentMask": {"LATENT": "latent", "MASK": "mask"},
    "DPathMDPAttention": {"MODEL": "model"},
    "DPathMDPConditioning": {"MODEL": "model"},
    "DPathMDPEdit": {"latent": "latent", "path": "path", "mask": "mask"},
    "DPathMDPGuidance": {"MODEL": "model"},
    "DPathMDPLatent": {"MODEL": "model"},
    "DPathMDPNoise": {"MODEL": "model"},
    "DPathMDPSweep": {"latents": "latent", "path": "path"},
    "DPathMaskedSampler": {"SAMPLER": "sampler"},
    "DPathPerturb": {"latent": "latent"},
    "DPathReconstruct": {"walked": "path"},
    "DPathRecord": {"latent": "latent_image"},
    "DPathReport": {"path": "path"},
    "DPathSDEdit": {"latent": "guide", "perturbed": "guide"},
    "DPathSketchGuidance": {"MODEL": "model"},
    "DPathStrengthMap": {"strength": "mask_1"},
    "DPathStrokeCanvas": {"image": "background", "strokes": "background", "sketch": "background"},
    "DPathStrokes": {"IMAGE": "image"},
    "DPathSweep": {"grid": "image", "plot": "image"},
    "DPathToSampling": {"model": "model"},
    "DPathTrainEdgePredictor": {"predictor": "predictor", "preview": "images"},
}
"""By node: outputs and the inputs that take their place. Other sockets pass nothing, and what needs them says so."""

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def passed_on(inputs: list[Any], outputs: list[Any]) -> dict[str, str]:
    """As the page's getBypassSlotIndex does it."""
    found = {}
    for place, output in enumerate(outputs):
        same_place = [each for each in inputs[place : place + 1] if each.io_type == output.io_type]
        fitting = same_place or [each for each in inputs if each.io_type == output.io_type]
        if fitting and output.io_type not in WIDGETS:
            found[output.display_name or output.io_type] = fitting[0].id
    return found


@pytest.mark.parametrize("node_id", sorted(NODES))
def test_a_bypassed_node_passes_what_it_would_have_changed(node_id: str) -> None:
    """Whether the page lists inputs in the order of the schema, or sockets before widgets."""
    schema = NODES[node_id].GET_SCHEMA()
    sockets_first = sorted(schema.inputs, key=lambda each: isinstance(each, io.WidgetInput))
    for inputs in (list(schema.inputs), sockets_first):
        assert passed_on(inputs, schema.outputs) == PASSED.get(node_id, {})
