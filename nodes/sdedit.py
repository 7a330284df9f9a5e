"""SDEdit: from a guide to a picture, and its parts as nodes of their own."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import latent_preview
import torch
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from ..samplers import process, reverse_sde
from ..samplers.masked import KEEP_NOISES, MODES
from ..samplers.remarks import about_mask, lines
from ..samplers.sdedit import SOLVERS, SDEditSettings, perturbed, remarks_on, report, sdedit
from ..samplers.sigmas import sdedit_sigmas
from . import validate

CATEGORY = "diffusion path/sdedit"

SOLVER_TIP = (
    "How the reverse process is solved, always one evaluation per step. sde_small: DDPM's own noise on every step, "
    "which mends errors and seams. sde_large_vp, sde_large_ve: the paper's larger noise, for more steps. "
    "ode (Euler, DDIM) and dpmpp_2m: no noise, closer to the guide, good in few steps."
)
SCHEDULER_TIP = (
    "Spacing of the noise levels between t0 and 0, in the scheduler's own shape and without moving t0 to a step."
)
T0_TIP = (
    "Where the path is entered, as a fraction of training time: 0 keeps the guide, 1 ignores it. 0.3 to 0.6 is usual; "
    "less is more faithful, more is more realistic."
)
STEPS_TIP = "Evaluations after t0, always exactly as many (per repeat)."
CFG_TIP = "Strength of the prompt (classifier-free guidance). 1 uses the positive prompt alone and takes half the time."
REPEATS_TIP = (
    "How often the result is perturbed and denoised again, inside latent space. Each repeat costs as much as the first."
)
MODE_TIP = (
    "What a mask does (1 = edit, 0 = keep). blend: as core, soft masks mix. threshold: grey is a strength, each pixel "
    "gets its own t0. paper: the published algorithm, binary, leaves a little noise in kept pixels."
)
KEEP_NOISE_TIP = (
    "Noise of kept pixels on the way: one for the whole repeat (fixed), or new at every step (fresh). auto: fixed, but "
    "fresh in paper mode."
)
SEED_TIP = "Seed of all noise. The same seed gives the noise of core's RandomNoise."


def solver_inputs() -> list[Any]:
    """Solver and scheduler widgets, shared by the nodes that run SDEdit."""
    return [
        io.Combo.Input("solver", options=list(SOLVERS), default=SDEditSettings.solver, tooltip=SOLVER_TIP),
        io.Combo.Input(
            "scheduler",
            options=list(comfy.samplers.SCHEDULER_NAMES),
            default=SDEditSettings.scheduler,
            tooltip=SCHEDULER_TIP,
        ),
    ]


def mask_inputs() -> list[Any]:
    """How a mask acts, shared by the nodes that mask."""
    return [
        io.Combo.Input("mask_mode", options=list(MODES), default="blend", advanced=True, tooltip=MODE_TIP),
        io.Combo.Input("keep_noise", options=list(KEEP_NOISES), default="auto", advanced=True, tooltip=KEEP_NOISE_TIP),
    ]


def t0_input(tooltip: str = T0_TIP) -> Any:
    return io.Float.Input("t0", default=0.5, min=0.0, max=1.0, step=0.01, round=False, tooltip=tooltip)


def sigmas_input(ignored: str, more: str = "") -> Any:
    """Optional SIGMAS of a node with a scheduler; ignored: the widgets that they take the place of."""
    return io.Sigmas.Input(
        "sigmas",
        optional=True,
        tooltip=f"Noise levels to use instead of {ignored}, which are then ignored: all of them, as they are. They "
        f"fall to 0.{more}",
    )


def seed_input() -> Any:
    return io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip=SEED_TIP)


class SDEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathSDEdit",
            display_name="SDEdit",
            category=CATEGORY,
            description="Turns a rough guide (strokes, a collage, any picture) into a realistic one: adds noise up to "
            "t0, then denoises. The guide's noise mask (1 = edit) is honoured.",
            search_aliases=["img2img", "image to image", "stroke to picture", "denoise strength", "paint to image"],
            inputs=[
                io.Model.Input("model", tooltip="Any diffusion or flow model."),
                io.Conditioning.Input("positive", tooltip="What the picture shows."),
                io.Conditioning.Input("negative", tooltip="What it does not show."),
                io.Latent.Input(
                    "guide", tooltip="The encoded guide, from VAE Encode. Set Latent Noise Mask limits the edit."
                ),
                seed_input(),
                t0_input(),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip=STEPS_TIP),
                io.Float.Input("cfg", default=4.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=CFG_TIP),
                *solver_inputs(),
                io.Int.Input("repeats", default=1, min=1, max=5, tooltip=REPEATS_TIP),
                *mask_inputs(),
                sigmas_input("t0, steps and scheduler"),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited picture. Decode it with VAE Decode."),
                io.Latent.Output(
                    display_name="perturbed",
                    tooltip="What the model saw of the guide at t0. Decode it to see how much of the guide is left.",
                ),
                io.String.Output(
                    display_name="report", tooltip="Start sigma, share of noise, steps and evaluations really run."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        guide: dict[str, Any],
        seed: int,
        t0: float,
        steps: int,
        cfg: float,
        solver: str,
        scheduler: str,
        repeats: int = 1,
        mask_mode: str = "blend",
        keep_noise: str = "auto",
        sigmas: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        validate.check_latent(model, guide)
        if sigmas is not None:
            steps = max(sigmas.numel() - 1, 0)
            from_noise = steps > 0 and process.is_prior(process.model_sampling(model), float(sigmas.reshape(-1)[0]))
        else:
            from_noise = t0 == 1.0
        if not from_noise:
            validate.refuse_grey_fill(model, guide)
        settings = SDEditSettings(t0, steps, cfg, solver, scheduler, repeats, mask_mode, keep_noise, sigmas)
        callback = latent_preview.prepare_callback(model, steps * repeats)
        edit = sdedit(model, positive, negative, guide, seed, settings, callback)
        notes = remarks_on(model, positive, negative, guide, settings, edit)
        text = "\n".join([report(model, settings, edit) + validate.mask_line(guide), *lines(notes)])
        return io.NodeOutput(edit.latent, edit.perturbed, text, ui=ui.PreviewText(text))


class Perturb(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathPerturb",
            display_name="SDE Perturb",
            category=CATEGORY,
            description="The forward process alone: adds the noise of t0 to a latent. Finish it with any sampler and "
            "DisableNoise, from the same t0. With a VAE it shows what the model sees there.",
            search_aliases=["add noise", "inject noise", "forward process", "noise latent"],
            inputs=[
                io.Model.Input("model", tooltip="The model that will finish the picture: it defines the noise levels."),
                io.Latent.Input("latent", tooltip="The clean latent."),
                seed_input(),
                t0_input("How far to go, as a fraction of training time. Ignored where sigmas are connected."),
                io.Sigmas.Input(
                    "sigmas", optional=True, tooltip="Perturb to the first of these levels instead of to t0."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="1 = perturb; 0 stays clean. It is handed on as the latent's noise mask.",
                ),
                io.Vae.Input(
                    "vae", optional=True, tooltip="Decodes what the model sees, for the image and the preview."
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent", tooltip="The perturbed latent, for a sampler with DisableNoise."
                ),
                io.Image.Output(display_name="seen", tooltip="What the model sees at t0. Needs the VAE."),
                io.String.Output(display_name="report", tooltip="Sigma and share of noise."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        latent: dict[str, Any],
        seed: int,
        t0: float,
        sigmas: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        vae: Any = None,
    ) -> io.NodeOutput:
        latent = validate.masked_latent(model, latent, mask, "latent")
        sampling = process.model_sampling(model)
        if sigmas is None:
            sigma = process.t0_to_sigma(sampling, t0)
        else:
            sigma = float(sigmas[0]) if len(sigmas) > 0 else 0.0
        made, seen = perturbed(model, latent, sigma, seed)
        share = float(process.noise_fraction(sampling, sigma))
        text = f"t0 {process.sigma_to_t0(sampling, sigma):.4g}: sigma {sigma:.4g}, {share:.1%} noise"
        if sigma == 0.0:
            text += ": the latent is returned as it is"
        notes = about_mask(latent.get("noise_mask"), latent["samples"].shape[0])
        text = "\n".join([text + validate.mask_line(made), *lines(notes)])
        if vae is None:
            blocked = ExecutionBlocker("SDE Perturb can show what the model sees only with a VAE: connect one to it.")
            return io.NodeOutput(made, blocked, text, ui=ui.PreviewText(text))
        image = vae.decode(seen)
        image = image.reshape(-1, *image.shape[-3:])
        shown = {**ui.PreviewImage(image, cls=cls).as_dict(), **ui.PreviewText(text).as_dict()}
        return io.NodeOutput(made, image, text, ui=shown)


class SDEditSigmas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathSigmas",
            display_name="SDEdit Sigmas",
            category=CATEGORY,
            description="The noise levels of an SDEdit run for core's samplers: exactly steps + 1 levels from "
            "sigma(t0) down to 0, for any scheduler.",
            search_aliases=["denoise schedule", "partial sigmas", "basic scheduler", "strength sigmas"],
            inputs=[
                io.Model.Input("model", tooltip="The model defines the noise levels."),
                t0_input(),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip=STEPS_TIP),
                io.Combo.Input(
                    "scheduler",
                    options=list(comfy.samplers.SCHEDULER_NAMES),
                    default=SDEditSettings.scheduler,
                    tooltip=SCHEDULER_TIP,
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="steps + 1 levels; none at t0 = 0, which leaves a latent as it is.")],
        )

    @classmethod
    def execute(cls, model: Any, t0: float, steps: int, scheduler: str) -> io.NodeOutput:
        return io.NodeOutput(sdedit_sigmas(process.model_sampling(model), t0, steps, scheduler))


class ReverseSDE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathReverseSDE",
            display_name="Reverse SDE Sampler",
            category=CATEGORY,
            description="A sampler for SamplerCustom: the ODE (Euler/DDIM), ancestral sampling with eta, or the "
            "reverse SDE of the SDEdit paper. Its noise belongs to each batch item's seed.",
            search_aliases=["ddim eta", "ddpm sampler", "euler ancestral", "stochastic sampler", "sde sampler"],
            inputs=[
                io.Combo.Input(
                    "kind",
                    options=list(reverse_sde.KINDS),
                    default="sde_small",
                    tooltip="ode: Euler (DDIM), no noise. ancestral: DDIM with eta. sde_small: the DDPM posterior. "
                    "sde_large_vp: beta, exact for data of unit variance. sde_large_ve: the variance-exploding SDE.",
                ),
                io.Float.Input(
                    "eta",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Share of new noise in ancestral: 0 is the ODE, 1 the DDPM posterior. Unused otherwise.",
                ),
                io.Float.Input(
                    "s_noise",
                    default=1.0,
                    min=0.0,
                    max=4.0,
                    step=0.01,
                    round=False,
                    tooltip="Multiplies the noise that each step adds. 1 is the equation.",
                ),
                io.Boolean.Input(
                    "last_noise",
                    default=False,
                    advanced=True,
                    tooltip="Add noise on the last step too, as the paper's pseudo-code does; it stays in the picture.",
                ),
            ],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustom, SamplerCustomAdvanced or Masked Reverse SDE.")],
        )

    @classmethod
    def execute(cls, kind: str, eta: float, s_noise: float, last_noise: bool = False) -> io.NodeOutput:
        return io.NodeOutput(reverse_sde.sampler(kind, eta, s_noise, last_noise))


NODES: list[type[io.ComfyNode]] = [SDEdit, Perturb, SDEditSigmas, ReverseSDE]
