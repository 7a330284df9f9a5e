"""The sketch nodes as a workflow calls them: DPathEdgeMap, DPathTrainMapPredictor, DPathSaveMapPredictor,
DPathLoadMapPredictor, DPathPredictMap and DPathSketchGuidance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from diffusion_path.demo.model import load_demo_model
from diffusion_path.lep.families import check_fits
from diffusion_path.lep.guidance import Guidance, guide
from diffusion_path.lep.predict import predict_map
from diffusion_path.nodes.edges import SKETCH, EdgeMap
from diffusion_path.nodes.lep import (
    BUILT_IN,
    FOLDER,
    LoadMapPredictor,
    PredictMap,
    SaveMapPredictor,
    SketchGuidance,
)
from diffusion_path.nodes.lep_training import TrainMapPredictor
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.guided import predictor_for, run, sketch_for
from diffusion_path.tests.unit.test_lep_sketch import PoolVae, cross, pictures
from torch import Tensor


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An output folder of the test's own, listed as ComfyUI lists it."""
    extensions = folder_paths.folder_names_and_paths[FOLDER][1]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, FOLDER, ([str(tmp_path / FOLDER)], extensions))
    previous = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path))
    yield tmp_path
    folder_paths.set_output_directory(previous)
    folder_paths.filename_list_cache.pop(FOLDER, None)


def settings(**changes: Any) -> dict[str, Any]:
    """Train Map Predictor's widgets, as lists."""
    values = {
        "captions": "", "map": "edges", "network": "mlp", "features": "levels", "steps": 6, "batch_size": 3,
        "learning_rate": 1e-3, "noise_from": 0.0, "noise_to": 0.5, "reuse": 2, "edge_detail": 0.5, "edge_scale": 2.0,
        "seed": 0,
    }  # fmt: skip
    return {key: [value] for key, value in {**values, **changes}.items()}


def trained(**inputs: Any) -> Any:
    given: dict[str, Any] = {"images": [pictures(6)], "conditioning": [tiny.cond(0)], **inputs}
    return TrainMapPredictor.execute(model=[tiny.unet()], vae=[PoolVae()], **{**settings(), **given}).result


def test_edge_map() -> None:
    edges, mask = EdgeMap.execute(pictures(2), "canny", 0.5, 2.0, line_width=3).result
    assert edges.shape == (2, 64, 64, 3)
    assert torch.equal(edges[..., 0], mask)
    drawing = 1.0 - edges * 0.8
    cleaned, _ = EdgeMap.execute(drawing, SKETCH, 0.5, 2.0).result
    assert torch.equal(cleaned > 0, edges > 0)
    greys, _ = EdgeMap.execute(drawing, SKETCH, 1.0, 2.0, specks=0).result
    assert float(greys.max()) == pytest.approx(0.8, abs=1e-5)


def test_train_save_load(output: Path) -> None:
    with torch.inference_mode():
        predictor, losses, preview = trained()
        assert len(losses["loss"]) == 6
        assert preview.ndim == 4
        assert preview.shape[-1] == 3
        name = SaveMapPredictor.execute(predictor, "mine/edges").result[0]
        assert (output / FOLDER / name).is_file()
        listed: Any = LoadMapPredictor.GET_SCHEMA().inputs[0]
        assert name in listed.options
        loaded = LoadMapPredictor.execute(name).result[0]
        assert loaded.record["steps"] == 6
        assert LoadMapPredictor.fingerprint_inputs(name) == (output / FOLDER / name).stat().st_mtime
        further = trained(predictor=[loaded])[0]
    assert further.record["steps"] == 12


def test_pictures_that_the_vae_crops_are_previewed_as_it_crops_them() -> None:
    with torch.inference_mode():
        odd = torch.nn.functional.pad(pictures(6), (0, 0, 1, 2, 2, 2))
        assert trained(images=[odd])[2].shape == trained()[2].shape


def test_training_from_latents_and_captions() -> None:
    class Clip:
        def tokenize(self, text: str) -> str:
            return text

        def encode_from_tokens_scheduled(self, tokens: str) -> Any:
            return tiny.cond(len(tokens))

    latents = [{"samples": PoolVae().encode(pictures(6))}]
    captions = ["\n".join("abcdef")]
    predictor, _, _ = trained(images=None, latents=latents, conditioning=None, clip=[Clip()], captions=captions)
    assert predictor.record["pictures"] == 6
    with pytest.raises(ValueError, match="have no captions: connect the conditioning"):
        trained(conditioning=None)


@pytest.mark.parametrize("name", ["../secret.safetensors", "nothing.safetensors", "weights.ckpt", "/etc/passwd"])
def test_files_that_are_not_there(name: str, output: Path) -> None:
    with pytest.raises(ValueError, match=r"press R to refresh|choose a .safetensors"):
        LoadMapPredictor.execute(name)


