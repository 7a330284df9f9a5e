"""Null-text inversion (Mokady et al. 2023): embeddings for the negative prompt, optimised step by step, that keep the
guided path on the Euler path of cfg 1.

From the noisy end down, the embedding of a step minimises the distance between the guided Euler step and the next state
of that path; the next step starts from it. Unlike in the published code, the positive prediction is computed once per
step, gradients pass through the negative branch alone, the error is checked before a gradient is computed, the last
prediction of the optimisation is used for the step, and a quasi-Newton method that carries its curvature from step to
step replaces Adam.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.model_management
import comfy.patcher_extension
import comfy.samplers
import torch
from torch import Tensor

from ...gradients import (
    Gradients,
    Needs,
    branch,
    grad_ready,
    gradient_options,
    loss_scales,
    model_roots,
    refuse_no_gradient,
    text_embedding,
    with_text_embedding,
)
from .. import nested, process
from ..conditioning import fingerprint, single_part
from ..experts import enter
from ..path import DiffusionPath
from ..path_fit import latent_psnr
from ..reverse_sde import euler_step
from .euler import Euler
from .quasi_newton import QuasiNewton
from .run import Fields, Method, Run

KEY = "c_crossattn"  # under this name a path keeps the text embeddings of its steps
_BACKWARD = 4  # memory of a step with its gradient, in units of one without
_PROGRESS = ("x", "settings", "negative")  # names of the tensors with which an interrupted path is continued


@dataclass
class Progress:
    """How far an optimisation has come: the Euler path (on the CPU), the embeddings found, and the state they lead to.

    guesses: where each step starts, [N, 1 or B, tokens, width]; None if each starts from the step before it.
    """

    pivots: Tensor
    x: Tensor
    solver: QuasiNewton
    embeddings: list[Tensor] = field(default_factory=list)
    guesses: Tensor | None = None


@dataclass(frozen=True)
class NullText(Method):
    """iterations: maximum updates of an embedding per step. stop: an item is done once its squared error (at unit
    variance) is below this; as published the bound rises to 101 times along the path. checkpointed: a third of the
    memory for a third more time. earlier: a path by this method: one that was interrupted under the same settings is
    continued, any other gives the embeddings to start from.
    """

    name = "null text"

    iterations: int = 10
    stop: float = 1e-5
    checkpointed: bool = False
    earlier: DiffusionPath | None = None

    def plan(self, steps: int, cfg: float) -> int:
        return steps * (3 + 3 * self.iterations)

    def prepared(self, model: Any, cfg: float, steps: int, batch: int) -> Any:
        if cfg == 1.0:
            raise ValueError(
                "At cfg 1 the negative prompt is never used, so there is no null text to optimise: set the cfg of the "
                "edit to come (7 for example), or choose fixed point."
            )
        earlier = self.earlier
        stored = earlier.null.get(KEY) if earlier else None
        if earlier and (stored is None or stored.shape[0] != steps or stored.shape[1] not in (1, batch)):
            raise ValueError(
                f"The earlier path ({earlier.method}, {earlier.steps} steps, {earlier.shape[0]} images) holds no null "
                f"text for these {steps} steps and {batch} pictures: leave the input earlier unconnected."
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
        if self.earlier and list(self.earlier.null[KEY].shape[2:]) != own:
            raise ValueError(
                f"The earlier path holds null text of {list(self.earlier.null[KEY].shape[2:])} tokens and width, but "
                f"the negative prompt has {own}: connect a path that was made with this text encoder, or none."
            )
        progress = self._progress(run)
        run.done = len(progress.embeddings)
        needs = Needs()
        try:
            for i in range(run.done, run.steps):
                options = enter(run.guider, run.sigmas[i], run.model_options)
                roots = model_roots(run.guider)
                with grad_ready(roots, run.picture.device, self.checkpointed, needs) as gradients:
                    target = progress.pivots[i + 1].to(run.picture, copy=True)
                    step = GuidedStep(run, i, progress.x.clone(), target, options)
                    # A copy, because after an interrupt in the middle of a step this step is repeated.
                    solver = copy.copy(progress.solver)
                    null, x = self.optimise(step, self._first_guess(run, i, progress), gradients, solver)
                    progress.x, progress.solver = x, solver
                    progress.embeddings.append(null)
                    run.progress(progress.x, progress.x)
        except comfy.model_management.InterruptProcessingException:
            if not progress.embeddings:
                raise
        return self._fields(run, progress)

    def _fields(self, run: Run, progress: Progress) -> Fields:
        """The path, with the tensors to continue from where it was interrupted."""
        done = len(progress.embeddings)
        found = [null.to("cpu", torch.float32) for null in progress.embeddings]
        fields: Fields = {"states": progress.pivots, "cfg": run.cfg}
        figures: dict[str, tuple[float, ...]] = {"optimised_steps": (float(done),)}
        if done == run.steps:
            ends = (nested.video(each.cpu(), run.shapes) for each in (run.picture, progress.x))
            figures["latent_psnr"] = latent_psnr(*ends)
        else:
            fields["progress"] = self._marks(run) | {"x": progress.x.cpu().float(), **progress.solver.state()}
            guesses = None if progress.guesses is None else progress.guesses.to("cpu", torch.float32)
            if guesses is not None:
                fields["progress"]["guesses"] = guesses
            found += found[-1:] * (run.steps - done)
        return {**fields, "null": {KEY: torch.stack(found)}, "figures": figures}

    def _marks(self, run: Run) -> dict[str, Tensor]:
        """What must be the same to continue an interrupted optimisation, besides the path's own fields."""
        negative = text_embedding(run.guider.conds["negative"]).to("cpu", torch.float32)
        return {"settings": torch.tensor([float(self.iterations), self.stop]), "negative": negative.clone()}

    def _progress(self, run: Run) -> Progress:
        """Where the run begins: where `earlier` was interrupted, if that was the same run, else at the first step."""
        earlier, conds = self.earlier, run.guider.conds
        size = float(text_embedding(conds["positive"]).float().square().mean().sqrt())
        if earlier is not None and self._continues(earlier, run):
            kept, dtype = earlier.progress, text_embedding(conds["negative"]).dtype
            done = int(earlier.figures["optimised_steps"][0])
            solver = QuasiNewton(size).restored({name: kept[name].to(run.picture.device) for name in kept})
            guesses = kept.get("guesses")
            return Progress(
                earlier.states,
                kept["x"].to(run.picture),
                solver,
                [null.to(run.picture.device, dtype) for null in earlier.null[KEY][:done]],
                guesses,
            )
        # The pivots: the Euler path of cfg 1, computed without touching the run's own progress.
        pivots = Euler()(replace(run, callback=None))["states"]
        guesses = earlier.null[KEY] if earlier else None
        return Progress(pivots, pivots[0].to(run.picture), QuasiNewton(size), guesses=guesses)

    def _continues(self, earlier: DiffusionPath, run: Run) -> bool:
        """Whether `earlier` is this run, interrupted: picture, levels, prompts, guidance and settings are the same."""
        kept, marks = earlier.progress, self._marks(run)
        return (
            all(name in kept for name in _PROGRESS)
            and all(torch.equal(kept[name], marks[name]) for name in marks)
            and torch.equal(earlier.sigmas, run.sigmas.cpu().float())
            and torch.equal(earlier.picture, run.picture.cpu().float())
            and earlier.cfg == run.cfg
            and earlier.conditioning == fingerprint(run.guider.original_conds.get("positive", []))
        )

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
            # Once every item is done the loss is detached, so that no gradient is computed.
            return error.sum() if bool((best.error > enough).any()) else error.sum().detach()

        solver.new_objective()
        for _ in range(self.iterations):
            _, (gradient,) = gradients(loss, null, scales=step.scales)
            busy = best.error > enough
            if not bool(busy.any()):
                return best.null, best.reached
            refuse_no_gradient(
                gradient[busy],
                "the text embedding that null text optimises",
                "it reads its prompt in another form, so choose fixed point, residual or negative prompt",
            )
            # In units in which the curvature does not depend on the step's length or the guidance.
            moved = solver.step(null, gradient * _written(null) / step.sensitivity)
            null = torch.where(_per_item(busy, null), null + moved, null)
        with torch.no_grad():
            loss(null)
        return best.null, best.reached

    def _first_guess(self, run: Run, i: int, progress: Progress) -> Tensor:
        """Where the optimisation of step i starts. [B, tokens, width]"""
        if progress.guesses is not None:
            null = progress.guesses[i].to(run.picture)
        else:
            null = progress.embeddings[-1] if progress.embeddings else text_embedding(run.guider.conds["negative"])
            null = null.to(run.picture.device)  # conditionings are kept off the GPU
        return null.clone().expand(run.picture.shape[0], -1, -1).contiguous()


class GuidedStep:
    """One guided Euler step as a function of the negative embedding.

    x, target: the states before and after it. options: the run's model_options at this level.
    """

    def __init__(self, run: Run, i: int, x: Tensor, target: Tensor, options: dict[str, Any]) -> None:
        self.run, self.x, self.target = run, x, target
        self.sigma, self.sigma_next = run.sigmas[i].clone(), run.sigmas[i + 1].clone()
        self.share = i / run.steps
        self.options = gradient_options(options)
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


def _written(null: Tensor) -> Tensor:
    """Which tokens of an embedding [B, tokens, width] are not zeros, [B, tokens, 1]; all, where every token is zeros.

    Core fills prompts of some models with zeros (Flux.2), and a network that normalises its tokens answers changes of
    zeros thousands of times as strongly as those of a token, over a distance too short for any step.
    """
    written = (null != 0).any(-1, keepdim=True)
    return written | ~written.any(1, keepdim=True)


def _per_item(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _reserve(executor: Any, model: Any, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any) -> Any:
    """Lets ComfyUI make room for the backward pass before the model is loaded."""
    return executor(model, [noise_shape[0] * _BACKWARD, *noise_shape[1:]], conds, *args, **kwargs)
