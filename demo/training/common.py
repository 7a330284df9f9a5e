"""Shared by all stages of the recipe: a resumable loop, a schedule, an average of the weights, a log."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ...samplers.files import written_whole


@dataclass(frozen=True)
class Budget:
    """How long a stage trains: a number of steps, with the learning rate falling to `floor` at the end."""

    steps: int
    batch: int
    lr: float
    warmup: int = 100
    floor: float = 0.02

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then half a cosine."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        t = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(t, 1.0))))


def device() -> torch.device:
    """Where training runs: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision() -> torch.autocast:
    """bfloat16 for matrix products and convolutions: two to four times faster on GPUs and on recent CPUs."""
    return torch.autocast(device().type, torch.bfloat16)


class Average:
    """Exponential moving average of a module's parameters and buffers."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.decay = decay
        self.count = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        for mine, theirs in zip(self.module.parameters(), module.parameters(), strict=True):
            mine.lerp_(theirs.to(mine.dtype), 1 - decay)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)


def save_atomic(state: dict, path: Path) -> None:
    """Write a training checkpoint so that an interruption never leaves a partial file."""
    with written_whole(path) as part:
        torch.save(state, part)


class Log:
    """Loss log of a stage as CSV (step, seconds, values), with an occasional line on the terminal."""

    def __init__(self, path: Path, names: list[str], first: int = 0, every: int = 50) -> None:
        self.path, self.names, self.every = path, names, every
        self.sums = [0.0] * len(names)
        self.start = time.time()
        rows = path.read_text().splitlines()[1:] if path.exists() else []
        kept = [row for row in rows if int(row.split(",")[0]) <= first]  # everything after the checkpoint is redone
        path.write_text("\n".join(["step,seconds," + ",".join(names), *kept]) + "\n")

    def add(self, step: int, total: int, *values: float) -> None:
        self.sums = [s + v for s, v in zip(self.sums, values, strict=True)]
        if (step + 1) % self.every:
            return
        means = [s / self.every for s in self.sums]
        self.sums = [0.0] * len(self.names)
        seconds = time.time() - self.start
        with self.path.open("a", newline="") as f:
            csv.writer(f).writerow([step + 1, f"{seconds:.0f}", *(f"{m:.6f}" for m in means)])
        text = "  ".join(f"{n} {m:.5f}" for n, m in zip(self.names, means, strict=True))
        print(f"{self.path.stem}: {step + 1}/{total}  {seconds:.0f} s  {text}", flush=True)


@dataclass(frozen=True)
class Saving:
    """Where a stage keeps its checkpoint, how often, and what is done then.

    names: of the values that its log holds, in a .csv beside the checkpoint. ema: decay of the averaged weights.
    evaluate(averaged module, step) may print how good they are.
    """

    path: Path
    names: list[str]
    every: int = 500
    ema: float = 0.999
    evaluate: Callable[[nn.Module, int], None] | None = None


def train(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    budget: Budget,
    batches: Iterator,
    loss: Callable[[object, int], tuple[torch.Tensor, list[float]]],
    saving: Saving,
) -> nn.Module:
    """Train `module` and return its averaged weights. Resumes from the checkpoint if there is one.

    loss(batch, step) gives the scalar to minimise and the values to log.
    """
    path, average = saving.path, Average(module, saving.ema)
    first = 0
    if path.exists():
        state = torch.load(path, weights_only=True, map_location=device(), mmap=False)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        average.module.load_state_dict(state["average"])
        first = average.count = int(state["step"])
    log = Log(path.with_suffix(".csv"), saving.names, first)
    for step in range(first, budget.steps):
        for group in optimizer.param_groups:
            group["lr"] = budget.rate(step) * group.get("lr_scale", 1.0)
        value, shown = loss(next(batches), step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        norm = nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        if torch.isfinite(norm):
            optimizer.step()
            average.update(module)
        log.add(step, budget.steps, *shown)
        if (step + 1) % saving.every == 0 or step + 1 == budget.steps:
            state = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
            save_atomic({**state, "average": average.module.state_dict(), "step": step + 1}, path)
            if saving.evaluate:
                saving.evaluate(average.module, step + 1)
    return average.module
