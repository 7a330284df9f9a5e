"""From a picture to its path, and from the path back to the picture."""

from __future__ import annotations

import logging
from typing import Any

import comfy.samplers
import latent_preview
from comfy_api.latest import io, ui
from torch import Tensor

from ..samplers import process
from ..samplers.conditioning import fingerprint
from ..samplers.counting import Counter
from ..samplers.inversion.invert import invert
from ..samplers.inversion.null_text import NullText
from ..samplers.inversion.residual import Residual
from ..samplers.path import DiffusionPath
from ..samplers.remarks import about_levels, lines
from ..samplers.replay import replay, stand_in
from ..samplers.sigmas import sdedit_sigmas
from .announce import announce
from .cut_short import CutShort
from .inversion_methods import described_method, method_input
from .sockets import DiffusionPath as DiffusionPathSocket

CATEGORY = "diffusion path/inversion"
MOST = 10000

_cut_short = CutShort()
log = logging.getLogger(__name__)


class Invert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathInvert",
            display_name="Invert Picture to Path",
            category=CATEGORY,
            description="Finds the path that leads to a given picture, to edit from. Six methods, from the cheapest to "
            "the exact ones; for any model.",
            search_aliases=["inversion", "unsampler", "ddim inversion", "null text", "rf inversion", "edit friendly"],
            inputs=[
                io.Model.Input("model", tooltip="Any diffusion or flow model."),
                io.Conditioning.Input(
                    "positive", tooltip="The source prompt: what the picture shows. It may be empty."
                ),
                io.Conditioning.Input("negative", tooltip="The negative prompt of the edit to come, usually empty."),
                io.Latent.Input(
                    "latent",
                    tooltip="The picture, from VAE Encode, or a batch of pictures. A noise mask is not looked at.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Seed of the noise that residual and controlled use; the others draw none.",
                ),
                io.Float.Input(
                    "t0",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="How far back the "
                    "path goes, as a fraction of training time: 1 is pure noise. Steps that an edit skips "
                    "need not be inverted.",
                ),
                io.Int.Input("steps", default=20, min=1, max=MOST, tooltip="Steps of the path from t0 to the picture."),
                io.Combo.Input(
                    "scheduler",
                    options=list(comfy.samplers.SCHEDULER_NAMES),
                    default="normal",
                    tooltip="Spacing of the noise levels.",
                ),
                io.Float.Input(
                    "cfg",
                    default=4.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance of the edit to come. residual and null text are made for it.",
                ),
                method_input(),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Noise levels to use instead of t0, steps and scheduler. They fall to 0, as for a sampler.",
                ),
                DiffusionPathSocket.Input(
                    "earlier",
                    optional=True,
                    tooltip="An earlier null-text path of this picture. One that was interrupted is continued, with "
                    "the result of a run without the interrupt; a finished one gives the embeddings to start from.",
                ),
            ],
            outputs=[
                DiffusionPathSocket.Output(
                    display_name="path",
                    tooltip="The path from noise to the picture, with what the method stores for its steps.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="Method, noise levels, evaluations and, where it is "
                    "known, the quality of the reconstruction.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        # An interrupted optimisation gave what it had found; queued again it goes on.
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
    ) -> io.NodeOutput:
        given = {"model": model, "positive": positive, "negative": negative, "earlier": earlier}
        chosen = described_method(method or {}, _cut_short.take(cls, given) or earlier)
        if sigmas is None:
            sigmas = sdedit_sigmas(process.model_sampling(model), t0, steps, scheduler)
            if len(sigmas) == 0:
                raise ValueError("At t0 = 0 the path is the picture alone, without a step: raise t0, 1 is all of it.")
        count = max(len(sigmas) - 1, 0)
        cost = f"{chosen.name}: {count} steps, at most {chosen.plan(count, cfg)} evaluations"
        if chosen.name == NullText.name:
            cost += " (a gradient counts as two)"
        announce(cost, cls.hidden.unique_id if cls.hidden else None)
        callback = latent_preview.prepare_callback(model, count)
        counter = Counter(model, latent["samples"].shape[0])
        path = invert(counter.model, positive, negative, latent, sigmas, chosen, cfg, seed, callback)
        text = f"{chosen.name}: {count} steps, {counter.evaluations} evaluations"
        text += f", noise level {float(path.sigmas[0]):.4g} to {float(path.sigmas[-1]):.4g}"
        done = path.figures.get("optimised_steps", (count,))[0]
        if done < count:
            _cut_short.note(cls, given, path)
            text += (
                f"; interrupted after {done:.0f} of {count} steps: queue again to go on, or connect this "
                "path as earlier"
            )
            log.warning("Invert Picture to Path: %s", text)
        elif "latent_psnr" in path.figures:
            text += f"; reconstructs at {_decibels(path.figures['latent_psnr'])} in latent space"
        text = "\n".join([text, *lines(about_levels(process.model_sampling(model)))])
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
                io.Model.Input("model", tooltip="The model of the path, or one of its kind (a fine-tune, with LoRAs)."),
                io.Conditioning.Input("positive", tooltip="The source prompt to reconstruct, another one to edit."),
                io.Conditioning.Input("negative", tooltip="The negative prompt. Stored embeddings take its place."),
                DiffusionPathSocket.Input("path", tooltip="From Invert Picture to Path, Record Path or Load Path."),
                io.Float.Input(
                    "cfg",
                    default=4.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance. residual and null text paths are exact at the cfg that they were made for.",
                ),
                io.Sampler.Input(
                    "sampler", optional=True, tooltip="Another solver than the path's own, without noise of its own."
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="Where the walk ends. Decode it with VAE Decode."),
                DiffusionPathSocket.Output(
                    display_name="walked",
                    tooltip="The path as it was walked now, to compare with the original in Path Report.",
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
        text = f"{path.method}, cfg {cfg:g}: {_decibels(walked.figures['latent_psnr'])} in latent space"
        if sampler is None and (note := stand_in(path)):
            text += f"; {note}"
        if path.method in (Residual.name, NullText.name) and path.cfg != cfg:
            text += f"; the path was made for cfg {path.cfg:g}"
        if path.conditioning and path.conditioning != fingerprint(positive):
            text += "; the prompt is not the one that the path was made with"
        return io.NodeOutput(latent, walked, text, ui=ui.PreviewText(text))


def _decibels(values: tuple[float, ...]) -> str:
    return " / ".join("exact" if value == float("inf") else f"{value:.1f} dB" for value in values)


NODES: list[type[io.ComfyNode]] = [Invert, Reconstruct]
