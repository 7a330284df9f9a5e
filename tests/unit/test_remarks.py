"""What reports say of edits that cannot have worked, picture by picture."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.demo.model import load_demo_model
from diffusion_path.demo.render import render
from diffusion_path.demo.scenes import Scene, full_caption
from diffusion_path.devtools.direct import call
from diffusion_path.images.tensors import from_uint8
from diffusion_path.samplers import remarks
from diffusion_path.samplers.path import DiffusionPath
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit.analytic import cond, gaussian_model
from torch import Tensor

A, B, EMPTY = cond(0.75), cond(-0.5), cond(0.0)


def latent(batch: int = 1) -> dict[str, Any]:
    return {"samples": torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(3))}


@cache
def demo() -> tuple[Any, Any, Any]:
    with torch.inference_mode():
        return load_demo_model()


def encoded(*texts: str) -> list[list[Any]]:
    """One CONDITIONING of the embedded model whose batch is the texts."""
    clip = demo()[1]
    parts = [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0] for text in texts]
    pooled = torch.cat([extra["pooled_output"] for _, extra in parts])
    return [[torch.cat([tokens for tokens, _ in parts]), {"pooled_output": pooled}]]


def about(given: list[str]) -> str:
    return "\n".join(given)


@pytest.mark.parametrize(
    ("affected", "prefix"),
    [
        ([], None),
        ([False, False], None),
        ([True], ""),
        ([True, True], ""),
        ([False, True, False], "picture 2 of 3: "),
        ([True, False, True], "pictures 1, 3 of 3: "),
    ],
)
def test_the_pictures_concerned_are_named(affected: list[bool], prefix: str | None) -> None:
    found = remarks.for_pictures(affected, "the mask is empty.")
    assert found == ([] if prefix is None else [f"{prefix}the mask is empty."])


def test_prompts_are_compared_for_each_picture_with_all_that_hangs_on_them() -> None:
    first = [[torch.tensor([[[1.0]], [[2.0]]]), {"pooled_output": torch.zeros(2, 3), "ids": torch.tensor([[1], [2]])}]]
    second = [[torch.tensor([[[1.0]], [[3.0]]]), {"pooled_output": torch.zeros(2, 3), "ids": torch.tensor([[1], [2]])}]]
    third = [[first[0][0], {**first[0][1], "ids": torch.tensor([[1], [7]])}]]
    assert [remarks.equal_prompts(first, second, i, 2) for i in range(2)] == [True, False]
    assert [remarks.equal_prompts(first, third, i, 2) for i in range(2)] == [True, False]
    assert not remarks.equal_prompts(first, [[first[0][0], {}]], 0, 2)
    assert not remarks.equal_prompts(first, [*first, *first], 0, 2)
    assert remarks.equal_prompts(first, [[first[0][0].clone(), dict(first[0][1])]], 1, 2)


def test_the_length_of_a_prompt_is_that_of_its_words() -> None:
    """A start, the words and an end of the embedded model's encoder, whose 32 tokens are padded; masks where given."""
    full = full_caption(Scene())
    for text, words in (("", 0), ("winter", 1), ("a red house", 3), (full, 16)):
        assert remarks.content_length(encoded(text)) == words + 2, text
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    assert remarks.content_length([[torch.randn(1, 5, 8), {"attention_mask": mask}]]) == 3
    blank = torch.cat([torch.randn(1, 4, 8), torch.zeros(1, 6, 8)], dim=1)
    assert remarks.content_length([[blank, {}]]) == 4
    both = encoded("winter", full)
    assert [remarks.content_length(both, i, 2) for i in range(2)] == [3, 18]
    assert remarks.is_empty(encoded(""))
    assert remarks.is_empty([[torch.zeros(1, 77, 8), {}]])
    assert not remarks.is_empty(encoded("fog"))
    assert not remarks.is_empty(cond(0.5))


def test_prompts_that_cannot_make_an_edit() -> None:
    full, winter = full_caption(Scene()), full_caption(Scene(season="winter"))
    negative = encoded("", "")

    def found(targets: tuple[str, str], cfg: float = 4.0, negative: Any = negative) -> list[str]:
        return remarks.about_prompts(encoded(*targets), encoded(full, full), negative, cfg, 2)

    assert found((winter, winter)) == []
    (equal,) = found((full, winter))
    assert equal.startswith("picture 1 of 2: the source prompt and the target prompt are equal")
    (short,) = found((winter, "a landscape in winter"))
    assert short.startswith("picture 2 of 2: the target prompt is much shorter than the source prompt")
    assert "repeat the source prompt" in short
    nothing = about(found(("", winter)))
    assert "picture 1 of 2: the positive prompt and the negative prompt are equal, so cfg has no effect" in nothing
    assert "picture 1 of 2: the target prompt is much shorter" in nothing
    assert found((winter, winter), cfg=1.0) == []
    (unused,) = found((winter, winter), 1.0, encoded("fog", "fog"))
    assert unused == "at cfg 1 the negative prompt has no effect: raise cfg, or leave the prompt empty."


