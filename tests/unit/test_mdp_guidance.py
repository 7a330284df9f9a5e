"""Guidance of an edit: away from the source prompt on the path of a picture, from the negative one elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import comfy.latent_formats
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.devtools.direct import call
from diffusion_path.nodes.mdp_edit import MDPEdit
from diffusion_path.samplers import process, remarks
from diffusion_path.samplers.mdp import edit as mdp
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model
from torch import Tensor

SOURCE, TARGET, NULL = cond(0.75), cond(-0.5), cond(0.25)
SETTINGS = mdp.MDPSettings(schedule=PathSchedule(0.8, 0.3), steps=8, cfg=4.0, region=None)


@pytest.mark.parametrize("kind", FAMILIES)
def test_source_guidance_is_that_of_a_negative_prompt_with_a_third_of_the_excess(kind: ModelType) -> None:
    model = gaussian_model(kind, 1.25)
    latent = {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))}
    source = mdp.find_source(model, SOURCE, NULL, latent, 1, SETTINGS)
    guided = mdp.edit(model, TARGET, NULL, source, SETTINGS)
    named = mdp.edit(model, TARGET, SOURCE, source, replace(SETTINGS, guided_by="negative", cfg=2.0))
    assert torch.equal(guided.latent["samples"], named.latent["samples"])
    other = mdp.edit(model, TARGET, NULL, source, replace(SETTINGS, guided_by="negative"))
    assert not torch.allclose(guided.latent["samples"], other.latent["samples"], atol=0.1)
    same = mdp.edit(model, SOURCE, NULL, source, SETTINGS)
    torch.testing.assert_close(same.latent["samples"], latent["samples"], rtol=1e-4, atol=1e-4)


def test_generated_paths_and_short_prompts_are_guided_by_the_negative_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    model, empty = gaussian_model(ModelType.EPS, 1.25), {"samples": torch.zeros(1, 4, 8, 8)}
    source = mdp.find_source(model, SOURCE, NULL, empty, 1, SETTINGS)
    found = mdp.find_source(model, SOURCE, NULL, {"samples": torch.ones(1, 4, 8, 8)}, 1, SETTINGS)
    assert not any(mdp.led_from_source(TARGET, source, SETTINGS))
    assert all(mdp.led_from_source(TARGET, found, SETTINGS))
    negative = cond(0.1)
    region = mdp.EditRegion()
    notes = mdp.shared_remarks(model, TARGET, negative, found, SETTINGS, None, region)
    assert any("away from the source prompt, so the negative prompt has no effect" in note for note in notes)
    assert not mdp.shared_remarks(model, TARGET, negative, source, SETTINGS, None, region)
    monkeypatch.setattr(remarks, "much_shorter", lambda *_: [True])
    assert not any(mdp.led_from_source(TARGET, found, SETTINGS)), "what it leaves open is not to be led away from"


def test_a_batch_with_one_short_prompt_is_its_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gaussian_model(ModelType.FLOW, 1.25)
    pictures = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))

    def edited(latent: Tensor, *short: bool) -> mdp.MDPResult:
        monkeypatch.setattr(remarks, "much_shorter", lambda *_: list(short))
        source = mdp.find_source(model, SOURCE, NULL, {"samples": latent}, 1, SETTINGS)
        return mdp.edit(model, TARGET, NULL, source, SETTINGS)

    both = edited(pictures, True, False)
    alone = [edited(picture, short) for picture, short in zip(pictures.split(1), (True, False), strict=True)]
    torch.testing.assert_close(both.latent["samples"], torch.cat([each.latent["samples"] for each in alone]))
    assert both.evaluations == sum(each.evaluations for each in alone)
    assert "source prompt at 2, or away from the negative prompt at 4 where" in both.guidance


def test_the_target_alone_leads_the_few_steps_that_the_window_would_leave_too_few_of() -> None:
    assert [steps for steps in range(1, 21) if mdp.recommended(steps, 1.0).alone] == [1, 2, 3, 4, 5, 6]
    assert not any(mdp.recommended(steps, 1.5).alone for steps in range(1, 21))


def test_the_target_leads_alone_where_a_window_that_nobody_set_would_be_empty() -> None:
    """Steps are counted where they are: these begin at 1 and below the window."""
    places = (1.0, 0.2)
    assert mdp.recommended(places, 1.0).alone
    assert not mdp.recommended((1, 0.95, 0.9, 0.85, 0.7, 0.2), 1.0).alone
    assert mdp.recommended((1, 0.78, 0.7, 0.62, 0.54, 0.46, 0.38, 0.2), 1.0).alone
    model = gaussian_model(ModelType.EPS, 1.25)
    sigmas = torch.tensor([*(process.t0_to_sigma(process.model_sampling(model), each) for each in places), 0.0])
    settings = mdp.MDPSettings(cfg=1.0, sigmas=sigmas)
    latent = {"samples": torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))}
    source = mdp.find_source(model, SOURCE, NULL, latent, 1, settings)
    for mask in (torch.ones(1, 8, 8), torch.eye(8)[None]):
        result = mdp.edit(model, TARGET, NULL, source, settings, mask)
        assert [each.weight for each in result.schedules] == [0.0]
        assert "alone leads all 2 steps" in mdp.leading(source, settings, result)[0]
    made = call("DPathMDPEdit", model=model, positive=TARGET, negative=NULL, latent=latent, seed=1, source=SOURCE,
                method="recommended", cfg=1.0, sigmas=sigmas)  # fmt: skip
    assert "alone leads all 2 steps" in made[2]
    assert "the weight is 0" not in made[2]


@pytest.mark.parametrize("kind", FAMILIES)
def test_pictures_with_a_region_have_no_step_of_the_source_in_few_steps(kind: ModelType) -> None:
    """One picture has a region and the other has not: each is what it is alone, and what a schedule says by hand."""
    model, settings = gaussian_model(kind, 1.25), mdp.MDPSettings(steps=4, cfg=1.0)
    pictures = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(2, 8, 8)
    mask[0, :, 4:] = 0

    def edited(samples: Tensor, mask: Tensor | None, schedule: PathSchedule | None = None) -> mdp.MDPResult:
        source = mdp.find_source(model, SOURCE, NULL, {"samples": samples}, 1, settings)
        return mdp.edit(model, TARGET, NULL, source, replace(settings, schedule=schedule), mask)

    both = edited(pictures, mask)
    assert [each.weight for each in both.schedules] == [0.0, 1.0]
    single = [edited(picture, part[None]) for picture, part in zip(pictures.split(1), mask, strict=True)]
    torch.testing.assert_close(both.latent["samples"], torch.cat([each.latent["samples"] for each in single]))
    by_hand = edited(pictures[:1], mask[:1], PathSchedule(0.8, 0.3, weight=0.0))
    assert torch.equal(by_hand.latent["samples"], single[0].latent["samples"])
    if kind is not ModelType.FLOW:  # from whose prior the first step makes all of the edit on this model
        window = edited(pictures[:1], mask[:1], PathSchedule(0.8, 0.3))
        assert not torch.allclose(window.latent["samples"], single[0].latent["samples"], atol=0.05)
    assert torch.equal(single[0].latent["samples"][..., 4:], pictures[:1, ..., 4:]), "the rest is the source's"
    assert [each.evaluations for each in (*single, both)] == [8, 4, 12]
    assert [each.weight for each in edited(pictures, None).schedules] == [1.0, 1.0]


@pytest.mark.parametrize(("kind", "end", "last"), [(ModelType.FLOW, 0.422, 11), (ModelType.EPS, 0.263, 14)])
def test_in_a_small_region_the_source_leads_no_step_of_little_noise(kind: ModelType, end: float, last: int) -> None:
    """Its window ends where the states are 45 % noise: sooner in a flow without a shift than in a noise model."""
    model, settings = gaussian_model(kind, 1.25), mdp.MDPSettings()
    pictures = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(2, 8, 8)
    mask[0, 2:4, 2:6], mask[1, :6] = 1, 1
    source = mdp.find_source(model, SOURCE, NULL, {"samples": pictures}, 1, settings)
    made = mdp.edit(model, TARGET, NULL, source, settings, mask)
    ends = [each.end for each in made.schedules]
    assert ends == pytest.approx([end, 0.15], abs=1e-3)
    text = mdp.report(source, mdp.EditRegion(mask), settings, made)
    assert f"steps 5 to {last} of 20" in text
    assert f"picture 1 of 2: noise: window 0.8 to {end} (0.15 where the region is not small)" in text
    for i, each in enumerate(made.schedules):
        own = replace(source, path=source.path.replaced(states=source.path.states[:, i : i + 1], batch_index=(i,)))
        by_hand = mdp.edit(model, TARGET, NULL, own, replace(settings, schedule=each), mask[i : i + 1])
        torch.testing.assert_close(by_hand.latent["samples"], made.latent["samples"][i : i + 1])


def test_videos_share_what_a_mask_says_of_their_frames_even_if_both_are_two() -> None:
    model, settings = gaussian_model(ModelType.FLOW, 1.25, comfy.latent_formats.Wan21()), mdp.MDPSettings()
    videos = torch.randn(2, 16, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    source = mdp.find_source(model, SOURCE, NULL, {"samples": videos}, 1, settings)
    for second, end in ((8, 0.15), (2, 0.422)):
        mask = torch.zeros(2, 8, 8)
        mask[0, 2:4, 2:4] = mask[1, :second, :4] = 1
        schedules = mdp.schedules_of(source, settings, mask)
        assert [each.end for each in schedules] == pytest.approx([end, end], abs=1e-3)


def test_the_report_says_which_pictures_the_target_alone_leads() -> None:
    model, settings = gaussian_model(ModelType.EPS, 1.25), mdp.MDPSettings(steps=4, cfg=1.0)
    pictures = {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))}
    source = mdp.find_source(model, SOURCE, NULL, pictures, 1, settings)
    window, alone = (
        "noise: window 0.8 to 0.3 = steps 2 to 3 of 4, constant, weight 1",
        "the target alone leads all 4 steps",
    )
    for right, first, second in (
        (0, f"noise: within the region {alone}", "source path:"),
        (1, f"picture 1 of 2: noise: within the region {alone}", f"picture 2 of 2: {window}"),
    ):
        mask = torch.ones(2, 8, 8)
        mask[0, :, 4:] = mask[1, :, 4:] = 0
        mask[1, :, 4:] = right
        result = mdp.edit(model, TARGET, NULL, source, settings, mask)
        lines = mdp.report(source, mdp.EditRegion(mask), settings, result).splitlines()
        assert lines[0] == first
        assert lines[1].startswith(second)


@pytest.mark.parametrize(
    ("steps", "cfg", "window", "scale"),
    [
        (4, 1.0, "0.8 to 0.3", "1.5"),  # a distilled model's
        (9, 1.0, "0.8 to 0.15", "1"),
        (4, 4.0, "0.8 to 0.15", "2"),
    ],
)
def test_few_steps_without_cfg_are_guided_away_from_the_source(steps: int, cfg: float, window: str, scale: str) -> None:
    """What the report says of the recommended edit; a connected path's own steps count."""
    model = gaussian_model(ModelType.EPS, spread=0.5)
    picture = {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))}
    prompts = model, TARGET, NULL, SOURCE
    widgets: dict[str, Any] = {"seed": 5, "cfg": cfg, "method": "recommended", "scheduler": "simple"}
    _, path, report, _ = MDPEdit.execute(*prompts, picture, steps=steps, **widgets).args
    again = MDPEdit.execute(*prompts, picture, steps=30, path=path, **widgets).args[2]
    for text in (report, again):
        assert f"window {window} = steps" in text
        assert f"guidance: away from the source prompt at {scale}\n" in text
        (line,) = [each for each in text.splitlines() if each.startswith("edit: ")]
        made, saved = (int(word) for word in re.findall(r"\d+", line))
        assert made + saved == steps * (1 if scale == "1" else 2), "a guided step takes two"
