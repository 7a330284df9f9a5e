"""The nodes of paths and inversion, called as ComfyUI calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.samplers
import folder_paths
import pytest
import torch
from comfy.model_base import ModelType
from comfy_api.latest import io
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.nodes import DiffusionPathExtension, folders, inversion, paths
from diffusion_path.nodes.inversion_methods import METHODS
from diffusion_path.samplers import process
from diffusion_path.samplers.path import DiffusionPath
from diffusion_path.samplers.path_fit import drift
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.samplers.sigmas import sdedit_sigmas
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model
from torch import Tensor

SOURCE, TARGET, NULL, SPREAD = 0.7, 1.5, -0.4, 1.3
NODES: dict[str, Any] = {
    node.GET_SCHEMA().node_id: node for node in asyncio.run(DiffusionPathExtension().get_node_list())
}
CHOICES: dict[str, dict[str, Any]] = {
    "residual": {"eta": 1.0},
    "fixed point": {"iterations": 20, "tolerance": 1e-6},
    "euler": {"noise_label": "destination"},
    "negative prompt": {},
    "null text": {"iterations": 3, "stop": 1e-5, "save_memory": False},
    "controlled": {"gamma": 0.5, "pull": 0.9, "stop_at": 0.25, "trend": "falling"},
}


class LinearVAE:
    """Decodes a latent of 4 channels by 8 x 8 blocks of its first three."""

    def decode(self, latents: Tensor) -> Tensor:
        pictures = torch.sigmoid(latents.movedim(1, -1)[..., :3])
        return pictures.repeat_interleave(8, -3).repeat_interleave(8, -2)


def latent(batch: int = 1) -> dict[str, Any]:
    samples = torch.randn(batch, 4, 4, 4, generator=torch.Generator().manual_seed(1)) * SPREAD + SOURCE
    return {"samples": samples}


def invert(model: Any, name: str = "residual", batch: int = 1, **changes: Any) -> DiffusionPath:
    inputs = {
        "model": model, "positive": cond(SOURCE), "negative": cond(NULL), "latent": latent(batch), "seed": 3, "t0": 0.9,
        "steps": 8, "scheduler": "normal", "cfg": 4.0, "method": {"method": name, **CHOICES[name]},
    }  # fmt: skip
    return NODES["DPathInvert"].execute(**{**inputs, **changes}).args[0]


def reconstruct(model: Any, path: DiffusionPath, cfg: float = 4.0, **changes: Any) -> tuple[Any, ...]:
    return NODES["DPathReconstruct"].execute(model, cond(SOURCE), cond(NULL), path, cfg, **changes).args


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = folder_paths.get_output_directory(), dict(folder_paths.folder_names_and_paths)
    folder_paths.set_output_directory(str(tmp_path))
    folder_paths.folder_names_and_paths.pop(paths.FOLDER)
    folders.register(paths.FOLDER)
    yield tmp_path
    folder_paths.set_output_directory(before[0])
    folder_paths.folder_names_and_paths.update(before[1])
    folder_paths.filename_list_cache.pop(paths.FOLDER, None)


@pytest.mark.parametrize("kind", FAMILIES)
def test_DPathRecord_gives_what_SamplerCustomAdvanced_gives(kind: ModelType) -> None:
    model = gaussian_model(kind, SPREAD)
    guider = core.CFGGuider.execute(model, cond(SOURCE), cond(NULL), 3.0).args[0]
    sigmas = sdedit_sigmas(process.model_sampling(model), 1.0, 6, "normal")
    sampler = comfy.samplers.sampler_object("dpmpp_2m")
    given = {**latent(2), "batch_index": [4, 1], "downscale_ratio_spacial": 8, "noise_mask": torch.ones(1, 1, 4, 4)}
    before = {**given, "samples": given["samples"].clone()}
    run = core.SamplerCustomAdvanced.execute(core.Noise_RandomNoise(7), guider, sampler, sigmas, given).args[0]
    path, out = NODES["DPathRecord"].execute(core.Noise_RandomNoise(7), guider, sampler, sigmas, given).args
    assert torch.equal(out["samples"], run["samples"])
    assert out.keys() == run.keys()
    assert given.keys() == before.keys()
    assert torch.equal(given["samples"], before["samples"])
    assert path.batch_index == (4, 1)
    assert path.seed == 7
    with pytest.raises(ValueError, match="0 noise levels"):
        NODES["DPathRecord"].execute(core.Noise_RandomNoise(7), guider, sampler, torch.empty(0), given)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", list(METHODS))
def test_DPathInvert_and_DPathReconstruct(kind: ModelType, name: str) -> None:
    model = gaussian_model(kind, SPREAD)
    path = invert(model, name, 2)
    assert (path.method, path.steps, path.shape) == (name, 8, (2, 4, 4, 4))
    cfg = 1.0 if name in ("fixed point", "euler", "controlled") else 4.0
    out, walked, report = reconstruct(model, path, cfg)
    assert out["samples"].shape == (2, 4, 4, 4)
    least = {"residual": 100, "fixed point": 90, "euler": 100, "negative prompt": 100, "null text": 15, "controlled": 5}
    assert min(walked.figures["latent_psnr"]) > least[name]
    assert report.startswith(f"{name}, cfg {cfg:g}: ")
    assert "the path was made for" not in report


def test_reports_say_what_does_not_match() -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    path = invert(model, "residual")
    assert "the path was made for cfg 4" in reconstruct(model, path, 2.0)[2]
    other = NODES["DPathReconstruct"].execute(model, cond(TARGET), cond(NULL), path, 4.0).args[2]
    assert "the prompt is not the one that the path was made with" in other


def test_the_cost_is_told_before_and_is_never_exceeded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for name in METHODS:
        model = gaussian_model(ModelType.EPS, SPREAD)
        inputs = {"method": {"method": name, **CHOICES[name]}, "sigmas": torch.tensor([5.0, 2.0, 1.0, 0.3, 0.0])}
        made = NODES["DPathInvert"].execute(
            model, cond(SOURCE), cond(NULL), latent(), 0, 1.0, 99, "normal", 4.0, **inputs
        )
        told = next(text for text in reversed(caplog.messages) if text.startswith(f"{name}: 4 steps, at most "))
        most, spent = int(told.split("at most ")[1].split()[0]), int(made.args[1].split(" evaluations")[0].split()[-1])
        assert made.args[1].startswith(f"{name}: 4 steps, {spent} evaluations, noise level 5 to 0")
        assert spent <= most
        assert model.model.evaluations <= most


def test_a_clipped_residual_is_reported_for_each_picture_by_itself() -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    turbo = {"t0": 0.8, "steps": 4, "scheduler": "simple", "cfg": 1.0}
    turbo["method"] = {"method": "residual", "eta": 1.0, "shift": 0.2, "clip": 0.1}
    path = invert(model, batch=2, **turbo)
    first, second = path.figures["last_residual"]
    assert 0.0 < min(first, second) < 1.0
    text = NODES["DPathInvert"].execute(
        model, cond(SOURCE), cond(NULL), latent(2), 3, **turbo, sigmas=path.sigmas
    ).args[1]  # fmt: skip
    assert text.endswith(f"; the last residual was shrunk to {first:.0%} / {second:.0%}")
    alone = invert(model, **turbo, latent={"samples": latent(2)["samples"][1:], "batch_index": [1]})
    assert torch.equal(alone.states, path.states[:, 1:])
    torch.testing.assert_close(alone.residuals, path.residuals[:, 1:], rtol=1e-6, atol=1e-6)
    edited = NODES["DPathReconstruct"].execute(model, cond(TARGET), cond(SOURCE), path, 1.5).args[0]["samples"]
    kept = NODES["DPathReconstruct"].execute(model, cond(SOURCE), cond(SOURCE), path, 1.5).args[0]["samples"]
    assert bool((edited > kept + 0.05).all()), "towards the target"


def test_an_unknown_method_is_refused() -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    for method in (None, {"method": "magic"}):
        with pytest.raises(ValueError, match="method is .*: choose one of residual"):
            NODES["DPathInvert"].execute(
                model, cond(SOURCE), cond(NULL), latent(), 0, 1.0, 4, "normal", 4.0, method=method
            )


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", ["residual", "null text", "euler"])
def test_DPathToSampling_starts_core_samplers_on_the_path(kind: ModelType, name: str) -> None:
    """Its outputs in SamplerCustomAdvanced give what Reconstruct from Path gives, from any t0."""
    model = gaussian_model(kind, SPREAD)
    path = invert(model, name)
    cfg = 1.0 if name == "euler" else 4.0
    for t0 in (1.0, 0.5):
        noise, sigmas, start, sampler, patched, report = NODES["DPathToSampling"].execute(model, path, t0).args
        guider = core.CFGGuider.execute(patched, cond(SOURCE), cond(NULL), cfg).args[0]
        out = core.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, start).args[0]["samples"]
        rest = path.entered_at(process.t0_to_sigma(process.model_sampling(model), t0))
        assert rest.steps == len(sigmas) - 1
        # An Euler path is exact from anywhere, which its rest cannot know of a step that it begins inside.
        wanted = latent() if name == "euler" else reconstruct(model, rest, cfg)[0]
        torch.testing.assert_close(out, wanted["samples"], rtol=1e-5, atol=1e-5)
        if t0 < 1.0:
            assert rest.steps < path.steps
        assert report.startswith(f"{name}: enters at noise level {float(sigmas[0]):.4g} (t0 ")
        assert f"{rest.steps} of 8 steps left" in report
        assert ("interpolated at 1 of" in report) == (path.level(float(sigmas[0])) is None)
    with pytest.raises(ValueError, match="so no steps are left"):
        NODES["DPathToSampling"].execute(model, path, 0.0)


def test_DPathReport_judges_pictures_and_latents() -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    path = invert(model, "euler", 2)
    exact, walked = invert(model, "residual", 2), reconstruct(model, path)[1]
    marked, plot, text, psnr, passed = NODES["DPathReport"].execute(path, walked, 60.0, LinearVAE()).args
    assert not passed
    assert text.startswith("warn: euler, cfg 4, worst ")
    assert [line.split(":")[0] for line in text.splitlines()[1:]] == ["picture 1", "picture 2"]
    assert plot.shape[0] == 1
    assert marked.figures.keys() >= {"latent_psnr", "psnr", "ssim"}
    assert psnr == min(marked.figures["psnr"])
    assert 0.0 < psnr < 60.0
    _, _, text, psnr, passed = NODES["DPathReport"].execute(exact, reconstruct(model, exact)[1], 60.0).args
    assert passed
    assert psnr > 100
    assert text.startswith("pass: residual")
    with pytest.raises(ValueError, match="holds 2 pictures, but the latent 1"):
        NODES["DPathReport"].execute(path, reconstruct(model, invert(model, "euler"))[1], 30.0)


def test_DPathReport_of_many_pictures_shows_the_worst() -> None:
    model = gaussian_model(ModelType.FLOW, SPREAD)
    path = invert(model, "euler", 8)
    plot = NODES["DPathReport"].execute(path, reconstruct(model, path, 1.0)[1], 10.0).args[1]
    assert plot.shape[-1] == 3


def test_DPathFilmstrip_shows_predictions_and_states_of_one_or_two_paths() -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    first, second = invert(model, "residual", 2), invert(model, "fixed point", 2)
    node = NODES["DPathFilmstrip"]
    single = node.execute(first, LinearVAE(), 4, "prediction").args[0]
    double = node.execute(first, LinearVAE(), 4, "prediction", 1, second).args[0]
    states = node.execute(first, LinearVAE(), 4, "state").args[0]
    assert single.shape[0] == 1
    assert double.shape[1] > single.shape[1] + 31
    assert not torch.equal(single, states)
    assert node.execute(first, LinearVAE(), 60, "prediction").args[0].shape[2] > single.shape[2]
    with pytest.raises(ValueError, match="so there is no item 2"):
        node.execute(first, LinearVAE(), 4, "prediction", 2)


def test_the_path_viewer_gets_every_frame_and_the_numbers_of_every_level() -> None:
    model = gaussian_model(ModelType.FLOW, SPREAD)
    first, second = invert(model, "residual"), invert(model, "euler")
    other = invert(model, "residual", steps=5)
    node = NODES["DPathFilmstrip"]
    alone = node.execute(first, LinearVAE(), 4, "prediction").ui
    both = node.execute(first, LinearVAE(), 4, "prediction", 0, second, PathSchedule(1.0, 0.5, "linear")).ui
    (numbers,) = both["dpath_path"]
    assert len(alone["dpath_frames"]) == 4
    assert len(both["dpath_frames"]) == 8
    assert all(frame["type"] == "temp" for frame in both["dpath_frames"])
    assert numbers["levels"] == [0, 4, 7, 8]
    assert numbers["weights"] == list(PathSchedule(1.0, 0.5, "linear").weights(first.step_positions))
    assert numbers["weights"][0] < 1, "the path starts at t0 0.9, inside of the window"
    assert numbers["drift"] == pytest.approx(drift(second, first)[:, 0].tolist())
    assert numbers["names"] == ["path: residual", "other: euler"]
    assert numbers["shares"][0] == pytest.approx(0.81 / 0.82)
    assert numbers["shares"][-1] == 0
    assert alone["dpath_path"][0]["drift"] is None
    assert node.execute(first, LinearVAE(), 4, "prediction", 0, other).ui["dpath_path"][0]["drift"] is None


def test_residual_predictions_in_the_strip_are_the_models() -> None:
    model = gaussian_model(ModelType.FLOW, SPREAD)
    path = invert(model, "residual", cfg=1.0)
    for step in range(path.steps):
        exact = model.model.denoise(path.states[step], path.sigmas[step].repeat(1), SOURCE)
        torch.testing.assert_close(path.prediction(step), exact, rtol=1e-3, atol=1e-3)


def test_video_paths_are_judged_and_shown() -> None:
    model = tiny.wan()
    with torch.inference_mode():
        sigmas = torch.tensor([0.6, 0.3, 0.0])
        path = NODES["DPathInvert"].execute(
            model, tiny.cond(0), tiny.cond(1), tiny.latent(model, 2), 0, 1.0, 9, "normal", 4.0,
            method={"method": "residual", "eta": 1.0}, sigmas=sigmas,
        ).args[0]  # fmt: skip
        walked = NODES["DPathReconstruct"].execute(model, tiny.cond(0), tiny.cond(1), path, 4.0).args[1]
        assert path.shape == (2, 16, 2, 8, 8)
        assert NODES["DPathReport"].execute(path, walked, 30.0, LinearVAE()).args[4]
        assert NODES["DPathFilmstrip"].execute(path, LinearVAE(), 3, "prediction").args[0].ndim == 4


@pytest.mark.parametrize("name", ["residual", "null text"])
def test_DPathSave_and_DPathLoad_bring_back_the_path_and_its_reconstruction(name: str, folder: Path) -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    path = invert(model, name)
    NODES["DPathSave"].execute(path, "sub/mine")
    NODES["DPathSave"].execute(path, "sub/mine")
    listed = folders.listed(paths.FOLDER)
    assert [Path(each).as_posix() for each in listed] == ["sub/mine_00001_.safetensors", "sub/mine_00002_.safetensors"]
    assert NODES["DPathLoad"].define_schema().inputs[0].options == listed
    loaded, report = NODES["DPathLoad"].execute(listed[0]).args
    assert report.endswith(f"{name}, 8 steps, 1 pictures of [4, 4, 4], cfg {path.cfg:g}, seed 3")
    assert torch.equal(loaded.states, path.states)
    assert torch.equal(reconstruct(model, loaded)[0]["samples"], reconstruct(model, path)[0]["samples"])
    assert NODES["DPathLoad"].fingerprint_inputs(listed[0]) > 0


def test_a_number_that_another_process_took_meanwhile_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, own = invert(gaussian_model(ModelType.EPS, SPREAD)), folder / paths.FOLDER
    NODES["DPathSave"].execute(path, "mine")
    seen = folder_paths.get_save_image_path("mine", str(own))
    (own / "mine_00002_.safetensors").write_bytes(b"another's")
    monkeypatch.setattr(folder_paths, "get_save_image_path", lambda *args: seen)
    NODES["DPathSave"].execute(path, "mine")
    assert (own / "mine_00002_.safetensors").read_bytes() == b"another's"
    assert sorted(each.name for each in own.iterdir()) == [f"mine_0000{n}_.safetensors" for n in (1, 2, 3)]


def test_files_outside_and_of_other_kinds_are_refused(folder: Path) -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    path = invert(model)
    for prefix in ("../../escape", "/etc/escape"):
        with pytest.raises(ValueError, match="leads out of the output folder"):
            NODES["DPathSave"].execute(path, prefix)
    for name in ("nothing.safetensors", "../../../etc/passwd.safetensors"):
        with pytest.raises(ValueError, match="There is no file"):
            NODES["DPathLoad"].execute(name)
    (folder / "diffusion_paths").mkdir(exist_ok=True)
    (folder / "diffusion_paths" / "a.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\.pt is not a \.safetensors file"):
        NODES["DPathLoad"].execute("a.pt")
    assert [each.name for each in folder.rglob("*") if each.is_file()] == ["a.pt"]
    with pytest.raises(ValueError, match=r"cannot be put in .*: choose another name"):
        NODES["DPathSave"].execute(path, "a.pt/inside")


def test_a_path_without_a_step_is_refused_by_the_widget_that_asks_for_it() -> None:
    with pytest.raises(ValueError, match="At t0 = 0 .* raise t0"):
        invert(gaussian_model(ModelType.EPS), t0=0.0)


def test_inputs_of_every_method_have_tooltips() -> None:
    for node in (inversion.Invert, *paths.NODES):
        for item in node.define_schema().inputs:
            assert item.tooltip
            if isinstance(item, io.DynamicCombo.Input):
                assert [option.key for option in item.options] == list(METHODS)
                assert all(each.tooltip for option in item.options for each in option.inputs)


def test_an_interrupted_null_text_is_run_again_and_a_finished_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stamp that fell back would bring the interrupted path out of an LRU cache, and cost the finished one."""
    model, node = gaussian_model(ModelType.EPS), NODES["DPathInvert"]
    path = invert(model)
    stamps = [node.fingerprint_inputs()]
    for done in (path.steps, 3, path.steps):
        made = path.replaced(figures={"optimised_steps": (float(done),)})
        monkeypatch.setattr(inversion, "invert", lambda *args, made=made: made)
        invert(model)
        stamps.append(node.fingerprint_inputs())
    assert stamps[0] == stamps[1] < stamps[2] == stamps[3]
