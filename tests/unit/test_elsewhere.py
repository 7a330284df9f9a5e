"""Every node that works on a model, where the model computes on another device than the CPU, as on a graphics card."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import comfy.model_management
import pytest
import torch
from diffusion_path.demo.model import load_demo_model
from diffusion_path.devtools.direct import call
from diffusion_path.nodes.lep import BUILT_IN
from diffusion_path.samplers import process
from diffusion_path.tests.unit import elsewhere, families
from diffusion_path.tests.unit.compatibility import CASES, REFUSED, World, outcome
from diffusion_path.tests.unit.families import FAMILIES, ONE_LEVEL
from torch import Tensor

PLACES = {"U-Net": ONE_LEVEL, "Wan 2.1": FAMILIES["Wan 2.1"]}
OTHER_NETWORKS = {("U-Net", "DPathMDPAttention: tokens"), ("Wan 2.1", "DPathMDPAttention: words")}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device exists, and ComfyUI computes on it."""
    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: elsewhere.PLACE)
    with elsewhere.device() as place:
        yield place


@pytest.fixture(scope="module", autouse=True)
def leave_nothing_there() -> Iterator[None]:
    yield
    placed.cache_clear()
    with elsewhere.device():
        comfy.model_management.unload_all_models()


@cache
def placed(name: str, latents_too: bool = False) -> World:
    """A world whose model belongs on the device; `latents_too` as with --gpu-only, where nothing leaves it."""
    with torch.inference_mode():
        w = World(PLACES[name], families.built(PLACES[name]))
        if latents_too:
            w.latent, w.image, w.mask = (
                w.latent | {"samples": _moved(w.latent["samples"])},
                _moved(w.image),
                _moved(w.mask),
            )
            w.positive, w.source, w.negative = (
                [[_moved(tokens), {key: _moved(value) for key, value in extra.items()}] for tokens, extra in each]
                for each in (w.positive, w.source, w.negative)
            )
        return w


def _moved(tensor: Tensor) -> Any:
    return tensor.to(elsewhere.PLACE)


@pytest.mark.parametrize("label", CASES)
@pytest.mark.parametrize("name", PLACES)
def test_a_model_on_a_card(name: str, label: str, device: torch.device) -> None:
    place = placed(name)
    assert place.model.load_device == device
    found, sentence = outcome(label, place)
    assert found != REFUSED or (name, label) in OTHER_NETWORKS, sentence


@pytest.mark.parametrize("label", CASES)
def test_everything_on_a_card(label: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """--gpu-only: latents, pictures and conditioning wait there too."""
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: device)
    assert outcome(label, placed("U-Net", latents_too=True))[0] != REFUSED or ("U-Net", label) in OTHER_NETWORKS


def test_the_embedded_model_on_a_card_that_is_nearly_full(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    management = comfy.model_management
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(management, "is_device_cpu", lambda place: place == torch.device("cpu"))
    monkeypatch.setattr(
        management, "get_free_memory", lambda _=None, torch_free_too=False: [2e6, [2e6, 0]][torch_free_too]
    )
    with torch.inference_mode():
        model, clip, vae = load_demo_model()
        picture = torch.rand(1, 64, 64, 3)
        given = {"positive": clip.encode_from_tokens_scheduled(clip.tokenize("a lake")), "guide": None}
        given["guide"] = {"samples": vae.encode(picture)}
        made = call("DPathSDEdit", model=model, negative=given["positive"], **given, steps=2)[0]["samples"]
        assert model.model.model_lowvram, "only a part of it is there"
        predictor = call("DPathLoadMapPredictor", file=next(iter(BUILT_IN)))[0]
        guided = call("DPathSketchGuidance", model=model, predictor=predictor, vae=vae, sketch=picture)[0]
        bent = call("DPathSDEdit", model=guided, negative=given["positive"], **given, steps=2)[0]["samples"]
        assert not torch.equal(bent, made)
        known = call("DPathMeasurement", image=picture, known="grey")[0]
        guided = call("DPathMeasurementGuidance", model=model, vae=vae, measurement=known)[0]
        moved = call("DPathSDEdit", model=guided, negative=given["positive"], **given, steps=2)[0]["samples"]
        assert not torch.equal(moved, made)
        assert vae.decode(made).shape == picture.shape


def test_noise_levels_are_computed_in_the_same_place_before_and_after_the_model_is_loaded(device: torch.device) -> None:
    with torch.inference_mode():
        model = families.built(PLACES["U-Net"])
    sampling = model.get_model_object("model_sampling")
    before = process.t0_to_sigma(process.model_sampling(model), 0.37)
    assert process.model_sampling(model) is sampling
    with torch.inference_mode():
        sampling.to(device)
    assert sampling.log_sigmas.device == device
    assert process.model_sampling(model).log_sigmas.device.index is None
    assert process.t0_to_sigma(process.model_sampling(model), 0.37) == before
    assert sampling.log_sigmas.device == device, "the model's own stays where it is"


def test_what_is_in_two_places_is_refused(device: torch.device) -> None:
    there = torch.ones(3, device=device)
    assert there.device == device
    assert (there + 1).device == device
    assert there.cpu().device.index is None
    with pytest.raises(RuntimeError, match="same device"):
        torch.add(there, torch.ones(3))
    with pytest.raises(TypeError, match="no float64"):
        there.double()
