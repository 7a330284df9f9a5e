"""Whole folders from the command line: shared by processes, ended and gone on with, with pictures left out."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_path.demo.model import load_demo_model
from diffusion_path.devtools.direct import call
from diffusion_path.folder import DEMO, command
from diffusion_path.folder import __main__ as folder
from diffusion_path.folder.settings import settings_of
from diffusion_path.folder.work import NODES, Models
from diffusion_path.images.files import read_whole
from diffusion_path.images.tensors import to_uint8
from diffusion_path.samplers.path_file import load_path
from diffusion_path.samplers.tensor_file import read_tensors
from PIL import Image

FAST = ["--set", "steps=2", "--set", "cfg=1", "--size", "32"]
WINTER = ["--prompt", "{caption}, in winter", "--set", "steps=4"]
NAMES = ["a", "b", "c"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    inputs = tmp_path / "in"
    inputs.mkdir()
    for name in NAMES:
        coarse = Image.fromarray(rng.integers(0, 255, (4, 6, 3), np.uint8))
        coarse.resize((48, 32), Image.Resampling.BICUBIC).save(inputs / f"{name}.png")
        (inputs / f"{name}.txt").write_text(f"a landscape, {name}", encoding="utf-8")
    return inputs


@pytest.fixture(scope="module")
def demo() -> Models:
    return Models(*load_demo_model())


@pytest.fixture(autouse=True)
def loaded_once(demo: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    real = command.load
    monkeypatch.setattr(command, "load", lambda checkpoint: demo if checkpoint == DEMO else real(checkpoint))


def run(kind: str, pictures: Path, out: str, *more: str) -> dict[str, Any]:
    """All files that the command leaves."""
    folder.main([kind, "demo", str(pictures), str(pictures.parent / out), *FAST, *more])
    return files(pictures.parent / out)


def files(out: Path) -> dict[str, Any]:
    """What the files of a folder hold, by their names; of a path without the order of its metadata, which varies."""
    return {path.name: content(path) for path in sorted(out.iterdir())} if out.exists() else {}


def content(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return path.read_bytes()
    tensors, notes = read_tensors(path)
    return notes, {name: (tensor.shape, tensor.numpy().tobytes()) for name, tensor in tensors.items()}


def as_process(rank: int, monkeypatch: pytest.MonkeyPatch, world: int = 2) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world))


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("sdedit", ["--set", "t0=0.6"]),
        ("edit", ["--prompt", "{caption}, in winter", "--set", "steps=4"]),
        ("invert", []),
    ],
)
def test_two_processes_make_what_one_makes(
    kind: str, more: list[str], pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run(kind, pictures, "alone", *more)
    assert [Path(name).stem for name in alone] == NAMES
    for rank in (1, 0):
        as_process(rank, monkeypatch)
        shared = run(kind, pictures, "shared", *more)
        assert [Path(name).stem for name in shared] == (["b"] if rank == 1 else NAMES)
    assert shared == alone


def test_each_result_is_that_of_the_node(pictures: Path, demo: Models) -> None:
    made = run("sdedit", pictures, "out", "--set", "t0=0.6", "--set", "seed=3", "--negative", "people")
    guide = {"samples": demo.vae.encode(read_whole(pictures / "b.png", 32, 8)[None])}
    prompts = {"positive": demo.encoded("a landscape, b"), "negative": demo.encoded("people")}
    edited = call("DPathSDEdit", model=demo.model, **prompts, guide=guide, seed=3, t0=0.6, steps=2, cfg=1.0)[0]
    (pictures / "expected.png").write_bytes(made["b.png"])
    expected = to_uint8(demo.vae.decode(edited["samples"])[0])
    assert np.array_equal(np.asarray(Image.open(pictures / "expected.png")), expected)


def test_a_path_of_a_folder_opens(pictures: Path) -> None:
    run("invert", pictures, "paths", "--set", "method=fixed point", "--set", "method.iterations=1")
    path = load_path(pictures.parent / "paths" / "a.safetensors")
    assert (path.method, path.steps, path.shape[0]) == ("fixed point", 2, 1)


def test_an_ended_run_goes_on_where_it_was_and_leaves_no_parts(pictures: Path) -> None:
    """One of two processes is killed at work; what it made is whole, and one process makes the rest."""
    out = pictures.parent / "out"
    child = os.fork()
    if child == 0:
        os.environ.update(RANK="0", WORLD_SIZE="2")
        torch.set_num_threads(1)  # those of the parent are not here
        with contextlib.suppress(BaseException):
            folder.main(["sdedit", "demo", str(pictures), str(out), *FAST])
        os._exit(0)
    try:
        while not (out / "a.png").exists():
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
            time.sleep(0.001)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert (out / "a.png") in before
    assert run("sdedit", pictures, "out") == run("sdedit", pictures, "alone")
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was there is not made again"


def test_what_cannot_be_used_is_left_out_and_named(
    pictures: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    whole = run("sdedit", pictures, "whole")
    (pictures / "b.png").write_bytes((pictures / "b.png").read_bytes()[:100])
    (pictures / "c.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SystemExit) as end:
        run("sdedit", pictures, "out")
    assert end.value.code == 1
    found = files(pictures.parent / "out")
    assert found == {name: data for name, data in whole.items() if name not in ("b.png", "c.png")}
    assert "1 done, 0 skipped, 2 left out" in caplog.text
    assert "left out: b.png: " in caplog.text
    as_process(1, monkeypatch)
    run("sdedit", pictures, "shared")  # as one of many it ends without a status that would end the others
    assert files(pictures.parent / "shared") == {}


def test_masks_keep_what_is_outside_of_them(pictures: Path) -> None:
    masks = pictures.parent / "masks"
    masks.mkdir()
    mask = np.zeros((32, 48), np.uint8)
    mask[:, 24:] = 255
    for name in NAMES[:-1]:
        Image.fromarray(mask).save(masks / f"{name}.png")
    with pytest.raises(SystemExit):
        run("sdedit", pictures, "out", "--masks", str(masks), "--set", "t0=0.9", "--size", "48")
    out = pictures.parent / "out"
    assert sorted(path.stem for path in out.iterdir()) == NAMES[:-1], "the last picture has no mask"
    source, edited = (np.asarray(Image.open(place / "a.png")) for place in (pictures, out))
    assert np.array_equal(source[:, :24], edited[:, :24])
    assert not np.array_equal(source, edited)


def test_targets_may_be_files(pictures: Path) -> None:
    targets = pictures.parent / "targets"
    targets.mkdir()
    (targets / "b.txt").write_text("a landscape, b, in winter", encoding="utf-8")
    for name in ("a", "c"):
        (pictures / f"{name}.png").unlink()
    by_file = run("edit", pictures, "by-file", "--targets", str(targets), "--set", "steps=4")
    assert by_file == run("edit", pictures, "by-text", *WINTER)


def api_prompt(path: Path, *nodes: dict[str, Any]) -> Path:
    path.write_text(json.dumps({str(number): node for number, node in enumerate(nodes)}), encoding="utf-8")
    return path


def test_settings_are_those_of_a_saved_workflow(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inputs = {"model": ["1", 0], "seed": 7, "steps": ["2", 0], "method": "null text", "method.iterations": 3, "t0": 0.5}
    other = {"class_type": "DPathSDEdit", "inputs": {"t0": 0.25}}
    file = api_prompt(tmp_path / "workflow.json", {"class_type": "DPathInvert", "inputs": inputs}, other)
    found = settings_of(NODES["invert"], file, ["cfg=2.5", "method.save_memory=true"])
    assert (found["seed"], found["t0"], found["cfg"], found["steps"]) == (7, 0.5, 2.5, 20)
    assert found["method"] == {"method": "null text", "iterations": 3, "stop": 1e-5, "save_memory": True}
    assert "steps come through links" in caplog.text
    assert "model" not in found
    assert settings_of(NODES["sdedit"], file)["t0"] == 0.25
    for changes, words in (
        (["nonsense"], "'nonsense' is no setting: write --set NAME=VALUE"),
        (["strength=1"], "There is no setting 'strength' here: those are seed, t0"),
        (["t0=2"], "t0 is 2: give a number from 0.0 to 1.0"),
        (["method=magic"], "choose one of residual"),
        (["method.eta=1", "method=euler"], "There is no setting 'eta' here"),
    ):
        with pytest.raises(ValueError, match=words):
            settings_of(NODES["invert"], None, changes)
    for text, words in (("{", "is not JSON"), ("[]", "has 0 nodes of the kind SDEdit"), ('{"1": 2}', "has 0 nodes")):
        (tmp_path / "broken.json").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            settings_of(NODES["sdedit"], tmp_path / "broken.json")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["edit", "demo", "in", "out"], "An edit needs a target prompt"),
        (["invert", "demo", "in", "out", "--masks", "in"], "The path of a picture has no mask"),
        (["sdedit", "demo", "in", "in"], "is the folder of the pictures"),
        (["sdedit", "demo", "in", "out", "--masks", "none"], "There is no folder none"),
        (["sdedit", "demo", "in", "out", "--size", "0"], "The size is 0"),
        (["sdedit", "demo", "empty", "out"], "There are no pictures in empty"),
        (["sdedit", "none", "in", "out"], "There is no checkpoint none"),
        (["edit", "demo", "in", "out", "--prompt", "x", "--targets", "in"], "Both --prompt and --targets"),
        (["sdedit", "demo", "twice", "out"], "a.jpg and a.png would have the same result"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    given: list[str], words: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    Path("empty").mkdir()
    Path("twice").mkdir()
    for suffix in ("png", "jpg"):
        Image.new("RGB", (8, 8)).save(f"twice/a.{suffix}")
    with pytest.raises(SystemExit, match=words):
        folder.main(given)
    assert not Path("out").exists()


def test_pictures_keep_their_shape(tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((101, 50)).save(tmp_path / "a.png")
    assert read_whole(tmp_path / "a.png").shape == (50, 101, 3)
    assert read_whole(tmp_path / "a.png", block=8).shape == (48, 96, 3)
    assert read_whole(tmp_path / "a.png", 64, 8).shape == (32, 64, 3)
    assert torch.equal(read_whole(tmp_path / "a.png", block=8), read_whole(tmp_path / "a.png")[1:49, 2:98])
    with pytest.raises(ValueError, match="is 101 x 50 pixels: give sides of 64 or more"):
        read_whole(tmp_path / "a.png", block=64)
