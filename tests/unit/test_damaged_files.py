"""Whatever is in a file: it loads, or one sentence says why not, and it takes no more memory than its size."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusion_path.lep.checkpoint import load_predictor, save_predictor
from diffusion_path.lep.pickle_check import check_pickles
from diffusion_path.lep.predictor import MapPredictor, build_network
from diffusion_path.samplers.path import DiffusionPath, ModelKind
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.tests.unit.file_fuzz import CASES, Case, fuzz, limited_memory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FUZZ = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), st.sampled_from([10**9, -1, 2**70, "x" * 100, {}]),
)  # fmt: skip


def good_path(folder: Path) -> Path:
    file = folder / "path.safetensors"
    levels = torch.tensor([2.0, 1.0, 0.0])
    states = torch.randn(3, 1, 4, 4, 4)
    save_path(
        DiffusionPath(
            levels, states, torch.ones(3), levels, ModelKind("SD15", "EPS", "SD15"), "residual", "euler",
            residuals=torch.randn(2, 1, 4, 4, 4), batch_index=(3,), figures={"seconds": (1.0,)},
        ), file,
    )  # fmt: skip
    return file


def good_predictor(folder: Path) -> Path:
    file = folder / "predictor.safetensors"
    channels, options = (8, 16), {"out_channels": 4, "widths": (8, 8)}
    save_predictor(
        MapPredictor(
            network=build_network("mlp", channels, **options), kind="mlp", taps=("input_blocks.1", "output_blocks.2"),
            channels=channels, model={"network": "UNetModel"}, settings=options, record={},
        ), file,
    )  # fmt: skip
    return file


MADE = [(good_path, load_path), (good_predictor, load_predictor)]


def read(load: Callable[[Path], Any], file: Path) -> str:
    """The sentence with which a file is refused, "" if it loads."""
    try:
        load(file)
    except ValueError as error:
        message = str(error)
        assert message.count("\n") == 0, message
        assert len(message) < 500, message
        assert message.rstrip().endswith("."), message
        return message
    return ""


@pytest.mark.parametrize(("make", "load"), MADE, ids=["path", "predictor"])
def test_bytes_changed_at_random(make: Callable[[Path], Path], load: Callable[[Path], Any], tmp_path: Path) -> None:
    whole = make(tmp_path).read_bytes()
    file = tmp_path / "damaged.safetensors"
    assert read(load, make(tmp_path)) == ""

    @settings(FUZZ, max_examples=150)
    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=8), st.data())
    def damage(changes: list[tuple[int, int]], data: Any) -> None:
        content = bytearray(whole)
        for place, value in changes:
            content[place] = value
        length = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
        file.write_bytes(bytes(content[:length]))
        read(load, file)

    damage()


@pytest.mark.parametrize(("make", "load"), MADE, ids=["path", "predictor"])
def test_metadata_changed_at_random(make: Callable[[Path], Path], load: Callable[[Path], Any], tmp_path: Path) -> None:
    good = make(tmp_path)
    with safetensors.safe_open(str(good), framework="pt") as opened:
        notes = dict(opened.metadata())
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    file = tmp_path / "damaged.safetensors"
    inner = sorted(json.loads(notes["spec"])) if "spec" in notes else []

    @settings(FUZZ, max_examples=250)
    @given(st.sampled_from(sorted(notes)), st.sampled_from([None, *inner]), JUNK, st.booleans())
    def damage(key: str, part: str | None, value: Any, missing: bool) -> None:
        changed = dict(notes)
        if part is not None:
            spec = json.loads(notes["spec"])
            spec = {name: found for name, found in spec.items() if name != part} if missing else spec | {part: value}
            changed["spec"] = json.dumps(spec)
        elif missing:
            del changed[key]
        else:
            changed[key] = value if isinstance(value, str) else json.dumps(value)
        safetensors.torch.save_file(tensors, file, metadata=changed)
        read(load, file)

    damage()


@pytest.mark.parametrize(("make", "load"), MADE, ids=["path", "predictor"])
def test_tensors_changed_at_random(make: Callable[[Path], Path], load: Callable[[Path], Any], tmp_path: Path) -> None:
    good = make(tmp_path)
    with safetensors.safe_open(str(good), framework="pt") as opened:
        notes = dict(opened.metadata())
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    file = tmp_path / "damaged.safetensors"
    shapes = st.lists(st.integers(0, 3), max_size=5)
    dtypes = st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool])

    @settings(FUZZ, max_examples=150)
    @given(st.sampled_from(sorted(tensors)), shapes, dtypes, st.sampled_from([0.0, 1.0, float("nan"), float("inf")]))
    def damage(key: str, shape: list[int], dtype: torch.dtype, value: float) -> None:
        filled = torch.full(shape, value).to(dtype)
        safetensors.torch.save_file({**tensors, key: filled}, file, metadata=notes)
        read(load, file)

    damage()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is right in every way, but for its compression: 256 MiB of zeros in a quarter of a megabyte."""
    plain, bomb = tmp_path / "plain.pt", tmp_path / "bomb.pt"
    torch.save({"model_state_dict": {"layers.0.weight": torch.zeros(2**26 // 7080, 7080)}}, plain)
    with zipfile.ZipFile(plain) as usual, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in usual.namelist():
            with usual.open(entry) as source, packed.open(entry, "w") as target:
                shutil.copyfileobj(source, target)
    assert bomb.stat().st_size < 2**20
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was opened"))
    with pytest.raises(ValueError, match=r"bomb\.pt would grow to \d+ MB when unpacked"):
        load_predictor(bomb)


def test_a_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    swollen = tmp_path / "swollen.pt"
    weight = torch.zeros(1, dtype=torch.float16).expand(2**22, 7080)
    torch.save({"model_state_dict": {"layers.0.weight": weight}}, swollen)
    assert "swollen.pt" in read(load_predictor, swollen)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00.", pickle.dumps([1, 2]), b"\x00" * 4096])
def test_files_that_are_no_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file.pt"
    file.write_bytes(content)
    assert read(load_predictor, file)


class Calls:
    """Pickled as a call of a function with arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


HUGE = {
    "bytes": (Calls(bytearray, 2**32), "an import of __builtin__.bytearray"),
    "storage": (Calls(torch.FloatStorage, 2**30), "a call that makes no tensor"),
    "code": (Calls(shutil.rmtree, "nothing"), "an import of shutil.rmtree"),
}


@pytest.mark.parametrize(("content", "reason"), HUGE.values(), ids=list(HUGE))
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_is_only_followed_on_paper(
    content: Calls, reason: str, archive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred bytes that ask for 4 GB take none."""
    file = tmp_path / "asks.pt"
    if archive:
        torch.save({"model_state_dict": content}, file)
    else:
        file.write_bytes(pickle.dumps({"model_state_dict": content}, protocol=2))
    assert file.stat().st_size < 2000
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was opened"))
    assert f"asks.pt holds more than plain weights ({reason}) and was not opened" in read(load_predictor, file)


def test_a_storage_larger_than_its_file_is_refused_before_it_is_made(tmp_path: Path) -> None:
    """The older format makes a storage of the size that the pickle names, before it reads its values."""
    file = tmp_path / "old.pt"
    torch.save({"layers.0.weight": torch.zeros(70_000)}, file, _use_new_zipfile_serialization=False)
    assert file.read_bytes().count(struct.pack("<I", 70_000)) == 3
    file.write_bytes(file.read_bytes().replace(struct.pack("<I", 70_000), struct.pack("<I", 2**30)))
    with limited_memory():
        assert "old.pt claims to hold more weights than fit into it" in read(load_predictor, file)


@pytest.mark.parametrize("archive", [True, False])
def test_what_training_scripts_save_is_plain(archive: bool, tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    file = tmp_path / "all.pt"
    content = {
        "model": network.state_dict(), "optimizer": optimizer.state_dict(), "parameter": network[0].weight,
        "half": torch.zeros(2, 3).half().t(), "sizes": [1, 2.5, None, True, "x"],
        "step": torch.tensor(3),
    }  # fmt: skip
    torch.save(content, file, _use_new_zipfile_serialization=archive)
    check_pickles(file)
    assert "all.pt is not a map predictor that this pack knows" in read(load_predictor, file)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_short_fuzz_leaves_nothing_unclear(case: Case) -> None:
    """./dev bench file_fuzz is the long version."""
    count = 40 if case[0].endswith(".pt") else 300
    ends, texts = fuzz(case, count, 1)
    assert not ends["unclear"], texts
    assert ends["refused"] > count // 2
