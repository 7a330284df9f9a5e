"""Attention control by tokens on tiny transformers: what is replaced, where, by what, and what stays behind."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.samplers
import pytest
import torch
from diffusion_path.devtools.direct import call
from diffusion_path.samplers.mdp import token_features
from diffusion_path.samplers.mdp.token_control import TokenControl, control_tokens, layer_numbers
from diffusion_path.samplers.mdp.token_features import on_tokens
from diffusion_path.samplers.mdp.token_places import Layer
from diffusion_path.samplers.path import DiffusionPath
from diffusion_path.samplers.record import record
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import families, tiny
from diffusion_path.tests.unit.families import EVERY
from torch import Tensor

SIGMAS = torch.tensor([1.0, 0.7, 0.4, 0.0])
FULL, NONE = PathSchedule(1.0, 0.0), PathSchedule(1.0, 0.0, weight=0.0)
NOISE = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(8) >= 4).float().expand(1, 8, 8).contiguous()  # edit the right half
TEXT = tiny.TOKENS


def prompt(seed: int, tokens: int = TEXT, width: int = tiny.WIDTH) -> Any:
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.randn(1, families.POOLED, generator=generator)
    return [[torch.randn(1, tokens, width, generator=generator), {"pooled_output": pooled}]]


SOURCE, TARGET, NEGATIVE = (prompt(seed) for seed in (1, 2, 3))


def guider(model: Any, positive: Any = TARGET, negative: Any = NEGATIVE, cfg: float = 3.0) -> Any:
    made = comfy.samplers.CFGGuider(model)
    made.set_conds(positive, negative)
    made.set_cfg(cfg)
    return made


@torch.inference_mode()
def run(model: Any, positive: Any = TARGET, noise: Tensor = NOISE, sigmas: Tensor = SIGMAS, **more: Any) -> Tensor:
    euler, zeros = comfy.samplers.sampler_object("euler"), torch.zeros_like(noise)
    return guider(model, positive, **more).sample(noise, zeros, euler, sigmas, disable_pbar=True, seed=0)


@torch.inference_mode()
def recorded(model: Any, positive: Any = SOURCE, noise: Tensor = NOISE, **more: Any) -> tuple[DiffusionPath, Tensor]:
    euler, zeros = comfy.samplers.sampler_object("euler"), torch.zeros_like(noise)
    return record(guider(model, positive, **more), euler, SIGMAS, noise, {"samples": zeros}, disable_pbar=True)


@pytest.fixture(scope="module")
def flux() -> Any:
    return families.made(EVERY["Flux (schnell)"])


@pytest.fixture(scope="module")
def path(flux: Any) -> DiffusionPath:
    return recorded(flux)[0]


class Spy:
    """Another pack's attention function; what it gets, as tokens [B, tokens, heads d] of q, k and v by call."""

    def __init__(self) -> None:
        self.seen: list[list[Tensor]] = []

    def __call__(self, function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **more: Any) -> Tensor:
        self.seen.append([each.movedim(1, 2).flatten(2).clone() for each in (q, k, v)])
        return function(q, k, v, heads, *args, **more)

    def on(self, model: Any) -> Any:
        clone = model.clone()
        clone.model_options["transformer_options"]["optimized_attention_override"] = self
        return clone


def spied(flux: Any, path: DiffusionPath, structure: PathSchedule, content: Any = None, **more: Any) -> Any:
    """What attention gets in the first step at cfg 1: by layer, q, k and v of the source and of the target."""
    spy = Spy()
    noise = NOISE[: path.shape[0]]
    run(control_tokens(spy.on(flux), path, SOURCE, structure, content, **more), noise=noise, sigmas=SIGMAS[:2], cfg=1.0)
    source, target = spy.seen[:4], spy.seen[4:8]
    assert len(spy.seen) == 8, "muted calls are not attention"
    return list(zip(source, target, strict=True))


def test_the_pictures_tokens_are_the_sources_and_the_texts_its_own(flux: Any, path: DiffusionPath) -> None:
    for source, target in spied(flux, path, FULL, FULL)[1:]:
        for one, other in zip(source, target, strict=True):
            assert torch.equal(one[:, TEXT:], other[:, TEXT:])
            assert not torch.allclose(one[:, :TEXT], other[:, :TEXT], atol=1e-3)


