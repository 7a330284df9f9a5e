"""A file appears whole or not at all, and what prevents it is one sentence."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from diffusion_path.samplers.files import written_whole
from safetensors import SafetensorError

_WRITER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import inprocess
inprocess.load("--cpu")
from pathlib import Path
from diffusion_path.samplers.files import written_whole
for number in range(1000000):
    with written_whole(Path(sys.argv[2])) as file:
        content = bytes([number % 251]) * 1000000
        with open(file, "wb") as stream:
            for start in range(0, len(content), 100000):
                stream.write(content[start : start + 100000])
                stream.flush()
                time.sleep(0.001)
"""


def test_a_file_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file.bin"
    for content in (b"old", b"new"):
        with written_whole(file) as unfinished:
            unfinished.write_bytes(content)
        assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]
    umask = os.umask(0)
    os.umask(umask)
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(b"old")
    with pytest.raises(error), written_whole(file) as unfinished:
        unfinished.write_bytes(b"half")
        raise error
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == b"old"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_is_one_sentence(tmp_path: Path, error: Exception) -> None:
    sentence = r"^The disk of .* is full, nothing was saved: .*\.$"
    with pytest.raises(ValueError, match=sentence), written_whole(tmp_path / "file.bin"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    sentence = r"cannot be written to .* \(File name too long\): choose another name"
    with pytest.raises(ValueError, match=sentence), written_whole(tmp_path / ("x" * 300)) as unfinished:
        unfinished.write_bytes(b"content")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be written"), written_whole(tmp_path / "file" / "below.bin"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_disk_that_fills_while_writing_is_one_sentence(tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ValueError, match="is full"), written_whole(tmp_path / "big.safetensors") as unfinished:
            safetensors.torch.save_file({"states": torch.zeros(100_000)}, unfinished)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_kill_in_the_middle_of_writing_leaves_no_half_file(tmp_path: Path, pack_root: Path) -> None:
    file = tmp_path / "file.bin"
    command = [sys.executable, "-c", _WRITER, str(pack_root / "devtools"), str(file)]
    for moment in (0.003, 0.011):
        process = subprocess.Popen(command)
        file.unlink(missing_ok=True)
        while not file.exists():
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = file.read_bytes()
        assert len(content) == 1_000_000
        assert len(set(content)) == 1
    assert {path.suffix for path in tmp_path.iterdir()} <= {".bin", ".part"}


def test_an_endless_name_is_not_repeated_in_full(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"File name too long.*: choose another name") as refusal:  # noqa: SIM117
        with written_whole(tmp_path / ("x" * 1_000_000 + ".bin")) as unfinished:
            unfinished.write_bytes(b"content")
    assert len(str(refusal.value)) < 800
