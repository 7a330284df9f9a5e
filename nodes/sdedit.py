"""SDEdit: from a guide to a picture, and its parts as nodes of their own."""

from __future__ import annotations

from typing import Any

import latent_preview
import torch
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from ..samplers import process, reverse_sde
from ..samplers.sdedit import SDEditSettings, perturbed, sdedit
from ..views.pictures import decoded
from ..views.reports import perturb_report, sdedit_report, sigmas_report
from . import validate
from .inputs import (
    choice,
    fraction,
    langevin_input,
    levels_input,
    mask_mode_inputs,
    model_input,
    number,
    prompt_inputs,
    scheduler_input,
    sdedit_inputs,
    seed_input,
    sigmas_input,
    steps_input,
    t0_input,
)

CATEGORY = "diffusion path/sdedit"
_FULL_RUN = " With levels trained they are those of the model's full run, and t0 says where in it to begin."


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
                model_input(),
                *prompt_inputs(),
                io.Latent.Input(
                    "guide", tooltip="The encoded guide, from VAE Encode. Set Latent Noise Mask limits the edit."
                ),
                *sdedit_inputs(),
                *mask_mode_inputs(advanced=True),
                sigmas_input("t0, steps and scheduler", _FULL_RUN),
                levels_input(),
                langevin_input(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited picture. Decode it with VAE Decode."),
                io.Latent.Output(
                    display_name="perturbed",
                    tooltip="What the model saw of the guide at t0. Decode it to see how much of the guide is left.",
                ),
                io.String.Output(
                    display_name="report", tooltip="Start sigma, share of noise, steps and evaluations actually run."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, guide: dict[str, Any], seed: int, t0: float, **widgets: Any
    ) -> io.NodeOutput:
        settings = SDEditSettings(t0, **widgets)
        validate.check_latent(model, guide)
        sampling = process.model_sampling(model)
        if not settings.starts_from_noise(sampling):
            validate.refuse_grey_fill(model, guide)
        callback = latent_preview.prepare_callback(model, settings.run_steps(sampling))
        edit = sdedit(model, positive, negative, guide, seed, settings, callback)
        text = sdedit_report(model, positive, negative, guide, settings, edit)
        return io.NodeOutput(edit.latent, edit.perturbed, text, ui=ui.PreviewText(text))


class Perturb(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathPerturb",
            display_name="SDE Perturb",
            category=CATEGORY,
            description="Only the forward process: adds the noise of t0 to a latent. Finish it with any sampler and "
            "DisableNoise, from the same t0. With a VAE it shows what the model sees at that level.",
            search_aliases=["add noise", "inject noise", "forward process", "noise latent"],
            inputs=[
                model_input("The model that will finish the picture: it defines the noise levels."),
                io.Latent.Input("latent", tooltip="The clean latent."),
                seed_input(),
                t0_input("How far to go, as a fraction of training time. Ignored if sigmas are connected."),
                io.Sigmas.Input(
                    "sigmas", optional=True, tooltip="Perturb to the first of these levels instead of to t0."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="1 = perturb; 0 stays clean. It is passed on as the latent's noise mask.",
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
        noisy, seen = perturbed(model, latent, sigma, seed)
        text = perturb_report(sampling, sigma, latent, noisy)
        if vae is None:
            blocked = ExecutionBlocker("SDE Perturb can show what the model sees only with a VAE: connect one to it.")
            return io.NodeOutput(noisy, blocked, text, ui=ui.PreviewText(text))
        image = decoded(vae, seen)
        shown = {**ui.PreviewImage(image, cls=cls).as_dict(), **ui.PreviewText(text).as_dict()}
        return io.NodeOutput(noisy, image, text, ui=shown)


class SDEditSigmas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathSigmas",
            display_name="SDEdit Sigmas",
            category=CATEGORY,
            description="The noise levels of an SDEdit run for core's samplers: exactly steps + 1 levels from "
            "sigma(t0) down to 0, for any scheduler; or the end of a distilled model's own run.",
            search_aliases=["denoise schedule", "partial sigmas", "basic scheduler", "strength sigmas"],
            inputs=[
                model_input("The model, which defines the noise levels."),
                t0_input(),
                steps_input(),
                scheduler_input(),
                levels_input(),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="With levels trained: the levels of the model's full run, instead of those of steps and "
                    "scheduler.",
                ),
            ],
            outputs=[
                io.Sigmas.Output(
                    tooltip="steps + 1 levels (with levels trained, what is left of them); none at t0 = 0, which "
                    "leaves a latent unchanged."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        t0: float,
        steps: int,
        scheduler: str,
        levels: str = SDEditSettings.levels,
        sigmas: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        if sigmas is not None and levels != "trained":
            raise ValueError(
                "SIGMAS are connected, but levels is continuous: set it to trained, where they are the levels of the "
                "model's full run, or disconnect them."
            )
        settings = SDEditSettings(t0, steps, scheduler=scheduler, sigmas=sigmas, levels=levels)
        sampling = process.model_sampling(model)
        found = settings.schedule(sampling)
        text = sigmas_report(sampling, settings, found)
        return io.NodeOutput(found, ui=ui.PreviewText(text))


class ReverseSDE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathReverseSDE",
            display_name="Reverse SDE Sampler",
            category=CATEGORY,
            description="A sampler for SamplerCustom: the ODE (Euler/DDIM), ancestral sampling with eta, the reverse "
            "SDE of the SDEdit paper, or consistency steps. Each batch item gets the noise of its own seed.",
            search_aliases=["ddim eta", "ddpm sampler", "euler ancestral", "stochastic sampler", "sde sampler", "lcm"],
            inputs=[
                choice(
                    "kind",
                    reverse_sde.KINDS,
                    "sde_small",
                    "ode: Euler (DDIM), no noise. ancestral: DDIM with eta. sde_small: the DDPM posterior. "
                    "sde_large_vp: beta, exact for data of unit variance. sde_large_ve: the variance-exploding SDE. "
                    "consistency: the prediction with all new noise, as core's lcm, for consistency models.",
                ),
                fraction(
                    "eta", 1.0, "Share of new noise in ancestral: 0 is the ODE, 1 the DDPM posterior. Unused otherwise."
                ),
                number(
                    "s_noise",
                    1.0,
                    (0.0, 4.0),
                    0.01,
                    "Multiplies the noise that each step adds. 1 follows the equation.",
                    round=False,
                    advanced=True,
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
