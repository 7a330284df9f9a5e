"""What a PyTorch file would build, found without building it.

`torch.load(weights_only=True)` runs no code from a file, but lets it call `bytearray` and storages of any size. Here
the pickle's instructions are only traced, not executed, and anything but names, numbers, texts, and tensors whose
values are in the file is refused before PyTorch reads it.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MOST_INSTRUCTIONS = 16 * 2**20  # bytes; the pickles of predictors have a few thousand
MOST_DIMENSIONS = 8
_ZIP = b"PK\x03\x04"
_LEGACY_PICKLES = 5  # magic number, version, system, content, list of storages
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_ITEM_SIZES = {
    "DoubleStorage": 8, "LongStorage": 8, "FloatStorage": 4, "IntStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
}  # fmt: skip


class UnsafePickleError(ValueError):
    """A pickle that does more than name tensors; the text says what that is."""


class TooLargeError(ValueError):
    """A file that would take far more memory than its size; the text ends a sentence, without its full stop."""


@dataclass(frozen=True)
class _Name:
    """Something that the pickle imports."""

    module: str
    name: str


@dataclass(frozen=True)
class _Storage:
    item_size: int
    count: int


_TENSOR = _Name("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = _Name("torch._utils", "_rebuild_parameter")
_DICT = _Name("collections", "OrderedDict")
_KNOWN = {_TENSOR, _PARAMETER, _DICT, *(_Name("torch", name) for name in _ITEM_SIZES)}
_MARK = object()
_WEIGHTS, _HOLDER = object(), object()  # a tensor; a list or dictionary, whatever is in it
_SWOLLEN = "claims to hold more weights than fit into it: download it again"


def check_pickles(file: Path) -> None:
    """Raises UnsafePickleError where a .pt file would build more than plain weights, or more than fits into it.

    Raises other errors (ValueError, LookupError, ...) where the file is damaged.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        if opened.read(len(_ZIP)) == _ZIP:
            _check_archive(file, size)
            return
        opened.seek(0)
        if _Reader(size).read(opened) != _LEGACY_MAGIC:
            raise ValueError("neither an archive nor PyTorch's older format")
        for _ in range(_LEGACY_PICKLES - 1):
            _Reader(size).read(opened)


