"""Training an edge predictor in the graph."""

from __future__ import annotations

import logging
import math
from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..images.edges import DETAIL, SCALE, as_picture
from ..images.grid import labelled_grid
from ..images.realism import middle
from ..lep.dataset import LINE_WIDTH, Dataset, captioned, gather
from ..lep.families import FEATURE_SETS
from ..lep.predict import predict_edges
from ..lep.predictor import KINDS, EdgePredictor
from ..lep.targets import edge_picture
from ..lep.training import Plan, Progress, Trained, train_predictor
from ..samplers import process
from .announce import show
from .edges import CATEGORY
from .lep import describe, predictor_input
from .sockets import EdgePredictor as EdgePredictorSocket

_SHOWN_PICTURES = 4
_SHOWN_TIMES = (0.2, 0.5, 0.8)

log = logging.getLogger(__name__)


class TrainEdgePredictor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathTrainEdgePredictor",
            display_name="Train Edge Predictor",
            category=CATEGORY,
            description="Trains a small network that reads edges from a model's activations, for Sketch Guidance. A "
            "hundred pictures and a few minutes do; thousands are better. Interrupting keeps the best so far.",
            search_aliases=["train lep", "train latent edge predictor", "train sketch guidance", "lgp"],
            is_input_list=True,
            inputs=[
                io.Model.Input("model", tooltip="The model to read. It is not changed."),
                io.Vae.Input("vae", tooltip="The model's VAE: it encodes the edge maps."),
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
                    tooltip="The pictures, where no latents are connected; with latents, what they were made of.",
                ),
                io.Clip.Input("clip", optional=True, tooltip="Encodes the captions, without conditioning."),
                io.Image.Input(
                    "edge_maps",
                    optional=True,
                    tooltip="One edge map per picture, of any preprocessor. Without them Canny edges are made.",
                ),
                predictor_input("A predictor to train further. Its kind and features are kept.", optional=True),
                io.String.Input(
                    "captions",
                    default="",
                    multiline=True,
                    tooltip="One line per picture, or one for all. Used with clip.",
                ),
                io.Combo.Input(
                    "kind",
                    options=list(KINDS),
                    default="mlp",
                    tooltip="mlp: the paper's network, which looks at one latent pixel at a time. unet: looks around "
                    "itself (U-Sketch), better in few sampling steps, slower to train.",
                ),
                io.Combo.Input(
                    "features",
                    options=list(FEATURE_SETS),
                    default="levels",
                    tooltip="Which blocks it reads. levels: the last of each resolution, as in the paper. decoder: the "
                    "second half. all: every block, for small models.",
                ),
                io.Int.Input("steps", default=500, min=1, max=1000000, tooltip="Steps of training. The paper: 3000."),
                io.Int.Input("batch_size", default=12, min=1, max=1024, tooltip="Pictures per step. The paper: 16."),
                io.Float.Input(
                    "learning_rate",
                    default=1e-3,
                    min=1e-7,
                    max=1.0,
                    step=1e-5,
                    round=False,
                    advanced=True,
                    tooltip="Of AdamW, at its highest; it warms up and falls to 0.",
                ),
                io.Float.Input(
                    "noise_from",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Lowest noise to train on, as a fraction of training time. 0 = clean.",
                ),
                io.Float.Input(
                    "noise_to",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Highest noise to train on. Guidance at the first steps needs 1.",
                ),
                io.Int.Input(
                    "reuse",
                    default=4,
                    min=1,
                    max=1000,
                    advanced=True,
                    tooltip="How often each call of the model is used for training: more is faster, less is fresher.",
                ),
                io.Float.Input(
                    "edge_detail",
                    default=DETAIL,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="For edge maps that are made here: how weak an edge is still drawn.",
                ),
                io.Float.Input(
                    "edge_scale",
                    default=SCALE,
                    min=0.0,
                    max=16.0,
                    step=0.5,
                    advanced=True,
                    tooltip="For edge maps that are made here: size of the smallest features, in pixels of a 256-pixel "
                    "picture.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Of the weights, the noise and the choice of pictures.",
                ),
            ],
            outputs=[
                EdgePredictorSocket.Output(display_name="predictor", tooltip="The best predictor of the training."),
                io.LossMap.Output(display_name="loss_map", tooltip="The loss of each step, for Plot Loss Graph."),
                io.Image.Output(
                    display_name="preview",
                    tooltip="Pictures that were held back, their edge maps, and what the predictor sees at three noise "
                    "levels.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        model: list[Any],
        vae: list[Any],
        captions: list[str],
        kind: list[str],
        features: list[str],
        steps: list[int],
        batch_size: list[int],
        learning_rate: list[float],
        noise_from: list[float],
        noise_to: list[float],
        reuse: list[int],
        edge_detail: list[float],
        edge_scale: list[float],
        seed: list[int],
        latents: list[dict[str, Any]] | None = None,
        conditioning: list[Any] | None = None,
        images: list[Tensor] | None = None,
        clip: list[Any] | None = None,
        edge_maps: list[Tensor] | None = None,
        predictor: list[EdgePredictor] | None = None,
    ) -> io.NodeOutput:
        count = sum(len(latent["samples"]) for latent in latents or []) or sum(len(batch) for batch in images or [])
        conds = conditioning or _texts(clip, captions[0], count)
        progress = _Shown(model[0], count, steps[0], cls.hidden.unique_id if cls.hidden else None)
        data = gather(
            model[0], vae[0], latents or [], images or [], conds, edge_maps or [], edge_detail[0], edge_scale[0],
            progress.prepared,
        )  # fmt: skip
        plan = Plan(
            kind=kind[0], feature_set=features[0], steps=steps[0], batch=batch_size[0], learning_rate=learning_rate[0],
            seed=seed[0], noise_range=(noise_from[0], noise_to[0]), reuse=reuse[0], line_width=LINE_WIDTH,
        )  # fmt: skip
        start = predictor[0] if predictor else None
        trained = train_predictor(model[0], data.examples, plan, start, progress.trained)
        text = describe(trained.predictor)
        if trained.interrupted:
            text += (
                "\ninterrupted: the best weights so far are kept. Connect them as predictor of another Train Edge "
                "Predictor with the same settings to go on; change the seed to start over"
            )
        sheet = preview(model[0], vae[0], data, trained, plan.seed)
        return io.NodeOutput(trained.predictor, {"loss": trained.losses}, sheet, ui=ui.PreviewText(text))


def _texts(clip: list[Any] | None, captions: str, count: int) -> list[Any]:
    if not clip:
        raise ValueError(
            "The pictures have no captions: connect the conditioning of Make Training Dataset, or a CLIP for captions "
            "that are written here."
        )
    return captioned(clip[0], captions, count)


class _Shown:
    """Shows progress, first of preparing the pictures, then of training: loss, and the prediction for one held back."""

    def __init__(self, model: Any, pictures: int, steps: int, node: str | None) -> None:
        self.pictures, self.node = pictures, node
        self.bar = comfy.utils.ProgressBar(pictures + steps, node_id=node)
        self.previewer = latent_preview.get_previewer(model.load_device, model.get_model_object("latent_format"))

    def prepared(self, done: int, count: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done)

    def trained(self, progress: Progress) -> None:
        shown = None
        if progress.seen is not None and self.previewer is not None:
            shown = self.previewer.decode_latent_to_preview_image("JPEG", progress.seen)
        self.bar.update_absolute(self.pictures + progress.step, preview=shown)
        if not math.isnan(progress.validation):
            text = f"loss {progress.loss:.4g}, on held-back pictures {progress.validation:.4g}"
            show(f"step {progress.step}: {text}", self.node)


def preview(model: Any, vae: Any, data: Dataset, trained: Trained, seed: int) -> Tensor:
    """Held-back pictures, their edge maps, and the predictions at three noise levels, as one sheet [1, H, W, 3]."""
    rows: list[Tensor] = []
    sizes = {tuple(data.examples[i].latent.shape) for i in trained.held_back[:1]}
    shown = [i for i in trained.held_back if tuple(data.examples[i].latent.shape) in sizes][:_SHOWN_PICTURES]
    for index in shown:
        example = data.examples[index]
        code = process.latent_out(model, example.latent)
        seen = predict_edges(model, trained.predictor, code, example.cond, _SHOWN_TIMES, seed)
        picture = vae.decode(code).flatten(0, -4)[:1]
        size = (int(picture.shape[1]), int(picture.shape[2]))
        # The VAE cuts off what is not a multiple of its factor; an edge map has the size of the picture before.
        rows += [picture[..., :3], middle(as_picture(data.edges(index)[:1]), *size)]
        rows += [edge_picture(model, vae, one, trained.predictor.target, size)[:1] for one in seen]
    headings = ["picture", "edge map", *(f"seen at {time:.0%} noise time" for time in _SHOWN_TIMES)]
    return labelled_grid(torch.cat([row.cpu().float().clamp(0, 1) for row in rows]), col_labels=headings)


NODES: list[type[io.ComfyNode]] = [TrainEdgePredictor]
