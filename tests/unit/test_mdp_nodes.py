"""The nodes of MDP: what they hand on, what they say, what they refuse."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.sd1_clip
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.devtools.direct import call
from diffusion_path.nodes.flowedit import FlowEdit
from diffusion_path.nodes.inversion import Invert
from diffusion_path.nodes.mdp import MDP
from diffusion_path.nodes.mdp_edit import MDPEdit, MDPSweep
from diffusion_path.nodes.schedule import PathScheduleNode
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model
from diffusion_path.tests.unit.test_sweep import FoldingVAE
from torch import Tensor

MU_A, MU_B, MU_U = 0.75, -0.5, 0.25
every_family = pytest.mark.parametrize("kind", FAMILIES)


def latent(batch: int = 2) -> dict[str, Any]:
    return {"samples": torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(3))}


def schedule(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return PathScheduleNode.execute(*args, **kwargs).args


def edit(
    model: Any, source: dict[str, Any], kind: str = "noise", target: float = MU_B, **extra: Any
) -> tuple[Any, ...]:
    """The node with 10 steps and cfg 2: LATENT, path, report."""
    return edit_all(model, source, kind, target, **extra)[:3]


def edit_all(
    model: Any, source: dict[str, Any], kind: str, target: float = MU_B, steps: int = 10, **extra: Any
) -> tuple[Any, ...]:
    """All outputs of the node."""
    return MDPEdit.execute(
        model, cond(target), cond(MU_U), cond(MU_A), source, seed=5, steps=steps, cfg=2.0, method=kind, **extra
    ).args


def sweep(model: Any, source: dict[str, Any], **extra: Any) -> tuple[Any, ...]:
    widgets = {"sweep": "windows", "starts": "1, 0.8", "lengths": "0.3 0.6", "weights": "0, 0.5, 1"}
    widgets |= {"steps": 10, "method": "noise"}
    return MDPSweep.execute(
        model, cond(MU_B), cond(MU_U), cond(MU_A), source, seed=5, cfg=2.0, vae=FoldingVAE(),
        **{**widgets, **extra},
    ).args[:4]  # fmt: skip


def test_schedule_node_makes_the_value_a_plot_and_words() -> None:
    """DPathSchedule: by formula, by text, by CURVE; drawn over the real steps."""
    value, plot, report = schedule(1.0, 0.5, "linear", 1.0)
    assert value == PathSchedule(1.0, 0.5, "linear")
    assert plot.shape[0] == 1
    assert plot.shape[-1] == 3
    assert report.startswith("steps 1 to 10 of 20 (linear): 1, 0.889")
    _, with_levels, report = schedule(0.9, 0.3, "cosine", 0.5, sigmas=torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0]))
    assert report.startswith("steps 2 to 3 of 4 (cosine): 0.391, ")
    assert not torch.equal(with_levels, plot)
    from comfy_api.input import CurveInput

    text = schedule(1.0, 0.0, "curve", 1.0, curve="1:1, 0:0")[0]
    drawn = CurveInput.from_raw({"points": [(0.0, 1.0), (1.0, 0.0)], "interpolation": "linear"})
    linked = schedule(1.0, 0.0, "curve", 1.0, curve=drawn)[0]
    raw = schedule(1.0, 0.0, "curve", 1.0, curve=[(0.0, 1.0), (1.0, 0.0)])[0]
    assert schedule(1.0, 0.5, "linear", 1.0, curve="1:0.3, 0:0")[0] == PathSchedule(1.0, 0.5, "linear")
    for each in (text, linked, raw):
        assert each.weights(11) == pytest.approx(PathSchedule(1.0, 0.0, "linear").weights(11))


@pytest.mark.parametrize(
    ("problem", "widgets"),
    [
        ("set start above end", (0.5, 0.5, "constant", 1.0, "")),
        ("set the shape to curve, or disconnect it", (1.0, 0.5, "linear", 1.0, [(0.0, 1.0), (1.0, 0.0)])),
        ("but none is given", (1.0, 0.5, "curve", 1.0, " ")),
        ("cannot be read at 'up'", (1.0, 0.5, "curve", 1.0, "up")),
    ],
)
def test_schedule_node_refuses_with_a_sentence(problem: str, widgets: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=problem):
        schedule(*widgets)


@every_family
@pytest.mark.parametrize("kind_of_edit", ["noise", "latent", "conditioning", "guidance"])
def test_edit_node_serves_a_picture_a_seed_and_a_path(kind: ModelType, kind_of_edit: str) -> None:
    """DPathMDPEdit: a latent is inverted, an empty one generated, a given path walked again to the same edit."""
    model = gaussian_model(kind, 1.25)
    empty = {"samples": torch.zeros(2, 4, 8, 8)}
    for source, origin in ((latent(), "inversion (fixed point) in 10"), (empty, "seed 5 in 20")):
        kept = {key: value.clone() for key, value in source.items()}
        edited, path, report = edit(model, source, kind_of_edit)
        assert origin in report
        again, same, report = edit(model, source, kind_of_edit, path=path)
        assert same is path
        assert "source path: as given" in report
        assert torch.equal(again["samples"], edited["samples"])
        assert all(torch.equal(source[key], kept[key]) for key in kept)
        unchanged, *_ = edit(model, source, kind_of_edit, target=MU_A, path=path)
        assert bool((edited["samples"] < unchanged["samples"] - 1e-3).all()), "towards the target"


@every_family
def test_edit_node_keeps_the_source_where_it_is_told_to(kind: ModelType) -> None:
    model, source = gaussian_model(kind, 1.25), latent()
    full = PathSchedule(1.0, 0.0)
    edited, path, _ = edit(model, source, schedule=full)
    torch.testing.assert_close(edited["samples"], source["samples"], rtol=0, atol=1e-5)
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    for manipulation in ("noise", "latent", "conditioning", "guidance"):
        edited, *_ = edit(model, source, manipulation, path=path, mask=mask)
        assert torch.equal(edited["samples"][..., :3], source["samples"][..., :3]), manipulation
        assert not torch.allclose(edited["samples"][..., 5:], source["samples"][..., 5:], atol=0.05)


@every_family
def test_edit_node_counts_what_it_runs_and_saves(kind: ModelType) -> None:
    model = gaussian_model(kind, 1.25)
    *_, report = edit(model, latent(), schedule=PathSchedule(0.8, 0.2))
    assert "window 0.8 to 0.2 = steps 3 to 8 of 10, constant, weight 1" in report
    assert "edit: 8 evaluations of the network, 12 saved where the path was known" in report
    assert "together: 18 evaluations" in report
    *_, report = edit(model, latent(), "guidance", schedule=PathSchedule(1.0, 0.0, weight=0.5))
    assert "edit: 30 evaluations of the network, 0 saved" in report


@every_family
def test_recommended_edit_keeps_what_both_prompts_agree_on(kind: ModelType) -> None:
    """Equal prompts give the picture back bit for bit; others are edited where they differ and a mask allows."""
    model, source = gaussian_model(kind, 1.25), latent()
    widgets = {"seed": 5, "steps": 10, "cfg": 2.0, "method": "recommended"}

    def run(target: Any, **extra: Any) -> tuple[Any, ...]:
        return MDPEdit.execute(model, target, cond(MU_U), cond(MU_A), source, **widgets, **extra).args

    same, path, report, where = run(cond(MU_A))
    assert torch.equal(same["samples"], source["samples"])
    assert not where.any()
    assert "region: 0 of 64 latent cells (0.0%) / 0 of 64 latent cells (0.0%), found in 4 evaluations" in report
    assert "note: the source prompt and the target prompt are equal" in report
    assert "note: the prompts differ nearly nowhere" in report
    assert "note: the result is the source, unchanged" in report
    assert f"= steps 3 to {5 if kind is ModelType.FLOW else 7} of 10" in report, "an empty region is a small one"
    edited, _, report, where = run(cond(MU_B), path=path, keep_detail=0.0)
    assert bool((where == 1).all())
    assert "guidance: away from the source prompt at 1.33" in report
    noise = {**widgets, "cfg": 4 / 3, "method": "noise"}
    named, *_ = MDPEdit.execute(model, cond(MU_B), cond(MU_A), cond(MU_A), source, **noise, path=path).args
    assert torch.equal(edited["samples"], named["samples"]), "everything is edited"
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    held, _, _, where = run(cond(MU_B), path=path, mask=mask)
    assert torch.equal(where[:, :, :3], torch.zeros_like(where[:, :, :3]))
    assert torch.equal(held["samples"][..., :3], source["samples"][..., :3])
    _, _, _, where = run(cond(MU_B), path=path, threshold=100.0)
    assert not where.any()
    *_, report, where = edit_all(model, source, "noise")
    assert "region: the whole picture" in report
    assert where.shape == (1, 8, 8)
    assert bool((where == 1).all())


@pytest.mark.parametrize("method", ["recommended", "noise"])
def test_pictures_of_a_video_model_have_a_mask_each(method: str) -> None:
    """Latents [B, C, 1, H, W] (Qwen-Image, Wan): a batch of two is two single edits."""
    model = gaussian_model(ModelType.FLOW, 1.25, comfy.latent_formats.Wan21())
    samples = torch.randn(2, 16, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    masks = torch.zeros(2, 64, 64)
    masks[0, :, :32], masks[1, 32:] = 1, 1
    both, _, _, where = edit_all(model, {"samples": samples}, method, mask=masks)
    for i in range(2):
        alone, _, _, place = edit_all(model, {"samples": samples[i : i + 1]}, method, mask=masks[i : i + 1])
        torch.testing.assert_close(both["samples"][i], alone["samples"][0], rtol=0, atol=1e-6)
        assert torch.equal(where[i], place[0])
    kept = both["samples"][1, ..., :4, :]
    assert torch.equal(kept, edit_all(model, {"samples": samples}, method, mask=masks * 0)[0]["samples"][1, ..., :4, :])
    with pytest.raises(ValueError, match="mask is a batch of 3, but there are 2 pictures"):
        edit_all(model, {"samples": samples}, method, mask=torch.zeros(3, 64, 64))


@pytest.mark.parametrize(
    ("method", "window"),
    [
        ("notebook", "window 0.96 to 0.46 = steps 3 to 27 of 50"),
        ("article", "window 0.94 to 0.42 = steps 4 to 29 of 50"),
    ],
)
def test_published_windows_are_presets(method: str, window: str) -> None:
    *_, report, _ = edit_all(gaussian_model(ModelType.EPS), latent(1), method, steps=50)
    assert f"noise: {window}, constant, weight 1" in report


@pytest.mark.parametrize(
    ("method", "widgets"),
    [("residual", {"eta": 0.5}), ("fixed point", {"iterations": 2}), ("negative prompt", {}), ("controlled", {})],
)
def test_the_path_of_a_picture_may_come_from_any_inversion(method: str, widgets: dict[str, Any]) -> None:
    """The edit is that along the same method's path from Invert Picture to Path, made for the edit's cfg."""
    model, source = gaussian_model(ModelType.EPS, 1.25), latent()
    edited, path, report = edit(model, source, inversion={"inversion": method, **widgets})
    assert f"found by inversion ({method})" in report
    apart = Invert.execute(
        model, cond(MU_A), cond(MU_U), source, seed=5, t0=1.0, steps=10, scheduler="normal", cfg=2.0,
        method={"method": method, **widgets},
    ).args[0]  # fmt: skip
    assert torch.equal(path.states, apart.states)
    assert torch.equal(edited["samples"], edit(model, source, path=apart)[0]["samples"])
    with pytest.raises(ValueError, match="no inversion method 'magic'"):
        edit(model, source, inversion={"inversion": "magic"})


def test_an_interrupt_during_null_text_ends_the_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = tiny.unet(), itertools.count()
    monkeypatch.setattr(
        comfy.model_management,
        "throw_exception_if_processing_interrupted",
        lambda: tiny_interrupt() if next(calls) == 6 else None,
    )

    def tiny_interrupt() -> None:
        raise comfy.model_management.InterruptProcessingException

    with pytest.raises(comfy.model_management.InterruptProcessingException), torch.inference_mode():
        MDPEdit.execute(
            model, tiny.cond(1), tiny.cond(2), tiny.cond(3), latent(1), seed=1, steps=4, cfg=2.0, method="noise",
            inversion={"inversion": "null text", "iterations": 1},
        )  # fmt: skip


def test_edit_node_refuses_with_a_sentence() -> None:
    model = gaussian_model(ModelType.EPS)
    _, path, _ = edit(model, latent())
    nested = {"samples": SimpleNamespace(is_nested=True)}
    for problem, run in (
        ("holds none of the path's 10 steps", lambda: edit(model, latent(), schedule=PathSchedule(0.53, 0.49))),
        *(
            ("but the model is", lambda kind=kind: edit(gaussian_model(ModelType.FLOW), latent(), kind, path=path))
            for kind in ("noise", "conditioning", "guidance")
        ),
        ("nested latent", lambda: edit(model, nested)),
        ("no method 'magic'", lambda: edit(model, latent(), "magic")),
        (
            "mask is 32 x 64, but the latent is 8 x 8, 64 x 64 pixels",
            lambda: edit(model, latent(), mask=torch.eye(64, 32)),
        ),
        ("mask is a batch of 3, but there are 2 pictures", lambda: edit(model, latent(), mask=torch.zeros(3, 64, 64))),
        ("must stay within 0", lambda: edit(model, latent(), mask=torch.full((1, 64, 64), 2.0))),
    ):
        with pytest.raises(ValueError, match=problem):
            run()


@every_family
def test_manipulations_are_patches_for_any_graph(kind: ModelType) -> None:
    """DPathMDP, of each kind: clones with wrappers, nothing run."""
    model = gaussian_model(kind)
    _, path, _ = edit(model, latent())
    before = model.model.evaluations
    for name, source in (("noise", path), ("latent", path), ("conditioning", cond(MU_A)), ("guidance", cond(MU_A))):
        (patched,) = MDP.execute(model, name, source, PathSchedule()).args
        assert patched is not model
        assert len(patched.wrappers["predict_noise"]["diffusion_path_mdp"]) == 1
        (twice,) = MDP.execute(patched, name, source, PathSchedule()).args
        assert len(twice.wrappers["predict_noise"]["diffusion_path_mdp"]) == 2
        assert len(patched.wrappers["predict_noise"]["diffusion_path_mdp"]) == 1
    with pytest.raises(ValueError, match="The kind latent takes the source's path, but source is .*: connect a path"):
        MDP.execute(model, "latent", cond(MU_A), PathSchedule())
    with pytest.raises(ValueError, match="source is .*"):
        MDP.execute(model, "guidance", path, PathSchedule())
    assert model.wrappers == {}
    assert model.model.evaluations == before


@every_family
def test_sweep_node_makes_a_grid_on_one_path(kind: ModelType) -> None:
    """DPathMDPSweep: every cell is the edit of its own window or weight."""
    model, source = gaussian_model(kind, 1.25), latent(1)
    grid, latents, path, report = sweep(model, source)
    assert latents["samples"].shape[0] == 4
    windows = [(1.0, 0.7), (1.0, 0.4), (0.8, 0.5), (0.8, 0.2)]
    for found, (start, end) in zip(latents["samples"], windows, strict=True):
        single, *_ = edit(model, source, path=path, schedule=PathSchedule(start, end))
        assert torch.equal(found, single["samples"][0])
    assert report.splitlines()[0] == "1 to 0.7, weight 1: 14 evaluations, 6 saved"
    assert report.splitlines()[-1] == "together: 54 evaluations, 10 of them for the source's path"
    assert grid.shape[1] > 2 * 64
    *_, report = sweep(model, source, path=path, method="recommended")
    together, unused, note = report.splitlines()[-3:]
    assert "so the negative prompt has no effect" in unused
    assert together == "together: 48 evaluations, 0 of them for the source's path and 4 to find the region"
    assert note.startswith("note: the prompts differ nearly everywhere (more than 80% of the picture)")
    _, latents, *_ = sweep(model, source, path=path, sweep="weights", schedule=PathSchedule(0.9, 0.3))
    for found, weight in zip(latents["samples"], (0.0, 0.5, 1.0), strict=True):
        single, *_ = edit(model, source, path=path, schedule=PathSchedule(0.9, 0.3, weight=weight))
        assert torch.equal(found, single["samples"][0])


@pytest.mark.parametrize("method", ["recommended", "noise"])
def test_a_mask_that_does_not_fit_is_said_before_any_work_is_done(method: str) -> None:
    model, wide = gaussian_model(ModelType.EPS), torch.eye(8, 16)
    for path in (None, edit(model, latent(1))[1]):
        before = model.model.evaluations
        for run in (
            lambda **extra: edit_all(model, latent(1), method, **extra),
            lambda **e: sweep(model, latent(1), **e),
        ):
            with pytest.raises(ValueError, match="mask is 16 x 8, but the latent is 8 x 8"):
                run(mask=wide, path=path)
        assert model.model.evaluations == before


def test_sweep_node_keeps_what_is_done_and_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, source = gaussian_model(ModelType.EPS), latent(1)
    complete = sweep(model, source)
    stamp = MDPSweep.fingerprint_inputs()
    calls = itertools.count()
    untouched = model.model._apply_model

    def interrupted(*args: Any, **kwargs: Any) -> Tensor:
        if next(calls) == 10 + 7 + 3:
            raise comfy.model_management.InterruptProcessingException
        return untouched(*args, **kwargs)

    monkeypatch.setattr(model.model, "_apply_model", interrupted)
    grid, latents, _, report = sweep(model, source)
    assert torch.equal(latents["samples"], complete[1]["samples"][:1])
    assert grid.shape == complete[0].shape
    assert report.endswith("interrupted: 1 of 4 edits were made")
    assert MDPSweep.fingerprint_inputs() != stamp, "ComfyUI must not take the partial grid for the whole one"
    calls = itertools.repeat(10 + 7 + 3)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sweep(model, source)


@pytest.mark.parametrize(
    ("problem", "widgets"),
    [
        ("starts cannot be read at 'x'", {"starts": "1, x"}),
        ("length 0 from 1 is not valid", {"lengths": "0"}),
        ("length 0.5 from 1.5 is not valid", {"starts": "1.5", "lengths": "0.5"}),
        ("has 0 edits", {"starts": ""}),
        ("has 121 edits", {"starts": "0.5 " * 11, "lengths": "0.5 " * 11}),
        ("weight of the source is 3", {"sweep": "weights", "weights": "3"}),
    ],
)
def test_sweep_node_refuses_with_a_sentence(problem: str, widgets: dict[str, str]) -> None:
    model = gaussian_model(ModelType.EPS)
    before = model.model.evaluations
    with pytest.raises(ValueError, match=problem):
        sweep(model, latent(1), **widgets)
    assert model.model.evaluations == before, "said before any work is done"


@every_family
def test_flowedit_node(kind: ModelType) -> None:
    """DPathFlowEdit: towards the target, nothing outside of the mask, and a report of what was run."""
    model, source = gaussian_model(kind, 1.25), latent()
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1

    def run(**extra: Any) -> tuple[Any, ...]:
        widgets = {"start": 0.8, "steps": 5, "source_cfg": 1.5, "cfg": 3.0, "n_avg": 1, "refine": 0}
        return FlowEdit.execute(model, cond(MU_B), cond(MU_U), cond(MU_A), source, seed=1, **{**widgets, **extra}).args

    edited, report = run()
    assert bool(((edited["samples"] - source["samples"]).mean(dim=(1, 2, 3)) < -0.05).all())
    assert "5 steps, 20 evaluations" in report
    kept, _ = run(mask=mask)
    assert torch.equal(kept["samples"][..., :4], source["samples"][..., :4])
    assert "noise_mask" not in source
    with pytest.raises(ValueError, match="5 channels but this model works on 4"):
        FlowEdit.execute(
            model, cond(0), cond(0), cond(0), {"samples": torch.ones(1, 5, 8, 8)}, 1, start=0.8, steps=5, cfg=3.0
        )


class Clip:
    """CLIP's own tokenizer with an encoder of random embeddings, 77 for each chunk."""

    def __init__(self) -> None:
        self.tokenizer = comfy.sd1_clip.SD1Tokenizer()
        self.tokenize = self.tokenizer.tokenize_with_weights

    def encode_from_tokens_scheduled(self, tokens: dict[str, Any]) -> list[list[Any]]:
        table = torch.randn(49408, tiny.WIDTH, generator=torch.Generator().manual_seed(0))
        rows = [torch.stack([table[each[0]] for each in chunk]) for chunk in tokens["l"]]
        return [[torch.cat(rows)[None], {"pooled_output": rows[0].mean(0)[None, :8]}]]


