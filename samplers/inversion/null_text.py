"""Null-text inversion (Mokady et al. 2023): embeddings for the negative prompt, optimised step by step, that keep the
guided path on the Euler path of cfg 1.

Walking down from the noisy end, the embedding of a step minimises the distance between the guided Euler step and the
next state of that path; the next step starts from it. Against the published code: the positive prediction is made once
per step, gradients pass through the negative branch alone, the error is looked at before a gradient is paid for, the
last prediction of the optimisation makes the step, and a quasi-Newton method that carries its curvature from step to
step takes the place of Adam.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.model_management
import comfy.patcher_extension
import comfy.samplers
import torch
from torch import Tensor

from .. import process
from ..conditioning import single_part, stored_tensors
from ..gradients import (
    Gradients,
    branch,
    grad_ready,
    gradient_options,
    loss_scales,
    model_roots,
    text_embedding,
    with_text_embedding,
)
from ..path import DiffusionPath
from ..path_fit import latent_psnr
from ..reverse_sde import euler_step
from .euler import Euler
from .negative_prompt import refuse_without_null_branch
from .quasi_newton import QuasiNewton
from .run import Fields, Method, Run

KEY = "c_crossattn"  # under this name a path keeps the text embeddings of its steps
_BACKWARD = 4  # memory of a step with its gradient, in units of one without
_REMEMBERED = 2  # interrupted optimisations that can be taken up again


@dataclass
class Progress:
    """How far an optimisation has come: the Euler path, the embeddings found, and the state that they lead to."""

    pivots: Tensor
    x: Tensor
    solver: QuasiNewton
    made_with: list[Any]
    embeddings: list[Tensor] = field(default_factory=list)


# An interrupted run gives the best so far (its last embedding for the steps that are left), and stays here, so that
# the same run goes on from there.
_unfinished: OrderedDict[str, Progress] = OrderedDict()


@dataclass(frozen=True)
class NullText(Method):
    """iterations: at most so many updates of an embedding per step. stop: an item is done where its squared error (at
    unit variance) is below this; as published the bound rises to 101 times along the path. checkpointed: a third of the
    memory for a third more time. start: an earlier path by this method, whose embeddings are where it starts from.
    """

    name = "null text"

    iterations: int = 10
    stop: float = 1e-5
    checkpointed: bool = False
    start: DiffusionPath | None = None

    def plan(self, steps: int, cfg: float) -> int:
        return steps * (3 + 3 * self.iterations)

    def prepared(self, model: Any, cfg: float, steps: int, batch: int) -> Any:
        refuse_without_null_branch(model, self.name)
        if cfg == 1.0:
            raise ValueError(
                "At cfg 1 the negative prompt is never used, so there is no null text to optimise: set the cfg of the "
                "edit to come (7 for example), or choose fixed point."
            )
        stored = self.start.null.get(KEY) if self.start else None
        if self.start and (stored is None or stored.shape[0] != steps or stored.shape[1] not in (1, batch)):
            raise ValueError(
                f"The path to go on from ({self.start.method}, {self.start.steps} steps, {self.start.shape[0]} images)"
                f" holds no null text for these {steps} steps and {batch} pictures: leave it unconnected."
            )
        model = model.clone()
        wrappers = comfy.patcher_extension.WrappersMP
        model.add_wrapper_with_key(wrappers.PREPARE_SAMPLING, "diffusion_path.gradient_memory", _reserve)
        return model

    def __call__(self, run: Run) -> Fields:
        conds = run.guider.conds
        for name in ("positive", "negative"):
            single_part(conds.get(name), name, "Null-text inversion")
        own = list(text_embedding(conds["negative"]).shape[1:])
        if self.start and list(self.start.null[KEY].shape[2:]) != own:
            raise ValueError(
                f"The path to go on from holds null text of {list(self.start.null[KEY].shape[2:])} tokens and width, "
                f"but the negative prompt has {own}: connect a path that was made with this text encoder, or none."
            )
        key, made_with = self._identity(run), leaves(_alterations(run))
        progress = _unfinished.pop(key, None)
        if progress is None or not same_leaves(progress.made_with, made_with):
            progress = _begin(run, made_with)
        _unfinished[key] = progress
        while len(_unfinished) > _REMEMBERED:
            _unfinished.popitem(last=False)
        run.done = len(progress.embeddings)
        try:
            with grad_ready(model_roots(run.guider), run.picture.device, self.checkpointed) as gradients:
                for i in range(run.done, run.steps):
                    step = GuidedStep(run, i, progress.x.clone(), progress.pivots[i + 1].clone())
                    guess = self._first_guess(run, i, progress)
                    null, progress.x = self.optimise(step, guess, gradients, progress.solver)
                    progress.embeddings.append(null)
                    run.progress(progress.x, progress.x)
        except comfy.model_management.InterruptProcessingException:
            if not progress.embeddings:
                raise
        done = len(progress.embeddings)
        figures: dict[str, tuple[float, ...]] = {"optimised_steps": (float(done),)}
        if done == run.steps:
            del _unfinished[key]
            figures["latent_psnr"] = latent_psnr(run.picture.cpu(), progress.x.cpu())
        found = progress.embeddings + progress.embeddings[-1:] * (run.steps - done)
        null = torch.stack(found).to("cpu", torch.float32)
        return {"states": progress.pivots, "null": {KEY: null}, "figures": figures, "cfg": run.cfg}

    def optimise(
        self, step: GuidedStep, null: Tensor, gradients: Gradients, solver: QuasiNewton
    ) -> tuple[Tensor, Tensor]:
        """The best embedding [B, tokens, width] for one step and the state that it leads to."""
        enough = self.stop * (1 + 100 * step.share)
        best = _Best(null, step.x)

        def loss(embedding: Tensor) -> Tensor:
            reached = step.reached(embedding)
            error = step.error(reached)
            best.keep(null, reached, error)
            # A loss that needs no gradient gets none: nothing is left to improve.
            return error.sum() if bool((best.error > enough).any()) else error.sum().detach()

        solver.new_objective()
        for _ in range(self.iterations):
            _, (slope,) = gradients(loss, null, scales=step.scales)
            busy = best.error > enough
            if not bool(busy.any()):
                return best.null, best.reached
            # In units in which the curvature does not depend on the step's length or the guidance.
            moved = solver.step(null, slope / step.sensitivity)
            null = torch.where(_per_item(busy, null), null + moved, null)
        with torch.no_grad():
            loss(null)
        return best.null, best.reached

    def _first_guess(self, run: Run, i: int, progress: Progress) -> Tensor:
        """Where the optimisation of step i starts. [B, tokens, width]"""
        if self.start is not None:
            null = self.start.null[KEY][i].to(run.picture)
        else:
            null = progress.embeddings[-1] if progress.embeddings else text_embedding(run.guider.conds["negative"])
            null = null.to(run.picture.device)  # a conditioning waits outside the card
        return null.clone().expand(run.picture.shape[0], -1, -1).contiguous()

    def _identity(self, run: Run) -> str:
        """The same for runs that would find the same, so that one can go on where another was interrupted."""
        patcher, conds = run.guider.model_patcher, run.guider.conds
        digest = hashlib.blake2b(repr((id(patcher.model), patcher.patches_uuid, run.cfg)).encode())
        digest.update(repr((replace(self, start=None), id(self.start) if self.start else None)).encode())
        fed = [stored_tensors(single) for name in ("positive", "negative") for single in conds[name]]
        tensors = [tensor for each in fed for _, tensor in sorted(each.items())]
        for tensor in (run.picture, run.sigmas, *tensors):
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        return digest.hexdigest()


class GuidedStep:
    """One guided Euler step as a function of the negative embedding. x, target: the states before and after it."""

    def __init__(self, run: Run, i: int, x: Tensor, target: Tensor) -> None:
        self.run, self.x, self.target = run, x, target
        self.sigma, self.sigma_next = run.sigmas[i].clone(), run.sigmas[i + 1].clone()
        self.share = i / run.steps
        self.options = gradient_options(run.model_options)
        self.scales = loss_scales(run.guider.inner_model.get_dtype_inference())
        a, b = process.coefficients(run.sampling, self.sigma_next)
        self._variance = float(a**2 + b**2)
        leverage = (1 - self.sigma_next / self.sigma) * (run.cfg - 1)
        self.sensitivity = float(leverage**2) / self._variance
        self._levels = self.sigma * x.new_ones([x.shape[0]])
        with torch.no_grad():
            self._positive = self._branch(run.guider.conds["positive"])

    def reached(self, null: Tensor) -> Tensor:
        """The state after the step, with `null` [B, tokens, width] as the negative embedding."""
        model, conds = self.run.guider.inner_model, self.run.guider.conds
        negative = with_text_embedding(conds["negative"], null)
        guided = comfy.samplers.cfg_function(
            model,
            self._positive,
            self._branch(negative),
            self.run.cfg,
            self.x,
            self._levels,
            model_options=self.options,
            cond=conds["positive"],
            uncond=negative,
        )
        return euler_step(self.x, guided, self.sigma, self.sigma_next)

    def error(self, reached: Tensor) -> Tensor:
        """Mean squared distance to the target per item, in units of a state of unit variance. [B]"""
        return (reached - self.target).float().flatten(1).square().mean(1) / self._variance

    def _branch(self, conds: list[dict[str, Any]]) -> Tensor:
        return branch(self.run.guider.inner_model, conds, self.x, self._levels, self.options)


class _Best:
    """Per item, the embedding with the smallest error so far, and the state it leads to."""

    def __init__(self, null: Tensor, x: Tensor) -> None:
        self.null, self.reached = null, x
        self.error = torch.full([x.shape[0]], torch.inf, device=x.device)

    def keep(self, null: Tensor, reached: Tensor, error: Tensor) -> None:
        better = error.detach() < self.error
        self.null = torch.where(_per_item(better, null), null, self.null)
        self.reached = torch.where(_per_item(better, reached), reached.detach(), self.reached)
        self.error = torch.where(better, error.detach(), self.error)


def _per_item(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _reserve(executor: Any, model: Any, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any) -> Any:
    """Lets ComfyUI make room for the backward pass before the model is loaded."""
    return executor(model, [noise_shape[0] * _BACKWARD, *noise_shape[1:]], conds, *args, **kwargs)


def _alterations(run: Run) -> list[Any]:
    """What changes a run beside weights and texts: patches, wrappers and whatever hangs on the prompts."""
    patcher, conds = run.guider.model_patcher, run.guider.conds
    hung = [[cond.get(name) for name in ("control", "gligen", "hooks")] for each in conds.values() for cond in each]
    return [patcher.model_options, patcher.object_patches, patcher.wrappers, hung]


def leaves(value: Any) -> list[Any]:
    """What nested dictionaries and lists hold, with their keys, in order: words and numbers, and weak references."""
    if isinstance(value, dict):
        return [part for key, each in value.items() for part in (*leaves(key), *leaves(each))]
    if isinstance(value, (list, tuple)):
        return [part for each in value for part in leaves(each)]
    try:
        return [weakref.ref(value)]
    except TypeError:
        return [value]


def same_leaves(first: list[Any], second: list[Any]) -> bool:
    """Whether two such lists stand for the same things, all of which are still there."""
    if len(first) != len(second):
        return False
    for a, b in zip(first, second, strict=True):
        if isinstance(a, weakref.ref) and isinstance(b, weakref.ref):
            if a() is None or a() is not b():
                return False
        elif a is not b and (type(a) is not type(b) or not isinstance(a, (str, int, float)) or a != b):
            return False
    return True


def _begin(run: Run, made_with: list[Any]) -> Progress:
    """The pivots: the Euler path of cfg 1, walked without touching the run's own progress."""
    states = Euler()(replace(run, callback=None))["states"]
    size = float(text_embedding(run.guider.conds["positive"]).float().square().mean().sqrt())
    return Progress(states, states[0], QuasiNewton(size), made_with)
