"""Training a map predictor in the graph."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..images.edges import DETAIL, SCALE
from ..lep.dataset import Wanted, captioned, gather
from ..lep.families import FEATURE_SETS
from ..lep.maps import EDGES, MAPS
from ..lep.predictor import KINDS, MapPredictor
from ..lep.training import Plan, train_predictor
from ..lep.versions import VERSIONS
from ..samplers.experts import refuse_pair
from ..views.reports import predictor_report
from ..views.training import TrainingProgress, training_sheet
from .edges import CATEGORY
from .inputs import choice, model_input, number, seed_input, whole
from .lep import predictor_input
from .sockets import MapPredictor as MapPredictorSocket

log = logging.getLogger(__name__)


def _data_inputs() -> list[Any]:
    """Pictures, captions and maps."""
    return [
        io.Latent.Input(
            "latents", optional=True, tooltip="The pictures, from Make Training Dataset. Or connect images."
        ),
        io.Conditioning.Input(
            "conditioning",
            optional=True,
            tooltip="The captions, from Make Training Dataset: one per picture, or one for all.",
        ),
        io.Image.Input(
            "images",
            optional=True,
            tooltip="The pictures, if no latents are connected; with latents, the pictures they were encoded from.",
        ),
        io.Clip.Input("clip", optional=True, tooltip="Encodes the captions if no conditioning is connected."),
        io.Image.Input(
            "maps",
            optional=True,
            tooltip="One map per picture, from any preprocessor. Without them, Canny edges are computed.",
        ),
        predictor_input("A predictor to train further. Its map, network and features are kept.", optional=True),
    ]


def _training_inputs() -> list[Any]:
    """How long, on what noise and on which edges it is trained."""
    return [
        whole("steps", Plan.steps, (1, 1000000), "Steps of training. The paper: 3000."),
        whole("batch_size", Plan.batch, (1, 1024), "Pictures per step. The paper: 16."),
        number(
            "learning_rate",
            Plan.learning_rate,
            (1e-7, 1.0),
            1e-5,
            "Peak learning rate of AdamW; warm-up, then decay to 0.",
            round=False,
            advanced=True,
        ),
        number(
            "noise_from",
            0.0,
            (0.0, 1.0),
            0.01,
            "Lowest noise to train on, as a fraction of training time. 0 = clean.",
            advanced=True,
        ),
        number(
            "noise_to",
            1.0,
            (0.0, 1.0),
            0.01,
            "Highest noise to train on. Guidance at the first steps needs 1.",
            advanced=True,
        ),
        whole(
            "reuse",
            Plan.reuse,
            (1, 1000),
            "How many times each model call is used for training: higher is faster, lower gives fresher data.",
            advanced=True,
        ),
        number(
            "edge_detail",
            DETAIL,
            (0.0, 1.0),
            0.05,
            "For edge maps computed here: how weak an edge may be and still be drawn.",
            advanced=True,
        ),
        number(
            "edge_scale",
            SCALE,
            (0.0, 16.0),
            0.5,
            "For edge maps computed here: size of the smallest features, in pixels of a 256-pixel picture.",
            advanced=True,
        ),
    ]


class TrainMapPredictor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathTrainMapPredictor",
            display_name="Train Map Predictor",
            category=CATEGORY,
            description="Trains a small network that reads a map (edges, depth, classes, ...) from a model's "
            "activations, for Sketch Guidance. A hundred pictures and a few minutes are enough; thousands are "
            "better. Interrupting keeps the best weights so far.",
            search_aliases=[
                "train lep",
                "train latent edge predictor",
                "train sketch guidance",
                "lgp",
                "depth",
                "readout guidance",
            ],
            is_input_list=True,
            inputs=[
                model_input("The model to read. It is not changed."),
                io.Vae.Input("vae", tooltip="The model's VAE: it encodes the pictures, and maps of edges."),
                *_data_inputs(),
                io.String.Input(
                    "captions",
                    default="",
                    multiline=True,
                    tooltip="One line per picture, or one for all. Used with clip.",
                ),
                choice(
                    "map",
                    MAPS,
                    EDGES,
                    "What to learn. edges: lines, encoded by the VAE, as in the paper. depth, saliency: greys. "
                    "normals: the colours of a normal map. segmentation: flat colours, one for each class. other: any "
                    "map in colour. All but edges need maps.",
                ),
                choice(
                    "network",
                    KINDS,
                    Plan.network,
                    "mlp: the paper's network, which sees one latent pixel at a time, and is better from a hundred "
                    "pictures. unet: sees each pixel's surroundings (U-Sketch), and is better from thousands.",
                ),
                choice(
                    "features",
                    FEATURE_SETS,
                    "levels",
                    "Which blocks it reads. levels: the last of each resolution, as in the paper; for transformers, "
                    "nine from all depths. decoder: those of the second half. all: every block, for small models.",
                ),
                *_training_inputs(),
                seed_input("Seed for the weights, the noise and the choice of pictures."),
                whole(
                    "versions",
                    VERSIONS,
                    (1, 1000),
                    "How many versions of each picture to train on: the picture itself, and parts of it, enlarged, "
                    "every second one mirrored. More help where there are few pictures; 1 is enough for thousands.",
                    optional=True,
                ),
            ],
            outputs=[
                MapPredictorSocket.Output(display_name="predictor", tooltip="The best predictor found in training."),
                io.LossMap.Output(display_name="loss_map", tooltip="The loss of each step, for Plot Loss Graph."),
                io.Image.Output(
                    display_name="preview",
                    tooltip="Held-out pictures, their maps, and what the predictor sees at three noise levels.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: list[Any],
        vae: list[Any],
        captions: list[str],
        latents: list[dict[str, Any]] | None = None,
        conditioning: list[Any] | None = None,
        images: list[Tensor] | None = None,
        clip: list[Any] | None = None,
        maps: list[Tensor] | None = None,
        predictor: list[MapPredictor] | None = None,
        **widgets: list[Any],
    ) -> io.NodeOutput:
        refuse_pair(model[0], "train a map predictor on one of the two")
        given = {name: values[0] for name, values in widgets.items()}
        noise_range = (given.pop("noise_from"), given.pop("noise_to"))
        wanted = Wanted(
            given.pop("map"), given.pop("edge_detail"), given.pop("edge_scale"),
            versions=given.pop("versions", 1), seed=given["seed"],
        )  # fmt: skip
        begun = predictor[0] if predictor else None
        if begun is not None:
            wanted = replace(wanted, map=begun.map, palette=begun.palette)
        count = sum(len(latent["samples"]) for latent in latents or []) or sum(len(batch) for batch in images or [])
        conds = conditioning or _texts(clip, captions[0], count)
        progress = TrainingProgress(
            model[0], count * wanted.versions, given["steps"], cls.hidden.unique_id if cls.hidden else None
        )
        data = gather(model[0], vae[0], latents or [], images or [], conds, maps or [], wanted, progress.prepared)
        progress.encoding = data.encoding
        plan = Plan(
            feature_set=given.pop("features"),
            batch=given.pop("batch_size"),
            noise_range=noise_range,
            **given,
        )
        trained = train_predictor(model[0], data.examples, data.planned(plan), begun, progress.trained)
        text = predictor_report(trained.predictor)
        if trained.interrupted:
            text += (
                "\ninterrupted: the best weights so far are kept. Connect them as predictor of another Train Map "
                "Predictor with the same settings to continue; change the seed to start over"
            )
        sheet = training_sheet(model[0], vae[0], data, trained, plan.seed)
        return io.NodeOutput(trained.predictor, {"loss": trained.losses}, sheet, ui=ui.PreviewText(text))


def _texts(clip: list[Any] | None, captions: str, count: int) -> list[Any]:
    if not clip:
        raise ValueError(
            "The pictures have no captions: connect the conditioning of Make Training Dataset, or a CLIP to encode "
            "the captions of this node."
        )
    return captioned(clip[0], captions, count)


NODES: list[type[io.ComfyNode]] = [TrainMapPredictor]
