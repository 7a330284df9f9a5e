"""Inverse problems: what is known of a picture, a model that follows it, and pictures that agree with it exactly."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..images.tensors import check_image, split_alpha
from ..inverse import kernels, measurement
from ..inverse.colors import COLOR_SMOOTHING
from ..inverse.guidance import Guidance, guide
from ..inverse.measurement import FACTORS, agreeing, disagreement
from ..inverse.measurement import Measurement as Known
from ..samplers.schedule import PathSchedule
from .inputs import choice, fraction, model_input, number, schedule_input, whole
from .sockets import Measurement as MeasurementSocket

CATEGORY = "diffusion path/inverse problems"
MEASURED, ORIGINAL = "the known part", "an original"
MEMORY_MODES = ("fast", "tiled")

log = logging.getLogger(__name__)


def measurement_input(tooltip: str = "From Measurement.") -> Any:
    return MeasurementSocket.Input("measurement", tooltip=tooltip)


def _given_input(known: str) -> Any:
    return choice(
        "image_is",
        (MEASURED, ORIGINAL),
        MEASURED,
        f"the known part: the image is the {known} one, and a larger or sharper one is wanted. an original: the image "
        f"is made {known} first, to compare the result with it.",
    )


class MeasurementNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        factor = "How many times larger each side of the picture should be."
        kinds: dict[str, list[Any]] = {
            "grey": [],
            "smaller": [choice("factor", map(str, FACTORS), "4", factor), _given_input("small")],
            "gaussian blur": [
                number("sigma", 3.0, (0.1, 20.0), 0.1, "Standard deviation of the blur, in pixels."),
                _given_input("blurred"),
            ],
            "motion blur": [
                number("length", 15.0, (1.0, 100.0), 1.0, "How far the picture moved, in pixels."),
                number("angle", 0.0, (-180.0, 180.0), 1.0, "Direction, in degrees: 0 = sideways, 90 = upwards."),
                _given_input("blurred"),
            ],
            "other blur": [
                io.Image.Input(
                    "kernel", tooltip="A point as the blur shows it: light on black, at the scale of the picture."
                ),
                _given_input("blurred"),
            ],
            "masked": [io.Mask.Input("mask", tooltip="1 = not known, 0 = known.")],
        }
        return io.Schema(
            node_id="DPathMeasurement",
            display_name="Measurement",
            category=CATEGORY,
            description="What is known of a picture that is to be found: its grey values, a smaller or a blurred "
            "version, or the part outside a mask. For Measurement Guidance and Measurement Exact.",
            search_aliases=["colourise", "colorize", "super resolution", "upscale", "deblur", "inverse problem"],
            inputs=[
                io.Image.Input("image", tooltip="The grey, small, blurred or damaged picture."),
                io.DynamicCombo.Input(
                    "known",
                    options=[io.DynamicCombo.Option(*each) for each in kinds.items()],
                    tooltip="grey: the luma (Rec. 709, of the values as they are). smaller: the mean of each block of "
                    "pixels, as core's area scaling makes it. blur: a Gaussian, a straight movement, or any other. "
                    "masked: the pixels outside a mask.",
                ),
                number(
                    "noise",
                    0.0,
                    (0.0, 128.0),
                    0.5,
                    "Noise in what is known, as a standard deviation in steps of 8 bits: 0 for a clean picture, 3 to "
                    "10 for grain or JPEG. The result agrees no better than that.",
                ),
            ],
            outputs=[
                MeasurementSocket.Output(
                    display_name="measurement", tooltip="For Measurement Guidance and Measurement Exact."
                ),
                io.Image.Output(
                    display_name="picture",
                    tooltip="What is known, as a picture of the full size: encode it as SDEdit's guide.",
                ),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, known: dict[str, Any], noise: float) -> io.NodeOutput:
        made = _measured(image, known, noise / 255.0)
        return io.NodeOutput(made, made.picture, ui=ui.PreviewImage(made.picture, cls=cls))


def _measured(image: Tensor, known: dict[str, Any], noise: float) -> Known:
    kind, given = known["known"], known.get("image_is") == MEASURED
    if kind == "grey":
        return measurement.grey(image, noise)
    if kind == "masked":
        return measurement.masked(image, known["mask"], noise)
    if kind == "smaller":
        return measurement.smaller(image, int(known["factor"]), given, noise)
    return measurement.blurred(image, _kernel(kind, known), given, noise)


def _kernel(kind: str, blur: dict[str, Any]) -> Tensor:
    if kind == "gaussian blur":
        return kernels.gaussian(blur["sigma"])
    if kind == "motion blur":
        return kernels.motion(blur["length"], blur["angle"])
    return kernels.of_picture(check_image(blur["kernel"], "kernel"))


class MeasurementGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMeasurementGuidance",
            display_name="Measurement Guidance",
            category=CATEGORY,
            description="Makes a model draw pictures that agree with a measurement: each guided prediction is moved to "
            "what it is if the measurement is known. Works with any sampler and guider. A second one "
            "replaces the first.",
            search_aliases=["colourise", "super resolution", "deblur", "dps", "flowdps", "psld", "posterior sampling"],
            inputs=[
                model_input(),
                io.Vae.Input(
                    "vae",
                    tooltip="A VAE of this model: the gradient goes through its decoder. A tiny one (taesd) takes less "
                    "time and memory.",
                ),
                measurement_input(),
                number(
                    "strength",
                    Guidance.strength,
                    (0.0, 100.0),
                    0.05,
                    "How much the measurement counts against the model's own prediction. 0 = off.",
                    round=False,
                ),
                fraction("start", Guidance.start, "Where guidance begins on the path, as training time: 1 = noise."),
                fraction("end", Guidance.end, "Where it ends, below start: 0 = the picture."),
                whole(
                    "iterations",
                    Guidance.iterations,
                    (1, 50),
                    "Iterations of the solver in each guided step. More agree better, and take more time.",
                    advanced=True,
                ),
                whole(
                    "every",
                    Guidance.every,
                    (1, 100),
                    "Solve at every n-th step, and use the same correction between: faster.",
                    advanced=True,
                ),
                schedule_input(
                    "A Path Schedule: its weight (where above 0) multiplies strength along the path, and its window "
                    "replaces start and end.",
                    optional=True,
                ),
                choice(
                    "memory",
                    MEMORY_MODES,
                    "fast",
                    "tiled decodes in tiles of 64 latent cells, for large pictures: less memory, more time.",
                    advanced=True,
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model, guided. Connect it to any sampler or guider.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        measurement: Known,
        strength: float,
        start: float,
        end: float,
        iterations: int = Guidance.iterations,
        every: int = Guidance.every,
        schedule: PathSchedule | None = None,
        memory: str = "fast",
    ) -> io.NodeOutput:
        tiled = memory == "tiled"
        guidance = Guidance(vae, measurement, strength, start, end, iterations, every, tiled, schedule)
        return io.NodeOutput(guide(model, guidance))


class MeasurementExact(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMeasurementExact",
            display_name="Measurement Exact",
            category=CATEGORY,
            description="Brings a picture to agree with a measurement exactly, within half a step of 8 bits: "
            "what was known is in the result, the rest is the model's.",
            search_aliases=["range null", "data consistency", "keep luminance", "back projection", "ddnm"],
            inputs=[
                io.Image.Input("image", tooltip="The decoded picture. A bypassed node passes it on."),
                measurement_input(),
                number(
                    "color_smoothing",
                    COLOR_SMOOTHING,
                    (0.0, 64.0),
                    0.5,
                    "Grey measurements only: over how many pixels the picture's colours even out where the greys show "
                    "no edge. It removes colours of objects that the model put where there are none. 0 keeps all "
                    "colours.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The picture that agrees."),
                io.Image.Output(
                    display_name="change", tooltip="What was changed, enlarged twice: mid-grey is no change."
                ),
                io.String.Output(
                    display_name="report", tooltip="How far the picture was from the measurement, and how far it is."
                ),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, measurement: Known, color_smoothing: float) -> io.NodeOutput:
        given = split_alpha(check_image(image, "image"))[0]
        known = measurement.cropped(given.shape[1], given.shape[2])
        if len(known) not in (1, len(given)):
            raise ValueError(
                f"There are measurements of {len(known)} pictures for {len(given)} pictures: give one for all, or one "
                "for each."
            )
        made = agreeing(known, given, color_smoothing)
        change = (0.5 + 2.0 * (made - given)).clamp(0.0, 1.0)
        before, after = (disagreement(known, each) for each in (given, (made * 255).round() / 255))
        report = f"off by {_steps(before)} before and {_steps(after)} after, in steps of 8 bits (RMS)"
        log.info("Measurement Exact: %s.", report)
        return io.NodeOutput(made, change, report, ui=ui.PreviewText(report))


def _steps(values: Tensor) -> str:
    return ", ".join(f"{value:.2f}" for value in values.tolist())


NODES: list[type[io.ComfyNode]] = [MeasurementNode, MeasurementGuidance, MeasurementExact]