def test_regions_are_judged_one_by_one_and_not_by_their_mean() -> None:
    found = torch.zeros(3, 20, 20)
    found[1, :10], found[2] = 1.0, 1.0
    text = remarks.about_region(found, found, 3)
    assert [line.split(":")[0] for line in text] == ["picture 1 of 3", "picture 3 of 3"]
    assert "differ nearly nowhere (less than 0.5% of the picture)" in text[0]
    assert "differ nearly everywhere (more than 80% of the picture)" in text[1]
    outside = torch.ones(3, 20, 20)
    outside[:, :10] = 0.0
    text = remarks.about_region(found, found * outside, 3)
    assert text[1].startswith("picture 2 of 3: the prompts differ only outside the mask")
    assert remarks.about_region(None, None, 3) == []
    small = torch.zeros(1, 32, 32)
    small[0, :3, :3] = 1.0  # the least region that is found: one cell, grown
    assert remarks.about_region(small, small, 1) == []


def test_masks_of_zeros_are_named() -> None:
    mask = torch.zeros(2, 8, 8)
    assert remarks.about_mask(mask, 2)[0].startswith("the mask is 0 everywhere, so nothing is edited")
    mask[0, 0, 0] = 0.1
    assert remarks.about_mask(mask, 2)[0].startswith("picture 2 of 2: the mask is 0 everywhere")
    assert remarks.about_mask(mask[:, None], 1) == [], "the frames of a video are one picture"
    assert remarks.about_mask(None, 2) == []


def test_unchanged_results_are_those_that_nobody_can_tell_apart() -> None:
    before = latent(3)["samples"]
    after = before.clone()
    after[1] += 1e-4 * before[1].std()
    after[2, :, 0, 0] += 1.0
    assert remarks.unchanged(before, after) == [True, True, False]
    assert remarks.unchanged(before, after[:, :, :4]) == [False, False, False]


def test_a_weight_of_zero_and_another_prompts_path_are_named() -> None:
    assert remarks.about_weights([0.0, 0.0])[0].startswith("the weight is 0 at every step")
    assert remarks.about_weights([0.0, 0.5]) == []
    assert remarks.about_path("", "new") == remarks.about_path("new", "new") == []
    assert "not the one that the path was made with" in remarks.about_path("old", "new")[0]


@pytest.mark.parametrize("kind", [kind for kind in ModelType if "IMG" not in kind.name])
def test_models_that_are_shown_states_of_the_wrong_size_are_named(kind: ModelType) -> None:
    """Of core's samplings, that of CogVideoX alone."""
    found = remarks.about_levels(gaussian_model(kind).get_model_object("model_sampling"))
    assert bool(found) == (kind is ModelType.V_PREDICTION_DDPM)


def mdp_edit(target: Any, source: Any = A, batch: int = 1, cfg: float = 2.0, **extra: Any) -> tuple[Any, ...]:
    given = {"model": gaussian_model(ModelType.EPS, 1.25), "positive": target, "negative": EMPTY, "source": source}
    return tuple(call("DPathMDPEdit", **given, latent=latent(batch), seed=5, steps=10, cfg=cfg, **extra))


def notes(report: str) -> list[str]:
    return [line.removeprefix("note: ") for line in report.splitlines() if line.startswith("note: ")]


