"""DPathSweep: one edit over t0, repeats or seeds; realism and faithfulness of its pictures."""

from __future__ import annotations

import itertools
from typing import Any

import comfy.model_management
import pytest
import torch
from comfy.model_base import ModelType
from comfy_api.latest import io
from diffusion_path.images.realism import RealPictures, l2, middle, texture_share
from diffusion_path.nodes.cut_short import CutShort
from diffusion_path.nodes.sdedit import SDEdit
from diffusion_path.nodes.sweep import Sweep
from diffusion_path.samplers.sweep import DEFAULTS, parse_values
from diffusion_path.tests.unit.analytic import cond, gaussian_model


class FoldingVAE:
    """Folds 8 x 8 blocks of a picture into one latent cell of four channels, and unfolds them flat."""

    def __init__(self) -> None:
        self.encoded = 0

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        self.encoded += 1
        cells = torch.nn.functional.avg_pool2d(image.movedim(-1, 1), 8)
        return torch.cat([cells, cells.mean(dim=1, keepdim=True)], dim=1) * 2 - 1

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return (torch.nn.functional.interpolate(latent[:, :3], scale_factor=8) / 2 + 0.5).clamp(0, 1).movedim(1, -1)


def picture(batch: int = 1, size: int = 64) -> torch.Tensor:
    return torch.rand(batch, size, size, 3, generator=torch.Generator().manual_seed(0))


def run(sweep: str, values: str, image: torch.Tensor | None = None, **extra: Any) -> tuple[Any, ...]:
    """Grid, latents, plot and report."""
    return all_of(sweep, values, image, **extra)[:4]


def all_of(sweep: str, values: str, image: torch.Tensor | None = None, **extra: Any) -> tuple[Any, ...]:
    settings = {"t0": 0.5, "steps": 3, "cfg": 1.0, "solver": "ode", "scheduler": "karras"}
    image = picture() if image is None else image
    vae, model = extra.pop("vae", None) or FoldingVAE(), extra.pop("model", None) or gaussian_model(ModelType.EPS)
    return Sweep.execute(model, cond(0.2), cond(0.0), vae, image, sweep, values, seed=4, **{**settings, **extra}).args


@pytest.mark.parametrize(
    ("sweep", "values", "changes"),
    [
        ("t0", "0.2, 0.5;0.8", [{"t0": 0.2}, {"t0": 0.5}, {"t0": 0.8}]),
        ("repeats", "1 2", [{"repeats": 1}, {"repeats": 2}]),
        ("seed", "7,12345678901", [{"seed": 7}, {"seed": 12345678901}]),
    ],
)
def test_each_value_is_the_edit_of_its_own(sweep: str, values: str, changes: list[dict[str, Any]]) -> None:
    vae, model, image = FoldingVAE(), gaussian_model(ModelType.FLOW), picture(2)
    grid, latents, plot, report = run(sweep, values, image, vae=vae, model=model)
    assert vae.encoded == 1
    guide = {"samples": vae.encode(image)}
    settings = {"seed": 4, "t0": 0.5, "steps": 3, "cfg": 1.0, "solver": "ode", "scheduler": "karras"}
    alone = [SDEdit.execute(model, cond(0.2), cond(0.0), guide, **{**settings, **change}) for change in changes]
    assert torch.equal(latents["samples"], torch.cat([one.args[0]["samples"] for one in alone]))
    assert grid.shape[0] == plot.shape[0] == 1
    assert [row.split()[0] for row in report.splitlines()[1:]] == [str(*change.values()) for change in changes]


def test_a_sweep_on_trained_levels_counts_their_steps_and_names_those_that_meet() -> None:
    model = gaussian_model(ModelType.EPS)
    few = {"model": model, "steps": 4, "scheduler": "simple", "levels": "trained"}
    report = run("t0", "0.4, 0.6, 1", **few)[3]
    assert model.model.evaluations == 2 + 2 + 4
    assert report.splitlines()[-1].endswith("is moved to the nearest: 0.4 to 0.5, 0.6 to 0.5.")


