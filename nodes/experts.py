"""The node that makes one MODEL of two: an expert for high noise and one for low noise."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..samplers.experts import join
from ..views.reports import experts_report
from .inputs import fraction

CATEGORY = "diffusion path/paths"


class JoinModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathJoinModels",
            display_name="Join Models by Noise Level",
            category=CATEGORY,
            description="Makes one model of two experts, such as Wan 2.2's: the first predicts at high noise levels, "
            "the second at low ones. Every sampler and every node of this pack then works along the whole path.",
            search_aliases=["wan 2.2", "two experts", "mixture of experts", "moe", "high noise low noise",
                            "switch model", "refiner"],
            inputs=[
                io.Model.Input(
                    "high_noise",
                    tooltip="The model for high noise levels, with its own LoRAs and patches. Its noise schedule is "
                    "the pair's.",
                ),
                io.Model.Input(
                    "low_noise",
                    tooltip="The model for low noise levels, of the same architecture, with its own LoRAs and patches.",
                ),
                fraction(
                    "boundary",
                    0.875,
                    "Noise level (sigma of a flow model; sigma / (1 + sigma) of others) down to which high_noise "
                    "predicts. Wan 2.2: 0.875 for text to video, 0.9 for image to video. 0 = high_noise alone.",
                    step=0.005,
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="The schedule that will be run, for the report alone: which steps each model takes.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    tooltip="Both as one model: loads one at a time, and changes to the other when the path crosses "
                    "the boundary, in either direction."
                ),
                io.String.Output(display_name="report", tooltip="Which steps of the sigmas each model takes."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, high_noise: Any, low_noise: Any, boundary: float, sigmas: Tensor | None = None) -> io.NodeOutput:
        return io.NodeOutput(join(high_noise, low_noise, boundary), experts_report(high_noise, boundary, sigmas))


NODES: list[type[io.ComfyNode]] = [JoinModels]
