"""What a solver does with a manipulated prediction: which ones keep the manipulations exact, and which cannot."""

from __future__ import annotations

import re
from typing import Any

from ..record import sampler_name

_STOCHASTIC = re.compile(r"ancestral|sde|lcm|ddpm|seeds_|sa_solver")


def innermost(sampler: Any) -> Any:
    """The solver inside of SAMPLERs that run another one (masked, recording)."""
    for name in ("sampler", "inner"):
        if hasattr(sampler, name):
            return innermost(getattr(sampler, name))
    return sampler


def is_first_order(sampler: Any) -> bool:
    """Whether the solver takes Euler steps x + (sigma' - sigma) (x - D) / sigma, so that a path's states are met."""
    name = sampler_name(innermost(sampler))
    return name in ("euler", "euler_ancestral", "reverse_sde") and not adds_noise(sampler)


def adds_noise(sampler: Any) -> bool:
    """Whether the solver draws new noise on its way, as far as its name and options tell."""
    inner = innermost(sampler)
    name, options = sampler_name(inner), getattr(inner, "extra_options", {})
    if name == "reverse_sde":
        return options.get("kind") != "ode" and (options.get("kind") != "ancestral" or options.get("eta", 1.0) > 0)
    if "ancestral" in name:
        return options.get("eta", 1.0) > 0 and options.get("s_noise", 1.0) > 0
    return options.get("s_churn", 0.0) > 0 or _STOCHASTIC.search(name) is not None


def refuse_unfit(sampler: Any, method: str, along_path: bool) -> None:
    """Raises ValueError for solvers whose steps a path's predictions cannot serve.

    CFG++ solvers step along the unconditional prediction. Those that draw noise expect the model to remove it, which
    the displacements of a path (along_path) do not.
    """
    name = sampler_name(innermost(sampler))
    if name.endswith("_cfg_pp"):
        raise ValueError(
            f"{method} gives a prediction without an unconditional part, but the sampler {name} steps along that part: "
            f"use {name.removesuffix('_cfg_pp')}."
        )
    if along_path and adds_noise(sampler):
        raise ValueError(
            f"The sampler {name} adds noise at every step, which {method} would leave in the picture: use euler, ddim "
            "or another one without noise, or MDP-x."
        )