def test_no_evaluation_is_spent_on_measuring() -> None:
    model = gaussian_model(ModelType.EPS)
    run("t0", "0, 0.3, 0.6", model=model, reference=picture(12))
    assert model.model.evaluations == 2 * 3


def test_the_distance_grows_with_t0() -> None:
    report = run("t0", "", steps=8)[3]
    rows = [line.split() for line in report.splitlines()[1:]]
    assert [float(row[0]) for row in rows] == [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    distances = [float(row[1]) for row in rows]
    assert distances == sorted(distances)


def test_a_mask_keeps_its_outside_in_every_picture() -> None:
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    vae = FoldingVAE()
    latents = run("t0", "0.3, 0.7", vae=vae, mask=mask, mask_mode="threshold")[1]
    guide = vae.encode(picture())
    torch.testing.assert_close(latents["samples"][..., :4], guide[..., :4].expand(2, -1, -1, -1), rtol=1e-5, atol=1e-5)


def test_progress_runs_over_the_whole_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "comfy.utils.PROGRESS_BAR_HOOK", lambda value, total, preview, node_id=None: seen.append((value, total))
    )
    run("repeats", "1, 2")
    assert seen == sorted(seen)
    assert seen[-1] == (9, 9)
    assert {total for _, total in seen} == {9}


@pytest.mark.parametrize(("finished", "rows"), [(0, 0), (1, 1), (2, 2)])
def test_an_interrupt_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch, finished: int, rows: int) -> None:
    model = gaussian_model(ModelType.EPS)
    real, calls = model.model._apply_model, itertools.count()

    def interrupted(*args: Any, **kwargs: Any) -> torch.Tensor:
        if next(calls) == 3 * finished + 1:
            comfy.model_management.interrupt_current_processing()
            comfy.model_management.throw_exception_if_processing_interrupted()
        return real(*args, **kwargs)

    before = Sweep.fingerprint_inputs(values="0.3 0.5 0.7")
    run("t0", "0.3 0.5 0.7", model=model)
    assert Sweep.fingerprint_inputs(values="0.3 0.5 0.7") == before
    monkeypatch.setattr(model.model, "_apply_model", interrupted)
    if rows == 0:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            run("t0", "0.3 0.5 0.7", model=model)
        return
    result = run("t0", "0.3 0.5 0.7", model=model)
    assert Sweep.fingerprint_inputs(values="0.3 0.5 0.7") != before, "the partial grid is not the whole one"
    assert result[1]["samples"].shape[0] == rows
    assert result[3].endswith(f"interrupted: {rows} of 3 values were run")


def test_an_interrupt_of_one_node_does_not_run_the_others_again() -> None:
    """As ComfyUI asks: a class of its own for each node of a graph, with the node's id."""
    counts = CutShort()
    first, second = (Sweep.PREPARE_CLASS_CLONE({"hidden_inputs": {io.Hidden.unique_id: i}}) for i in ("1", "2"))
    counts.note(first)
    assert (counts.count(first), counts.count(second)) == (1, 0)
    assert io.Hidden.unique_id in Sweep.GET_SCHEMA().hidden


def test_what_an_interrupt_left_goes_to_the_same_node_with_the_same_inputs_once() -> None:
    counts = CutShort()
    first, second = (Sweep.PREPARE_CLASS_CLONE({"hidden_inputs": {io.Hidden.unique_id: i}}) for i in ("1", "2"))
    prompt = [[torch.ones(1, 2, 3), {"pooled_output": torch.ones(1, 3), "strength": 1.0}]]
    equal = [[torch.ones(1, 2, 3), {"pooled_output": torch.ones(1, 3), "strength": 1.0}]]
    weaker = [[prompt[0][0], {**prompt[0][1], "strength": 0.5}]]
    copied = [[prompt[0][0], dict(prompt[0][1])]]
    for node, inputs, expected in ((first, copied, "half"), (second, prompt, None), (first, equal, None),
                                   (first, weaker, None)):  # fmt: skip
        counts.note(first, prompt, "half")
        assert counts.take(node, inputs) == expected
        if node is first:
            assert counts.take(first, prompt) is None


