"""Map predictors in use: load, save, test, and guide by what is drawn."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..common.texts import shortened
from ..images.edges import LINES, Lines
from ..lep.checkpoint import SUFFIXES, load_predictor, write_predictor
from ..lep.families import check_fits
from ..lep.guidance import Guidance, guide
from ..lep.predict import predict_map
from ..lep.predictor import MapPredictor
from ..lep.sketch import GREYS, Greys, ignored, read_drawing
from ..samplers.masks import block_of_vae
from ..views.reports import predictor_report
from . import folders, validate
from .edges import CATEGORY
from .inputs import LINES_TIP, choice, fraction, model_input, number, schedule_input, seed_input, t0_input, whole
from .sockets import MapPredictor as MapPredictorSocket

FOLDER = "map_predictors"
BUILT_IN_FILES = {
    name: Path(__file__).parents[1] / "demo" / "weights" / f"{name}.safetensors"
    for name in ("edges", "depth", "segmentation")
}
BUILT_IN = {f"landscape demo model, {name} (built in)": file for name, file in BUILT_IN_FILES.items()}
MEMORY_MODES = ("fast", "checkpointed")
DEFAULT_BETA, DEFAULT_END, DEFAULT_LIMIT = 1.2, 0.2, 0.35

log = logging.getLogger(__name__)
folders.register(FOLDER)
_paths, _extensions = folder_paths.folder_names_and_paths[FOLDER]
folder_paths.folder_names_and_paths[FOLDER] = (_paths, set(_extensions) | set(SUFFIXES))


def predictor_input(tooltip: str = "From Train Map Predictor or Load Map Predictor.", **kw: Any) -> Any:
    return MapPredictorSocket.Input("predictor", tooltip=tooltip, **kw)


class LoadMapPredictor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        built_in = [name for name, file in BUILT_IN.items() if file.is_file()]
        return io.Schema(
            node_id="DPathLoadMapPredictor",
            display_name="Load Map Predictor",
            category=CATEGORY,
            description="Loads a predictor of edges, depth or another map that was trained with this pack, or a "
            "published one for SD1.5 or SDXL: latent guidance predictors, U-Sketch, and Readout Guidance's heads for "
            "edges, depth and pose. Code in such files is never run.",
            search_aliases=["latent edge predictor", "lep", "lgp", "readout guidance", "u-sketch"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[*built_in, *folders.listed(FOLDER)],
                    tooltip="A file in models/map_predictors or output/map_predictors. Press R to refresh the list.",
                )
            ],
            outputs=[MapPredictorSocket.Output(display_name="predictor", tooltip="For Sketch Guidance.")],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> float:
        return _file_of(file).stat().st_mtime

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        predictor = load_predictor(_file_of(file))
        return io.NodeOutput(predictor, ui=ui.PreviewText(predictor_report(predictor)))


def _file_of(name: str) -> Path:
    if name in BUILT_IN:
        return BUILT_IN[name]
    if Path(name).suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"{shortened(name)} is not a map predictor: choose a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file."
        )
    found = folder_paths.get_full_path(FOLDER, name)
    if found is None:
        raise ValueError(
            f"There is no file {shortened(name)} in models/{FOLDER}: press R to refresh the list and choose again."
        )
    return Path(found)


class SaveMapPredictor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathSaveMapPredictor",
            display_name="Save Map Predictor",
            category=CATEGORY,
            description="Saves a map predictor to output/map_predictors as safetensors, with what it was made "
            "for and how it was trained. Load Map Predictor lists it.",
            search_aliases=["export predictor", "save lep"],
            is_output_node=True,
            inputs=[
                predictor_input(),
                io.String.Input(
                    "filename_prefix",
                    default="predictor",
                    tooltip="Name of the file; a number is appended. May include subfolders.",
                ),
            ],
            outputs=[io.String.Output(display_name="file", tooltip="The name to choose in Load Map Predictor.")],
        )

    @classmethod
    def execute(cls, predictor: MapPredictor, filename_prefix: str) -> io.NodeOutput:
        _, name = folders.save_new(FOLDER, filename_prefix, lambda file: write_predictor(predictor, file))
        return io.NodeOutput(name, ui=ui.PreviewText(f"{name}\n{predictor_report(predictor)}"))


class PredictMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathPredictMap",
            display_name="Predict Map",
            category=CATEGORY,
            description="Shows what a map predictor sees in a picture with noise added, to test the predictor. At "
            "high noise it sees the rough layout, at low noise every detail.",
            search_aliases=["latent edge predictor preview", "edge prediction", "test predictor"],
            inputs=[
                model_input("The model that the predictor was made for."),
                predictor_input(),
                io.Vae.Input("vae", tooltip="The model's VAE."),
                io.Latent.Input("latent", tooltip="The encoded picture, from VAE Encode."),
                io.Conditioning.Input("conditioning", tooltip="What the picture shows."),
                t0_input("How much noise to add, as a fraction of training time: 0 = none, 1 = pure noise."),
                seed_input("Seed for the added noise."),
            ],
            outputs=[
                io.Image.Output(display_name="map", tooltip="The map as the predictor sees it: edges as light lines.")
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        predictor: MapPredictor,
        vae: Any,
        latent: dict[str, Any],
        conditioning: Any,
        t0: float,
        seed: int,
    ) -> io.NodeOutput:
        check_fits(model, predictor.model, predictor.taps)
        validate.check_latent(model, {"samples": latent["samples"]}, "latent")
        samples = latent["samples"]
        seen = predict_map(model, predictor, samples, conditioning, [t0], seed)[0]
        scale = block_of_vae(vae)
        size = (int(samples.shape[-2]) * scale, int(samples.shape[-1]) * scale)
        return io.NodeOutput(predictor.encoding.picture(model, vae, seen, size))


def _strength_inputs() -> list[Any]:
    """How strongly, and where on the path, a sketch is followed."""
    return [
        number(
            "beta",
            DEFAULT_BETA,
            (0.0, 10.0),
            0.05,
            "Strength: how far each step is moved, as a multiple of its own length. 0 = off. Lower values "
            "leave more to the model. The paper uses 1.6; on the demo model, more than 1.2 does not follow "
            "the lines any better.",
            round=False,
        ),
        fraction("start", 1.0, "Where on the path guidance begins, as a fraction of training time: 1 = noise."),
        fraction(
            "end",
            DEFAULT_END,
            "Where it ends, below start: 0 = the picture. Lower values follow the lines more closely, "
            "higher values leave more to the model.",
        ),
    ]


def _reading_inputs() -> list[Any]:
    """How a sketch is read."""
    return [
        choice("lines", LINES, "auto", LINES_TIP + " Grey maps: dark on light inverts them.", advanced=True),
        choice(
            "greys",
            GREYS,
            "importance",
            "For line drawings. importance: grey strokes are drawn in full and followed less. shade: the "
            "drawing is used unchanged, with its line widths, and a grey stroke asks for a soft edge.",
            advanced=True,
        ),
        io.Mask.Input(
            "importance",
            optional=True,
            tooltip="How much each part of the sketch counts: 1 = fully, 0 = not at all.",
        ),
    ]


class SketchGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathSketchGuidance",
            display_name="Sketch Guidance",
            category=CATEGORY,
            description="Makes a model follow a sketch, or a drawn map of depth, classes or anything else that the "
            "predictor reads: each guided step is steered towards pictures in which it sees what was drawn. Works "
            "with any sampler and guider. A second one replaces the first.",
            search_aliases=["sketch to image", "scribble", "latent edge predictor", "lep", "lgp", "gradient guidance"],
            inputs=[
                model_input("The model that the predictor was made for, with LoRAs and patches."),
                predictor_input(),
                io.Vae.Input("vae", tooltip="The model's VAE: it encodes the sketch."),
                io.Image.Input(
                    "sketch",
                    tooltip="What to follow, in the picture's proportions: one for all, or one per batch item. For a "
                    "predictor of edges, a line drawing; for any other, a map like those it was trained on, drawn or "
                    "made by a preprocessor. Transparent parts are left to the model.",
                ),
                *_strength_inputs(),
                whole(
                    "every",
                    1,
                    (1, 100),
                    "Find where to go only at every n-th guided step, and go on in that direction between: faster.",
                    advanced=True,
                ),
                *_reading_inputs(),
                schedule_input(
                    "A Path Schedule: its weight multiplies beta along the path, and its window replaces start and "
                    "end.",
                    optional=True,
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Only for a run that is split between several samplers: the noise levels of the whole "
                    "run, so that every counts across all of it.",
                ),
                choice(
                    "memory",
                    MEMORY_MODES,
                    "fast",
                    "checkpointed uses about a third of the memory but takes one more evaluation per guided step.",
                    advanced=True,
                ),
                io.Boolean.Input(
                    "preview",
                    default=False,
                    advanced=True,
                    tooltip="Show the predicted edges beside the picture while it is guided (maps of edges only).",
                ),
                number(
                    "limit",
                    DEFAULT_LIMIT,
                    (0.0, 10.0),
                    0.05,
                    "How much of the difference between sketch and prediction one step may take away, by its gradient. "
                    "Shortens pushes that are too long, as in runs of few steps, where they would spoil the picture. "
                    "0 = no limit.",
                    optional=True,
                    round=False,
                    advanced=True,
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model, guided. Connect it to any sampler or guider.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        predictor: MapPredictor,
        vae: Any,
        sketch: Tensor,
        beta: float,
        lines: Lines = "auto",
        greys: Greys = "importance",
        importance: Tensor | None = None,
        memory: str = "fast",
        limit: float = DEFAULT_LIMIT,
        **widgets: Any,
    ) -> io.NodeOutput:
        checkpointed = memory == "checkpointed"
        guidance = Guidance(predictor, _no_sketch, beta, checkpointed=checkpointed, limit=limit, **widgets)
        if guidance.window is None:  # neutral, whatever else is connected
            return io.NodeOutput(guide(model, guidance))
        check_fits(model, predictor.model, predictor.taps)
        drawing = read_drawing(model, vae, predictor, sketch, importance, lines, greys)
        if reason := ignored(drawing):
            log.warning("Sketch Guidance: %s, so the sketch is not followed.", reason)
            beta = 0.0
        return io.NodeOutput(guide(model, replace(guidance, sketch=drawing.at, beta=beta)))


def _no_sketch(height: int, width: int) -> tuple[Tensor, None]:
    return torch.zeros(1, 1, height, width), None


NODES: list[type[io.ComfyNode]] = [LoadMapPredictor, SaveMapPredictor, PredictMap, SketchGuidance]
