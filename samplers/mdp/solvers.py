"""What a solver does with a manipulated prediction: which ones keep the manipulations exact, and which cannot."""

from __future__ import annotations

from typing import Any

from ..record import sampler_name
from ..replay import adds_noise, innermost

_STEADY = ("heun", "heunpp2", "exp_heun_2_x0", "dpm_2", "dpmpp_2m", "res_multistep")


def is_first_order(sampler: Any) -> bool:
    """Whether the solver takes Euler steps x + (sigma' - sigma) (x - D) / sigma, so that a path's states are met."""
    inner = innermost(sampler)
    return sampler_name(inner) in ("euler", "euler_ancestral", "reverse_sde") and not adds_noise(inner)


def is_steady(sampler: Any) -> bool:
    """Whether the solver's step goes where an Euler step with the same prediction goes, or nearly so.

    Others extrapolate from several predictions: one that is solved for a step makes them overshoot, the next makes up
    for it, and so on without end (measured on the analytic model with all of core's samplers).
    """
    return is_first_order(sampler) or sampler_name(innermost(sampler)) in _STEADY


def refuse_unfit(sampler: Any, method: str, weighted: bool) -> None:
    """Raises ValueError for solvers whose steps a path's predictions cannot serve.

    CFG++ solvers step along the unconditional prediction. Those that draw noise expect the model to remove it, which
    a path (weighted: where it counts) does not: it knows its own noise alone.
    """
    name = sampler_name(innermost(sampler))
    if name.endswith("_cfg_pp"):
        raise ValueError(
            f"{method} gives a prediction without an unconditional part, but the sampler {name} steps along that part: "
            f"use {name.removesuffix('_cfg_pp')}."
        )
    if weighted and adds_noise(sampler):
        raise ValueError(
            f"The sampler {name} adds noise at every step, of which the path of {method} knows nothing: use euler, "
            "ddim or another one without noise."
        )
