"""Paths on disk: what comes back, and what is refused without being opened."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from comfy.model_base import ModelType
from diffusion_path.samplers import path_file
from diffusion_path.samplers.inversion.invert import invert
from diffusion_path.samplers.inversion.residual import Residual
from diffusion_path.samplers.path import DiffusionPath, ModelKind
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.samplers.replay import replay
from diffusion_path.tests.unit.analytic import cond, gaussian_model


def full_path() -> DiffusionPath:
    """A path with everything that a method may store."""
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(4, 2, 4, 3, 3, generator=draw)
    return DiffusionPath(
        sigmas=torch.tensor([14.6, 2.0, 0.3, 0.0]),
        states=states,
        signal=torch.ones(4),
        noise=torch.tensor([14.6, 2.0, 0.3, 0.0]),
        model=ModelKind("SDXL", "EPS", "SDXL"),
        method="residual",
        sampler="dpmpp_2m_sde",
        sampler_options={"eta": 0.5, "solver_type": "midpoint"},
        seed=2**63,
        cfg=7.5,
        conditioning="00ff00ff00ff00ff",
        continuous=False,
        batch_index=(3, 5),
        out_scale=torch.rand(4, generator=draw),
        out_shift=torch.rand(4, generator=draw),
        denoised=states[1:] + 1,
        residuals=states[:-1] * 2,
        eta=0.7,
        null={"c_crossattn": torch.randn(3, 1, 5, 8, generator=draw), "y": torch.randn(1, 1, 8, generator=draw)},
        control=torch.tensor([0.9, 0.0, 0.0]),
        asked="origin",
        figures={"latent_psnr": (math.inf, 48.25), "psnr": (31.5, 1 / 3)},
    )


def assert_same(a: DiffusionPath, b: DiffusionPath) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other), name
        elif name == "null":
            assert value.keys() == other.keys()
            assert all(torch.equal(value[key], other[key]) for key in value)
        else:
            assert value == other, name


def test_a_path_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = full_path()
    save_path(path, tmp_path / "a.safetensors")
    assert_same(path, load_path(tmp_path / "a.safetensors"))
    bare = path.replaced(denoised=None, residuals=None, null={}, control=None, out_scale=None, out_shift=None)
    save_path(bare, tmp_path / "b.safetensors")
    assert_same(bare, load_path(tmp_path / "b.safetensors"))
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "b.safetensors"]


def test_tensors_that_share_their_memory_come_back_too(tmp_path: Path) -> None:
    whole = full_path()
    shared = whole.replaced(denoised=whole.states[:-1], residuals=whole.states[1:], noise=whole.sigmas)
    save_path(shared, tmp_path / "a.safetensors")
    assert_same(shared, load_path(tmp_path / "a.safetensors"))
    rest = whole.from_sigma(2.0)
    save_path(rest, tmp_path / "b.safetensors")
    assert_same(rest, load_path(tmp_path / "b.safetensors"))


def test_a_person_can_read_the_metadata(tmp_path: Path) -> None:
    save_path(full_path(), tmp_path / "a.safetensors")
    with safetensors.safe_open(str(tmp_path / "a.safetensors"), framework="pt") as opened:
        notes = opened.metadata()
    assert notes["format"] == "diffusion-path"
    assert json.loads(notes["model"])["family"] == "SDXL"
    assert json.loads(notes["method"]) == "residual"
    assert json.loads(notes["steps"]) == 3


def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "a.safetensors"
    save_path(full_path(), file)
    before = file.read_bytes()

    def fail(*args: object, **kwargs: object) -> None:
        Path(str(args[1])).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(path_file.safetensors.torch, "save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        save_path(full_path().replaced(cfg=1.0), file)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (os.environ["BOMB"],)


def damaged_files(folder: Path) -> dict[str, Path]:
    good = folder / "good.safetensors"
    save_path(full_path(), good)
    data = good.read_bytes()
    with safetensors.safe_open(str(good), framework="pt") as opened:
        notes = opened.metadata()
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    files = {name: folder / f"{name}.safetensors" for name in
             ("cut", "header", "empty", "pickle", "torch", "foreign", "newer", "lacking", "dtype", "shape", "rising",
              "json")}  # fmt: skip
    files["cut"].write_bytes(data[: len(data) // 2])
    files["header"].write_bytes(b"\xff" * 64)
    files["empty"].write_bytes(b"")
    files["pickle"].write_bytes(pickle.dumps(_Bomb()))
    torch.save({"states": _Bomb()}, files["torch"])
    save = safetensors.torch.save_file
    save(tensors, files["foreign"], metadata={"format": "pt"})
    save(tensors, files["newer"], metadata={**notes, "version": "99"})
    save({key: t for key, t in tensors.items() if key != "states"}, files["lacking"], metadata=notes)
    save({**tensors, "states": tensors["states"].half()}, files["dtype"], metadata=notes)
    save({**tensors, "residuals": tensors["residuals"][:1]}, files["shape"], metadata=notes)
    save({**tensors, "sigmas": tensors["sigmas"].flip(0).contiguous()}, files["rising"], metadata=notes)
    save(tensors, files["json"], metadata={**notes, "model": "{"})
    return files


def test_a_file_that_does_not_say_how_the_network_was_asked_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "older.safetensors"
    save_path(full_path(), file)
    with safetensors.safe_open(str(file), framework="pt") as opened:
        notes = {key: value for key, value in opened.metadata().items() if key != "asked"}
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    safetensors.torch.save_file(tensors, file, metadata=notes)
    assert load_path(file).asked == ""


def test_damaged_and_foreign_files_are_refused_and_nothing_in_them_is_run(tmp_path: Path, monkeypatch) -> None:
    bomb = tmp_path / "bomb"
    monkeypatch.setenv("BOMB", str(bomb))
    wanted = {
        "cut": "damaged or not a safetensors", "header": "damaged or not a safetensors",
        "empty": "damaged or not a safetensors", "pickle": "damaged or not a safetensors",
        "torch": "damaged or not a safetensors", "foreign": "but not a diffusion path", "newer": "newer version",
        "lacking": "lacks 'states'", "dtype": "float16 instead of float32",
        "shape": "residuals are", "rising": r"\(the noise levels must fall [^:]*\): save it again\.$",
        "json": "does not hold a whole path",
    }  # fmt: skip
    files = damaged_files(tmp_path)
    assert wanted.keys() == files.keys()
    for name, file in files.items():
        with pytest.raises(ValueError, match=wanted[name]) as raised:
            load_path(file)
        assert file.name in str(raised.value)
        assert "\n" not in str(raised.value)
    assert not bomb.exists()
    with pytest.raises(ValueError, match="There is no file nothing"):
        load_path(tmp_path / "nothing.safetensors")


def walked(file: Path) -> str:
    """What a saved path holds and leads to, in a fresh model."""
    path = load_path(file)
    _, latent = replay(gaussian_model(ModelType.EPS, 1.3), cond(0.7), cond(-0.4), path, 4.0)
    assert path.residuals is not None
    return (path.residuals.numpy().tobytes() + latent["samples"].numpy().tobytes()).hex()


def test_a_fresh_process_reconstructs_the_same_bit_for_bit(tmp_path: Path, pack_root: Path) -> None:
    model, file = gaussian_model(ModelType.EPS, 1.3), tmp_path / "a.safetensors"
    latent = {"samples": torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))}
    sigmas = torch.tensor([9.0, 2.0, 0.4, 0.0])
    save_path(invert(model, (cond(0.7), cond(-0.4)), latent, sigmas, Residual(), 4.0, seed=3), file)
    loader = pack_root / "devtools" / "inprocess.py"
    script = f"""
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("loader", {str(loader)!r})
loader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(loader)
loader.load("--cpu")
from diffusion_path.tests.unit.test_path_file import walked
print(walked(pathlib.Path({str(file)!r})))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == walked(file)
