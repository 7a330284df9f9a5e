"""Inputs shared by several nodes, with their ranges and tooltips."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..common import limits
from ..samplers.masked import KEEP_NOISES, MODES
from ..samplers.path_storage import KEEP_IN
from ..samplers.sdedit import SOLVERS, SDEditSettings
from ..samplers.sigmas import LEVELS
from .sockets import DiffusionPath, PathSchedule

ANY_MODEL = "Any diffusion or flow model."
CELLS_TIP = "The results with all that Join Sweeps needs to put parts together."
CFG_TIP = "Strength of the prompt (classifier-free guidance). 1 uses the positive prompt alone and takes half the time."
KEEP_NOISE_TIP = (
    "Noise of kept pixels during sampling: the same for the whole repeat (fixed), or new at every step (fresh). "
    "auto: fixed, but fresh in paper mode."
)
KEEP_IN_TIP = (
    "Where the path is kept for as long as ComfyUI holds it: in memory, or in a file in ComfyUI's temporary folder, "
    "for a path that is too large for memory, such as a film's. Exact in both."
)
LEVELS_TIP = (
    "continuous: the steps are laid between t0 and 0. trained: for models distilled to few steps (turbo, lightning, "
    "schnell, LCM), which are right only at the levels of their own run. steps is then that of the full run; the edit "
    "begins at its level nearest to t0 and takes the steps that are left."
)
LINES_TIP = (
    "Polarity of the drawing. auto takes the rarer of light and dark as the lines; on a transparent layer, whatever "
    "is painted."
)
MASK_TIP = "1 = edit; where it is 0 the source is kept exactly."
MODE_TIP = (
    "What a mask does (1 = edit, 0 = keep). blend: like core, soft masks mix. threshold: grey is a strength, so "
    "each pixel gets its own t0. paper: the published algorithm; binary, and leaves a little noise in kept pixels. "
    "langevin: extra evaluations before each step make the edited part agree with the kept one."
)
PATH_TIP = "From Invert Picture to Path, Record Path or Load Path."
REPEATS_TIP = "How many times to perturb and denoise, all in latent space. Each repeat costs as much as the first."
SCHEDULER_TIP = (
    "Spacing of the noise levels between t0 and 0, with the scheduler's own shape and without rounding t0 to a step."
)
SEED_TIP = "Seed of all noise. The same seed gives the same noise as core's RandomNoise."
SOLVER_TIP = (
    "How the reverse process is solved, always with one model call per step. sde_small: DDPM's own noise on every "
    "step, which corrects errors and seams. sde_large_vp, sde_large_ve: the paper's larger noise, for more steps. "
    "ode (Euler, DDIM) and dpmpp_2m: no noise, closer to the guide, good with few steps. consistency: all noise is new "
    "at every step, for LCM and other consistency models."
)
STEPS_TIP = (
    "Steps after t0; all of them are run, in each repeat. A step takes two evaluations of the network, one per "
    "prompt, or a single one at cfg 1."
)
LANGEVIN_TIP = (
    "Only in the mask mode langevin: Langevin steps before a step where all is noise, fewer as the noise falls. Each "
    "is an evaluation: 5 makes a full run about four times as long. 0 is blend."
)
T0_TIP = (
    "Where the path is entered, as a fraction of training time: 0 keeps the guide, 1 ignores it. 0.3 to 0.6 is "
    "usual; lower is more faithful, higher is more realistic."
)


def fraction(name: str, default: float, tooltip: str, step: float = 0.01, **more: Any) -> Any:
    """A number from 0 to 1 that is never rounded."""
    return number(name, default, (0.0, 1.0), step, tooltip, round=False, **more)


def number(name: str, default: float, span: tuple[float, float], step: float, tooltip: str, **more: Any) -> Any:
    return io.Float.Input(name, default=default, min=span[0], max=span[1], step=step, tooltip=tooltip, **more)


def whole(name: str, default: int, span: tuple[int, int], tooltip: str, **more: Any) -> Any:
    return io.Int.Input(name, default=default, min=span[0], max=span[1], tooltip=tooltip, **more)


def choice(name: str, options: Any, default: str, tooltip: str, **more: Any) -> Any:
    return io.Combo.Input(name, options=list(options), default=default, tooltip=tooltip, **more)


def model_input(tooltip: str = ANY_MODEL) -> Any:
    return io.Model.Input("model", tooltip=tooltip)


def path_input(name: str = "path", tooltip: str = PATH_TIP, **more: Any) -> Any:
    return DiffusionPath.Input(name, tooltip=tooltip, **more)


def schedule_input(tooltip: str, **more: Any) -> Any:
    return PathSchedule.Input("schedule", tooltip=tooltip, **more)


def seed_input(tooltip: str = SEED_TIP, most: int = 0xFFFFFFFFFFFFFFFF) -> Any:
    return whole("seed", 0, (0, most), tooltip, control_after_generate=True)


def t0_input(tooltip: str = T0_TIP, default: float = SDEditSettings.t0) -> Any:
    return fraction("t0", default, tooltip)


def steps_input(tooltip: str = STEPS_TIP, default: int = SDEditSettings.steps, least: int = 1) -> Any:
    return whole("steps", default, (least, 10000), tooltip)


def cfg_input(tooltip: str = CFG_TIP, default: float = SDEditSettings.cfg, name: str = "cfg") -> Any:
    return number(name, default, (0.0, 100.0), 0.1, tooltip, round=0.01)


def scheduler_input(tooltip: str = SCHEDULER_TIP, default: str = SDEditSettings.scheduler, **more: Any) -> Any:
    return choice("scheduler", comfy.samplers.SCHEDULER_NAMES, default, tooltip, **more)


def sigmas_input(ignored: str, more: str = "") -> Any:
    """Optional SIGMAS of a node with a scheduler; ignored: the widgets that they replace."""
    return io.Sigmas.Input(
        "sigmas",
        optional=True,
        tooltip=f"Noise levels to use instead of {ignored}, which are then ignored. All of them are used "
        f"unchanged and must fall to 0.{more}",
    )


def prompt_inputs(positive: str = "What the picture shows.", negative: str = "What it does not show.") -> list[Any]:
    return [io.Conditioning.Input("positive", tooltip=positive), io.Conditioning.Input("negative", tooltip=negative)]


def sdedit_inputs(t0: str = T0_TIP) -> list[Any]:
    """The widgets of an SDEdit run except for its masks, in the order of `SDEditSettings`."""
    return [
        seed_input(),
        t0_input(t0),
        steps_input(),
        cfg_input(),
        choice("solver", SOLVERS, SDEditSettings.solver, SOLVER_TIP),
        scheduler_input(advanced=True),
        whole("repeats", SDEditSettings.repeats, (1, 5), REPEATS_TIP, advanced=True),
    ]


def keep_in_input() -> Any:
    return choice("keep_in", KEEP_IN, KEEP_IN[0], KEEP_IN_TIP, optional=True, advanced=True)


def levels_input() -> Any:
    return choice("levels", LEVELS, SDEditSettings.levels, LEVELS_TIP, optional=True, advanced=True)


def part_inputs() -> list[Any]:
    """Which part of a sweep to run; 1 of 1 is all of it."""
    most = limits.SWEEP_PARTS
    part = "Which of the parts is run here, from 1. In ComfyUI-Distributed, connect Distributed Seed set to 1."
    parts = "Into how many parts the sweep is split, for several machines or runs; Join Sweeps puts them together."
    return [
        whole("part", 1, (1, most), part, optional=True, advanced=True),
        whole("parts", 1, (1, most), parts, optional=True, advanced=True),
    ]


def langevin_input() -> Any:
    return whole("langevin_steps", SDEditSettings.langevin_steps, (0, 20), LANGEVIN_TIP, optional=True, advanced=True)


def mask_mode_inputs(**more: Any) -> list[Any]:
    """How a mask acts."""
    return [
        choice("mask_mode", MODES, SDEditSettings.mask_mode, MODE_TIP, **more),
        choice("keep_noise", KEEP_NOISES, SDEditSettings.keep_noise, KEEP_NOISE_TIP, **more),
    ]