def test_what_cannot_be_measured_is_said_before_anything_runs() -> None:
    model = gaussian_model(ModelType.EPS)
    for reference, words in (
        (torch.rand(2, 7, 64, 3), "reference is 64 x 7, too small"),
        (torch.full((2, 64, 64, 3), float("nan")), "reference holds"),
    ):
        with pytest.raises(ValueError, match=words):
            run("t0", "0.3 0.5", model=model, reference=reference)
    assert model.model.evaluations == 0


def test_grey_pictures_and_values_that_fail_do_not_lose_the_rest() -> None:
    class Failing(FoldingVAE):
        def decode(self, latent: torch.Tensor) -> torch.Tensor:
            decoded = super().decode(latent)
            self.decoded = getattr(self, "decoded", 0) + 1
            return decoded.fill_(float("nan")) if self.decoded == 2 else decoded

    grid, latents, plot, report = run("t0", "0.3 0.5 0.7", picture()[..., :1], vae=Failing())
    assert len(latents["samples"]) == 3
    grey = (grid[0] == 0.5).all(dim=-1)
    assert int(grey.sum()) >= picture().shape[1] * picture().shape[2], "what failed is grey"
    assert torch.equal(plot, run("t0", "0.3 0.7", picture()[..., :1])[2]), "and is not in the plot"
    assert report.count("nan") == 3
    with pytest.raises(ValueError, match="All results contain NaN or infinite values: try the VAE"):
        run("t0", "0.3", vae=_Broken())


class _Broken(FoldingVAE):
    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return super().decode(latent).fill_(float("nan"))


def test_values_are_read_or_named() -> None:
    assert parse_values("t0", " 0.25,.5 1 ") == [0.25, 0.5, 1.0]
    assert parse_values("seed", "18446744073709551615") == [2**64 - 1]
    assert parse_values("repeats", "") == [int(word) for word in DEFAULTS["repeats"].split(", ")]
    for sweep, text, words in (
        ("t0", "0.5, 1.5", "'1.5' is not a value for a sweep over t0: give numbers from 0 to 1"),
        ("t0", "half", "'half' is not a value"),
        ("t0", "nan", "'nan' is not a value"),
        ("repeats", "2.5", "give whole numbers from 1 to 5"),
        ("seed", "-1", "'-1' is not a value"),
        ("seed", "1 " * 65, "at most 64"),
        ("cfg", "1", "choose one of t0, repeats, seed"),
    ):
        with pytest.raises(ValueError, match=words):
            parse_values(sweep, text)


def test_realism_tells_texture_from_flat_paint() -> None:
    generator = torch.Generator().manual_seed(1)
    real = torch.rand(6, 64, 64, 3, generator=generator) * 0.3 + torch.rand(6, 1, 1, 3, generator=generator) * 0.6
    other, flat = real.flip(1), torch.full((1, 64, 64, 3), 0.5)
    noisy = flat + 0.1 * torch.rand(1, 64, 64, 3, generator=generator)
    assert float(texture_share(flat)) == 0
    assert float(texture_share(real).min()) > 0.99
    pictures = RealPictures(real)
    assert abs(pictures.distance(other).value) < 0.3
    assert pictures.distance(flat).value > pictures.distance(noisy).value > pictures.distance(other).value
    assert l2(flat, flat + 0.1) == pytest.approx(0.1 * (3 * 64 * 64) ** 0.5)
    assert middle(torch.arange(70).reshape(1, 7, 10, 1), 5, 4).flatten().tolist()[:4] == [13, 14, 15, 16]
