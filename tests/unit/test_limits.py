"""Limits: one table, each number works, and what is beyond is refused before anything is done with it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management
import numpy as np
import pytest
import torch
from comfy.model_management import InterruptProcessingException
from diffusion_path.common import limits, memory
from diffusion_path.common.interrupts import answering, interruptible
from diffusion_path.images.composite import composite_exact
from diffusion_path.images.edges import METHODS, clean_sketch, edge_map
from diffusion_path.images.masks import LatentGrid, latent_mask
from diffusion_path.images.metrics import edit_metrics
from diffusion_path.images.morphology import feather, grow
from diffusion_path.images.strokes import simulate_strokes
from diffusion_path.images.strokes_coverage import brush_cover, brush_pixels
from diffusion_path.images.strokes_document import read_drawing
from diffusion_path.images.strokes_render import render_drawing
from diffusion_path.nodes import DiffusionPathExtension
from diffusion_path.samplers.mdp.sweep import parse_numbers, weight_grid, window_grid
from diffusion_path.samplers.path_storage import check_room
from diffusion_path.samplers.schedule import PathSchedule
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
NODES = {node.GET_SCHEMA().node_id: node for node in asyncio.run(DiffusionPathExtension().get_node_list())}


def drawing(*strokes: dict[str, Any], side: int = 0) -> str:
    return json.dumps({"width": side, "height": side, "strokes": list(strokes)} if side else {"strokes": list(strokes)})


def test_the_page_of_limits_is_the_table() -> None:
    rows = [line for line in (ROOT / "docs" / "limits.md").read_text(encoding="utf-8").splitlines() if "|" in line]
    assert rows[2:] == [f"| {row.where} | {row.what} | {row.most:,} |" for row in limits.TABLE]


def test_widgets_and_the_page_know_the_same_numbers() -> None:
    widest = {
        (name, entry.id): vars(entry)["max"]
        for name, node in NODES.items()
        for entry in node.GET_SCHEMA().inputs
        if getattr(entry, "max", None) is not None
    }
    assert {widest["DPathStrokeCanvas", side] for side in ("width", "height")} == {limits.SIDE}
    assert widest["DPathStrokeCanvas", "grow"] == limits.GROW
    assert widest["DPathLatentMask", "grow"] <= limits.GROW
    assert {most for (_, key), most in widest.items() if key in ("part", "parts")} == {limits.SWEEP_PARTS}
    steps = {most for (name, key), most in widest.items() if key == "steps" and name != "DPathTrainMapPredictor"}
    assert max(steps) == limits.STEPS
    script = (ROOT / "web" / "js" / "canvas" / "document.js").read_text(encoding="utf-8")
    for name, value in (
        ("WIDEST", limits.SIDE),
        ("MOST_STROKES", limits.STROKES),
        ("MOST_POINTS", limits.POINTS),
        ("LONGEST_TEXT", limits.DRAWING_TEXT),
    ):
        assert f"const {name} = {value};" in script
    script = (ROOT / "web" / "js" / "canvas" / "layers.js").read_text(encoding="utf-8")
    assert f"const MOST_LAYERS = {limits.LAYERS};" in script
    script = (ROOT / "web" / "js" / "schedule" / "maths.js").read_text(encoding="utf-8")
    assert f"const LONGEST_TEXT = {limits.TEXT};" in script
    assert f"const LONGEST_NUMBER = {limits.NUMBER};" in script


@pytest.mark.parametrize("count", [1000, 100_000])
def test_a_sweep_counts_its_edits_before_it_builds_them(count: int) -> None:
    numbers = [0.5] * count
    start = time.thread_time()
    with pytest.raises(ValueError, match=f"has {count * count} edits: give values for 1 to {limits.SWEEP_EDITS}"):
        window_grid(PathSchedule(), numbers, numbers, 20)
    with pytest.raises(ValueError, match=f"has {count} edits"):
        weight_grid(PathSchedule(), numbers)
    with pytest.raises(ValueError, match="at most"):
        parse_numbers("0.5," * count, "weights")
    assert time.thread_time() - start < 0.5


def test_a_sweep_of_as_many_edits_as_allowed_is_built() -> None:
    tenths = [i / 10 for i in range(1, 11)]
    assert len(window_grid(PathSchedule(), tenths, tenths, 20)) == limits.SWEEP_EDITS


def test_too_large_a_picture_is_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"The picture is 16384 x 16384 = 268 million pixels: paint at 67 million"):
        render_drawing(read_drawing(""), limits.SIDE, limits.SIDE)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_: 10**9)
    with pytest.raises(ValueError, match=r"8192 x 8192 pixels needs about 8\.1 GB of memory, but 1\.0 GB are free"):
        render_drawing(read_drawing(""), 8192, 8192)
    memory.check_memory(10**9, "Just enough", "")
    latent = torch.zeros(1, 4, 128, 128)
    check_room(1906, 3814, latent)
    with pytest.raises(ValueError, match=r"A path of 9999 steps needs about 2\.6 GB of memory, but 1\.0 GB are free"):
        check_room(9999, 10_000, latent)


def test_too_many_pixels_under_the_brush_are_refused_at_once() -> None:
    wide = {"points": [0, 0, 8192, 8192] * 1000, "size": 4096}
    start = time.thread_time()
    with pytest.raises(
        ValueError, match=r"The strokes pass over \d+ billion pixels in total, but at most 5 are allowed"
    ):
        render_drawing(read_drawing(drawing(wide)), 8192, 8192)
    assert time.thread_time() - start < 1


def test_the_pixels_under_the_brush_are_those_of_its_boxes() -> None:
    path = np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 30.0]])
    assert brush_pixels(path, 5.0, 100, 100) == 20 * 10 + 10 * 30
    assert brush_pixels(path[:1], 5.0, 100, 100) == 100
    assert brush_pixels(path, 5.0, 12, 12) == 7 * 7  # the piece further right lies outside
    assert brush_pixels(path - 500, 5.0, 100, 100) == 0


def test_bands_do_not_change_a_stroke(monkeypatch: pytest.MonkeyPatch) -> None:
    path, radii = np.array([[4.0, 5.0], [50.0, 40.0], [20.0, 60.0]]), np.array([3.0, 9.0, 5.0])
    whole = brush_cover(path, radii, 0.5, 64, 64)
    monkeypatch.setattr("diffusion_path.images.strokes_coverage._BAND", 100)
    banded = brush_cover(path, radii, 0.5, 64, 64)
    assert whole is not None
    assert banded is not None
    assert np.array_equal(whole.values, banded.values)


def step_by_step(mask: Tensor, pixels: int) -> Tensor:
    """What growing means: a cross and a square by turns, a pixel each."""
    pool = torch.nn.functional.max_pool2d
    mask = mask[:, None]
    for step in range(pixels):
        if step % 2:
            mask = pool(mask, 3, 1, 1)
        else:
            mask = torch.maximum(pool(mask, (3, 1), 1, (1, 0)), pool(mask, (1, 3), 1, (0, 1)))
    return mask[:, 0]


@pytest.mark.parametrize("pixels", [0, 1, 2, 3, 4, 5, 8, 13, 32, 65])
@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 5, 40), (3, 31, 17), (1, 64, 64)])
def test_growing_by_doubling_equals_growing_step_by_step(pixels: int, shape: tuple[int, int, int]) -> None:
    soft = torch.rand(shape, generator=torch.Generator().manual_seed(pixels)) ** 20
    assert torch.equal(grow(soft, pixels), step_by_step(soft, pixels))
    assert torch.equal(grow(soft, -pixels), -step_by_step(-soft, pixels))


def test_growing_far_costs_little_more_than_growing_near() -> None:
    mask = torch.zeros(1, 256, 256)
    mask[0, 128, 128] = 1

    def seconds(pixels: int) -> float:
        start = time.thread_time()
        grow(mask, pixels)
        return time.thread_time() - start

    seconds(16)
    # 32 times as far: 5 more doublings, on a picture that is padded to 22 times the area.
    assert min(seconds(512) for _ in range(3)) < 200 * max(min(seconds(16) for _ in range(3)), 1e-3)


PICTURE = torch.rand(2, 96, 96, 3, generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(96)[None, :, None] > 40).float().expand(1, 96, 96)
WORK: dict[str, Callable[[], object]] = {
    **{f"edges by {method}": (lambda method=method: edge_map(PICTURE, method)) for method in METHODS},
    "cleaning a drawing": lambda: clean_sketch(PICTURE),
    "strokes": lambda: simulate_strokes(PICTURE),
    "metrics": lambda: edit_metrics(PICTURE, PICTURE.flip(1)),
    "composite": lambda: composite_exact(PICTURE, PICTURE.flip(1), MASK, color_match=1.0),
    "growing": lambda: grow(MASK, 3),
    "feathering": lambda: feather(MASK, 3),
    "mask to latent": lambda: latent_mask(MASK, LatentGrid((12, 12)), "max", 2, 2),
    "canvas": lambda: render_drawing(read_drawing(drawing({"points": [1, 1, 60, 60]})), 64, 64),
    "canvas, fill": lambda: render_drawing(
        read_drawing(drawing({"tool": "fill", "rings": [[1, 1, 60, 1, 30, 60]]})), 64, 64
    ),
}


@pytest.mark.parametrize("name", WORK)
def test_work_that_does_not_sample_answers_an_interrupt(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1 + stop:
            raise InterruptProcessingException

    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", look)
    stop = 10**9
    WORK[name]()
    assert looks > 1
    for stop in (0, 1):  # noqa: B007
        looks = 0
        with pytest.raises(InterruptProcessingException):
            WORK[name]()


def test_a_long_call_is_left_within_a_moment_of_the_interrupt() -> None:
    released = threading.Event()
    threading.Timer(0.3, comfy.model_management.interrupt_current_processing).start()
    start = time.monotonic()
    try:
        with pytest.raises(InterruptProcessingException):
            answering(released.wait, 60)
        assert time.monotonic() - start < 2.3
    finally:
        released.set()
        comfy.model_management.interrupt_current_processing(False)


def test_a_long_call_gives_its_result_and_its_error() -> None:
    assert answering(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        answering(divmod, 7, 0)
    assert list(interruptible("abc")) == ["a", "b", "c"]
