"""What lies between two prompts, for everything that a model's prompts carry, and that the ends are the prompts."""

from __future__ import annotations

from functools import cache
from typing import Any

import comfy.conds
import comfy.samplers
import pytest
import torch
from comfy.conds import CONDConstant, CONDList, CONDRegular
from diffusion_path.samplers import process
from diffusion_path.samplers.mdp.conditions import mix_conditioning, mix_guidance
from diffusion_path.samplers.mdp.interpolation import interpolated, mixed_inputs, same_length
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.carried import flux_with_references, randn, zimage_with_padding
from torch import Tensor


@cache
def unet_with_control() -> tuple[Any, Any, Any]:
    control = tiny.controlnet()
    advanced = [[tokens, {**extra, "control": control, "control_apply_to_uncond": False}]
                for tokens, extra in tiny.cond(1)]  # fmt: skip
    return tiny.unet(), tiny.cond(0), advanced


def sampled(model: Any, positive: Any) -> Tensor:
    with torch.inference_mode():
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, tiny.cond(2))
        guider.set_cfg(3.0)
        latent = tiny.latent(model)["samples"]
        sampling = process.model_sampling(model)
        sigmas = torch.tensor([process.t0_to_sigma(sampling, t) for t in (0.6, 0.3, 0.0)])
        euler = comfy.samplers.sampler_object("euler")
        return guider.sample(latent.flip(-1), latent, euler, sigmas, disable_pbar=True, seed=0)


@cache
def _ends(case: Any) -> list[Tensor]:
    model, target, source = case()
    return [sampled(model, target), sampled(model, source)]


@pytest.mark.parametrize("method", [mix_conditioning, mix_guidance])
@pytest.mark.parametrize("case", [flux_with_references, zimage_with_padding, unet_with_control])
def test_weight_one_is_the_source_and_zero_the_target_with_all_that_they_carry(case: Any, method: Any) -> None:
    model, target, source = case()
    ends = _ends(case)
    assert not torch.equal(*ends)
    for weight, end in enumerate(ends):
        schedule = PathSchedule(1.0, 0.0, weight=float(weight))
        assert torch.equal(sampled(method(model, source, schedule), target), end)


def test_a_mixture_has_the_tokens_of_the_longer_prompt() -> None:
    """As core would encode it: its mask is left out where it is 1 everywhere, and its number of tokens follows."""
    model, target, source = zimage_with_padding()
    half = sampled(mix_conditioning(model, source, PathSchedule(1.0, 0.0, weight=0.5)), target)
    tokens = torch.lerp(target[0][0], source[0][0], 0.5)
    torch.testing.assert_close(half, sampled(model, [[tokens, target[0][1] | {"attention_mask": torch.ones(1, 5)}]]))


