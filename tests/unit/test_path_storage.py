"""Paths on disk: the same numbers, no file that stays behind, and one sentence where there is no room."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import comfy.model_management
import comfy.samplers
import folder_paths
import pytest
import torch
from comfy.model_base import ModelType
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.devtools.direct import call
from diffusion_path.samplers import path_storage, process, remarks
from diffusion_path.samplers.path import DiffusionPath
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.samplers.path_storage import KEEP_IN, check_room, kept_in, room
from diffusion_path.tests.unit.analytic import cond, gaussian_model
from torch import Tensor

METHODS = ["residual", "fixed point", "euler", "negative prompt", "null text", "controlled"]
STEPS = 4


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    before = folder_paths.get_temp_directory()
    folder_paths.set_temp_directory(str(tmp_path / "temp"))
    yield tmp_path / "temp"
    folder_paths.set_temp_directory(before)


def recorded(sampler: str, keep_in: str, callback: Any = None) -> DiffusionPath:
    model = gaussian_model(ModelType.EPS, 1.3)
    if callback is not None:
        model.set_model_sampler_post_cfg_function(callback)
    guider = core.CFGGuider.execute(model, cond(0.7), cond(0.0), 3.0).args[0]
    sigmas = comfy.samplers.calculate_sigmas(process.model_sampling(model), "karras", STEPS)
    given = {"noise": core.Noise_RandomNoise(5), "sampler": comfy.samplers.sampler_object(sampler), "sigmas": sigmas}
    return call("DPathRecord", **given, guider=guider, latent_image=latent(), keep_in=keep_in)[0]


def inverted(method: str, keep_in: str, **more: Any) -> DiffusionPath:
    given = {"model": gaussian_model(ModelType.EPS, 1.3), "positive": cond(0.7), "negative": cond(0.0)}
    settings = {"steps": STEPS, "seed": 3, "cfg": 3.0, "method": method, "keep_in": keep_in}
    return call("DPathInvert", **given, latent=latent(), **settings, **more)[0]


def latent() -> dict[str, Any]:
    return {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)) + 0.5}


def tensors(path: DiffusionPath) -> dict[str, Tensor]:
    return {name: value for name, value in vars(path).items() if isinstance(value, Tensor)}


def mapped(folder: Path) -> int:
    """How many files of the folder this process has mapped into its memory."""
    return sum(str(folder) in line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines())


def same(first: DiffusionPath, second: DiffusionPath) -> None:
    a, b = tensors(first), tensors(second)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert a["states"].dtype == b["states"].dtype == torch.float32


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_a_recording_on_disk_equals_one_in_memory_bit_for_bit(sampler: str) -> None:
    same(recorded(sampler, "disk"), recorded(sampler, "memory"))


@pytest.mark.parametrize("method", METHODS)
def test_an_inversion_on_disk_equals_one_in_memory_bit_for_bit(method: str) -> None:
    same(inverted(method, "disk"), inverted(method, "memory"))


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads what the process has mapped from /proc")


@linux
@pytest.mark.parametrize("make", [lambda: recorded("euler_ancestral", "disk"), lambda: inverted("residual", "disk")])
def test_the_files_have_no_names_and_are_gone_with_the_path(make: Any, folder: Path) -> None:
    path = make()
    assert list(folder.iterdir()) == []
    assert mapped(folder) == 2  # the states, and the predictions or residuals
    last = path.from_sigma(float(path.sigmas[2])).states[-1]
    picture = path.picture.clone()
    del path
    assert mapped(folder) == 1, "a view keeps its file"
    assert torch.equal(last, picture)
    del last
    assert mapped(folder) == 0


@linux
def test_predictions_that_the_states_imply_give_their_disk_space_back(folder: Path) -> None:
    path = recorded("euler", "disk")
    assert path.denoised is None
    assert mapped(folder) == 1


@linux
@pytest.mark.parametrize("error", [comfy.model_management.InterruptProcessingException, RuntimeError])
def test_an_interrupt_or_an_error_leaves_nothing_behind(error: type[BaseException], folder: Path) -> None:
    seen = []

    def fail(args: dict[str, Any]) -> Tensor:
        seen.append(mapped(folder))
        if len(seen) == 2:
            raise error
        return args["denoised"]

    with contextlib.suppress(error):
        recorded("euler", "disk", fail)
    gc.collect()
    assert seen == [2, 2]
    assert mapped(folder) == 0
    assert list(folder.iterdir()) == []
    assert room([1]).untyped_storage().filename is None
    assert mapped(folder) == 0, "the next path is in memory again"


def test_a_path_on_disk_is_saved_and_loaded(tmp_path: Path) -> None:
    path = recorded("euler_ancestral", "disk")
    save_path(path, tmp_path / "path.safetensors")
    same(load_path(tmp_path / "path.safetensors"), path)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_too_little_disk_space_is_one_sentence_before_any_work(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1000))
    for make in (lambda: recorded("euler", "disk"), lambda: inverted("euler", "disk")):
        with pytest.raises(ValueError, match=r"A path of 4 steps needs about .* GB on the disk of .*temp, but 0\.0 GB"):
            make()
    recorded("euler", "memory")
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the size of a file")
@pytest.mark.parametrize("reserves", [True, False])
def test_a_disk_that_fills_up_is_one_sentence(reserves: bool, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Where the system cannot reserve space, zeros take it; either meets the limit before a tensor is written to."""
    import resource

    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with kept_in("disk"), pytest.raises(ValueError, match=r"^A file of 0\.0 GB for the path cannot be made in "):
            room([4096])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(folder.iterdir()) == []


def test_space_that_is_taken_by_zeros_is_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(path_storage, "_ZEROS", 1000)
    with kept_in("disk"):
        found = room([3, 333])
    assert torch.equal(found, torch.zeros(3, 333))


def test_memory_and_disk_are_the_only_places() -> None:
    with pytest.raises(ValueError, match=r"keep_in is 'tape': choose one of memory, disk\."):
        recorded("euler", "tape")
    with pytest.raises(ValueError, match=r"keep_in is 'tape'"):
        inverted("euler", "tape")


def test_a_path_that_does_not_fit_into_memory_fits_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_: 1000)
    film = torch.zeros(1, 16, 21, 60, 104)
    with pytest.raises(ValueError, match="keep_in disk in Record Path or Invert Picture to Path"):
        check_room(20, 41, film)
    with kept_in("disk"):
        check_room(20, 41, film)


@pytest.mark.parametrize("keep_in", KEEP_IN)
def test_a_large_path_is_announced_and_a_small_one_is_not(
    keep_in: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    recorded("euler", keep_in)
    assert "GB" not in caplog.text
    monkeypatch.setattr(remarks, "LARGE_PATH", 1000)
    recorded("euler", keep_in)
    inverted("euler", keep_in)
    told = [record.message for record in caplog.records if "the path takes up to 0.0 GB" in record.message]
    assert len(told) == 2
    assert all(("set keep_in to disk" in each) == (keep_in == "memory") for each in told)


def test_a_temporary_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder_paths.set_temp_directory(str(tmp_path / "file" / "temp"))
    for make in (lambda: recorded("euler", "disk"), lambda: inverted("euler", "disk")):
        with pytest.raises(ValueError, match=r"^ComfyUI's temporary folder .* cannot be made \(Not a directory\): "):
            make()
    with kept_in("disk"), pytest.raises(ValueError, match=r"set keep_in to memory"):
        room([4])
