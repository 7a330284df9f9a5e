"""Negative-prompt inversion: at every cfg the source's own prediction, whatever its prompt carries."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy.conds import CONDConstant, CONDRegular
from diffusion_path.samplers import process
from diffusion_path.samplers.conditioning import standing_in, stored_tensors
from diffusion_path.samplers.inversion.invert import invert
from diffusion_path.samplers.inversion.negative_prompt import NegativePrompt
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.samplers.replay import replay
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.carried import flux_with_references, with_extras, zimage_with_padding


@pytest.mark.parametrize("case", [flux_with_references, zimage_with_padding])
@pytest.mark.parametrize("swapped", [False, True])
def test_guidance_cancels_out_with_all_that_the_prompt_carries(case: Any, swapped: bool, tmp_path: Any) -> None:
    """The source's references, guidance, masks and numbers of tokens take the place of the negative prompt's."""
    model, negative, source = case()
    if swapped:
        negative, source = source, negative
    with torch.inference_mode():
        latent = tiny.latent(model)
        sigmas = torch.tensor([process.t0_to_sigma(process.model_sampling(model), t) for t in (0.6, 0.3, 0.0)])
        path = invert(model, (source, negative), latent, sigmas, NegativePrompt(), 5.0)
        save_path(path, tmp_path / "path.safetensors")
        path = load_path(tmp_path / "path.safetensors")
        plain, guided = (replay(model, source, negative, path, cfg)[1]["samples"] for cfg in (1.0, 5.0))
    torch.testing.assert_close(guided, plain, rtol=1e-4, atol=1e-4)


def test_a_mask_that_only_the_source_has_stays_one_of_whole_numbers() -> None:
    """A network takes a mask of other numbers for something to add to its attention."""
    mask = torch.tensor([[1, 1, 0]])
    text, other = (CONDRegular(torch.full((1, 3, 2), value)) for value in (1.0, 2.0))
    source = {"model_conds": {"c_crossattn": text, "attention_mask": CONDRegular(mask), "num_tokens": CONDConstant(2)}}
    negative = {"model_conds": {"c_crossattn": other, "num_tokens": CONDConstant(3), "denoise_mask": other}}
    stored = stored_tensors(source, [negative])
    assert all(tensor.dtype == torch.float32 for tensor in stored.values())
    [replaced] = standing_in([negative], stored, 0, whole=True)
    found = {name: held.cond for name, held in replaced["model_conds"].items()}
    assert found.keys() == {"c_crossattn", "attention_mask", "num_tokens", "denoise_mask"}
    assert found["attention_mask"].dtype == torch.int64
    assert torch.equal(found["attention_mask"], mask)
    assert (found["num_tokens"], found["denoise_mask"]) == (2, other.cond)
    [back] = standing_in([source], stored_tensors(negative, [source]), 0, whole=True)
    assert "attention_mask" not in back["model_conds"]


def test_what_a_path_cannot_store_is_refused_where_the_prompts_differ_in_it() -> None:
    references = [torch.ones(1, 16, 8, 8)]
    source = with_extras(1, reference_latents=references, reference_latents_method="index")
    model = tiny.flux()
    with torch.inference_mode():
        sigmas = torch.tensor([0.5, 0.0])
        given = (tiny.latent(model), sigmas, NegativePrompt(), 5.0)
        with pytest.raises(ValueError, match="different model inputs 'ref_latents_method', which a path cannot store"):
            invert(model, (source, tiny.cond(0)), *given)
        assert invert(model, (source, source), *given).null["ref_latents.0"].shape == (1, 1, 16, 8, 8)
