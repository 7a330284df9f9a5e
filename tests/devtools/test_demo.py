"""The demo finds its workflows, names its pictures and makes thumbnails."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_path.devtools import demo, server
from diffusion_path.devtools.client import Result
from diffusion_path.devtools.runtime import Runtime
from diffusion_path.devtools.settings import DevError
from PIL import Image


def test_workflows_are_found_by_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text("{}")
    assert [path.stem for path in demo.find_workflows(None, tmp_path)] == ["a", "b"]
    assert [path.stem for path in demo.find_workflows("b", tmp_path)] == ["b"]
    assert [path.stem for path in demo.find_workflows("b.json", tmp_path)] == ["b"]
    with pytest.raises(DevError, match=r"no example workflow 'c': there are a, b\."):
        demo.find_workflows("c", tmp_path)


def test_pictures_are_named_by_workflow_and_node(tmp_path: Path) -> None:
    class Pictures:
        def picture(self, image: dict[str, str]) -> bytes:
            return image["filename"].encode()

    def result(*names: str) -> Result:
        return Result("x", {"1": {"images": [{"filename": name, "type": "temp"} for name in names]}})

    prompt = {"1": {"_meta": {"title": "Preview: the Guide!"}}}
    for names, expected in (
        (["x.png"], ["lake.png"]),
        (["x.png", "y.webp"], ["lake-preview-the-guide.png", "lake-preview-the-guide-2.webp"]),
    ):
        saved = demo.save_pictures(Pictures(), "lake", prompt, result(*names), tmp_path)  # type: ignore[arg-type]
        assert [path.name for _, path in saved] == expected
        assert [path.read_bytes().decode() for _, path in saved] == names


def test_a_server_that_ends_in_the_middle_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        raise ConnectionError("the server closed the connection")

    lost = SimpleNamespace(client=SimpleNamespace(object_info=dict, run=run), last_words=lambda: "Killed")
    monkeypatch.setattr(demo, "Server", lambda _: contextlib.nullcontext(lost))
    monkeypatch.setattr(demo, "to_prompt", lambda *_: {})
    with pytest.raises(DevError, match=r"lost at .* \(the server closed the connection\): Killed"):
        demo.run_demo(Runtime(tmp_path, tmp_path), None, tmp_path, keep_open=False, thumbnails=False)


def test_a_thumbnail_shows_strips_of_all_pictures() -> None:
    pictures = [Image.new("RGB", (300, 200), "red"), Image.new("RGBA", (64, 64), "blue")]
    result = demo.strips(pictures)
    assert result.size == (512, 512)
    assert result.getpixel((100, 256)) == (255, 0, 0)
    assert result.getpixel((400, 256)) == (0, 0, 255)
    assert result.getpixel((256, 256)) == (255, 255, 255)
    assert demo.strips(pictures[:1]).getpixel((256, 256)) == (255, 0, 0)


def test_thumbnails_show_the_first_two_nodes_unless_the_workflow_names_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = []
    for node, colour in (("3", "red"), ("3", "black"), ("5", "blue"), ("7", "lime")):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (64, 64), colour).save(path)
        saved.append((node, path))
    workflow = tmp_path / "lake.json"
    for extra, left, right in (({}, (255, 0, 0), (0, 0, 255)), ({"thumbnail": [7]}, (0, 255, 0), (0, 255, 0))):
        workflow.write_text(json.dumps({"extra": extra}))
        demo.make_thumbnail(workflow, saved)
        with Image.open(tmp_path / "lake.jpg") as thumbnail:
            corners = [thumbnail.getpixel((x, 256)) for x in (10, 500)]
        assert np.abs(np.subtract(corners, [left, right])).max() < 8, "a JPEG is only nearly exact"
    assert "lake.jpg" in capsys.readouterr().out
    workflow.write_text(json.dumps({"extra": {"thumbnail": [4]}}))
    with pytest.raises(DevError, match=r"names node 4 for its thumbnail, but that node made no picture\."):
        demo.make_thumbnail(workflow, saved)


def test_the_server_folder_links_the_pack_and_can_be_prepared_again(tmp_path: Path, pack_root: Path) -> None:
    server.prepare_base(tmp_path)
    settings = tmp_path / "user" / "default" / "comfy.settings.json"
    settings.write_text("{}")
    server.prepare_base(tmp_path)
    assert (tmp_path / "custom_nodes" / "ComfyUI-DiffusionPath").resolve() == pack_root
    assert settings.read_text() == "{}", "what the user has set must survive"


def test_a_port_in_use_is_noticed() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert not server.port_is_free(taken.getsockname()[1])
    assert server.port_is_free(server.free_port())
