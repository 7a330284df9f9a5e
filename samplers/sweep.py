"""One edit over several values of one setting, with the progress of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management

from ..common import limits
from ..common.texts import check_length, quoted, read_number, words_of
from . import process
from .counting import counting_from
from .sdedit import SDEditResult, SDEditSettings, sdedit

SETTINGS = ("t0", "repeats", "seed")
DEFAULTS = {"t0": "0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8", "repeats": "1, 2, 3", "seed": "0, 1, 2, 3"}


@dataclass(frozen=True)
class Run:
    """What one edit of a sweep runs with."""

    value: float | int
    settings: SDEditSettings
    seed: int


@dataclass(frozen=True)
class Point:
    """The edit at one value of the swept setting."""

    value: float | int
    edit: SDEditResult


def parse_values(setting: str, text: str) -> list[float | int]:
    """The values of a sweep from text like "0.2, 0.4 0.6"; empty text gives the usual ones.

    Raises ValueError that names the value which is not a number, or lies outside the setting's range.
    """
    if setting not in SETTINGS:
        raise ValueError(f"There is no sweep over {quoted(setting)}: choose one of {', '.join(SETTINGS)}.")
    check_length(text, "list of values")
    words = words_of(text) if text.strip() else words_of(DEFAULTS[setting])
    if len(words) > limits.SWEEP_VALUES:
        raise ValueError(f"The sweep has {len(words)} values: give at most {limits.SWEEP_VALUES}.")
    return [_value(setting, word) for word in words]


def _value(setting: str, word: str) -> float | int:
    low, high = {"t0": (0.0, 1.0), "repeats": (1, 5), "seed": (0, 2**64 - 1)}[setting]
    kind = float if setting == "t0" else int
    if kind is float:
        value = read_number(word)
    else:
        value = int(word) if len(word) <= limits.NUMBER and word.removeprefix("+").isdecimal() else None
    if value is None or not low <= value <= high:
        numbers = "numbers" if kind is float else "whole numbers"
        raise ValueError(
            f"{quoted(word)} is not a value for a sweep over {setting}: give {numbers} from {low:g} to "
            f"{high:g}, separated by commas."
        )
    return value


def share_of(count: int, part: int, parts: int) -> range:
    """The places of part `part` (from 1) of a sweep of `count` edits that is split into `parts`, as equal as can be.

    The parts follow each other, so that their results one after the other are those of the whole. Raises ValueError for
    a part that does not exist or has nothing to do.
    """
    if not 1 <= part <= parts:
        raise ValueError(f"There is no part {part} of {parts}: give part a number from 1 to parts.")
    if parts > count:
        raise ValueError(f"The sweep has {count} edits and cannot be split into {parts} parts: give fewer parts.")
    return range(count * (part - 1) // parts, count * part // parts)


def runs_of(settings: SDEditSettings, seed: int, setting: str, values: Sequence[float | int]) -> list[Run]:
    """One run per value of the setting, one of `SETTINGS`."""
    if setting == "seed":
        return [Run(value, settings, int(value)) for value in values]
    return [Run(value, replace(settings, **{setting: value}), seed) for value in values]


def sweep(
    model: Any,
    positive: Any,
    negative: Any,
    guide: dict[str, Any],
    runs: Sequence[Run],
    callback: Callable[..., None] | None = None,
) -> tuple[list[Point], bool]:
    """Runs SDEdit once per value; `callback` counts over the whole sweep (see `total_steps`).

    Returns the points and whether all were run: an interrupt ends the sweep and keeps what is done. If nothing is done
    yet, the interrupt is raised.
    """
    done, points = 0, []
    sampling = process.model_sampling(model)
    total = total_steps(sampling, runs)
    for run in runs:
        counted = counting_from(callback, done, total)
        try:
            edit = sdedit(model, positive, negative, guide, run.seed, run.settings, counted)
        except comfy.model_management.InterruptProcessingException:
            if not points:
                raise
            return points, False
        points.append(Point(run.value, edit))
        done += run.settings.run_steps(sampling)
    return points, True


def total_steps(sampling: Any, runs: Sequence[Run]) -> int:
    """Steps of the whole sweep, for a progress bar."""
    return sum(run.settings.run_steps(sampling) for run in runs)
