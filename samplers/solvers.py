"""What is known of a solver from its SAMPLER: its name and options, whether it adds noise, how its steps are built.

For a SAMPLER of ours that runs another one (masked, recording), the answers are those of that one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from .path_check import is_option
from .reverse_sde import sample_reverse_sde

OWN_LEVELS = ("dpm_fast", "dpm_adaptive")
"""Solvers that choose their own noise levels."""
SINGLE_STEP = (
    "reverse_sde", "euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "ddpm",
)  # fmt: skip
"""Solvers whose step needs the state and its two levels alone, nothing of the steps before."""

# Solvers of core that take a noise_sampler without adding noise.
_NO_NOISE = ("res_multistep", "res_multistep_cfg_pp")
_FIRST_ORDER = ("euler", "euler_ancestral", "reverse_sde")
_STEADY = ("heun", "heunpp2", "exp_heun_2_x0", "dpm_2", "dpmpp_2m", "res_multistep")
_LISTED_AS = {"sample_unipc": "uni_pc", "sample_unipc_bh2": "uni_pc_bh2"}
_CALLABLES = ("noise_sampler", "noise_scaler", "tau_func")


def innermost(sampler: Any) -> Any:
    """The solver inside SAMPLERs that run another one."""
    inner = next((each for name in ("sampler", "inner") if (each := getattr(sampler, name, None)) is not None), None)
    return sampler if inner is None else innermost(inner)


def sampler_name(sampler: Any) -> str:
    """The name of a SAMPLER as ComfyUI lists it, if it has one."""
    function = getattr(sampler, "sampler_function", None)
    if function is None:
        return type(sampler).__name__
    name = getattr(function, "__name__", type(sampler).__name__)
    if name in _LISTED_AS:
        return _LISTED_AS[name]
    if not name.startswith("sample_") and not name.endswith("_function"):
        # From another pack, and often just called `sampler`: its class tells which one it is.
        name = getattr(function, "__qualname__", name).replace(".<locals>", "")
    return name.removeprefix("sample_").removesuffix("_function")


def plain_options(sampler: Any) -> dict[str, Any]:
    """The options of a SAMPLER that can be written down: numbers, words and switches."""
    options = getattr(sampler, "extra_options", {})
    return {key: value for key, value in options.items() if is_option(value)}


def takes_options(function: Callable[..., Any], options: Mapping[str, Any]) -> bool:
    """Whether a solver has all of these options, and takes these values for them."""
    parameters = inspect.signature(function).parameters
    return all(
        name in parameters and name not in _CALLABLES and _may_replace(parameters[name].default, value)
        for name, value in options.items()
    )


def _may_replace(default: Any, value: Any) -> bool:
    """Whether a number, text or switch has the type of an option's default; for the default None, any number does."""
    if default is None or type(default) is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (math.isfinite(value) or default == math.inf)
    return type(value) is type(default)


def adds_noise(sampler: Any) -> bool:
    """Whether a SAMPLER adds fresh noise at its steps.

    It does if its function takes a `noise_sampler` and its eta is not 0, or if its s_churn is above 0.
    """
    sampler = innermost(sampler)
    function, options = getattr(sampler, "sampler_function", None), getattr(sampler, "extra_options", {})
    if function is None or sampler_name(sampler) in _NO_NOISE:
        return False
    if function is sample_reverse_sde:
        ancestral = options.get("kind") == "ancestral"
        return options.get("kind") != "ode" and not (ancestral and options.get("eta") == 0)
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    if options.get("s_churn", 0.0) > 0:
        return True
    return "noise_sampler" in defaults and options.get("eta", defaults.get("eta", 1.0)) != 0


def walks_residuals(sampler: Any) -> bool:
    """Whether a SAMPLER is that of a residual path, `replay.sample_residuals`."""
    return sampler_name(innermost(sampler)) == "residuals"


def is_ddim(sampler: Any) -> bool:
    """Whether a SAMPLER is our ancestral one: DDIM with its eta, which is Euler at 0."""
    sampler = innermost(sampler)
    options = getattr(sampler, "extra_options", {})
    return getattr(sampler, "sampler_function", None) is sample_reverse_sde and options.get("kind") == "ancestral"


def is_first_order(sampler: Any) -> bool:
    """Whether the solver takes Euler steps x + (sigma' - sigma) (x - D) / sigma, so that it meets a path's states."""
    return sampler_name(innermost(sampler)) in _FIRST_ORDER and not adds_noise(sampler)


def is_steady(sampler: Any) -> bool:
    """Whether the solver's step goes where an Euler step with the same prediction goes, or nearly so.

    Others extrapolate from several predictions: one that is solved for a single step makes them overshoot, the next one
    overcorrects, and so on without end (measured on the analytic model with all of core's samplers).
    """
    return is_first_order(sampler) or sampler_name(innermost(sampler)) in _STEADY
