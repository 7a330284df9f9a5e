"""The edit benchmark's cases and its file of figures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from diffusion_path.benchmarks.editing import KINDS, Figures, Results, cases, kinds_table, table
from diffusion_path.common.processes import Process, share
from diffusion_path.demo.scenes import ATTRIBUTES


def test_cases_change_one_attribute_and_are_the_same_every_time() -> None:
    for kind in KINDS:
        found = cases(kind, 2, 1)
        assert found == cases(kind, 3, 1)[:2], "more edits continue the list"
        for case in found:
            differing = [name for name in ATTRIBUTES if getattr(case.scene, name) != getattr(case.target, name)]
            assert differing == [case.attribute]
            assert case.scene.seed == case.target.seed


def test_results_are_read_back_and_averaged_over_kinds(tmp_path: Path) -> None:
    results = Results(tmp_path / "new" / "edits.csv")
    first = Figures("real", "time", "MDP-ε", 0, 1.0, 0.5, math.nan, math.nan, 0.3, 34, 1.5)
    results.add([first, replace(first, made=0.0)])
    results.add([replace(first, kind="snow", psnr=30.0, ssim=0.9, structure=0.1, part=1)])
    again = Results(results.path)
    assert again.has("real", "time", "MDP-ε", 0)
    assert not again.has("real", "time", "MDP-ε", 1)
    assert len(again.rows) == 3
    assert table(again, "real", ["MDP-ε", "FlowEdit"], KINDS).splitlines()[2:] == [
        "| MDP-ε | 3 | 0.750 | 0.500 | 30.0 | 0.900 | 0.200 | 34 | 1.50 |"
    ]
    assert kinds_table(again, "real", ["MDP-ε"], ("time", "snow")).splitlines()[-1] == (
        "| MDP-ε | 0.50 / 0.300 | 1.00 / 0.100 |"
    )


def test_processes_share_the_parts_and_one_reads_the_figures_of_all(tmp_path: Path) -> None:
    path = tmp_path / "edits.csv"
    figures = Figures("real", "time", "MDP-ε", 0, 1.0, 0.5, 30.0, 0.9, 0.3, 34, 1.5)
    parts = range(5)
    for process in (Process(1, 3), Process(0, 3), Process(2, 3)):
        results = Results(path, process)
        for part in share(parts, process):
            results.add([replace(figures, part=part)])
    assert not path.exists(), "each writes to a file of its own"
    assert sorted(each.part for each in Results(path).rows) == list(parts)
    another = Results(path, Process(1, 2))
    assert all(another.has("real", "time", "MDP-ε", part) for part in parts), "whatever their number"
