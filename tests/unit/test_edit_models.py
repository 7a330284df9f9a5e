"""Edit models: prompts that carry pictures as reference latents, in every method that edits or inverts."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from diffusion_path.devtools.direct import call
from diffusion_path.samplers.conditioning import fingerprint
from diffusion_path.tests.unit import families, tiny
from diffusion_path.tests.unit.carried import randn
from diffusion_path.tests.unit.compatibility import EXACT, WORKS, World, outcome
from diffusion_path.tests.unit.families import QWEN
from torch import Tensor

EDITING = (
    "DPathSDEdit",
    "DPathRecord",
    "DPathToSampling",
    "DPathInvert: residual",
    "DPathInvert: negative prompt",
    "DPathInvert: null text",
    "DPathMDP: noise",
    "DPathMDP: conditioning",
    "DPathMDP: guidance",
    "DPathMDPEdit",
    "DPathFlowEdit",
)


def referring(conditioning: list[list[Any]], *references: Tensor) -> list[list[Any]]:
    """As core's ReferenceLatent and TextEncodeQwenImageEdit leave it."""
    return [[tokens, {**extra, "reference_latents": list(references)}] for tokens, extra in conditioning]


@cache
def world() -> World:
    """Qwen-Image-Edit: the picture to edit is a reference of the positive prompts; the negative prompt has none."""
    with torch.inference_mode():
        place = World(QWEN)
        picture = place.latent["samples"]
        place.positive, place.source = (referring(each, picture) for each in (place.positive, place.source))
        return place


@pytest.mark.parametrize("label", EDITING)
def test_every_method_edits_with_references(label: str) -> None:
    assert outcome(label, world())[0] in (EXACT, WORKS)


def edited(node: str, latent: Tensor, references: list[Tensor], indices: list[int]) -> Tensor:
    given = {"model": tiny.flux(), "negative": tiny.cond(2), "seed": 1, "steps": 2, "cfg": 3.0}
    samples = {"samples": latent, "batch_index": indices}
    with torch.inference_mode():
        positive = referring(tiny.cond(0), *references)
        if node == "DPathSDEdit":
            return call(node, **given, positive=positive, guide=samples, t0=0.6)[0]["samples"]
        source = referring(tiny.cond(1), *references)
        if node == "DPathFlowEdit":
            return call(node, **given, positive=positive, source=source, latent=samples, start=0.6)[0]["samples"]
        sigmas = call("DPathSigmas", model=given["model"], t0=0.6, steps=2, scheduler="simple")[0]
        given |= {"latent": samples, "source": source, "sigmas": sigmas}
        return call(node, **given, positive=positive, method="conditioning")[0]["samples"]


@pytest.mark.parametrize("node", ["DPathSDEdit", "DPathFlowEdit", "DPathMDPEdit"])
def test_a_batch_with_a_reference_for_each_picture_is_its_singles(node: str) -> None:
    latent, first, second = randn(1, 2, 16, 8, 8), randn(2, 2, 16, 8, 8), randn(3, 1, 16, 4, 6)
    both = edited(node, latent, [first, second], [0, 1])
    for i in range(2):
        single = edited(node, latent[i : i + 1], [first[i : i + 1], second], [i])
        torch.testing.assert_close(both[i : i + 1], single, rtol=1e-4, atol=1e-4)
    other = edited(node, latent, [first.flip(0), second], [0, 1])
    assert not torch.allclose(other, both, atol=1e-3)


def test_a_path_knows_the_references_that_it_was_made_with() -> None:
    plain, picture = families.cond(QWEN), randn(0, 1, 16, 1, 8, 8)
    assert fingerprint(referring(plain)) == fingerprint(plain)
    digests = {fingerprint(each) for each in (plain, referring(plain, picture), referring(plain, picture + 1))}
    assert len(digests) == 3