def test_the_reports_of_edits_say_it() -> None:
    """Through the nodes: MDP Edit, MDP Sweep, FlowEdit, SDEdit, SDE Perturb."""
    assert notes(mdp_edit(B, method="noise")[2]) == []
    weightless = PathSchedule(0.8, 0.2, weight=0.0)
    assert notes(mdp_edit(B, method="noise", schedule=weightless)[2])[0].startswith("the weight is 0 at every step")
    path: DiffusionPath = mdp_edit(B, method="noise")[1]
    assert notes(mdp_edit(B, source=cond(0.7), method="noise", path=path)[2])[0].startswith("the source prompt is not")
    masked = notes(mdp_edit(B, method="noise", mask=torch.zeros(1, 64, 64))[2])
    assert [line.split(",")[0] for line in masked] == ["the mask is 0 everywhere", "the result is the source"]

    model = gaussian_model(ModelType.FLOW, 1.25)
    given = {"model": model, "negative": EMPTY, "source": A, "latent": latent(2), "seed": 1, "steps": 4}
    assert notes(call("DPathFlowEdit", **given, positive=B)[1]) == []
    same = notes(call("DPathFlowEdit", **given, positive=A)[1])
    assert [line.split(",")[0] for line in same] == [
        "the source prompt and the target prompt are equal", "the result is the source",
    ]  # fmt: skip
    mask = torch.zeros(2, 64, 64)
    mask[0] = 1.0
    half = notes(call("DPathFlowEdit", **given, positive=B, mask=mask)[1])
    assert [line[:17] for line in half] == ["picture 2 of 2: t", "picture 2 of 2: t"]

    run = {"model": model, "seed": 1, "steps": 3, "solver": "ode", "guide": latent()}
    assert notes(call("DPathSDEdit", **run, positive=A, negative=EMPTY, t0=0.5)[2]) == []
    assert notes(call("DPathSDEdit", **run, positive=A, negative=A, t0=0.5)[2])[0].startswith("the positive prompt and")
    assert "the latent is returned as it is" in call("DPathPerturb", model=model, latent=latent(), seed=0, t0=0.0)[2]


def test_each_edit_of_a_sweep_has_its_own_note() -> None:
    class Vae:
        def decode(self, samples: Tensor) -> Tensor:
            return samples[:, :3].movedim(1, -1).repeat_interleave(8, 1).repeat_interleave(8, 2)

    given = {"model": gaussian_model(ModelType.EPS, 1.25), "positive": B, "negative": EMPTY, "source": A}
    report = call(
        "DPathMDPSweep", **given, latent=latent(), seed=5, steps=10, cfg=2.0, method="noise", vae=Vae(),
        sweep="weights", weights="0, 1", schedule=PathSchedule(1.0, 0.0),
    )[3].splitlines()  # fmt: skip
    assert [line.split(",")[0] for line in report] == [
        "1 to 0", "note: the weight is 0 at every step", "1 to 0", "note: the result is the source",
        "together: 30 evaluations",
    ]  # fmt: skip


def test_one_picture_of_a_batch_that_nothing_is_asked_of_on_the_embedded_model() -> None:
    """The colour of a house in the second picture; the first one's prompts are equal."""
    model, _, vae = demo()
    scene = Scene(seed=3, house="red")
    pictures = torch.stack([from_uint8(render(scene))] * 2)
    now, wanted = full_caption(scene), full_caption(scene.with_(house="blue"))
    with torch.inference_mode():
        given = {"model": model, "positive": encoded(now, wanted), "negative": encoded(""), "source": encoded(now, now)}
        edited, _, report, mask = call(
            "DPathMDPEdit", **given, latent={"samples": vae.encode(pictures)}, seed=0, steps=6, cfg=4.0
        )
    assert not mask[0].any()
    assert 0.005 < float(mask[1].mean()) < 0.5
    found = notes(report)
    assert len(found) == 3
    assert all(line.startswith("picture 1 of 2: ") for line in found)
    assert "prompts are equal" not in found[1]
    assert "differ nearly nowhere" in found[1]
    assert "unchanged" in found[2]
    assert edited["samples"].shape == (2, 4, 32, 32)


def test_guidance_on_top_of_a_network_that_has_it_built_in() -> None:
    model = gaussian_model(ModelType.FLOW)
    assert remarks.about_model(model, 4.0) == []
    model.model.model_config.unet_config["guidance_embed"] = True
    assert remarks.about_model(model, 1.0, 1.0) == []
    [found] = remarks.about_model(model, 1.0, 4.0)
    assert "has its guidance distilled in: cfg other than 1 doubles the time" in found
    given = {"model": model, "positive": A, "negative": EMPTY, "latent": latent(), "steps": 2, "cfg": 3.0, "seed": 0,
             "t0": 1.0, "scheduler": "normal"}  # fmt: skip
    _, text = call("DPathInvert", **given, method={"method": "null text", "iterations": 1, "stop": 1e-5})
    assert "has its guidance distilled in" in text


def test_negative_prompt_inversion_for_an_edit_without_a_negative_prompt() -> None:
    given = {"model": gaussian_model(ModelType.FLOW), "positive": A, "negative": EMPTY, "latent": latent(), "steps": 2,
             "seed": 0, "t0": 1.0, "scheduler": "normal", "method": {"method": "negative prompt"}}  # fmt: skip
    assert "at cfg 1 the negative prompt is never used" in call("DPathInvert", **given, cfg=1.0)[1]
    assert "note" not in call("DPathInvert", **given, cfg=3.0)[1]
