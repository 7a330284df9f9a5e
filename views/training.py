"""The training of a map predictor: its progress on the node, and what the predictor sees at the end."""

from __future__ import annotations

import math
from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..images.grid import labelled_grid
from ..images.tensors import to_uint8
from ..lep.dataset import Dataset
from ..lep.predict import predict_map
from ..lep.targets import Encoding, LatentCode
from ..lep.training import Progress, Trained
from ..samplers import process
from .announce import show
from .pictures import decoded

_SHOWN_PICTURES = 4
_SHOWN_TIMES = (0.2, 0.5, 0.8)


class TrainingProgress:
    """Shows progress, first in preparing pictures, then in training: the loss, and the prediction for one held out."""

    def __init__(self, model: Any, examples: int, steps: int, node: str | None) -> None:
        self.examples, self.node = examples, node
        self.encoding: Encoding = LatentCode()
        self.bar = comfy.utils.ProgressBar(examples + steps, node_id=node)
        self.previewer = latent_preview.get_previewer(model.load_device, model.get_model_object("latent_format"))

    def prepared(self, done: int, count: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done)

    def trained(self, progress: Progress) -> None:
        shown = None if progress.seen is None else self._preview(progress.seen)
        self.bar.update_absolute(self.examples + progress.step, preview=shown)
        if not math.isnan(progress.validation):
            text = f"loss {progress.loss:.4g}, on held-out pictures {progress.validation:.4g}"
            show(f"step {progress.step}: {text}", self.node)

    def _preview(self, seen: Tensor) -> Any:
        """A prediction as ComfyUI's preview: format, picture and size."""
        if isinstance(self.encoding, LatentCode):
            return None if self.previewer is None else self.previewer.decode_latent_to_preview_image("JPEG", seen)
        size = (8 * int(seen.shape[-2]), 8 * int(seen.shape[-1]))
        picture = self.encoding.picture(None, None, seen, size)[0]
        return "JPEG", Image.fromarray(to_uint8(picture)), latent_preview.MAX_PREVIEW_RESOLUTION


def training_sheet(model: Any, vae: Any, data: Dataset, trained: Trained, seed: int) -> Tensor:
    """Held-out pictures, their maps, and the predictions at three noise levels, as one sheet [1, H, W, 3]."""
    rows: list[Tensor] = []
    sizes = {tuple(data.examples[i].latent.shape) for i in trained.held_back[:1]}
    shown = [i for i in trained.held_back if tuple(data.examples[i].latent.shape) in sizes][:_SHOWN_PICTURES]
    for index in shown:
        example = data.examples[index]
        code = process.latent_out(model, example.latent)
        seen = predict_map(model, trained.predictor, code, example.cond, _SHOWN_TIMES, seed)
        picture = decoded(vae, code)[:1]
        size = (int(picture.shape[1]), int(picture.shape[2]))
        given = F.interpolate(data.maps(index)[:1].movedim(-1, 1), size=size, mode="nearest-exact").movedim(1, -1)
        rows += [picture[..., :3], given]
        rows += [data.encoding.picture(model, vae, one, size)[:1] for one in seen]
    headings = ["picture", "map", *(f"seen at {time:.0%} noise time" for time in _SHOWN_TIMES)]
    return labelled_grid(torch.cat([row.cpu().float().clamp(0, 1) for row in rows]), col_labels=headings)
