"""Nodes that record, save, load, show, judge and resume paths."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..samplers import masks, nested, process, remarks
from ..samplers.path import DiffusionPath
from ..samplers.path_file import load_path, write_path
from ..samplers.path_fit import check_path_fits
from ..samplers.path_storage import KEEP_IN, kept_in, path_size
from ..samplers.record import kept_states, record
from ..samplers.replay import attach, replay_sampler
from ..samplers.replay import start as starting_point
from ..samplers.schedule import PathSchedule
from ..samplers.sdedit import prepared
from ..views.announce import announce
from ..views.paths import filmstrip, judge, strip_numbers, strip_sheet
from ..views.reports import entry_report, path_report
from . import folders
from .inputs import choice, keep_in_input, model_input, number, path_input, schedule_input, t0_input, whole
from .sockets import DiffusionPath as DiffusionPathSocket

CATEGORY = "diffusion path/paths"
FOLDER = "diffusion_paths"

folders.register(FOLDER)


class RecordPath(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathRecord",
            display_name="Record Path",
            category=CATEGORY,
            description="Samples as SamplerCustomAdvanced does, bit for bit, and keeps the path from noise to picture: "
            "every state, for MDP, film strips and edits.",
            search_aliases=["sampler custom advanced", "save intermediate latents", "trajectory", "sampling history"],
            inputs=[
                io.Noise.Input("noise", tooltip="As for SamplerCustomAdvanced."),
                io.Guider.Input("guider", tooltip="Any guider."),
                io.Sampler.Input(
                    "sampler",
                    tooltip="Any sampler that keeps to the schedule: all of core's except dpm_fast and dpm_adaptive.",
                ),
                io.Sigmas.Input("sigmas", tooltip="Falling noise levels, two or more."),
                io.Latent.Input("latent_image", tooltip="The latent to start from; its noise mask is honoured."),
                keep_in_input(),
            ],
            outputs=[
                DiffusionPathSocket.Output(
                    display_name="path",
                    tooltip="All states. Stochastic samplers also keep the model's predictions.",
                ),
                io.Latent.Output(display_name="latent", tooltip="The result, bit-identical to core's."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        noise: Any,
        guider: Any,
        sampler: Any,
        sigmas: Tensor,
        latent_image: dict[str, Any],
        keep_in: str = KEEP_IN[0],
    ) -> io.NodeOutput:
        mask, samples = latent_image.get("noise_mask"), latent_image["samples"]
        process.check_parts(guider.model_patcher, samples, "latent_image")
        if mask is not None:
            block = masks.block_of(guider.model_patcher)
            masks.check_noise_mask(mask, samples, block, "mask of the latent_image")
        latent = prepared(guider.model_patcher, latent_image)
        with kept_in(keep_in):
            size = path_size(kept_states(len(sigmas) - 1), nested.pack(latent["samples"]))
            for remark in remarks.about_size(size, keep_in):
                announce(f"Record Path: {remark}", cls.hidden.unique_id if cls.hidden else None)
            path, samples = record(
                guider,
                sampler,
                sigmas,
                noise.generate_noise(latent),
                latent,
                callback=latent_preview.prepare_callback(guider.model_patcher, len(sigmas) - 1),
                disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
                seed=noise.seed,
            )
        latent["samples"] = samples.to(comfy.model_management.intermediate_device())
        return io.NodeOutput(path, latent)


class ToSampling(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathToSampling",
            display_name="Path to Sampling Inputs",
            category=CATEGORY,
            description="The inputs SamplerCustomAdvanced needs to start exactly where a path starts, or at t0 on "
            "it: the way from an inverted picture to an edit with a new prompt.",
            search_aliases=["resume path", "start from path", "inversion edit", "path noise"],
            inputs=[
                model_input("The model of the path, or one of its kind."),
                path_input(),
                t0_input(
                    "Where to enter the path, as a fraction of training time: 1 is its start, lower values keep "
                    "more of the picture. Paths that are not one trajectory are entered at their nearest level.",
                    1.0,
                ),
            ],
            outputs=[
                io.Noise.Output(display_name="noise", tooltip="Takes the latent exactly to the path's state."),
                io.Sigmas.Output(display_name="sigmas", tooltip="The path's noise levels from there on."),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="The picture at the path's end. A mask may be set on it: unmasked areas keep the original.",
                ),
                io.Sampler.Output(
                    display_name="sampler",
                    tooltip="The solver that the path was made for; for residual "
                    "paths the one that adds the residuals.",
                ),
                io.Model.Output(
                    display_name="model",
                    tooltip="The model with what the path stores, for runs on this path: embeddings in place of the "
                    "negative prompt, the pull towards the picture, exact Euler steps. Otherwise unchanged.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="Where the path is entered, how many steps are left, and whether a state was interpolated.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any, path: DiffusionPath, t0: float) -> io.NodeOutput:
        check_path_fits(path, model)
        sampling = process.model_sampling(model)
        rest = path.entered_at(process.t0_to_sigma(sampling, t0))
        noise, latent = starting_point(model, rest)
        sampler = replay_sampler(rest)
        text = entry_report(sampling, path, rest, sampler)
        outputs = (noise, rest.sigmas.clone(), latent, sampler, attach(model, rest, path), text)
        return io.NodeOutput(*outputs, ui=ui.PreviewText(text))


class PathReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathReport",
            display_name="Path Report",
            category=CATEGORY,
            description="How well a path leads back to its picture: PSNR and SSIM per picture, and where along the "
            "path the two walks diverge.",
            search_aliases=["reconstruction error", "inversion quality", "psnr", "ssim", "drift"],
            inputs=[
                path_input(),
                path_input("walked", "The same path walked again, from Reconstruct from Path."),
                number("threshold", 30.0, (0.0, 200.0), 0.5, "PSNR in dB that every picture must reach to pass."),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Decodes both ends to compare pictures. Without it, latents are compared.",
                ),
            ],
            outputs=[
                DiffusionPathSocket.Output(
                    display_name="path", tooltip="The path with these figures, which Save Path stores."
                ),
                io.Image.Output(
                    display_name="plot",
                    tooltip="Distance between the two walks at every noise level, in dB below a whole state.",
                ),
                io.String.Output(display_name="report", tooltip="All figures, and pass or warn."),
                io.Float.Output(display_name="psnr", tooltip="The worst picture's PSNR in dB."),
                io.Boolean.Output(display_name="passed", tooltip="Whether every picture reaches the threshold."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, path: DiffusionPath, walked: DiffusionPath, threshold: float, vae: Any = None) -> io.NodeOutput:
        verdict = judge(path, walked, threshold, vae)
        shown = {**ui.PreviewImage(verdict.plot, cls=cls).as_dict(), **ui.PreviewText(verdict.text).as_dict()}
        return io.NodeOutput(verdict.path, verdict.plot, verdict.text, verdict.psnr, verdict.passed, ui=shown)


class Filmstrip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathFilmstrip",
            display_name="Path Filmstrip",
            category=CATEGORY,
            description="Shows what the model expects the picture to be, at several points of one or two paths. "
            "After a run, scrub along the path in the node.",
            search_aliases=["intermediate steps", "denoising process", "visualize sampling", "progress strip"],
            inputs=[
                path_input(),
                io.Vae.Input("vae", tooltip="Decodes each point."),
                whole(
                    "count", 6, (2, 64), "Number of points, evenly spaced over the steps; the last one is the picture."
                ),
                choice(
                    "show",
                    ["prediction", "state"],
                    "prediction",
                    "The picture that the model predicts at each point, or the noisy state itself.",
                ),
                whole("item", 0, (0, 4095), "Which picture of the batch.", advanced=True),
                path_input("other", "A second path, shown beside the first at the same noise levels.", optional=True),
                schedule_input("Marks the window of an edit on the path, and its weights.", optional=True),
            ],
            outputs=[io.Image.Output(tooltip="The strip, labelled with the share of noise.")],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        path: DiffusionPath,
        vae: Any,
        count: int,
        show: str,
        item: int = 0,
        other: DiffusionPath | None = None,
        schedule: PathSchedule | None = None,
    ) -> io.NodeOutput:
        strip = filmstrip(path, vae, count, show, item, other)
        shown = {
            "dpath_path": [strip_numbers(strip, path, item, other, schedule)],
            "dpath_frames": ui.PreviewImage(torch.cat(strip.rows), cls=cls).values,
        }
        return io.NodeOutput(strip_sheet(strip, path), ui=shown)


class SavePath(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathSave",
            display_name="Save Path",
            category=CATEGORY,
            description="Writes a path to the output folder, under diffusion_paths, so that a picture is inverted once "
            "and edited as often as you like.",
            search_aliases=["save inversion", "export path", "store trajectory"],
            inputs=[
                path_input(),
                io.String.Input(
                    "filename_prefix",
                    default="path",
                    tooltip="Name of the file; a number is appended. May include subfolders.",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, path: DiffusionPath, filename_prefix: str) -> io.NodeOutput:
        file, name = folders.save_new(FOLDER, filename_prefix, lambda file: write_path(path, file))
        return io.NodeOutput(ui=ui.PreviewText(f"{FOLDER}/{name}, {file.stat().st_size / 2**20:.1f} MB"))


class LoadPath(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathLoad",
            display_name="Load Path",
            category=CATEGORY,
            description="Reads a saved path from models/diffusion_paths or from the output folder.",
            search_aliases=["load inversion", "import path", "open trajectory"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.listed(FOLDER),
                    tooltip="A file written by Save Path. Press R to refresh the list.",
                )
            ],
            outputs=[
                DiffusionPathSocket.Output(display_name="path", tooltip="The path, bit for bit as it was saved."),
                io.String.Output(display_name="report", tooltip="What the file holds."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> float:
        return folders.resolve(FOLDER, file).stat().st_mtime

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        path = load_path(folders.resolve(FOLDER, file))
        text = path_report(path)
        return io.NodeOutput(path, text, ui=ui.PreviewText(text))


NODES: list[type[io.ComfyNode]] = [RecordPath, ToSampling, PathReport, Filmstrip, SavePath, LoadPath]