def test_structure_is_queries_and_keys_and_content_values(flux: Any, path: DiffusionPath) -> None:
    for structure, content, wanted in ((FULL, None, [True, True, False]), (NONE, FULL, [False, False, True])):
        for source, target in spied(flux, path, structure, content)[1:]:
            pairs = zip(source, target, strict=True)
            assert [torch.equal(one[:, TEXT:], other[:, TEXT:]) for one, other in pairs] == wanted


def test_outside_the_mask_all_is_the_sources_and_inside_the_targets(flux: Any, path: DiffusionPath) -> None:
    outside = (torch.arange(16) % 4 < 2).nonzero().flatten() + TEXT
    inside = (torch.arange(16) % 4 >= 2).nonzero().flatten() + TEXT
    for source, target in spied(flux, path, NONE, mask=MASK)[1:]:
        for one, other in zip(source, target, strict=True):
            assert torch.equal(one[:, outside], other[:, outside])
            assert not torch.isclose(one[:, inside], other[:, inside]).all(-1).any()


def test_the_node_holds_the_picture_outside_the_mask(flux: Any, path: DiffusionPath) -> None:
    tokens = {"mode": "tokens", "positive": TARGET, "source": SOURCE, "content": 0.3}
    patched, positive = call("DPathMDPAttention", model=flux, path=path, schedule=FULL, mode=tokens, mask=MASK)
    assert positive is TARGET
    made, picture = run(patched), run(flux, SOURCE)
    torch.testing.assert_close(made[..., :4], picture[..., :4], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(made[..., 4:], picture[..., 4:], atol=1e-2)


@pytest.mark.parametrize("name", ["SD3", "Flux.2 (klein)", "Qwen-Image", "Z-Image", "Lumina 2"])
def test_prompts_of_any_length(name: str) -> None:
    """Equal prompts give the source, however long the negative one is; other lengths of the source serve too."""
    family = EVERY[name]
    model, width = families.made(family), family.width
    noise = families.latent(family, batch=1)["samples"]
    source, target, negative = (prompt(seed, length, width) for seed, length in ((1, 9), (2, TEXT), (3, 40)))
    path, picture = recorded(model, source, noise, negative=negative)
    everything = control_tokens(model, path, source, FULL, FULL)
    torch.testing.assert_close(run(everything, source, noise, negative=negative), picture, rtol=1e-3, atol=1e-4)
    edited = run(everything, target, noise, negative=negative)
    assert bool(torch.isfinite(edited).all())
    assert not torch.equal(edited, run(model, target, noise, negative=negative))


def test_a_batch_is_its_singles(flux: Any, path: DiffusionPath) -> None:
    half, soft = PathSchedule(1.0, 0.3, "linear", 0.8), torch.cat([MASK, MASK.flip(-1) * 0.5])
    together = run(control_tokens(flux, path, SOURCE, half, FULL, mask=soft))
    for i in range(2):
        noise = NOISE[i : i + 1]
        single = control_tokens(flux, recorded(flux, noise=noise)[0], SOURCE, half, FULL, mask=soft[i : i + 1])
        torch.testing.assert_close(run(single, noise=noise), together[i : i + 1], rtol=1e-3, atol=1e-4)


def test_neutral_is_core_and_windows_hold(flux: Any, path: DiffusionPath) -> None:
    plain = run(flux)
    assert torch.equal(run(control_tokens(flux, path, SOURCE, NONE, NONE)), plain)
    assert torch.equal(run(control_tokens(flux, path, SOURCE, NONE, mask=torch.ones(1, 8, 8))), plain)
    seen: list[float] = []

    def watched(executor: Any, x: Tensor, t: Tensor, *args: Any, **more: Any) -> Tensor:
        seen.append(round(float(t[0]), 3))
        return executor(x, t, *args, **more)

    model = flux.clone()
    model.add_wrapper_with_key("apply_model", "watch", watched)
    run(control_tokens(model, path, SOURCE, PathSchedule(1.0, 0.9)), cfg=1.0)
    assert seen == [1.0, 1.0, 0.7, 0.4], "one more evaluation in the window alone"


def test_parts_of_a_run_are_the_whole(flux: Any, path: DiffusionPath) -> None:
    model = control_tokens(flux, path, SOURCE, PathSchedule(1.0, 0.3), PathSchedule(1.0, 0.6))
    whole, euler = run(model, cfg=1.0), comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        first = run(model, cfg=1.0, sigmas=SIGMAS[:3])
        empty = torch.zeros_like(NOISE)
        last = guider(model, cfg=1.0).sample(empty, first, euler, SIGMAS[2:], disable_pbar=True, seed=0)
    torch.testing.assert_close(last, whole, rtol=1e-4, atol=1e-4)


def test_layers_are_numbered_as_they_are_called(flux: Any, path: DiffusionPath) -> None:
    assert layer_numbers(" ") is None
    assert layer_numbers("0-2, 7;4") == {0, 1, 2, 4, 7}
    for text in ("a", "3-1", "-1", "1.5"):
        with pytest.raises(ValueError, match="cannot be read: write numbers and ranges"):
            layer_numbers(text)
    changed = spied(flux, path, FULL, FULL, layers="1, 3")
    same = [torch.equal(source[0][:, TEXT:], target[0][:, TEXT:]) for source, target in changed]
    assert same == [False, True, False, True]
    with pytest.raises(ValueError, match="None of the layers 4 to 9 is in this Flux model, which has 4 of them"):
        run(control_tokens(flux, path, SOURCE, FULL, layers="4-9"))


def test_a_token_is_edited_if_any_of_its_cells_is() -> None:
    region = torch.zeros(1, 3, 5, 5)
    region[0, 1, 0, 3] = 1.0
    region[0, 2, 4, 4] = 0.5
    layer = Layer((0, 18), (0, 18), (2, 3, 3), (2, 2), (0, 0, 0))
    wanted = torch.zeros(1, 2, 3, 3)
    wanted[0, 0, 0, 1], wanted[0, 1, 2, 2] = 1.0, 0.5
    assert torch.equal(on_tokens(region, layer), wanted.flatten(1))


def test_nothing_stays_after_an_interrupt(flux: Any, path: DiffusionPath) -> None:
    calls: list[int] = []

    def interrupting(function: Any, *args: Any, **more: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 7:  # in the target's branch of the first step
            raise comfy.model_management.InterruptProcessingException
        return function(*args, **more)

    model = flux.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = interrupting
    control = TokenControl(path, SOURCE, (FULL, FULL), None, None)
    began: list[Any] = []
    begin = control.begin
    control.begin = lambda *given: began.append(begin(*given)) or began[-1]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(control.on(model))
    assert control.run is None
    assert began[0].features.kept == {}
    assert set(model.model_options["transformer_options"]) == {"optimized_attention_override"}
    assert torch.equal(run(flux), run(flux))


def test_what_cannot_be_is_refused(flux: Any, path: DiffusionPath, monkeypatch: pytest.MonkeyPatch) -> None:
    controlled = control_tokens(flux, path, SOURCE, FULL)
    with pytest.raises(ValueError, match="this model is a U-Net: choose replace or refine"):
        control_tokens(tiny.unet(), path, SOURCE, FULL)
    with pytest.raises(ValueError, match="holds none of the path's 3 steps"):
        control_tokens(flux, path, SOURCE, PathSchedule(0.65, 0.5), NONE)
    with pytest.raises(ValueError, match="source prompt of one part, but this one has 2"):
        run(control_tokens(flux, path, [*SOURCE, *SOURCE], FULL))
    somewhere = [[tokens, {**extra, "area": (4, 4, 0, 0), "strength": 1.0}] for tokens, extra in TARGET]
    with pytest.raises(ValueError, match=r"whole picture, but a prompt is for an area.*Conditioning \(Set Mask\)"):
        run(controlled, somewhere)
    monkeypatch.setattr(token_features.comfy.model_management, "get_free_memory", lambda device=None: 100)
    with pytest.raises(ValueError, match=r"keeps 0\.00 GB of the source at each step, but only 0\.00 GB of memory"):
        run(controlled)


def test_a_prompt_in_parts_by_masks(flux: Any, path: DiffusionPath) -> None:
    """Both parts of the target have the source's structure; with the source's own prompt in both it comes back."""
    ((tokens, extra),) = SOURCE
    halves = [[tokens, {**extra, "mask": each, "strength": 1.0}] for each in (MASK, 1 - MASK)]
    found = run(control_tokens(flux, path, SOURCE, FULL, FULL), halves)
    torch.testing.assert_close(found, run(flux, SOURCE), rtol=1e-3, atol=1e-4)