def test_names_cannot_leave_the_output_folder(output: Path) -> None:
    with pytest.raises(ValueError, match="leads out of the output folder"):
        SaveMapPredictor.execute(predictor_for(tiny.unet()), "../../escape")


def test_predict_map() -> None:
    model = tiny.unet()
    latent = tiny.latent(model, 2)
    with torch.inference_mode():
        seen = PredictMap.execute(model, predictor_for(model), PoolVae(), latent, tiny.cond(0), 0.3, 0).result[0]
    assert seen.shape == (2, 64, 64, 3)
    with pytest.raises(ValueError, match="made for a model with network UNetModel, and this one has Flux"):
        PredictMap.execute(tiny.flux(), predictor_for(model), PoolVae(), latent, tiny.cond(0), 0.3, 0)


def sketch() -> Tensor:
    return cross().unsqueeze(-1).expand(1, 64, 64, 3)


def guided(model: Any, **changes: Any) -> Any:
    given = {"sketch": sketch(), "beta": 0.5, "end": 0.5, **changes}
    with torch.inference_mode():
        return SketchGuidance.execute(model, given.pop("predictor", predictor_for(model)), PoolVae(), **given).result[0]


def test_sketch_guidance_steers_and_is_neutral_at_zero() -> None:
    model = tiny.unet()
    plain = run(model)
    assert torch.equal(run(guided(model, beta=0.0)), plain)
    assert torch.equal(run(guided(model, end=1.0)), plain)
    bent = run(guided(model))
    assert not torch.allclose(bent, plain)
    assert torch.equal(bent, run(guided(model, sketch=1.0 - sketch())))  # dark lines on light are the same sketch
    assert torch.equal(run(model), plain)  # the model that came in is as it was


@pytest.mark.parametrize("order", ["another first", "another last"])
def test_the_picture_is_read_where_a_call_runs_the_network_on_another_one_too(order: str) -> None:
    """Reference ControlNet first runs it on its reference, inside the same call."""
    model, calls = tiny.unet(), 0

    def twice(executor: Any, x: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if order == "another first":
            executor(torch.ones_like(x), *arguments, **keywords)
        result = executor(x, *arguments, **keywords)
        if order == "another last":
            executor(torch.ones_like(x), *arguments, **keywords)
        return result

    other = model.clone()
    other.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "reference", twice)
    predictor, latent = predictor_for(model), tiny.latent(model)["samples"]
    guidance = Guidance(predictor, sketch_for(model), end=0.0)
    steered = run(guide(model, guidance))
    assert torch.equal(run(guide(other, guidance)), steered)
    assert not torch.equal(steered, run(model))
    before = calls
    with torch.inference_mode():
        here, there = (predict_map(each, predictor, latent, tiny.cond(0), [0.3], 0)[0] for each in (model, other))
    assert torch.equal(here, there)
    assert calls > before > 0


def test_importance_of_strokes() -> None:
    model = tiny.unet()
    grey = sketch() * torch.linspace(1.0, 0.2, 64).reshape(1, 1, 64, 1)
    mask = torch.linspace(1.0, 0.0, 64).reshape(1, 1, 64).expand(1, 64, 64)
    results = [
        run(guided(model)),
        run(guided(model, sketch=grey)),
        run(guided(model, sketch=grey, greys="shade")),
        run(guided(model, importance=mask)),
    ]
    for i, one in enumerate(results):
        for other in results[:i]:
            assert not torch.allclose(one, other)


def test_bad_sketches_are_refused() -> None:
    model = tiny.unet()
    with pytest.raises(ValueError, match="with no line on it"):
        guided(model, sketch=torch.ones(1, 64, 64, 3))
    with pytest.raises(ValueError, match="sketch is 128 x 64, but the picture is 64 x 64"):
        run(guided(model, sketch=torch.cat([sketch(), sketch()], dim=2)))
    with pytest.raises(ValueError, match="load the predictor that belongs to this model"):
        guided(model, predictor=predictor_for(tiny.sdxl()))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_built_in_predictors_fit_the_embedded_model(name: str) -> None:
    assert BUILT_IN[name].stat().st_size <= (4 if "edges" in name else 1) * 1024**2
    predictor = LoadMapPredictor.execute(name).result[0]
    assert predictor.model["latent_format"] == "LandscapeLatent"
    check_fits(load_demo_model()[0], predictor.model, predictor.taps)
    with pytest.raises(ValueError, match="latent format LandscapeLatent"):
        check_fits(tiny.unet(), predictor.model, predictor.taps)
