"""Paths and edits of films: each step is reported, with a frame to look at, and what comes out has all frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import comfy.cli_args
import comfy.samplers
import comfy.utils
import pytest
import torch
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.demo.film import as_film
from diffusion_path.demo.model import load_demo_model
from diffusion_path.devtools.direct import call
from diffusion_path.tests.unit.compatibility import World
from diffusion_path.tests.unit.families import FAMILIES
from torch import Tensor

STEPS, CFG = 5, 3.0


class Film(NamedTuple):
    """A model of films with what it takes. frame: width and height of a frame of a LATENT."""

    model: Any
    source: Any
    target: Any
    negative: Any
    latent: dict[str, Any]
    vae: Any
    frame: tuple[int, int]

    @property
    def empty(self) -> dict[str, Any]:
        return {"samples": torch.zeros_like(self.latent["samples"])}

    @property
    def edit(self) -> dict[str, Any]:
        return {"model": self.model, "positive": self.target, "source": self.source, "negative": self.negative}


def _wan() -> Film:
    """Frames in a dimension of their own: [1, 16, 2, 8, 8]."""
    w = World(FAMILIES["Wan 2.1"])
    return Film(w.model, w.source, w.positive, w.negative, w.latent, w.vae, (w.family.grid, w.family.grid))


def _demo() -> Film:
    """The embedded model as one of films: the frames are a batch, [3, 4, 8, 12]."""
    model, clip, vae = load_demo_model()
    source, target, negative = (
        clip.encode_from_tokens_scheduled(clip.tokenize(text))
        for text in ("a landscape, summer, a lake", "a landscape, winter, a lake", "")
    )
    frames = torch.randn(3, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    return Film(as_film(model), source, target, negative, {"samples": frames}, vae, (12, 8))


@pytest.fixture(params=[_wan, _demo], ids=["Wan", "the demo's films"], scope="module")
def film(request: pytest.FixtureRequest) -> Film:
    with torch.inference_mode():
        return request.param()


class Seen(NamedTuple):
    """One report to the page: a step of how many, and the picture that is shown."""

    step: int
    of: int
    preview: Any


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Seen]]:
    seen: list[Seen] = []
    monkeypatch.setattr(comfy.cli_args.args, "preview_method", comfy.cli_args.LatentPreviewMethod.Latent2RGB)
    before = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda step, of, preview, **_: seen.append(Seen(step, of, preview)))
    yield seen
    comfy.utils.set_progress_bar_global_hook(before)


def recorded(film: Film) -> tuple[Any, Tensor]:
    guider = core.CFGGuider.execute(film.model, film.source, film.negative, CFG).args[0]
    sigmas = call("DPathSigmas", model=film.model, t0=1.0, steps=STEPS)[0]
    given = {"sampler": comfy.samplers.sampler_object("euler"), "sigmas": sigmas, "latent_image": film.empty}
    path, latent = call("DPathRecord", noise=core.Noise_RandomNoise(3), guider=guider, **given)
    return path, latent["samples"]


def inverted(film: Film, method: str = "euler") -> tuple[Any, Tensor]:
    given = {"model": film.model, "positive": film.source, "negative": film.negative, "latent": film.latent}
    path, _ = call("DPathInvert", **given, seed=3, steps=STEPS, cfg=CFG, method=method)
    return path, path.picture


def mdp_edit(film: Film, latent: dict[str, Any]) -> tuple[Any, Tensor]:
    made = call("DPathMDPEdit", **film.edit, latent=latent, seed=3, steps=STEPS, cfg=CFG)
    return made, made[0]["samples"]


def flow_edit(film: Film) -> tuple[Any, Tensor]:
    made = call("DPathFlowEdit", **film.edit, latent=film.latent, seed=3, steps=STEPS, cfg=CFG)
    return made, made[0]["samples"]


RUNS: dict[str, tuple[Callable[[Film], tuple[Any, Tensor]], int]] = {
    "Record Path": (recorded, STEPS),
    "Invert Picture to Path": (inverted, STEPS),
    "MDP Edit of a new film": (lambda film: mdp_edit(film, film.empty), 2 * STEPS),
    "MDP Edit of a film": (lambda film: mdp_edit(film, film.latent), 2 * STEPS),
    "FlowEdit": (flow_edit, 1),
}
"""What each gives, and how many steps it reports at the least: those of MDP Edit's region lie close together here."""


@pytest.mark.parametrize("name", RUNS)
def test_each_step_is_reported_with_a_frame_and_all_frames_come_out(name: str, film: Film, reports: list[Seen]) -> None:
    run, least = RUNS[name]
    with torch.inference_mode():
        _, made = run(film)
    assert made.shape == film.latent["samples"].shape
    assert torch.isfinite(made).all()
    steps = [seen.step for seen in reports]
    assert steps == sorted(set(steps))
    assert len(steps) >= least
    assert {seen.of for seen in reports} == {steps[-1]}
    for seen in reports:
        kind, picture, _ = seen.preview
        assert kind == "JPEG"
        assert picture.size == film.frame


def test_levels_that_are_evaluated_together_are_reported_together(film: Film, reports: list[Seen]) -> None:
    with torch.inference_mode():
        inverted(film, "residual")
    steps = [seen.step for seen in reports]
    assert steps == sorted(set(steps))
    assert {seen.of for seen in reports} == {steps[-1]} == {STEPS}


@pytest.mark.parametrize("show", ["prediction", "state"])
def test_a_film_strip_shows_a_frame_at_each_point(show: str, film: Film) -> None:
    with torch.inference_mode():
        path, _ = recorded(film)
        (strip,) = call("DPathFilmstrip", path=path, vae=film.vae, count=3, show=show)
        (wide,) = call("DPathFilmstrip", path=path, vae=film.vae, count=4, show=show)
        shown = film.vae.decode(path.to_vae(path.picture[:1]))
    assert strip.shape[0] == 1, "one picture"
    assert strip.shape[1] == wide.shape[1]
    assert wide.shape[2] - strip.shape[2] >= shown.shape[-2], "another point is another frame beside the others"
