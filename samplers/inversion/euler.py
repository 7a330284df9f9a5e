"""Euler inversion: DDIM inversion (Song et al. 2021, section 4.3; Dhariwal & Nichol 2021, appendix F) in any family.

Sampling takes x = x' + (sigma - sigma') d(x', sigma'), which needs the derivative at the noisier state x', not known
yet. Euler inversion takes the derivative at x instead. The error of a round trip is of first order in the step, at
cfg 1; with guidance at sampling it remains, however many steps are taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..exact_replay import question
from .run import Fields, Method, Run, climbing

LABELS = ("destination", "origin")


@dataclass(frozen=True)
class Euler(Method):
    """label: the noise level that is passed to the model.

    ``destination``, as in the published code of DDIM inversion and null text: the level that the step leads to, while
    the network sees the state as it is; the start of the path needs no special case. ``origin``: the state's own level,
    as in a flipped schedule and in the published code of RF-Inversion.

    exact: the way back asks the network what the way up asked (see `samplers/exact_replay.py`), so that the picture
    comes back exactly at the cfg of the inversion. guided: which is that of the later edit, at twice the cost, instead
    of 1.
    """

    name = "euler"

    label: str = "destination"
    exact: bool = True
    guided: bool = False

    def run_cfg(self, cfg: float) -> float:
        return cfg if self.guided else 1.0

    def plan(self, steps: int, cfg: float) -> int:
        return steps if self.run_cfg(cfg) == 1.0 else 2 * steps

    def __call__(self, run: Run) -> Fields:
        states = climbing(run, lambda x, i: euler_up(run, x, run.sigmas[i + 1], run.sigmas[i], self.label))
        return {"states": states, "asked": self.label if self.exact else ""}


def euler_up(
    run: Run, x: Tensor, sigma: Tensor, sigma_next: Tensor, label: str = "destination"
) -> tuple[Tensor, Tensor]:
    """One step from sigma up to sigma_next; also gives the prediction. x: [B, C, ...]."""
    state, level = question(run.sampling, x, sigma, sigma_next, label)
    denoised = run.denoise(state, level)
    return x + (sigma_next - sigma) * (state - denoised) / level, denoised
