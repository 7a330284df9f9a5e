"""Training a map predictor on a few pictures, inside ComfyUI (Voynov et al. 2022, section 4.1).

Each picture's latent is noised to a random level, the model is called once on it under its caption, up to the last
block that the predictor reads, and the predictor learns to give the map (edges, depth, classes, ...: `maps`) from the
activations: mean square error per pixel, or cross-entropy for classes. Activations are kept and used several times, by
several draws, which is where most of the time is saved.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.model_management
import torch
from torch import Tensor, nn

from ..images.palette import Palette
from ..samplers import process
from ..samplers.noise import item_noise, mix_seed
from .families import check_fits, signature
from .features import Places, read_features, run_with_prompts, survey
from .level_input import level_input
from .maps import EDGES, MAPS
from .predictor import KINDS, MapPredictor, PredictorNetwork, build_network
from .store import Row, Store
from .unfinished import Mark, Recipe, Unfinished, identity, on_cpu, optimiser_on_cpu
from .workers import ALONE, Workers

FEWEST = 4
_VALIDATION_LEVELS = 3
_VALIDATION_PICTURES = 12  # more would cost time and add little
_CHECKS = 20  # how often the validation loss is measured in a training, ...
_CHECK_STEPS = 20  # ... but with at least this many steps in between
_STATISTICS = 4  # calls from which the spread of the activations is measured
_CONSTANT = 1e-6  # relative variance below which a channel is the same everywhere, to float32's rounding
_AVERAGE = 0.98  # of the weights' moving average, which is what is kept

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One training picture and its text. latent [1, C, (T,) h, w] in model space; target [1 or T, C', h, w].

    version_of: the place of the example of which this is another version (`versions`), None for a picture of its own.
    """

    latent: Tensor
    target: Tensor
    cond: Any
    version_of: int | None = None


@dataclass(frozen=True)
class Plan:
    """How to train. noise_range: training-time fractions, 0 = clean. reuse: how often each activation is used.

    network: of `predictor.KINDS`. map: the kind of map to learn, of `maps.MAPS`; palette: the colours of its classes.
    validation: share of the pictures that is held back. memory: bytes of activations to keep. line_width: of the edge
    maps, in pixels, for the record. settings: of the network's size, where it should not be the usual one.
    """

    network: str = "mlp"
    map: str = EDGES
    palette: Palette = ()
    feature_set: str = "levels"
    steps: int = 1000
    batch: int = 6
    learning_rate: float = 3e-3
    seed: int = 0
    noise_range: tuple[float, float] = (0.0, 1.0)
    reuse: int = 2
    validation: float = 0.1
    memory: int = 2 * 1024**3
    line_width: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """What a listener receives after each step.

    validation: the last one measured, NaN before. seen: when it is measured, the prediction for a held-back picture.
    """

    step: int
    steps: int
    loss: float
    validation: float
    best: float
    seen: Tensor | None = None


@dataclass(frozen=True)
class Trained:
    """The predictor with its training record, and the loss of each step."""

    predictor: MapPredictor
    losses: list[float]
    held_back: list[int]
    interrupted: bool = False


