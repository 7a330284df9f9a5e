"""Tensors come out of a file into memory of their own, and one short reason says what is wrong with a file."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusion_path.demo import attributes
from diffusion_path.demo.model import WEIGHTS, read_weights
from diffusion_path.samplers.tensor_file import DamagedFileError, is_newer, read_tensors
from diffusion_path.tests.unit.file_fuzz import CASES, Case
from torch import Tensor


def test_what_safetensors_writes_comes_back_bit_for_bit(tmp_path: Path) -> None:
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool)
    tensors = {str(kind): (torch.randn(3, 2, 5) * 4).to(kind) for kind in kinds}
    tensors |= {"empty": torch.zeros(0, 3), "one": torch.tensor(2.5)}
    safetensors.torch.save_file(tensors, tmp_path / "a", {"note": "text"})
    found, notes = read_tensors(tmp_path / "a")
    assert notes == {"note": "text"}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def mappings(file: Path) -> list[str]:
    return [line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines() if str(file) in line]


def weights_of(loaded: Any) -> list[Tensor]:
    if isinstance(loaded, torch.nn.Module):
        return list(loaded.state_dict().values())
    values = vars(loaded).values() if hasattr(loaded, "__dict__") else loaded
    return [value for value in values if isinstance(value, Tensor)]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_nothing_stays_mapped_and_a_file_may_be_cut_short_later(case: Case, tmp_path: Path) -> None:
    name, make, load, use = case
    file = tmp_path / name
    make(file)
    loaded = load(file)
    assert mappings(file) == []
    tensors = weights_of(getattr(loaded, "network", loaded))
    before = [tensor.clone() for tensor in tensors]
    assert before
    os.truncate(file, 1)
    use(loaded)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_embedded_weights_are_not_mapped() -> None:
    weights, _ = read_weights()
    attributes._network(attributes.WEIGHTS)
    assert weights
    assert mappings(WEIGHTS.parent) == []


def _written(header: Any, values: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def _entry(shape: Any = (2,), offsets: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "its header does not fit"),
    "longer header": (struct.pack("<Q", 2**60) + b"{}", "its header does not fit"),
    "no JSON": (_written(b"{"), "its header cannot be read"),
    "deep JSON": (_written(b"[" * 100_000), "its header cannot be read"),
    "a list": (_written([]), "its header cannot be read"),
    "unknown type": (_written(_entry(dtype="F8")), "its header cannot be read"),
    "shape of text": (_written(_entry(shape="22")), "its header cannot be read"),
    "many dimensions": (_written(_entry(shape=[1] * 100)), "its header cannot be read"),
    "negative": (_written(_entry(shape=(-2,), offsets=(8, 0))), "a tensor does not fit"),
    "huge": (_written(_entry(shape=(2**40,), offsets=(0, 2**42))), "a tensor does not fit"),
    "other size": (_written(_entry(shape=(3,))), "another size than its shape"),
    "gap": (_written(_entry(offsets=(4, 12)), bytes(12)), "overlap or leave gaps"),
    "overlap": (_written({**_entry(), "y": _entry()["x"]}), "overlap or leave gaps"),
    "more": (_written(_entry(), bytes(9)), "cut short or has bytes"),
    "numbers": (_written({**_entry(), "__metadata__": {"x": 1}}), "metadata are not texts"),
}


@pytest.mark.parametrize(("content", "reason"), DAMAGED.values(), ids=list(DAMAGED))
def test_damaged_files_are_refused_before_memory_is_taken(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DamagedFileError, match=reason):
        read_tensors(tmp_path / "a")


@pytest.mark.skipif(sys.platform == "win32", reason="makes a pipe")
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_regular_file_is_not_opened(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(DamagedFileError, match="not a regular file"):
        read_tensors(tmp_path / "a")


@pytest.mark.parametrize(
    ("version", "newer"), [("1", False), ("2", True), ("1" * 5000, False), ("x", False), (None, False)]
)
def test_newer_versions(version: str | None, newer: bool) -> None:
    assert is_newer(version, 1) is newer
