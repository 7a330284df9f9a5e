"""A training that an interrupt cut short, as a value from which the same training continues bit for bit."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..samplers.conditioning import fingerprint

Recipe = tuple[list[int], list[float], list[int]]
"""How to read activations again: pictures, noise levels as training-time fractions, and numbers of the draws."""


@dataclass(frozen=True)
class Mark:
    """The state of a training between two steps, except the weights: random state, queue of pictures, activations."""

    choices: Tensor
    queue: tuple[int, ...]
    drawn: int
    recipes: tuple[Recipe, ...]


@dataclass(frozen=True)
class Unfinished:
    """The training of `identity` after len(losses) steps. Weights, average and optimiser are on the CPU.

    The activations that were kept are read again by their recipes, because they may take gigabytes. past: the record of
    the predictor that the training began with.
    """

    identity: str
    mark: Mark
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any]
    losses: tuple[float, ...]
    validation: float
    best: float
    best_state: dict[str, Tensor]
    past: dict[str, Any]


def identity(plan: Any, examples: Iterable[Any], world: int) -> str:
    """A digest of all that a training depends on besides the model: plan, pictures, targets and texts."""
    digest = hashlib.blake2b(repr((plan, world)).encode())
    for example in examples:
        for tensor in (example.latent, example.target):
            digest.update(str(list(tensor.shape)).encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        digest.update(fingerprint(example.cond).encode())
    return digest.hexdigest()


def on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state_dict on the CPU."""
    return {key: value.detach().to("cpu", copy=True) for key, value in state.items()}


def optimiser_on_cpu(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """A copy of an optimiser's state on the CPU, for its load_state_dict."""
    state = optimiser.state_dict()
    moments = {
        key: {name: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
              for name, value in kept.items()}
        for key, kept in state["state"].items()
    }  # fmt: skip
    return {"state": moments, "param_groups": copy.deepcopy(state["param_groups"])}
