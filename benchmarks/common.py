"""What benchmarks share: paired timing, peak memory, tables in Markdown, options.

What is compared runs in turns, so that a busy machine slows all of it alike.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..common.processes import Process
from ..demo.model import FEW_STEPS, FLOW, NOISE
from ..demo.training.evaluate import unseen_scenes
from ..demo.training.style import PAINTED, STYLES, Style
from ..demo.training.transformer import TRANSFORMER
from ..devtools.settings import ROOT

PICTURES, OUTPUT = ROOT / "docs" / "images", ROOT / "output"
_M_MMAP_THRESHOLD, _SAMPLE_SECONDS = -3, 0.002
MODELS = {"noise": NOISE, "flow": FLOW, "few-steps": FEW_STEPS, TRANSFORMER: TRANSFORMER}
"""Kinds of the landscape model by their names on the command line."""


def parser(text: str | None, **defaults: int) -> argparse.ArgumentParser:
    """Options of a benchmark, with its description and some whole numbers by name."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        made.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    return made


def add_model(options: argparse.ArgumentParser) -> None:
    """The options `--model`, whose steps and cfg are then those that suit the kind, and `--style`."""
    text = "kind of the landscape model; few-steps runs 4 steps at cfg 1"
    options.add_argument("--model", choices=list(MODELS), default="noise", help=text)
    options.add_argument("--style", choices=list(STYLES), default="painted", help="the world whose model it is")


def is_usual(given: argparse.Namespace) -> bool:
    """Whether the options of `add_model` choose the model that the documentation's pictures are of."""
    return given.model == "noise" and given.style == "painted"


def named_by_model(name: str, given: argparse.Namespace) -> str:
    """The name of a folder or run, with the kind of model and the world where they are not the usual ones."""
    others = [given.model] * (given.model != "noise") + [given.style] * (given.style != "painted")
    return "-".join([name, *others])


def row(*cells: object) -> None:
    """Prints a row of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def head(*names: str) -> None:
    row(*names)
    print("|" + "---|" * len(names), flush=True)


def own_file(file: Path, process: Process) -> Path:
    """Where a process keeps its results: each of many has a file of its own beside that of a process alone."""
    return file if process.world == 1 else file.with_stem(f"{file.stem}-{process.rank + 1}")


def files_of_all(file: Path) -> list[Path]:
    """The files of results that are there, of a process alone and of many."""
    return [each for each in (file, *sorted(file.parent.glob(f"{file.stem}-[0-9]*{file.suffix}"))) if each.exists()]


def is_one_of_many(process: Process) -> bool:
    """Whether this process did a share of the work only, which it then says."""
    if process.world > 1:
        print(f"process {process.rank + 1} of {process.world}: done; run the command without torchrun for the tables")
    return process.world > 1


@dataclass(frozen=True)
class Paired:
    """Seconds of each round [rounds], by name. Ratios are taken within a round."""

    seconds: Mapping[str, tuple[float, ...]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, reference: str) -> tuple[float, float, float]:
        """Median ratio of `name` to `reference`, and its lower and upper quartile."""
        ratios = [a / b for a, b in zip(self.seconds[name], self.seconds[reference], strict=True)]
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
            duration = timed(run)
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


def compare(
    title: str, runs: Mapping[str, Callable[[], object]], rounds: int, limits: Mapping[str, float], warm_up: int = 1
) -> None:
    """Prints times paired with the first run's, and whether median ratios are within their limits."""
    result, reference = paired_times(runs, rounds, warm_up), next(iter(runs))
    print(f"\n## {title}\n\n{table(result, reference)}")
    for name, limit in limits.items():
        ratio = result.ratio(name, reference)[0]
        print(f"{name}: {ratio:.3f}, limit {limit:.2f}: {'ok' if ratio <= limit else 'TOO SLOW'}", flush=True)


def machine() -> str:
    """One line about what the measurement ran on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def timed(run: Callable[[], object]) -> float:
    """Seconds that a run takes."""
    gc.collect()
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    begin = clock()
    run()
    wait()
    return clock() - begin


def clock() -> float:
    """Seconds; where one thread does all the work, those of this process alone, whatever else runs on the machine."""
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return time.process_time() if alone else time.perf_counter()


def extra_memory(runs: Mapping[str, Callable[[], object]]) -> tuple[dict[str, int], int]:
    """Bytes that each run needs at its peak beyond the unguided one's, and the unguided one's own.

    Of the card, or of the process where there is no card.
    """
    if not (torch.cuda.is_available() or Path("/proc/self/statm").exists()):
        raise SystemExit("Memory can be measured on Linux or on an NVIDIA card only: run the benchmark there.")
    _keep_freed(2**16)  # what is freed goes back to the system at once, and counts no more
    for run in runs.values():
        run()
    usual = peak_memory(runs["unguided"])
    extra = {name: max(1, peak_memory(run) - usual) for name, run in runs.items() if name != "unguided"}
    _keep_freed(2**25)  # where it is kept, as usual, runs pay nothing for it
    return extra, usual


def peak_memory(run: Callable[[], object]) -> int:
    """Bytes that a run needs beyond what is in use before it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
    before = _resident()
    return highest(_resident, run) - before


def highest(read: Callable[[], int], run: Callable[[], object]) -> int:
    """The highest value that `read` gives while a run lasts."""
    found, done = 0, threading.Event()

    def watch() -> None:
        nonlocal found
        while not done.is_set():
            found = max(found, read())
            time.sleep(_SAMPLE_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    return found


def _keep_freed(below: int) -> None:
    """Pieces of memory of at least so many bytes are given back when they are freed, where glibc does it."""
    library = ctypes.CDLL(None)
    if not torch.cuda.is_available() and hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, below)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def unrelated_renders(count: int, seed: int, style: Style = PAINTED) -> Tensor:
    """Renders [count, H, W, 3] of scenes of their own. A reference that shares its attributes with the pictures one by
    one would lie nearer to them than they lie to one another, and the estimate of KID would fall below 0.
    """
    return style.rendered(*unseen_scenes(count, seed))
