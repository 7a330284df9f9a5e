"""From a picture to its path, and from the path back to the picture."""

from __future__ import annotations

import logging
from typing import Any

import latent_preview
from comfy_api.latest import io, ui
from torch import Tensor

from ..samplers import nested, process, remarks
from ..samplers.counting import Counter
from ..samplers.inversion.invert import invert
from ..samplers.inversion.null_text import NullText
from ..samplers.path import DiffusionPath
from ..samplers.path_storage import KEEP_IN, kept_in, path_size
from ..samplers.replay import replay
from ..samplers.sigmas import sdedit_sigmas
from ..views.announce import announce
from ..views.reports import inversion_report, reconstruction_report
from .cut_short import CutShort
from .inputs import (
    cfg_input,
    keep_in_input,
    model_input,
    path_input,
    prompt_inputs,
    scheduler_input,
    seed_input,
    steps_input,
    t0_input,
)
from .inversion_methods import described_method, method_input
from .sockets import DiffusionPath as DiffusionPathSocket

CATEGORY = "diffusion path/inversion"

_cut_short = CutShort()
log = logging.getLogger(__name__)


class Invert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathInvert",
            display_name="Invert Picture to Path",
            category=CATEGORY,
            description="Finds the path that leads to a given picture, to edit from. Six methods, most of "
            "them exact; for any model.",
            search_aliases=[
                "inversion",
                "unsampler",
                "ddim inversion",
                "null text",
                "rf inversion",
                "edit friendly",
                "uni-inv",
                "directedit",
            ],
            inputs=[
                model_input(),
                *prompt_inputs(
                    "The source prompt: what the picture shows. It may be empty.",
                    "The negative prompt of the later edit, usually empty.",
                ),
                io.Latent.Input(
                    "latent",
                    tooltip="The picture, from VAE Encode, or a batch of pictures. A noise mask is ignored.",
                ),
                seed_input("Seed of the noise that residual and controlled use; the others draw none."),
                t0_input(
                    "How far back the path goes, as a fraction of training time: 1 is pure noise. Steps that an edit "
                    "skips need not be inverted.",
                    1.0,
                ),
                steps_input("Steps of the path from t0 to the picture."),
                scheduler_input("Spacing of the noise levels.", "normal"),
                cfg_input(
                    "Guidance of the later edit. residual, null text and a guided euler are made for this value."
                ),
                method_input(),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Noise levels to use instead of t0, steps and scheduler. They must fall to 0, as for a "
                    "sampler.",
                ),
                path_input(
                    "earlier",
                    "An earlier null-text path of this picture. An interrupted one is continued, with the same "
                    "result as an uninterrupted run; a finished one provides the embeddings to start from.",
                    optional=True,
                ),
                keep_in_input(),
            ],
            outputs=[
                DiffusionPathSocket.Output(
                    display_name="path",
                    tooltip="The path from noise to the picture, with what the method stores for its steps.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="Method, noise levels, evaluations and, if known, the quality of the reconstruction.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        # An interrupted optimisation returned what it had found; queued again, it continues.
        return _cut_short.count(cls)

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent: dict[str, Any],
        seed: int,
        t0: float,
        steps: int,
        scheduler: str,
        cfg: float,
        method: dict[str, Any] | None = None,
        sigmas: Tensor | None = None,
        earlier: DiffusionPath | None = None,
        keep_in: str = KEEP_IN[0],
    ) -> io.NodeOutput:
        given = {"model": model, "positive": positive, "negative": negative, "earlier": earlier}
        chosen = described_method(method or {}, _cut_short.take(cls, given) or earlier)
        if sigmas is None:
            sigmas = sdedit_sigmas(process.model_sampling(model), t0, steps, scheduler)
            if len(sigmas) == 0:
                raise ValueError(
                    "At t0 = 0 the path is only the picture, with no steps: raise t0 (1 is the whole path)."
                )
        count = max(len(sigmas) - 1, 0)
        cost = f"{chosen.name}: {count} steps, at most {chosen.plan(count, cfg)} evaluations"
        if chosen.name == NullText.name:
            cost += " (a gradient counts as two)"
        node_id = cls.hidden.unique_id if cls.hidden else None
        callback = latent_preview.prepare_callback(model, count)
        counter = Counter(model, latent["samples"].shape[0])
        with kept_in(keep_in):
            size = remarks.about_size(path_size(chosen.kept_states(count), nested.pack(latent["samples"])), keep_in)
            announce("; ".join([cost, *size]), node_id)
            path = invert(counter.model, (positive, negative), latent, sigmas, chosen, cfg, seed, callback)
        text, complete = inversion_report(model, path, cfg, count, counter.evaluations, size)
        if not complete:
            _cut_short.note(cls, given, path)
            log.warning("Invert Picture to Path: %s", text)
        return io.NodeOutput(path, text, ui=ui.PreviewText(text))


class Reconstruct(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathReconstruct",
            display_name="Reconstruct from Path",
            category=CATEGORY,
            description="Walks a path again, at any cfg and with what its method stored, to see how well it leads back "
            "to the picture. With another prompt it is an edit.",
            search_aliases=["replay path", "resample", "inversion check", "reconstruction"],
            inputs=[
                model_input("The model of the path, or one of its kind (a fine-tune, with LoRAs)."),
                *prompt_inputs(
                    "The source prompt to reconstruct, or another one to edit.",
                    "The negative prompt. Stored embeddings replace it.",
                ),
                path_input(),
                cfg_input(
                    "Guidance. residual and guided euler paths are exact at the cfg they were made for, other euler "
                    "paths at cfg 1, negative-prompt paths at any; null text is best at its own."
                ),
                io.Sampler.Input(
                    "sampler",
                    optional=True,
                    tooltip="A solver to use instead of the path's own, one that adds no noise.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="Where the walk ends. Decode it with VAE Decode."),
                DiffusionPathSocket.Output(
                    display_name="walked",
                    tooltip="The path as it was walked this time, to compare with the original in Path Report.",
                ),
                io.String.Output(display_name="report", tooltip="PSNR in latent space, and what does not match."),
            ],
        )

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, path: DiffusionPath, cfg: float, sampler: Any = None
    ) -> io.NodeOutput:
        callback = latent_preview.prepare_callback(model, path.steps)
        walked, latent = replay(model, positive, negative, path, cfg, sampler, callback)
        text = reconstruction_report(path, walked, positive, cfg, sampler is None)
        return io.NodeOutput(latent, walked, text, ui=ui.PreviewText(text))


NODES: list[type[io.ComfyNode]] = [Invert, Reconstruct]
