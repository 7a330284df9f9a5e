"""However `./dev` ends, the server it started ends too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def servers_below(folder: str) -> list[int]:
    """Processes whose command line names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if folder.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def wait_until(condition: object, seconds: float = 30.0) -> bool:
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_no_process_survives(number: signal.Signals, pack_root: Path, comfyui_root: Path, tmp_path: Path) -> None:
    command = [str(pack_root / "dev"), "demo", "--out", str(tmp_path)]
    options = ["--comfyui", str(comfyui_root), "--python", sys.executable]
    process = subprocess.Popen(
        [sys.executable, *command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    base = str(pack_root / ".dev" / "run" / f"{process.pid}-")
    try:
        assert wait_until(lambda: servers_below(base)), "no server was started"
        time.sleep(1.0)
    finally:
        os.kill(process.pid, number)
        _, complaint = process.communicate(timeout=30)
    assert wait_until(lambda: not servers_below(base), 10)
    if number is not signal.SIGKILL:
        assert process.returncode == 130
        assert complaint.decode().strip() == "./dev: interrupted"
        assert not list((pack_root / ".dev" / "run").glob(f"{process.pid}-*"))
