"""A file appears whole or not at all, and what prevents it is one sentence."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import safetensors.torch
import torch
from diffusion_path.samplers.files import write_new, written_whole
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


_NUMBERING = """
import itertools, sys
sys.path.insert(0, sys.argv[1])
import inprocess
inprocess.load("--cpu")
from pathlib import Path
from diffusion_path.samplers.files import write_new
folder, name = Path(sys.argv[2]), sys.argv[4]
for number in range(int(sys.argv[3])):
    names = (folder / f"{each}.bin" for each in itertools.count(1))
    write_new(names, lambda part: part.write_bytes(f"{name} {number}".encode()))
"""

_SAVER = """
import itertools, sys
sys.path.insert(0, sys.argv[1])
import inprocess
inprocess.load("--cpu")
from pathlib import Path
import safetensors.torch, torch
from diffusion_path.samplers.files import write_new, written_whole
folder = Path(sys.argv[2])
for number in itertools.count():
    values = {"x": torch.full((300_000,), float(number))}
    with written_whole(folder / "last.safetensors") as part:
        safetensors.torch.save_file(values, part)
    names = (folder / f"{each}.safetensors" for each in itertools.count(1))
    write_new(names, lambda part: safetensors.torch.save_file(values, part))
"""


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A disk with hard links, and one without."""

    def refuse(*args: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not request.param:
        monkeypatch.setattr(os, "link", refuse)
    return request.param


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


def test_a_new_file_takes_the_first_free_name(tmp_path: Path, links: bool) -> None:
    (tmp_path / "1.bin").write_bytes(b"first")
    (tmp_path / "2.bin").symlink_to(tmp_path / "nowhere")
    names = (tmp_path / f"{number}.bin" for number in itertools.count(1))
    assert write_new(names, lambda part: part.write_bytes(b"new")) == tmp_path / "3.bin"
    assert {path.name for path in tmp_path.iterdir()} == {"1.bin", "2.bin", "3.bin"}
    assert [(tmp_path / name).read_bytes() for name in ("1.bin", "3.bin")] == [b"first", b"new"]
    assert (tmp_path / "3.bin").stat().st_nlink == 1


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, list[str]]] = []

    def flush(handle: int) -> None:
        name = "file" if stat.S_ISREG(os.fstat(handle).st_mode) else "folder"
        flushed.append((name, [path.name for path in tmp_path.glob("*.bin")]))

    monkeypatch.setattr(os, "fsync", flush)
    write_new([tmp_path / "a.bin"], lambda part: part.write_bytes(b"new"))
    assert flushed == [("file", []), ("folder", ["a.bin"])]
    flushed.clear()
    with written_whole(tmp_path / "b.bin") as part:
        part.write_bytes(b"new")
    assert flushed == [("file", ["a.bin"]), ("folder", ["a.bin", "b.bin"])]


def test_only_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    kept = [tmp_path / ".other.part", tmp_path / ".diffusion-path-notes", tmp_path / "a.part"]
    for file in kept:
        file.write_bytes(b"")
    left = tmp_path / ".diffusion-path-abandoned.part"
    left.mkdir()
    (left / "part").write_bytes(b"half")
    with written_whole(tmp_path / "a.bin") as part:
        part.write_bytes(b"slow")
        with written_whole(tmp_path / "b.bin") as other:
            other.write_bytes(b"fast")
        assert part.read_bytes() == b"slow", "the folder of a living writer was removed"
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", "b.bin", *(file.name for file in kept)}


def saved_by_two(folder: Path, pack_root: Path, count: int) -> list[bytes]:
    """What is in the files that two processes saved, `count` each, under one row of numbers."""
    command = [sys.executable, "-c", _NUMBERING, str(pack_root / "devtools"), str(folder), str(count)]
    writers = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    return sorted(file.read_bytes() for file in folder.glob("*.bin"))


def test_two_writers_lose_nothing(tmp_path: Path, pack_root: Path) -> None:
    wanted = sorted(f"{name} {number}".encode() for name in "ab" for number in range(40))
    assert saved_by_two(tmp_path, pack_root, 40) == wanted
    assert len(list(tmp_path.iterdir())) == 80


def killed_in_the_middle(folder: Path, pack_root: Path, moments: Sequence[float]) -> list[set[str]]:
    """Names in the folder after each kill and the next save, once whatever is there was found whole."""
    found = []
    for moment in moments:
        process = subprocess.Popen([sys.executable, "-c", _SAVER, str(pack_root / "devtools"), str(folder)])
        while not (folder / "last.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for file in folder.glob("*.safetensors"):
            values = safetensors.torch.load(file.read_bytes())["x"]
            assert values.shape == (300_000,)
            assert values.unique().numel() == 1
            file.unlink()
        with written_whole(folder / "next.bin") as part:
            part.write_bytes(b"next")
        found.append({path.name for path in folder.iterdir()})
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_kill_leaves_no_half_file_and_the_next_save_leaves_nothing(tmp_path: Path, pack_root: Path) -> None:
    assert killed_in_the_middle(tmp_path, pack_root, (0.0, 0.013)) == [{"next.bin"}] * 2


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
