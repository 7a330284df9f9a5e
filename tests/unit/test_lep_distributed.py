"""Training a map predictor over a folder of pictures, in one process and shared by two."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_path.demo.render import render
from diffusion_path.demo.scenes import full_caption, random_scene
from diffusion_path.devtools.inprocess import comfyui_folder
from diffusion_path.lep import folder_training
from diffusion_path.lep.checkpoint import load_predictor
from diffusion_path.tests.unit import share_of_training
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(7):
        scene = random_scene(rng)
        Image.fromarray(render(scene, 96)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(full_caption(scene), encoding="utf-8")
    return folder


def test_two_processes_train_what_one_trains(pictures: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared.safetensors"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, str(ROOT / "devtools" / "inprocess.py"), "tests.unit.share_of_training"]
        processes.append(
            subprocess.Popen([*command, str(pictures), str(shared)], env=environment, stderr=subprocess.PIPE, text=True)
        )
    alone = share_of_training.main(pictures, tmp_path / "alone.safetensors")
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said[-2000:]
    one, two = (load_predictor(path) for path in (tmp_path / "alone.safetensors", shared))
    assert two.record["steps"] == len(alone.losses)
    assert two.record["validation_loss"] == pytest.approx(one.record["validation_loss"], rel=1e-9)
    for name, weight in one.network.state_dict().items():
        assert torch.equal(two.network.state_dict()[name], weight), name


def test_reading_a_folder(pictures: Path, tmp_path: Path) -> None:
    (pictures / "3.txt").unlink()
    edges = tmp_path / "edges"
    edges.mkdir()
    for file in sorted(pictures.glob("*.png"))[:-1]:
        Image.new("L", (96, 96)).save(edges / f"{file.stem}.jpg")
    read = folder_training.read_folder(pictures, None, 32)
    assert read.pictures.shape == (7, 32, 32, 3)
    assert read.captions[3] == ""
    assert "landscape" in read.captions[0]
    assert read.maps is None
    with pytest.raises(ValueError, match=r"6\.png has no map in .*: add one of its name"):
        folder_training.read_folder(pictures, edges, 32)
    Image.new("L", (96, 96)).save(edges / "6.png")
    found = folder_training.read_folder(pictures, edges, 32).maps
    assert found is not None
    assert found.shape == (7, 32, 32, 3)
    with pytest.raises(ValueError, match="There are no pictures in"):
        folder_training.read_folder(tmp_path / "edges" / "..", None, 32)


def test_names_with_brackets_and_pictures_on_their_side(tmp_path: Path) -> None:
    edges = tmp_path / "edges"
    edges.mkdir()
    stored = np.zeros((32, 32, 3), np.uint8)
    stored[:, 16:] = 255
    turned = Image.Exif()
    turned[274] = 6  # to be turned by 90 degrees: its right half is below
    for folder in (tmp_path, edges):
        Image.fromarray(stored).save(folder / "photo [1].png", exif=turned)
    Image.new("RGB", (32, 32)).save(edges / "photo [1].2.png")
    read = folder_training.read_folder(tmp_path, edges, 32)
    assert read.maps is not None
    for picture in (read.pictures[0], read.maps[0]):
        assert float(picture[:12].max()) < 0.1
        assert float(picture[20:].min()) > 0.9


def test_the_command_line() -> None:
    options = folder_training.parse(["model.safetensors", "pictures", "out", "--steps", "7", "--network", "unet"])
    assert (options.steps, options.network, options.size) == (7, "unet", 512)
    assert folder_training.workers().world == 1


def test_only_regular_files_are_read_and_captions_lose_their_byte_order_mark(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes("a caf\u00e9\nby night".encode("utf-8-sig"))
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "d.png").mkdir()
    read = folder_training.read_folder(tmp_path, None, 8)
    assert read.captions == ["a caf\u00e9 by night"]
    assert read.pictures.shape == (1, 8, 8, 3)
    (tmp_path / "a.txt").unlink()
    os.mkfifo(tmp_path / "a.txt")
    assert folder_training.read_folder(tmp_path, None, 8).captions == [""]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("b.png", b"", r"b\.png cannot be read as a picture \(UnidentifiedImageError\): replace it"),
        ("b.jpg", b"\xff\xd8\xff\xe0" + bytes(40), r"b\.jpg cannot be read as a picture"),
        ("a.txt", b"\xff\xfe\x00", r"a\.txt cannot be read as UTF-8 text"),
        ("a.txt", b"x" * 30_000, r"a\.txt has more than 20000 characters"),
    ],
)
def test_a_broken_file_of_a_folder_is_named(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        folder_training.read_folder(tmp_path, None, 8)


def test_a_picture_cut_short_is_named(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"a\.png cannot be read as a picture \(OSError\)"):
        folder_training.read_folder(tmp_path, None, 8)


def test_the_command_line_ends_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    for model, pictures, sentence in (
        ("none", tmp_path, "There is no checkpoint none"),
        (tmp_path / "model.safetensors", tmp_path / "none", r"none cannot be read \(No such file or directory\)"),
        (tmp_path / "model.safetensors", tmp_path, "There are no pictures in"),
    ):
        with pytest.raises(SystemExit, match=sentence):
            folder_training.main([str(model), str(pictures), str(tmp_path / "out.safetensors")])


@pytest.mark.parametrize(
    ("command", "sentence"),
    [("lep.train_folder", "There is no checkpoint none.safetensors"), ("folder invert", "There are no pictures in .")],
)
def test_commands_run_from_comfyuis_folder(command: str, sentence: str, tmp_path: Path) -> None:
    """As the help pages say, and on a machine without a graphics card too."""
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "Pack").symlink_to(ROOT, target_is_directory=True)
    module, *kind = command.split()
    line = [sys.executable, "-m", f"custom_nodes.Pack.{module}", *kind, "none.safetensors", ".", "out"]
    environment = {**os.environ, "PYTHONPATH": str(comfyui_folder())}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()[-1]
