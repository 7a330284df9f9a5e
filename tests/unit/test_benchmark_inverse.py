"""The benchmark of inverse problems keeps its pictures in files, which processes share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from diffusion_path.benchmarks.inverse import BATCH, Case, Made, Table, make
from diffusion_path.common.processes import Process, share
from diffusion_path.inverse import measurement

_COUNT = 2 * BATCH + 3


def test_processes_share_the_parts_and_one_reads_the_pictures_of_all(tmp_path: Path) -> None:
    calls: list[int] = []

    def brighter(part: Case) -> Made:
        calls.append(part.seed)
        return Made(part.truth + 1, evaluations=40)

    truth = torch.rand(_COUNT, 8, 8, 3, generator=torch.Generator().manual_seed(1))
    case = Case(cast(Any, None), [""] * _COUNT, truth, measurement.grey(truth), 1)
    table = Table("grey", case, [], {"SDEdit, t0 0.5": brighter, "guided": brighter}, tmp_path / "new")
    for process in (Process(1, 2), Process(0, 2)):
        for part in share(list(table.work()), process):
            make(*part)
    assert sorted(calls) == sorted([1, 1 + BATCH, 1 + 2 * BATCH] * 2)
    for row in table.rows:
        pictures, evaluations, seconds = table.made(row)
        assert torch.equal(pictures, truth + 1)
        assert evaluations == 40
        assert seconds >= 0
    for part in table.work():
        make(*part)
    assert len(calls) == 6, "what is there is not made again"
