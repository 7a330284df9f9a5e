"""Writes files completely or not at all, and never loses one, even if a writer is killed or several write at once.

A file is written in a hidden folder beside its destination, flushed to disk, and only then given its name. The folder's
lock tells active writers from those that were killed, whose folders the next writer removes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from ..common.texts import shortened

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
# Nothing in such a folder has an ending that ComfyUI lists.
_PREFIX, _SUFFIX = ".diffusion-path-", ".part"
_LOCK, _PART = "lock", "part"
_LOCK_TRIES = 100


@contextlib.contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """Yields a path to write to, and moves it to `file` at the end; readers see the old file or the new one.

    Raises ValueError, in one sentence, where the disk is full or the folder cannot be written to.
    """
    with _unfinished(file) as part:
        yield part
        _finish(part)
        os.replace(part, file)
        _flush_names(file.parent)


def write_new(files: Iterable[Path], write: Callable[[Path], object]) -> Path:
    """Write a file through `write`, and give it the first of these names that is free; returns that name.

    files: candidates in one folder, in order. No file is replaced, even if several processes write at the same time.
    Raises ValueError, in one sentence, where the disk is full or the folder cannot be written to.
    """
    candidates = iter(files)
    first = next(candidates)
    with _unfinished(first) as part:
        write(part)
        _finish(part)
        file = first
        while not _given_name(part, file):
            file = next(candidates)
        _flush_names(file.parent)
    return file


@contextlib.contextmanager
def _unfinished(file: Path) -> Iterator[Path]:
    """A path to write to on the disk of `file`, removed at the end; system errors become a sentence."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(file.parent)
        folder, lock = _own_folder(file.parent)
        try:
            yield folder / _PART
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise ValueError(_sentence(error, file)) from error


def _own_folder(parent: Path) -> tuple[Path, int]:
    """A hidden folder that belongs to this writer for as long as its lock, an open file, is held."""
    for _ in range(_LOCK_TRIES):
        folder = Path(tempfile.mkdtemp(suffix=_SUFFIX, prefix=_PREFIX, dir=parent))
        # Before it is locked, another writer may take it for abandoned.
        with contextlib.suppress(FileNotFoundError):
            lock, held = _locked(folder)
            if lock is not None:
                return folder, lock
            if held is None:  # a file system without locks
                return folder, os.open(folder / _LOCK, os.O_RDWR)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(parent))


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of writers that were killed."""
    for folder in parent.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            lock, _ = _locked(folder)
            if lock is not None:
                if sys.platform == "win32":  # nothing that is open can be removed there
                    os.close(lock)
                shutil.rmtree(folder, ignore_errors=True)
                if sys.platform != "win32":
                    os.close(lock)


def _locked(folder: Path) -> tuple[int | None, bool | None]:
    """The folder's lock as an open file, None if not acquired; and whether another holds it, None without locks.

    Raises FileNotFoundError where the folder is gone.
    """
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(folder / _LOCK)):  # else it was removed meanwhile
            return lock, False
    except OSError as error:
        os.close(lock)
        if isinstance(error, FileNotFoundError):
            raise
        return None, True if error.errno in _HELD else None
    os.close(lock)
    return None, True


def _finish(part: Path) -> None:
    """Give a finished file an ordinary file's mode, and flush it to disk."""
    with contextlib.suppress(OSError):  # the lock is an ordinary file, so its mode is what the umask leaves
        os.chmod(part, (part.parent / _LOCK).stat().st_mode & 0o777)
    with part.open("r+b") as file:
        os.fsync(file.fileno())


def _flush_names(folder: Path) -> None:
    """Flush the names in a folder to disk, where the system can."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _given_name(part: Path, file: Path) -> bool:
    """Name a finished file `file`; False where that name is taken. The check and the naming are one step."""
    try:
        if sys.platform == "win32":
            os.rename(part, file)  # refuses to replace a file on this system
        else:
            os.link(part, file)
        return True
    except FileExistsError:
        return False
    except OSError:
        if sys.platform == "win32":
            raise
        return _moved_alone(part, file)


def _moved_alone(part: Path, file: Path) -> bool:
    """`_given_name` without hard links, which some file systems lack: the pack's writers take turns by a lock."""
    import fcntl

    folder = os.open(file.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        if os.path.lexists(file):
            return False
        os.replace(part, file)
        return True
    finally:
        os.close(folder)


def _sentence(error: OSError | SafetensorError, file: Path) -> str:
    if isinstance(error, OSError):
        number, reason = error.errno, error.strerror
    else:  # safetensors reports the system's error in its text alone
        found = re.search(r"os error (\d+)", str(error))
        number, reason = int(found[1]) if found else None, str(error)
    name, folder = shortened(file.name), shortened(file.parent)
    if number in _FULL:
        return f"The disk of {folder} is full, nothing was saved: free some space and queue again."
    return (
        f"{name} cannot be written to {folder} ({shortened(reason)}): choose another name, or check the folder's "
        "permissions."
    )
