"""A server that works for long stays as it was: the short version of `./dev bench load`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from diffusion_path.devtools.runtime import Runtime
from diffusion_path.devtools.server import Server
from diffusion_path.tests.server import load


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_interrupts_errors_and_other_sizes_leave_nothing_behind(
    comfyui_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in load.ALLOCATOR.items():
        monkeypatch.setenv(name, value)
    with Server(Runtime(Path(sys.executable), comfyui_root)) as server:
        measured = load.run_load(server, count=8, number=1, every=4)
    assert measured.unclear == []
    assert len(measured.pictures) == 1
    assert measured.growth() < 1.1
    assert measured.ends["done"] > 0


def test_thirds_are_compared() -> None:
    measured = load.Measured(memory=[50, 100, 100, 101, 101, 103, 102], seconds=[9, 2, 2, 2, 2, 2, 1])
    assert measured.growth() == pytest.approx(102.5 / 101)
    assert measured.slowdown() == pytest.approx(0.75)
