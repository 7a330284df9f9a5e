"""What may go wrong around a server: a full disk, a kill in the middle of work, tricks in names, a shared folder."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from diffusion_path.devtools.client import Client, PromptError
from diffusion_path.devtools.runtime import Runtime
from diffusion_path.devtools.server import Server
from diffusion_path.samplers.path_file import load_path
from diffusion_path.tests.server.graph import Graph, Info

linux = pytest.mark.skipif(sys.platform != "linux", reason="uses limits of Linux")


@pytest.fixture
def another(comfyui_root: Path, tmp_path: Path) -> Iterator[Server]:
    """A server that a test may break."""
    with Server(Runtime(Path(sys.executable), comfyui_root), 0, tmp_path) as running:
        yield running


def saving(info: Info, prefix: str, batch: int = 1, steps: int = 2, size: int = 64) -> Graph:
    """A graph that inverts a picture and saves its path."""
    graph = Graph(info)
    model = graph.add("DPathDemoModel")
    scene = graph.add("DPathDemoScene", size=size, batch_size=batch)
    text = graph.add("CLIPTextEncode", clip=model[1], text=scene[2])
    latent = graph.add("VAEEncode", pixels=scene[0], vae=model[2])
    wired = {"model": model[0], "positive": text[0], "negative": text[0], "latent": latent[0]}
    path = graph.add("DPathInvert", **wired, steps=steps, method="euler", **{"method.noise_label": "destination"})
    graph.add("DPathSave", path=path[0], filename_prefix=prefix)
    return graph


def loading(info: Info, name: str) -> Graph:
    graph = Graph(info)
    graph.add("PreviewAny", source=graph.add("DPathLoad", file=name)[1])
    return graph


def saved(server: Server) -> list[Path]:
    # os.walk, because rglob fails on a writer's folder that is gone by the time it looks into it.
    walked = os.walk(server.base / "output")
    return sorted(Path(folder) / name for folder, _, names in walked for name in names if "paths" in Path(folder).name)


@linux
def test_a_full_disk_is_one_sentence_and_the_next_save_works(another: Server) -> None:
    import resource

    info = another.client.object_info()
    assert another.process is not None
    process = another.process.pid
    limits = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (60_000, limits[1]))
    with pytest.raises(PromptError, match=r"DPathSave: The disk of .* is full, nothing was saved: .*\.$"):
        another.client.run(saving(info, "full", batch=4, steps=6, size=128).prompt)
    assert saved(another) == []
    resource.prlimit(process, resource.RLIMIT_FSIZE, limits)
    another.client.run(saving(info, "full", batch=4, steps=6, size=128).prompt)
    assert [path.name for path in saved(another)] == ["full_00001_.safetensors"]


@linux
def test_a_kill_in_the_middle_of_work_leaves_only_whole_files(another: Server) -> None:
    info = another.client.object_info()
    for number in range(30):
        another.client.queue(saving(info, "kill", batch=8, steps=2 + number % 3).prompt)
    end = time.monotonic() + 120
    while len(saved(another)) < 3:
        assert time.monotonic() < end
        time.sleep(0.003)
    assert another.process is not None
    os.kill(another.process.pid, signal.SIGKILL)
    another.process.wait()
    for path in saved(another):
        if path.suffix == ".safetensors":
            assert load_path(path).steps >= 2
        else:
            # Ours, or the one that safetensors writes through; Load Path lists neither.
            assert path.name.startswith(".")
            assert path.suffix in (".part", "")


@pytest.mark.parametrize("prefix", ["../escape", "/tmp/escape", "..\\..\\escape", "a/../../../escape", "x" * 300])
def test_names_do_not_lead_out_of_the_output_folder(server: Server, object_info: Info, prefix: str) -> None:
    before = set(server.base.rglob("*escape*"))
    refusal = ""
    try:
        server.client.run(saving(object_info, prefix).prompt)
    except PromptError as error:
        refusal = str(error)
    assert not refusal or (refusal.startswith("DPathSave: ") and "\n" not in refusal)
    new = set(server.base.rglob("*escape*")) - before
    folder = (server.base / "output" / "diffusion_paths").resolve()
    assert all(folder in path.resolve().parents for path in new)
    assert not Path("/tmp/escape_00001_.safetensors").exists()


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "nothing.safetensors", "link.txt"])
def test_only_files_of_the_list_are_opened(server: Server, object_info: Info, name: str) -> None:
    folder = server.base / "output" / "diffusion_paths"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "link.txt").is_symlink():
        (folder / "link.txt").symlink_to("/etc/hosts")
    with pytest.raises(PromptError, match="Value not in list"):
        server.client.run(loading(object_info, name).prompt)


def test_links_and_damaged_files_in_the_folder_are_one_sentence(server: Server, client: Client) -> None:
    folder = server.base / "output" / "diffusion_paths"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hosts.safetensors").symlink_to("/etc/hosts")
    (folder / "lost.safetensors").symlink_to(folder / "nowhere")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    try:
        info = client.object_info()
        for name in ("hosts.safetensors", "cut.safetensors", "lost.safetensors"):
            if name not in info["DPathLoad"]["input"]["required"]["file"][1]["options"]:
                continue
            with pytest.raises(PromptError, match=r"^DPathLoad: .*\.$"):
                client.run(loading(info, name).prompt)
    finally:
        for name in ("hosts.safetensors", "lost.safetensors", "loop", "cut.safetensors"):
            (folder / name).unlink()


def test_two_servers_share_a_folder_of_paths(
    comfyui_root: Path, server: Server, client: Client, tmp_path: Path
) -> None:
    shared = tmp_path / "shared" / "diffusion_paths"
    shared.mkdir(parents=True)
    config = tmp_path / "extra.yaml"
    config.write_text(f"shared:\n  base_path: {tmp_path / 'shared'}\n  diffusion_paths: diffusion_paths\n")
    client.run(saving(client.object_info(), "shared").prompt)
    made = next((server.base / "output" / "diffusion_paths").glob("shared_*.safetensors"))
    (shared / made.name).write_bytes(made.read_bytes())
    options = ("--extra-model-paths-config", str(config))
    runtime = Runtime(Path(sys.executable), comfyui_root)
    with Server(runtime, 0, tmp_path / "one", *options) as one, Server(runtime, 0, tmp_path / "two", *options) as two:
        texts = []
        for each in (one, two, one):
            info = each.client.object_info()
            result = each.client.run(loading(info, made.name).prompt)
            texts.append(next(ui["text"] for ui in result.outputs.values() if "text" in ui))
    assert texts[0] == texts[1] == texts[2]
    assert [path.name for path in shared.iterdir()] == [made.name]