def test_attention_node_aligns_encodes_and_holds() -> None:
    """DPathMDPAttention hands on the model and the encoded target prompt; a mask holds the source."""
    model, clip = tiny.unet(), Clip()
    texts = ("a red house in summer", "a red house in winter")
    source, target = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in texts)

    def attention(model: Any, schedule: PathSchedule, *prompts: str, mask: Any = None, **mode: Any) -> tuple[Any, ...]:
        words = {"clip": clip, "source_prompt": prompts[0], "target_prompt": prompts[1], **mode}
        return call("DPathMDPAttention", model=model, path=path, schedule=schedule, mode=words, mask=mask)

    with torch.inference_mode():
        path = MDPEdit.execute(
            model, target, tiny.cond(3), source, latent(1), seed=1, steps=4, cfg=2.0, method="noise"
        ).args[1]
        mask = torch.zeros(1, 64, 64)
        patched, positive = attention(
            model, PathSchedule(1.0, 0.2), *texts, mask=mask, mode="replace", reweight="winter:2", self_attention=0.5
        )
        assert torch.equal(positive[0][0], target[0][0])
        held, *_ = MDPEdit.execute(
            patched, positive, tiny.cond(3), source, latent(1), seed=1, steps=4, cfg=2.0, method="noise",
            schedule=PathSchedule(1.0, 0.0, weight=0.0), path=path,
        ).args  # fmt: skip
    torch.testing.assert_close(held["samples"], latent(1)["samples"], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="5 words and the target 3: use 'refine'"):
        attention(model, PathSchedule(), texts[0], "a red house", mode="replace")
    with pytest.raises(ValueError, match="nearest window that holds one is 0.67 to 0.5"):
        attention(model, PathSchedule(0.6, 0.5), *texts, mode="replace", self_attention=0.0)
    with pytest.raises(ValueError, match="needs a U-Net"):
        attention(tiny.flux(), PathSchedule(), *texts, mode="refine")
