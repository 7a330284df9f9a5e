"""Null text that is interrupted and continued, and the embeddings that another one starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.model_management
import pytest
import torch
from diffusion_path.gradients import Gradients
from diffusion_path.samplers import process
from diffusion_path.samplers.inversion import null_text
from diffusion_path.samplers.inversion.invert import invert
from diffusion_path.samplers.inversion.null_text import NullText
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.samplers.sigmas import sdedit_sigmas
from diffusion_path.tests.unit import tiny
from torch import Tensor


def levels(model: Any, steps: int, t0: float = 1.0) -> Tensor:
    return sdedit_sigmas(process.model_sampling(model), t0, steps, "normal")


@pytest.mark.parametrize(("at", "warm"), [(3, False), (9, False), (13, False), (29, False), (20, True)])
def test_an_interrupted_null_text_continues_as_if_nothing_had_happened(at: int, warm: bool, tmp_path: Path) -> None:
    """Stopped at any gradient, in the middle of a step too, saved, loaded and continued: the same path bit for bit."""
    model, given, taken = tiny.unet(), tiny.latent(tiny.unet()), [0]

    def run(earlier: Any = None, stop_at: int = 0, updates: int = 6) -> tuple[Any, int]:
        taken[0] = 0

        def interrupt(*args: Any) -> Any:
            taken[0] += 1
            if taken[0] == stop_at:
                raise comfy.model_management.InterruptProcessingException
            return attempt(*args)

        method = NullText(updates, 0.0, earlier=earlier)
        with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
            patch.setattr(Gradients, "_attempt", interrupt)
            return invert(model, (tiny.cond(0), tiny.cond(1)), given, levels(model, 6), method, 4.0), taken[0]

    attempt = Gradients._attempt
    before = [each.requires_grad for each in model.model.parameters()]
    first = run(updates=1)[0] if warm else None
    whole, gradients = run(first)
    assert gradients == 36
    assert dict(whole.progress) == {}
    if at < 7:  # nothing was found yet, so that there is nothing to show either
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            run(first, at)
        return
    partial, _ = run(first, at)
    done = (at - 1) // 6
    assert [each.requires_grad for each in model.model.parameters()] == before
    assert partial.figures == {"optimised_steps": (float(done),)}
    assert torch.equal(partial.null[null_text.KEY][:done], whole.null[null_text.KEY][:done])
    assert torch.equal(partial.null[null_text.KEY][5], partial.null[null_text.KEY][done - 1])
    save_path(partial, tmp_path / "unfinished.safetensors")
    rest, less = run(load_path(tmp_path / "unfinished.safetensors"))
    assert less == 36 - 6 * done
    assert torch.equal(rest.null[null_text.KEY], whole.null[null_text.KEY])
    assert torch.equal(rest.states, whole.states)
    assert rest.figures == whole.figures
    assert dict(rest.progress) == {}


def test_an_interrupted_null_text_is_continued_only_as_the_same_run() -> None:
    model, given = tiny.unet(), tiny.latent(tiny.unet())
    gradients: list[int] = []

    def run(method: NullText, cfg: float = 4.0, prompt: int = 0, **other: Any) -> Any:
        gradients.append(0)

        def counted(*args: Any) -> Any:
            gradients[-1] += 1
            return attempt(*args)

        sigmas = other.get("sigmas", levels(model, 4))
        with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
            patch.setattr(Gradients, "_attempt", counted)
            return invert(
                model, (tiny.cond(prompt), tiny.cond(1)), given, sigmas, method, cfg, callback=other.get("callback")
            )

    def stop(step: int, *_: Any) -> None:
        if step == 1:
            raise comfy.model_management.InterruptProcessingException

    attempt = Gradients._attempt
    partial = run(NullText(3, 0.0), callback=stop)
    run(NullText(3, 0.0, earlier=partial))
    run(NullText(2, 0.0, earlier=partial))
    run(NullText(3, 0.0, earlier=partial), cfg=5.0)
    run(NullText(3, 0.0, earlier=partial), prompt=2)
    run(NullText(3, 0.0, earlier=partial), sigmas=levels(model, 4, t0=0.9))
    assert gradients == [6, 6, 8, 12, 12, 12]
    assert not partial.from_sigma(float(partial.sigmas[1])).progress, "a part of the path is another run"


def test_a_finished_null_text_is_where_another_one_starts() -> None:
    model, given = tiny.unet(), tiny.latent(tiny.unet())
    with torch.inference_mode():
        found = [invert(model, (tiny.cond(0), tiny.cond(1)), given, levels(model, 6), NullText(3, 0.0), 4.0)]
        again = NullText(3, 0.0, earlier=found[0])
        found.append(invert(model, (tiny.cond(0), tiny.cond(1)), given, levels(model, 6), again, 4.0))
    first, better = (path.figures["latent_psnr"][0] for path in found)
    assert better >= first


@pytest.mark.parametrize("words", [3, 0])
def test_padding_of_zeros_stays_as_it_is_beside_a_prompt(words: int) -> None:
    """Without any word, zeros are all that there is to optimise."""
    model = tiny.flux()
    [[tokens, extra]] = tiny.cond(1)
    negative = [[tokens * (torch.arange(tiny.TOKENS) < words)[:, None], extra]]
    with torch.inference_mode():
        path = invert(model, (tiny.cond(0), negative), tiny.latent(model), levels(model, 2, 0.6), NullText(1, 0.0), 4.0)
    changed = (path.null[null_text.KEY][0, 0] != negative[0][0][0]).any(-1)
    assert changed.tolist() == [i < words or not words for i in range(tiny.TOKENS)]
