"""Paired timing measures what it says."""

from __future__ import annotations

import platform
import time

import pytest
import torch
from diffusion_path.benchmarks.common import Paired, machine, paired_times, table


def test_runs_alternate_and_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    runs = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    result = paired_times(runs, rounds=3, warm_up=1)
    assert calls == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert [len(values) for values in result.seconds.values()] == [3, 3]


def test_ratios_are_taken_within_a_round() -> None:
    result = Paired({"core": (1.0, 2.0, 4.0), "ours": (2.0, 4.0, 8.0)})
    assert result.ratio("ours", "core") == (2.0, 2.0, 2.0)
    assert result.median("ours") == 4.0
    assert table(result, "core").splitlines()[-1] == "| ours | 4.000 s | 2.000 | 2.000 .. 2.000 |"


@pytest.mark.parametrize("threads", [1, 2])
def test_working_twice_as_long_takes_twice_as_long(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    def work(seconds: float) -> None:
        clock = time.process_time if threads == 1 else time.perf_counter
        end = clock() + seconds
        while clock() < end:
            pass

    result = paired_times({"one": lambda: work(0.02), "two": lambda: work(0.04)}, rounds=3)
    assert result.ratio("two", "one")[0] == pytest.approx(2.0, rel=0.3)


def test_one_run_is_no_pair() -> None:
    with pytest.raises(ValueError, match="at least 2 runs and 2 rounds, not 1 and 7"):
        paired_times({"alone": lambda: None})


def test_the_machine_is_named() -> None:
    device, *rest = machine().rsplit(", ", 3)
    assert device.strip()
    assert rest == [
        f"{torch.get_num_threads()} threads",
        f"torch {torch.__version__}",
        f"Python {platform.python_version()}",
    ]
