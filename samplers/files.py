"""Files that appear whole or not at all, whatever ends the writing: a kill, a full disk, an error."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from ..common.texts import shortened

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """Yields a path beside `file` to write to, and moves it there at the end; readers see the old file or the new one.

    Raises ValueError, in one sentence, where the disk is full or the folder cannot be written to.
    """
    temporary: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".part", prefix=".", dir=file.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's file is for its owner alone
        os.replace(temporary, file)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError | SafetensorError):
            raise ValueError(_sentence(error, file)) from error
        raise


def _sentence(error: OSError | SafetensorError, file: Path) -> str:
    if isinstance(error, OSError):
        number, reason = error.errno, error.strerror
    else:  # safetensors reports the system's error in its text alone
        found = re.search(r"os error (\d+)", str(error))
        number, reason = int(found[1]) if found else None, str(error)
    name, folder = shortened(file.name), shortened(file.parent)
    if number in _FULL:
        return f"The disk of {folder} is full, nothing was saved: free some space and queue again."
    return f"{name} cannot be written to {folder} ({shortened(reason)}): choose another name, or check the folder."


def _umask() -> int:
    # There is no way to ask for the mask but to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