def test_references_between_the_prompts() -> None:
    model = tiny.flux()
    first, second = randn(3, 1, 16, 8, 8), randn(4, 1, 16, 8, 8)
    target, source = tiny.cond(0), tiny.cond(1)
    target[0][1].update(reference_latents=[first, first], guidance=1.0)
    source[0][1].update(reference_latents=[second, first], guidance=3.0)
    mixed = [[torch.lerp(target[0][0], source[0][0], 0.25), {**target[0][1], "guidance": 1.5}]]
    mixed[0][1]["reference_latents"] = [torch.lerp(first, second, 0.25), first]
    mixed[0][1]["pooled_output"] = torch.lerp(target[0][1]["pooled_output"], source[0][1]["pooled_output"], 0.25)
    found = sampled(mix_conditioning(model, source, PathSchedule(1.0, 0.0, weight=0.25)), target)
    torch.testing.assert_close(found, sampled(model, mixed), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_interpolated_is_refused_by_name() -> None:
    model, target, source = flux_with_references()
    half = PathSchedule(1.0, 0.0, weight=0.5)
    remedy = "give both the same, or use the kind guidance"
    with pytest.raises(ValueError, match=rf"different numbers or sizes of reference latents \(ref_latents\).*{remedy}"):
        sampled(mix_conditioning(model, source, half), target)
    with pytest.raises(ValueError, match=rf"Only the source prompt has reference latents \(ref_latents\).*{remedy}"):
        sampled(mix_conditioning(model, source, half), tiny.cond(0))
    assert bool(sampled(mix_guidance(model, source, half), target).isfinite().all())
    model, target, source = unet_with_control()
    with pytest.raises(ValueError, match=rf"Only the source prompt has ControlNet \(control\).*{remedy}"):
        sampled(mix_conditioning(model, source, half), target)


def test_the_same_controlnet_applied_twice_serves_both_prompts() -> None:
    model, _, source = unet_with_control()
    copied = source[0][1]["control"].copy()
    copied.set_cond_hint(source[0][1]["control"].cond_hint_original.clone(), 1.0)
    target = [[tokens, {**extra, "control": copied}] for tokens, extra in tiny.cond(0)]
    half = PathSchedule(1.0, 0.0, weight=0.5)
    mixed = [[torch.lerp(target[0][0], source[0][0], 0.5), target[0][1]]]
    found = sampled(mix_conditioning(model, source, half), target)
    torch.testing.assert_close(found, sampled(model, mixed), rtol=1e-4, atol=1e-4)
    copied.strength = 0.5
    with pytest.raises(ValueError, match="have different ControlNet"):
        sampled(mix_conditioning(model, source, half), target)


def test_values_of_all_kinds() -> None:
    """Numbers are interpolated; token ids, names and whole numbers are not, but may be equal."""
    ids = CONDRegular(torch.tensor([[1, 2]]))
    payload = {"refs": [{"latent": torch.ones(2)}], "seed": 0}
    constant = {"ids": ids, "fps": CONDConstant(None), "payload": CONDConstant({**payload, "layout": object()})}
    equal = {"ids": CONDRegular(ids.cond.clone()), "fps": CONDConstant(None), "payload": CONDConstant({**payload})}
    mixed = mixed_inputs({**constant, "n": CONDConstant([1, 2.0])}, {**equal, "n": CONDConstant([2.0, 0.0])}, 0.25)
    assert torch.equal(mixed["ids"].cond, ids.cond)
    assert (mixed["payload"].cond["refs"], mixed["fps"].cond, mixed["n"].cond) == (payload["refs"], None, [1.25, 1.5])
    for name, own, other, problem in (
        ("input_ids", ids, CONDRegular(torch.tensor([[1, 3]])), r"different token ids \(input_ids\)"),
        ("ar_len", CONDConstant(7), CONDConstant(8), "different model inputs 'ar_len'"),
        ("method", CONDConstant("index"), CONDConstant("offset"), "different model inputs 'method'"),
        ("minimax_payload", CONDConstant(payload), CONDConstant({**payload, "seed": 1}), "'minimax_payload'"),
        ("siglip_feats", CONDList([torch.ones(1)]), CONDList([]), "numbers or sizes of image embeddings"),
    ):
        with pytest.raises(ValueError, match=problem):
            mixed_inputs({name: own}, {name: other}, 0.5)
    llama = [{"encoder_hidden_states_llama3": CONDRegular(torch.ones(1, 2, n, 3))} for n in (2, 4)]
    mean = mixed_inputs(llama[0], llama[1], 0.5)["encoder_hidden_states_llama3"].cond.mean((0, 1, 3))
    assert mean.tolist() == [1.0, 1.0, 0.5, 0.5]


def test_prompts_of_several_parts_are_paired() -> None:
    parts = [{"model_conds": {}, "strength": s} for s in (1.0, 0.5)]
    assert len(interpolated(parts, parts[:1], 0.5)) == 2
    assert interpolated(parts, parts[:1], 1.0) == parts[:1]
    with pytest.raises(ValueError, match="has 2 parts and the target 1"):
        interpolated(parts[:1], parts, 0.5)


def test_prompts_of_other_lengths() -> None:
    """Repetition leaves cross-attention as it is; elsewhere zeros continue the shorter prompt."""
    short, long = torch.rand(1, 2, 3), torch.rand(1, 6, 3)
    a, b = same_length(short, long, repeat=True)
    assert torch.equal(a, short.repeat(1, 3, 1))
    assert b is not long or torch.equal(b, long)
    a, _ = same_length(short, long, repeat=False)
    assert torch.equal(a, torch.cat([short, torch.zeros(1, 4, 3)], 1))
    a, b = same_length(torch.rand(1, 5, 3), torch.rand(1, 7, 3), repeat=True)
    assert a.shape == b.shape == (1, 7, 3), "35 tokens would be too many"

    conds = comfy.conds
    target = {"c_crossattn": conds.CONDCrossAttn(short), "y": conds.CONDRegular(torch.zeros(1, 4))}
    source = {"c_crossattn": conds.CONDCrossAttn(long), "y": conds.CONDRegular(torch.ones(1, 4))}
    mixed = mixed_inputs(target, source, 0.25)
    torch.testing.assert_close(mixed["c_crossattn"].cond, 0.75 * short.repeat(1, 3, 1) + 0.25 * long)
    torch.testing.assert_close(mixed["y"].cond, torch.full((1, 4), 0.25))

    masks = [{"attention_mask": conds.CONDRegular(torch.ones(1, n, dtype=torch.long))} for n in (2, 4)]
    assert mixed_inputs(masks[0], masks[1], 0.5)["attention_mask"].cond.tolist() == [[1, 1, 1, 1]]
    with pytest.raises(ValueError, match=r"'y' of the two prompts have the shapes \[1, 4\] and \[1, 5\]"):
        mixed_inputs({"y": target["y"]}, {"y": conds.CONDRegular(torch.ones(1, 5))}, 0.5)
