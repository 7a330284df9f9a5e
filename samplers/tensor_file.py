"""Reads safetensors files without mapping them.

safetensors maps a file into memory, and its tensors may stay there: if such a file is cut short later, the system ends
the whole process. Here each tensor is read into memory of its own, and no part of a file is used before it is checked.
"""

from __future__ import annotations

import json
import math
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

MOST_HEADER = 100_000_000  # bytes, the format's own limit
MOST_DIMENSIONS = 16
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class DamagedFileError(ValueError):
    """A file that safetensors would not write; the text is a reason without a full stop, not a sentence."""


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and its metadata.

    Raises DamagedFileError, with a short reason, for anything else; never takes more memory than the file's size.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for a writer
            raise DamagedFileError("it is not a regular file")
        with file.open("rb") as opened:
            header, begin = _header(opened, status.st_size)
            notes = header.pop("__metadata__", {})
            if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
                raise DamagedFileError("its metadata are not texts")
            spans = _spans(header, status.st_size - begin)
            return {name: _read(opened, begin, *spans[name]) for name in sorted(spans)}, notes
    except OSError as error:
        raise DamagedFileError(error.strerror or "it cannot be read") from error
    except (MemoryError, RuntimeError) as error:
        raise DamagedFileError(f"its {status.st_size / 2**20:.0f} MB do not fit into memory") from error


def is_newer(version: str | None, known: int) -> bool:
    """Whether a file's metadata name a later version of its format than the known one."""
    return version is not None and re.fullmatch("[0-9]{1,9}", version) is not None and int(version) > known


def _header(opened: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    length = int.from_bytes(opened.read(8), "little")
    if size < 8 or length > min(size - 8, MOST_HEADER):
        raise DamagedFileError("its header does not fit into it")
    try:
        header = json.loads(opened.read(length).decode("utf-8"))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise DamagedFileError("its header cannot be read")
    return header, 8 + length


def _spans(header: dict[str, Any], size: int) -> dict[str, tuple[torch.dtype, list[int], int, int]]:
    """dtype, shape, begin and end of each tensor; together they fill `size` bytes without gaps or overlaps."""
    spans: dict[str, tuple[torch.dtype, list[int], int, int]] = {}
    for name, entry in header.items():
        try:
            dtype, shape, (begin, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            numbers = [*shape[:MOST_DIMENSIONS], begin, end]
        except (LookupError, TypeError, ValueError):
            raise DamagedFileError("its header cannot be read") from None
        if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
            raise DamagedFileError("its header cannot be read")
        if not all(type(number) is int and 0 <= number <= size for number in numbers):
            raise DamagedFileError("a tensor does not fit into it")
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise DamagedFileError("a tensor has another size than its shape")
        spans[name] = (dtype, shape, begin, end)
    place = 0
    for _, _, begin, end in sorted(spans.values(), key=lambda span: span[2:]):
        if begin != place:
            raise DamagedFileError("its tensors overlap or leave gaps")
        place = end
    if place != size:
        raise DamagedFileError("it is cut short or has bytes that belong to nothing")
    return spans


def _read(opened: BinaryIO, start: int, dtype: torch.dtype, shape: list[int], begin: int, end: int) -> Tensor:
    data = torch.empty(end - begin, dtype=torch.uint8)
    opened.seek(start + begin)
    # readinto fills the buffer unless the file ends, which may happen at any time.
    if data.numel() and opened.readinto(data.numpy()) != data.numel():  # pyright: ignore[reportAttributeAccessIssue]
        raise DamagedFileError("it became shorter while it was read")
    if dtype == torch.bool:
        return (data != 0).reshape(shape)
    return data.view(dtype).reshape(shape)
