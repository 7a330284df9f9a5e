"""What a solver does with a manipulated prediction: which ones keep the manipulations exact, and which cannot."""

from __future__ import annotations

from typing import Any

from ..record import sampler_name
from ..replay import adds_noise


def innermost(sampler: Any) -> Any:
    """The solver inside of SAMPLERs that run another one (masked, recording)."""
    for name in ("sampler", "inner"):
        if hasattr(sampler, name):
            return innermost(getattr(sampler, name))
    return sampler


def is_first_order(sampler: Any) -> bool:
    """Whether the solver takes Euler steps x + (sigma' - sigma) (x - D) / sigma, so that a path's states are met."""
    inner = innermost(sampler)
    return sampler_name(inner) in ("euler", "euler_ancestral", "reverse_sde") and not adds_noise(inner)


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
    if along_path and adds_noise(innermost(sampler)):
        raise ValueError(
            f"The sampler {name} adds noise at every step, which {method} would leave in the picture: use euler, ddim "
            "or another one without noise, or MDP-x."
        )
