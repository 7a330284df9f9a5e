"""The embedded model as a model of films: frames share their noise and look at the first one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusion_path.demo.film import as_film
from diffusion_path.demo.model import load_demo_model
from diffusion_path.devtools.direct import call
from torch import Tensor


@pytest.fixture(scope="module")
def demo() -> tuple[Any, Any]:
    with torch.inference_mode():
        model, clip, _ = load_demo_model()
        return model, clip.encode_from_tokens_scheduled(clip.tokenize("a landscape, winter, a lake, a red house"))


def _painted(model: Any, prompt: Any, guide: Tensor, cfg: float = 1.0) -> Tensor:
    settings = {"t0": 0.7, "steps": 2, "cfg": cfg, "solver": "ode", "seed": 1}
    with torch.inference_mode():
        made = call("DPathSDEdit", model=model, positive=prompt, negative=prompt, guide={"samples": guide}, **settings)
    return made[0]["samples"]


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_equal_frames_stay_equal_and_a_film_of_one_frame_is_a_picture(demo: tuple[Any, Any], cfg: float) -> None:
    model, prompt = demo
    guide = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    film = _painted(as_film(model), prompt, guide.repeat(3, 1, 1, 1), cfg)
    for frame in film[1:]:
        assert frame == pytest.approx(film[0], abs=1e-5)
    # Attending to itself twice is attending to itself once.
    assert film[:1] == pytest.approx(_painted(model, prompt, guide, cfg), abs=1e-4)


def test_a_frame_looks_at_the_first_one_and_at_no_other(demo: tuple[Any, Any]) -> None:
    model, prompt = demo
    frames = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    film = _painted(as_film(model), prompt, frames)
    assert film[::2] == pytest.approx(_painted(as_film(model), prompt, frames[::2]), abs=1e-5)
    others = torch.cat((frames[1:2], frames[1:]))
    assert (film[1:] - _painted(as_film(model), prompt, others)[1:]).abs().max() > 1e-2
