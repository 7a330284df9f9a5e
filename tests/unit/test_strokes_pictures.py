"""Pictures as layers of a drawing: where their pixels come to lie, and what becomes of files that are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import pytest
import torch
from diffusion_path.common import limits
from diffusion_path.images.strokes_document import read_drawing
from diffusion_path.images.strokes_pictures import PictureFolder, file_states
from diffusion_path.images.strokes_render import render_drawing
from diffusion_path.nodes.stroke_canvas import PICTURES, StrokeCanvas
from PIL import Image

FILE = "0123456789abcdef.png"
LAYER = {"id": "p", "kind": "picture", "file": FILE, "pixels": [20, 10], "x": 30, "y": 25, "t0": 0.4}
RED = {"points": [0, 25, 64, 25], "size": 64, "hardness": 1, "color": "#ff0000", "t0": 0.7}


@pytest.fixture
def pixels(tmp_path: Path) -> np.ndarray:
    """A picture of 20 x 10 pixels in the folder, half of it seen in part."""
    made = np.random.default_rng(0).integers(0, 256, (10, 20, 4), np.uint8)
    made[:, :10, 3] = 255
    Image.fromarray(made).save(tmp_path / FILE)
    return made.astype(np.float32) / 255


def rendered(folder: Path, *strokes: dict[str, Any], width: int = 64, height: int = 64, **fields: Any):
    layers = [{"id": "paint"}, LAYER | fields]
    text = json.dumps({"version": 2, "width": 64, "height": 64, "layers": layers, "strokes": list(strokes)})
    return render_drawing(read_drawing(text), width, height, PictureFolder(folder))


def test_a_picture_that_is_not_scaled_is_its_own_pixels(tmp_path: Path, pixels: np.ndarray) -> None:
    result = rendered(tmp_path)
    region = result.strokes[0, 20:30, 20:40].numpy()
    assert np.abs(region - pixels)[pixels[..., 3] > 0.1].max() < 1e-4
    assert torch.allclose(result.mask[0, 20:30, 20:40], torch.from_numpy(pixels[..., 3]), atol=1e-4)
    assert float(result.strokes[..., 3].sum()) == pytest.approx(float(pixels[..., 3].sum()))
    assert torch.allclose(result.t0s, 0.4 * result.mask)


def test_a_picture_turns_clockwise_about_its_centre(tmp_path: Path, pixels: np.ndarray) -> None:
    result = rendered(tmp_path, rotation=90).strokes[0].numpy()
    assert np.abs(result[15:35, 25:35] - np.rot90(pixels, -1))[..., 3].max() < 1e-4
    turned = rendered(tmp_path, rotation=33).mask
    assert float(turned.sum()) == pytest.approx(float(pixels[..., 3].sum()), rel=0.02)


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_a_scaled_picture_covers_its_share(tmp_path: Path, pixels: np.ndarray, scale: float) -> None:
    result = rendered(tmp_path, scale=scale, x=32, y=32)
    assert float(result.mask.sum()) == pytest.approx(float(pixels[..., 3].sum()) * scale**2, rel=0.06)


def test_positions_stretch_with_the_picture_but_a_layer_keeps_its_shape(tmp_path: Path, pixels: np.ndarray) -> None:
    mask = rendered(tmp_path, width=256, height=64, x=32, y=32, pixels=[20, 20], scale=0.5).mask[0]
    columns, rows = mask.amax(0).nonzero(), mask.amax(1).nonzero()
    assert (int(columns.min()), int(columns.max()), int(rows.min()), int(rows.max())) == (118, 137, 22, 41)


def test_a_picture_is_over_the_paint_below_and_takes_its_t0_with_it(tmp_path: Path, pixels: np.ndarray) -> None:
    result = rendered(tmp_path, RED, opacity=0.5)
    inside = result.strokes[0, 20:30, 20:30].numpy()  # where the picture covers
    expected = 0.5 * pixels[:, :10] + 0.5 * np.array([1, 0, 0, 1])
    assert np.abs(inside - expected).max() < 1e-4
    assert float(result.t0s[0, 25, 25]) == pytest.approx(0.4)
    assert float(result.t0s[0, 25, 50]) == pytest.approx(0.7)
    assert float(result.mask[0, 25, 25]) == 1


def test_a_picture_is_upright_as_a_browser_shows_it(tmp_path: Path) -> None:
    made = np.zeros((10, 20, 3), np.uint8)
    made[:, :10] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    Image.fromarray(made).save(tmp_path / FILE, exif=exif)
    result = rendered(tmp_path, pixels=[10, 20]).strokes[0]
    assert float(result[16:24, 26:34, 0].min()) == 1, "the left half is above"


@pytest.mark.parametrize(
    "fields",
    [
        {"file": "../../secret.png"},
        {"file": "/etc/0123456789abcdef.png"},
        {"file": "sub/0123456789abcdef.png"},
        {"file": FILE + "\n"},
        {"file": "cat.png"},
        {"file": 5},
        {"pixels": [20]},
        {"pixels": [0, 5]},
        {"x": None},
    ],
)
def test_names_lead_nowhere_else_and_broken_pictures_are_reported(fields: dict[str, Any]) -> None:
    drawing = read_drawing(json.dumps({"version": 2, "layers": [LAYER | fields], "strokes": []}))
    assert drawing.layers == ()
    assert "without a file, its pixels or a place" in drawing.complaints[0]


def test_missing_and_damaged_files_leave_the_rest_and_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path))
    layers = [{"id": "paint"}, LAYER | {"name": "Boat"}]
    text = json.dumps({"version": 2, "width": 64, "height": 64, "layers": layers, "strokes": [RED]})
    before = StrokeCanvas.fingerprint_inputs(drawing=text)
    output = StrokeCanvas.execute(64, 64, 0, text)
    shown: Any = output.ui
    (complaint,) = shown["dpath_canvas"][0]["complaints"]
    assert complaint.startswith(f"The picture {FILE} of the layer 'Boat' is missing from ")
    assert float(output.result[2].max()) == 1, "the strokes are there"
    folder = tmp_path / PICTURES
    folder.mkdir()
    (folder / FILE).write_bytes(b"no picture")
    shown = StrokeCanvas.execute(64, 64, 0, text).ui
    assert "cannot be read" in shown["dpath_canvas"][0]["complaints"][0]
    Image.new("RGB", (20, 10)).save(folder / FILE)
    shown = StrokeCanvas.execute(64, 64, 0, text).ui
    assert shown["dpath_canvas"][0]["complaints"] == []
    assert StrokeCanvas.fingerprint_inputs(drawing=text) != before, "the result is made again"
    monkeypatch.setattr(limits, "DRAWING_PIXELS", 100)
    drawing = PictureFolder(folder)
    assert drawing(read_drawing(text).layers[1]) is None
    assert "million pixels" in drawing.complaints[0]


def test_a_drawing_without_pictures_always_has_the_same_state(tmp_path: Path) -> None:
    assert file_states("", tmp_path) == file_states('{"file": "cat.png"}', tmp_path) == []
    assert StrokeCanvas.fingerprint_inputs(drawing=None, width=5) == "[]"
