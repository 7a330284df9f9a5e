"""No node keeps a model alive once its outputs are gone, whether it ended well or with an error."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import comfy.model_management
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.compatibility import CASES, World
from diffusion_path.tests.unit.families import ONE_LEVEL


class Failure(Exception):
    """Of a network, at one of its calls."""


@pytest.mark.parametrize("call", [None, 1, 4])
@pytest.mark.parametrize("label", CASES)
def test_no_node_keeps_a_model_alive(label: str, call: int | None) -> None:
    watched = run(label, call)
    gc.collect()
    assert [name for name, thing in watched.items() if thing() is not None] == []


def run(label: str, failing: int | None) -> dict[str, weakref.ref[Any]]:
    """One case on a model of its own, whose given call of the network fails; what must be gone afterwards."""
    with torch.inference_mode():
        place = World(ONE_LEVEL, families.built(ONE_LEVEL))
        watched = {"MODEL": weakref.ref(place.model), "network": weakref.ref(place.model.model.diffusion_model)}
        watched["BaseModel"] = weakref.ref(place.model.model)
        calls = [0]

        def fail(executor: Any, *args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == failing:
                raise Failure
            return executor(*args, **kwargs)

        place.model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "failing", fail)
        with contextlib.suppress(Failure, ValueError):
            CASES[label](place)
    gc.collect()
    # ComfyUI takes a patched model that is gone, while its network is not, for a leak, and says so at every run.
    assert not any(model.is_dead() for model in comfy.model_management.current_loaded_models)
    return watched
