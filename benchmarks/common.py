"""Paired timing: what is compared runs in turns, so that a busy machine slows all of it alike; and renders."""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..demo.render import render
from ..demo.scenes import Scene, random_scene
from ..images.tensors import from_uint8


@dataclass(frozen=True)
class Paired:
    """Seconds of each round [rounds], by name. Ratios are taken within a round."""

    seconds: Mapping[str, tuple[float, ...]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratios(self, name: str, reference: str) -> tuple[float, ...]:
        """Seconds of `name` over seconds of `reference`, per round."""
        return tuple(a / b for a, b in zip(self.seconds[name], self.seconds[reference], strict=True))

    def ratio(self, name: str, reference: str) -> tuple[float, float, float]:
        """Median ratio and its lower and upper quartile."""
        ratios = self.ratios(name, reference)
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return middle, low, high


def paired_times(runs: Mapping[str, Callable[[], object]], rounds: int = 7, warm_up: int = 1) -> Paired:
    """Times every run once per round, first to last in even rounds and last to first in odd ones.

    `warm_up` rounds are not counted. Raises ValueError for less than two runs or rounds.
    """
    if len(runs) < 2 or rounds < 2:
        raise ValueError(f"Paired timing needs at least 2 runs and 2 rounds, not {len(runs)} and {rounds}.")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(-warm_up, rounds):
        order = list(runs.items())
        for name, run in order if index % 2 == 0 else reversed(order):
            duration = _timed(run)
            if index >= 0:
                seconds[name].append(duration)
    return Paired({name: tuple(values) for name, values in seconds.items()})


def table(result: Paired, reference: str) -> str:
    """A Markdown table of medians and of ratios to `reference`, with the quartiles of the ratios."""
    lines = ["| run | median | ratio | quartiles |", "|---|---|---|---|"]
    for name in result.seconds:
        middle, low, high = result.ratio(name, reference)
        lines.append(f"| {name} | {result.median(name):.3f} s | {middle:.3f} | {low:.3f} .. {high:.3f} |")
    return "\n".join(lines)


def machine() -> str:
    """One line about what the measurement ran on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def _timed(run: Callable[[], object]) -> float:
    gc.collect()
    _wait_for_device()
    begin = clock()
    run()
    _wait_for_device()
    return clock() - begin


def clock() -> float:
    """Seconds; where one thread does all the work, those of this process alone, whatever else runs on the machine."""
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return time.process_time() if alone else time.perf_counter()


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rendered(scenes: list[Scene]) -> Tensor:
    """Renders of scenes. [N, H, W, 3]"""
    return torch.stack([from_uint8(render(scene)) for scene in scenes])


def unrelated_renders(count: int, seed: int) -> Tensor:
    """Renders [count, H, W, 3] of scenes of their own. A reference that shares its attributes with the pictures one by
    one would lie nearer to them than they lie to one another, and the estimate of KID would fall below 0.
    """
    rng = np.random.default_rng(seed)
    return rendered([random_scene(rng) for _ in range(count)])