def _check_archive(file: Path, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > size:  # those of PyTorch are not compressed
            raise TooLargeError(f"would grow to {unpacked / 2**20:.0f} MB when unpacked: get an ordinary .pt file")
        pickles = [entry for entry in entries if entry.filename.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError("not one list of tensors")
        with archive.open(pickles[0]) as pickled:
            _Reader(size).read(pickled)


class _Reader:
    """Follows a pickle's instructions with a stack of what it would build; imports and calls are only noted."""

    def __init__(self, size: int) -> None:
        self.size = size  # of the file: storages together may not be larger, nor tensors together twice as large
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}
        self.storage_bytes = self.tensor_bytes = 0

    def read(self, pickled: IO[bytes]) -> Any:
        begin: int | None = None
        for operation, argument, place in pickletools.genops(pickled):
            begin = place if begin is None else begin
            if place is not None and begin is not None and place - begin > MOST_INSTRUCTIONS:
                raise TooLargeError(_SWOLLEN)
            step = _STEPS.get(operation.name)
            if step is None:
                raise UnsafePickleError(f"an instruction {operation.name}")
            step(self, argument)
        return self.stack[-1]

    def pop(self, count: int) -> list[Any]:
        """The last `count` values, oldest first."""
        if len(self.stack) < count:
            raise ValueError("an instruction without its values")
        found = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return found

    def since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:  # raises IndexError without a mark
            place -= 1
        _, *found = self.pop(len(self.stack) - place)
        return found

    def imported(self, both: str) -> _Name:
        module, _, name = both.partition(" ")
        found = _Name(module, name)
        if found not in _KNOWN:
            raise UnsafePickleError(f"an import of {ascii(f'{module}.{name}'[:80])[1:-1]}")
        return found

    def called(self) -> Any:
        """What a call of an imported name would give."""
        function, arguments = self.pop(2)
        if function == _DICT:
            return _HOLDER
        if function == _PARAMETER and isinstance(arguments, tuple) and arguments[0] is _WEIGHTS:
            return _WEIGHTS
        if function != _TENSOR or not isinstance(arguments, tuple) or not isinstance(arguments[0], _Storage):
            raise UnsafePickleError("a call that makes no tensor")
        self._count_tensor(*arguments[:4])
        return _WEIGHTS

    def _count_tensor(self, storage: _Storage, offset: Any, shape: Any, strides: Any) -> None:
        numbers = [offset, *shape, *strides]
        if not all(type(number) is int and number >= 0 for number in numbers) or len(shape) > MOST_DIMENSIONS:
            raise ValueError("a tensor without a shape")
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        count = math.prod(shape)
        self.tensor_bytes += count * storage.item_size
        if (count and last >= storage.count) or self.tensor_bytes > 2 * self.size:
            raise TooLargeError(_SWOLLEN)

    def built(self) -> None:
        """The attributes of a dictionary, which state_dict() has."""
        if self.pop(2)[0] is not _HOLDER:
            raise UnsafePickleError("a state for something other than a dictionary")
        self.stack.append(_HOLDER)

    def stored(self) -> _Storage:
        """The storage that a persistent id names."""
        kind, stored, key, _, count, *_ = self.pop(1)[0]
        if kind != "storage" or not isinstance(stored, _Name) or stored.name not in _ITEM_SIZES:
            raise UnsafePickleError("a reference to something other than weights")
        if type(count) is not int or count < 0 or not isinstance(key, str):
            raise ValueError("a storage without a size")
        found = _Storage(_ITEM_SIZES[stored.name], count)
        if key not in self.storages:
            self.storages[key] = found
            self.storage_bytes += found.count * found.item_size
        if self.storages[key] != found or self.storage_bytes > self.size:
            raise TooLargeError(_SWOLLEN)
        return found


def _push(make: Callable[[_Reader, Any], Any]) -> Callable[[_Reader, Any], None]:
    return lambda reader, argument: reader.stack.append(make(reader, argument))


def _put(reader: _Reader, argument: Any) -> None:
    reader.memo[argument] = reader.stack[-1]


# The instructions that PyTorch writes, and what each leaves on the stack. Anything else is refused.
_STEPS: dict[str, Callable[[_Reader, Any], object]] = {
    **dict.fromkeys(("PROTO", "STOP"), lambda reader, argument: None),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"),
        _push(lambda reader, argument: argument),
    ),
    "NONE": _push(lambda reader, argument: None),
    "NEWTRUE": _push(lambda reader, argument: True),
    "NEWFALSE": _push(lambda reader, argument: False),
    "MARK": _push(lambda reader, argument: _MARK),
    "EMPTY_TUPLE": _push(lambda reader, argument: ()),
    "TUPLE1": _push(lambda reader, argument: tuple(reader.pop(1))),
    "TUPLE2": _push(lambda reader, argument: tuple(reader.pop(2))),
    "TUPLE3": _push(lambda reader, argument: tuple(reader.pop(3))),
    "TUPLE": _push(lambda reader, argument: tuple(reader.since_mark())),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_DICT"), _push(lambda reader, argument: _HOLDER)),
    "APPEND": lambda reader, argument: reader.pop(1),
    "APPENDS": lambda reader, argument: reader.since_mark(),
    "SETITEM": lambda reader, argument: reader.pop(2),
    "SETITEMS": lambda reader, argument: reader.since_mark(),
    "BUILD": lambda reader, argument: reader.built(),
    "GLOBAL": _push(lambda reader, argument: reader.imported(argument)),
    "REDUCE": _push(lambda reader, argument: reader.called()),
    "BINPERSID": _push(lambda reader, argument: reader.stored()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _push(lambda reader, argument: reader.memo[argument])),
}
