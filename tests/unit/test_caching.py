"""Step caches as core and other packs leave them on a model, and runs that need every evaluation."""

from __future__ import annotations

import logging
from typing import Any

import comfy.patcher_extension
import pytest
import torch
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from diffusion_path.samplers.caching import step_caches, without_cache_wrappers, without_step_caches
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.compatibility import CASES, EXACT, World
from diffusion_path.tests.unit.families import FLUX

CACHED = ["DPathInvert: fixed point", "DPathFlowEdit", "DPathInvert: residual", "DPathReconstruct"]


class TeaCache:
    """The form of ComfyUI-TeaCache and WaveSpeed: a function around the network's call that repeats the last result."""

    def apply_teacache(self, model: Any) -> Any:
        last: list[Any] = []

        def unet_wrapper_function(model_function: Any, kwargs: dict[str, Any]) -> Any:
            if len(last) != 1 or last[0].shape != kwargs["input"].shape:
                last[:] = [model_function(kwargs["input"], kwargs["timestep"], **kwargs["c"])]
                return last[0]
            return last.pop()

        model = model.clone()
        model.model_options["transformer_options"]["rel_l1_thresh"] = 0.4
        model.set_model_unet_function_wrapper(unet_wrapper_function)
        return model


class MagCache:
    """The form with a wrapper by key, and a method of the network replaced for this MODEL."""

    def wrapped(self, model: Any, key: str) -> Any:
        def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, key, wrapper)
        return model

    def patched(self, model: Any) -> Any:
        network = model.get_model_object("diffusion_model")

        def forward(*args: Any, **kwargs: Any) -> Any:
            return type(network).forward_orig(network, *args, **kwargs)

        model = model.clone()
        model.add_object_patch("diffusion_model.forward_orig", forward)
        return model


def other(model: Any) -> Any:
    """A function around the network's call that is no cache."""
    model = model.clone()
    model.set_model_unet_function_wrapper(lambda f, kwargs: f(kwargs["input"], kwargs["timestep"], **kwargs["c"]))
    return model


MAKERS = {
    "EasyCache": (lambda m: EasyCacheNode.execute(m, 0.2, 0.0, 1.0, False).args[0], ["easycache"]),
    "LazyCache": (lambda m: LazyCacheNode.execute(m, 0.2, 0.0, 1.0, False).args[0], ["easycache", "lazycache"]),
    "TeaCache": (
        TeaCache().apply_teacache, ["test_caching.TeaCache.apply_teacache.<locals>.unet_wrapper_function"],
    ),
    "a wrapper's key": (lambda m: MagCache().wrapped(m, "first_block_cache"), ["first_block_cache"]),
    "a wrapper's name": (lambda m: MagCache().wrapped(m, "key"), ["key"]),
    "a method of the network": (MagCache().patched, ["test_caching.MagCache.patched.<locals>.forward"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
def test_caches_are_known_and_taken_out_of_a_clone(name: str) -> None:
    make, names = MAKERS[name]
    with torch.inference_mode():
        model = make(families.model("Flux (dev)"))
    clean = without_step_caches(model, "Inversion")
    assert step_caches(model) == names
    assert step_caches(clean) == []
    assert clean is not model
    assert clean.wrappers.get(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, {}) == {}
    assert "model_function_wrapper" not in clean.model_options
    assert clean.object_patches == {}


@pytest.mark.parametrize("make", [other, lambda m: MagCache().wrapped(m, "key") and m, lambda m: m])
def test_what_is_no_cache_stays(make: Any) -> None:
    with torch.inference_mode():
        model = make(families.model("Flux (dev)"))
    assert step_caches(model) == []
    assert without_step_caches(model, "Inversion") is model


def test_a_cache_that_is_built_into_the_network_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with torch.inference_mode():
        model = families.built(FLUX)
    network = model.model.diffusion_model
    network.forward_orig = MagCache().patched(model).object_patches["diffusion_model.forward_orig"]
    with caplog.at_level(logging.WARNING):
        assert without_step_caches(model, "Inversion") is model
    assert "MagCache.patched.<locals>.forward is built into the network" in caplog.text


@pytest.mark.parametrize("label", CACHED)
def test_runs_that_need_every_evaluation_are_exact_under_another_pack_s_cache(label: str) -> None:
    with torch.inference_mode():
        plain = World(FLUX, families.built(FLUX))
        beside = World(FLUX, TeaCache().apply_teacache(plain.model))
        assert not torch.equal(beside.sampled(), plain.sampled())
        beside.__dict__["recorded"] = plain.recorded
        assert CASES[label](beside) == EXACT


def test_a_call_that_no_cache_should_see_keeps_the_other_wrappers() -> None:
    wrappers = {"diffusion_model": {"easycache": [print], "other": [print], None: [print]}}
    options = {"wrappers": wrappers, "more": 1}
    found = without_cache_wrappers(options)
    assert found == {"wrappers": {"diffusion_model": {"other": [print], None: [print]}}, "more": 1}
    assert "easycache" in wrappers["diffusion_model"]
    assert without_cache_wrappers({"more": 1}) == {"more": 1}