def train_predictor(
    model: Any,
    examples: Sequence[Example],
    plan: Plan,
    start: MapPredictor | None = None,
    listen: Callable[[Progress], None] | None = None,
    workers: Workers = ALONE,
) -> Trained:
    """Train a predictor for the MODEL on the examples.

    start: a predictor to continue from; its network, map, taps and settings are kept. An interrupt ends the training
    with the best predictor so far, once there is one; started from it with the same plan and examples, the training
    continues as if there had been no interrupt. Raises ValueError for fewer pictures than four, for a batch that the
    workers cannot share evenly, or for a `start` that does not fit or is of a published kind.
    """
    check_plan(sum(example.version_of is None for example in examples), plan, workers)
    if start is not None and start.kind not in KINDS:
        raise ValueError(
            f"A published predictor ({start.kind}) cannot be trained further: train a new one of the kind "
            f"{' or '.join(KINDS)}, or connect one that was trained here."
        )
    reads = (
        (start.taps, start.channels) if start else survey(model, examples[0].latent, examples[0].cond, plan.feature_set)
    )
    with torch.inference_mode(False):
        blank = _blank(model, examples, plan, *reads) if start is None else start
        check_fits(model, blank.model, blank.taps)
        session = _Session(model, examples, plan, blank, start is not None, listen, workers)
    conds = _processed_conds(model, examples)
    largest = max((e.latent for e in examples), key=lambda latent: latent.numel())
    like = largest.expand(max(1, plan.batch // workers.world), *largest.shape[1:])

    def body(guider: Any, options: dict[str, Any], _: Tensor) -> None:
        session.run(guider, options, conds)

    run_with_prompts(model, [examples[0].cond], like, body, plan.seed)
    return session.result()


def check_plan(pictures: int, plan: Plan, workers: Workers) -> None:
    """Refuse what cannot be trained."""
    if pictures < FEWEST:
        raise ValueError(
            f"{pictures} pictures are too few to train a map predictor: give at least {FEWEST}, better 100 or more."
        )
    if plan.batch % workers.world:
        raise ValueError(
            f"A batch of {plan.batch} cannot be shared by {workers.world} processes: make it a multiple of them."
        )
    low, high = plan.noise_range
    if not 0.0 <= low < high <= 1.0:
        raise ValueError(f"The noise range {low} to {high} is empty: give fractions from 0 (clean) to 1, low to high.")


def _blank(
    model: Any, examples: Sequence[Example], plan: Plan, taps: tuple[str, ...], channels: tuple[int, ...]
) -> MapPredictor:
    """A predictor of the plan's kinds with fresh weights."""
    settings = {"out_channels": int(examples[0].target.shape[1]), **plan.settings}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix_seed(plan.seed, "weights"))
        fresh = build_network(plan.network, channels, **settings)
    return MapPredictor(
        fresh, plan.network, taps, channels, signature(model, taps), plan.map, MAPS[plan.map].target, plan.palette,
        line_width=plan.line_width, noise_range=plan.noise_range, settings=settings,
    )  # fmt: skip


def _processed_conds(model: Any, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Each example's text as the model takes it: some models add the picture's size, so each size needs its own run."""
    found: dict[int, dict[str, Any]] = {}
    sizes: dict[tuple[int, ...], list[int]] = {}
    for index, example in enumerate(examples):
        sizes.setdefault(tuple(example.latent.shape), []).append(index)
    for members in sizes.values():

        def body(guider: Any, _: dict[str, Any], __: Tensor, members: list[int] = members) -> None:
            found.update(zip(members, guider.conds["positive"], strict=True))

        run_with_prompts(model, [examples[i].cond for i in members], examples[members[0]].latent, body)
    return [found[index] for index in range(len(examples))]


class _Session:
    """One training: the network and its average, the optimiser, the store, and the best so far."""

    def __init__(
        self, model: Any, examples: Sequence[Example], plan: Plan, blank: MapPredictor, going_on: bool,
        listen: Callable[[Progress], None] | None, workers: Workers,
    ) -> None:  # fmt: skip
        self.model, self.plan, self.blank, self.going_on = model, plan, blank, going_on
        self.encoding = blank.encoding
        self.listen, self.workers = listen, workers
        self.sampling = process.model_sampling(model)
        self.latents = [example.latent.detach().clone() for example in examples]
        self.targets = [example.target.detach().clone() for example in examples]
        self.choices = torch.Generator().manual_seed(mix_seed(plan.seed, "choices"))
        originals = [i for i, example in enumerate(examples) if example.version_of is None]
        order = [originals[i] for i in torch.randperm(len(originals), generator=self.choices).tolist()]
        count = min(max(1, round(plan.validation * len(originals))), _VALIDATION_PICTURES)
        self.held_back = sorted(order[:count])
        held = set(self.held_back)
        self.pictures = [i for i, each in enumerate(examples) if not held & {i, each.version_of}]
        self.originals = len(originals)
        self.queue: list[int] = []
        self.places: Places = {}
        self.drawn = 0
        self.recipes: list[Recipe] = []
        self.losses: list[float] = []
        self.past = blank.record if going_on else {}
        self.best, self.best_state, self.interrupted = math.inf, None, False
        self.identity = identity(plan, examples, workers.world)
        kept = blank.unfinished
        self.resumed: Unfinished | None = kept if kept is not None and kept.identity == self.identity else None
        self.unfinished: Unfinished | None = None

    def run(self, guider: Any, options: dict[str, Any], conds: list[dict[str, Any]]) -> None:
        """Train, inside a run of the model."""
        device = guider.model_patcher.load_device
        self.guider, self.options, self.conds, self.device = guider, options, conds, device
        with torch.inference_mode(False), torch.enable_grad():
            network = self.blank.network_on(device)
            self.dtype = network.dtype
            try:
                self._train(network)
            except comfy.model_management.InterruptProcessingException:
                if self.best_state is None:
                    raise
                self.interrupted = True
                log.info("Train Map Predictor: interrupted, keeping the best of %d steps.", len(self.losses))

    def _train(self, network: PredictorNetwork) -> None:
        plan = self.plan
        store = Store(plan.memory, self.workers.rank, self.workers.world)
        if not self.going_on:
            self._standardise(network, store)
        checks = self._validation_rows(network)
        average = _copy_state(network)
        trained = network.requires_grad_(True).train()
        shared = self.workers.wrap(trained)
        optimiser = torch.optim.AdamW(trained.parameters(), lr=plan.learning_rate, weight_decay=1e-4)
        validation = self._resume(trained, average, optimiser, store)
        unit = 1.0
        if self.encoding.standardised:
            unit = float(torch.cat([t.flatten() for t in self.targets]).var().clamp_min(1e-6))
        every = max(_CHECK_STEPS, plan.steps // _CHECKS)
        mark = self._mark()
        try:
            for step in range(len(self.losses), plan.steps):
                comfy.model_management.throw_exception_if_processing_interrupted()
                if step % plan.reuse == 0 or not store.rows:
                    self._collect(store, self._read(network))
                for group in optimiser.param_groups:
                    group["lr"] = plan.learning_rate * _schedule(step, plan.steps)
                loss = self._loss(shared, self._to_device(store.draw(self.choices)))
                optimiser.zero_grad(set_to_none=True)
                (loss / unit).backward()
                nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
                optimiser.step()
                _blend(average, trained, min(_AVERAGE, (1 + step) / (10 + step)))
                self.losses.append(float(loss.detach()))
                seen = None
                if (step + 1) % every == 0 or step + 1 == plan.steps:
                    validation, seen = self._validate(trained, average, checks)
                mark = self._mark()
                if self.listen is not None:
                    self.listen(Progress(step + 1, plan.steps, self.losses[-1], validation, self.best, seen))
        except comfy.model_management.InterruptProcessingException:
            # An interrupt comes before a step's weights are touched or after its mark, so the two belong together.
            if self.best_state is not None:
                self.unfinished = Unfinished(
                    self.identity, mark, on_cpu(trained.state_dict()), on_cpu(average), optimiser_on_cpu(optimiser),
                    tuple(self.losses), validation, self.best, on_cpu(self.best_state), self.past,
                )  # fmt: skip
            raise

    def _mark(self) -> Mark:
        return Mark(self.choices.get_state(), tuple(self.queue), self.drawn, tuple(self.recipes))

    def _resume(
        self, network: PredictorNetwork, average: dict[str, Tensor], optimiser: torch.optim.Optimizer, store: Store
    ) -> float:
        """Take up an interrupted training; returns the last validation loss, NaN for a new training."""
        kept = self.resumed
        if kept is None:
            return math.nan
        network.load_state_dict(kept.weights)
        optimiser.load_state_dict(kept.optimiser)
        for key, value in kept.average.items():
            average[key].copy_(value)
        for recipe in kept.mark.recipes:
            self._collect(store, self._call(network, *recipe), recipe)
        self.choices.set_state(kept.mark.choices)
        self.queue, self.drawn = list(kept.mark.queue), kept.mark.drawn
        self.losses, self.past = list(kept.losses), kept.past
        self.best = kept.best
        self.best_state = {key: value.to(average[key].device, copy=True) for key, value in kept.best_state.items()}
        return kept.validation

    def _collect(self, store: Store, row: Row, recipe: Recipe | None = None) -> Row:
        """Keep a row of activations, and how to read it again."""
        store.add(row.stored())
        self.recipes.append(recipe or self.recipe)
        del self.recipes[: len(self.recipes) - len(store.rows)]
        return row

    def _standardise(self, network: Any, store: Store) -> None:
        """Measure each channel's mean and spread, of the targets and on the first calls, which go into the store."""
        rows = [self._collect(store, self._read(network)) for _ in range(_STATISTICS)]
        varying = False
        for index in range(len(self.blank.taps)):
            values = [row.features[index].to(network.dtype).movedim(1, 0).flatten(1) for row in rows]
            sums = torch.stack([torch.stack([v.mean(1), (v**2).mean(1)]) for v in values]).mean(0)
            sums = self.workers.mean(sums)
            varying |= bool((sums[1] > sums[0] ** 2 * (1 + _CONSTANT)).any())
            network.first.set_statistics(index, sums[0], (sums[1] - sums[0] ** 2).clamp_min(0).sqrt())
        if not varying:
            raise ValueError(
                "The chosen features are the same for every pixel of every picture: choose other features, or a model "
                "that samples pictures."
            )
        if not self.encoding.standardised:
            return
        targets = torch.cat([self.targets[i].movedim(1, 0).flatten(1) for i in self.pictures], dim=1)
        network.last.set_statistics(targets.mean(1), targets.std(1))

    def _read(self, network: PredictorNetwork) -> Row:
        """The activations of this worker's share of a fresh batch, at random noise levels."""
        low, high = self.plan.noise_range
        lanes = [self._next_lane() for _ in range(self.plan.batch)]
        mine = lanes[self.workers.rank :: self.workers.world]
        size = self.latents[lanes[0][0]].shape
        mine = [(i, place, key) for i, place, key in mine if self.latents[i].shape == size] or mine[:1]
        times = [low + (high - low) * place for _, place, _ in mine]
        self.recipe: Recipe = ([i for i, _, _ in mine], times, [key for _, _, key in mine])
        return self._call(network, *self.recipe)

    def _next_lane(self) -> tuple[int, float, int]:
        """Picture, place in the noise range, and number of the draw; pictures take turns."""
        if not self.queue:
            order = torch.randperm(len(self.pictures), generator=self.choices).tolist()
            # Pictures are grouped by size, so that a batch has one size whenever there are enough pictures of it.
            self.queue = sorted((self.pictures[i] for i in order), key=lambda i: tuple(self.latents[i].shape))
        self.drawn += 1
        return self.queue.pop(), float(torch.rand((), generator=self.choices)), self.drawn

    def _call(self, network: PredictorNetwork, members: list[int], times: list[float], keys: list[int]) -> Row:
        """One call of the model on some pictures, each at its own noise level."""
        x0 = torch.cat([self.latents[i] for i in members])
        noise = torch.stack([item_noise(x0[0], self.plan.seed, key) for key in keys])
        sigma = torch.tensor(
            [max(process.t0_to_sigma(self.sampling, t), float(self.sampling.sigma_min)) for t in times]
        )
        x0, noise, sigma = (t.to(self.device) for t in (x0, noise, sigma))
        x = process.perturb(self.sampling, x0, noise, sigma, prior=False)
        frames = x.shape[2] if x.ndim == 5 else 1
        with torch.inference_mode():
            conds = [self.conds[i] for i in members]
            reads = (self.guider, self.options, self.blank.taps, x, sigma, conds)
            values = read_features(*reads, lambda _, feature: feature.clone(), self.places)
            level = level_input(network.noise, self.guider.inner_model, sigma, noise, len(members) * frames, frames)
        target = torch.cat([self.targets[i] for i in members])
        return Row(tuple(value.clone() for value in values), level.clone(), target, frames)

    def _validation_rows(self, network: PredictorNetwork) -> list[Row]:
        """The held-back pictures at a few fixed noise levels."""
        low, high = self.plan.noise_range
        times = [low + (high - low) * (i + 0.5) / _VALIDATION_LEVELS for i in range(_VALIDATION_LEVELS)]
        rows = []
        for index in self.held_back:
            for place, time in enumerate(times):
                rows.append(self._call(network, [index], [time], [mix_seed(index, place)]).stored())
        return rows

    @torch.no_grad()
    def _validate(self, network: PredictorNetwork, average: dict[str, Tensor], rows: list[Row]) -> tuple[float, Tensor]:
        """The averaged weights' loss on the held-back pictures, and a prediction; the best weights are kept."""
        current = _copy_state(network)
        network.load_state_dict(average)
        network.train(False)
        losses = [float(self._loss(network, self._to_device(row))) for row in rows]
        row = self._to_device(rows[_VALIDATION_LEVELS // 2])
        seen = network(list(row.features), row.level, (row.target.shape[-2], row.target.shape[-1]))
        network.train()
        network.load_state_dict(current)
        mean = sum(losses) / len(losses)
        if mean < self.best:
            self.best, self.best_state = mean, {key: value.clone() for key, value in average.items()}
        return mean, seen[:1]

    def _loss(self, network: nn.Module, row: Row) -> Tensor:
        size = (row.target.shape[-2], row.target.shape[-1])
        return self.encoding.error(network(list(row.features), row.level, size), row.target).mean()

    def _to_device(self, row: Row) -> Row:
        features = tuple(f.to(self.device, self.dtype) for f in row.features)
        return Row(features, row.level.to(self.device), row.target.to(self.device, self.dtype), row.frames)

    def result(self) -> Trained:
        """The best predictor of the training. Raises ValueError where no loss was ever finite."""
        if self.best_state is None:
            raise ValueError("The training loss was never finite: lower the learning rate or use other pictures.")
        with torch.inference_mode(False):
            network = self.blank.network_on(torch.device("cpu"))
            network.load_state_dict({key: value.cpu() for key, value in self.best_state.items()})
        past = self.past
        record = {
            "pictures": self.originals,
            "versions": len(self.latents) // self.originals,
            "held_back": len(self.held_back),
            "steps": int(past.get("steps", 0)) + len(self.losses),
            "batch": self.plan.batch,
            "learning_rate": self.plan.learning_rate,
            "seed": self.plan.seed,
            "loss": self.losses[-1],
            "validation_loss": self.best,
        }
        predictor = replace(
            self.blank,
            network=network,
            record=record,
            noise_range=self.plan.noise_range,
            unfinished=self.unfinished,
        )
        return Trained(predictor, self.losses, self.held_back, self.interrupted)


def _schedule(step: int, steps: int) -> float:
    """Warm-up over a twentieth of the steps, then half a cosine."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


@torch.no_grad()
def _blend(average: dict[str, Tensor], network: nn.Module, keep: float) -> None:
    for key, value in network.state_dict().items():
        average[key].lerp_(value, 1.0 - keep)
