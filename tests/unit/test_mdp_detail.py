"""Fine detail that an edit hardly changed stays the source's; what it changed broadly or much stays the edit's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comfy.model_base import ModelType
from comfy.nested_tensor import NestedTensor
from diffusion_path.samplers import nested
from diffusion_path.samplers.mdp import edit as mdp
from diffusion_path.samplers.mdp.detail import keep_detail
from diffusion_path.samplers.mdp.difference import RegionSettings
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model
from torch import Tensor

SHARE = 0.45


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_change_of_tone_keeps_the_texture_of_the_source() -> None:
    """Drawn again, the texture differs by far less than the tone does: it is the source's, and the tone the edit's."""
    source = noise(1, 4, 16, 16)
    edited = source + 1.0 + 0.1 * noise(1, 4, 16, 16, seed=1)
    kept = keep_detail(source, edited, SHARE)
    blurred = kept - source
    assert float(blurred.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(blurred.std()) < 0.4 * float((edited - source).std())


def test_changes_are_shrunk_as_the_garrote_shrinks_them() -> None:
    """h max(0, 1 - t^2 / |h|^2) with t = share rms(d), where both pictures have as much fine detail."""
    board = torch.ones(8, 8)
    board[::2, ::2] = board[1::2, 1::2] = -1.0
    source = board.expand(1, 1, 8, 8)
    edited = 5.0 - 1.0 * source  # another tone, and the squares the other way round
    inside = slice(3, 5)
    fine = (edited - source)[0, 0] - 5.0 + 2 / 9 * board  # less the mean over nine cells
    least = SHARE * float((edited - source).square().mean()) ** 0.5
    shrunk = fine * (1 - least**2 / fine.square()).clamp(min=0)
    wanted = (source[0, 0] + 5.0 - 2 / 9 * board + shrunk)[inside, inside]
    torch.testing.assert_close(keep_detail(source, edited, SHARE)[0, 0, inside, inside], wanted)


def test_no_shadow_of_what_went_comes_back() -> None:
    """A sun in a clear sky, and the sky without it: a fine change, but one of detail that only the source has."""
    source = torch.zeros(1, 1, 15, 15)
    source[..., 7, 7] = 1.0
    edited = torch.full((1, 1, 15, 15), 3.0)
    torch.testing.assert_close(keep_detail(source, edited, SHARE), edited)
    torch.testing.assert_close(keep_detail(edited, source, SHARE), source)


def test_a_batch_equals_its_singles_and_a_film_its_frames() -> None:
    source, edited = noise(3, 4, 9, 7), noise(3, 4, 9, 7, seed=1) * torch.tensor([0.1, 1.0, 3.0]).reshape(3, 1, 1, 1)
    batch = keep_detail(source, edited, SHARE)
    pairs = zip(source.split(1), edited.split(1), strict=True)
    singles = [keep_detail(before, after, SHARE) for before, after in pairs]
    torch.testing.assert_close(batch, torch.cat(singles))
    films = [each[:, :, None].expand(3, 4, 5, 9, 7) for each in (source, edited)]
    film = keep_detail(films[0], films[1], SHARE)
    torch.testing.assert_close(film, batch[:, :, None].expand_as(film))


def test_an_edit_that_changes_nothing_and_one_cell_alone_pass_through() -> None:
    source = noise(2, 4, 8, 8)
    assert torch.equal(keep_detail(source, source, SHARE), source)
    cell, other = noise(1, 4, 1, 1), noise(1, 4, 1, 1, seed=1)
    torch.testing.assert_close(keep_detail(cell, other, SHARE), other)


@pytest.mark.parametrize("kind", FAMILIES)
def test_recommended_edits_keep_detail_within_their_mask(kind: ModelType) -> None:
    """At 0 nothing is; else it is `keep_detail`'s edit where the mask is, and the source bit for bit outside."""
    model = gaussian_model(kind, 1.25)
    settings = mdp.MDPSettings(steps=6, region=RegionSettings(keep_detail=0.0))
    source = mdp.find_source(model, cond(0.25), cond(0.0), {"samples": noise(2, 4, 8, 8)}, 1, settings)
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:6, 2:6] = 1
    keeping = replace(settings, region=RegionSettings(keep_detail=SHARE))
    plain, kept = (
        mdp.edit(model, cond(0.75), cond(0.0), source, each, mask).latent["samples"] for each in (settings, keeping)
    )
    picture, inside = source.path.to_vae(source.path.picture), mask.bool().expand(2, 4, 8, 8)
    torch.testing.assert_close(kept, torch.where(inside, keep_detail(picture, plain, SHARE), plain))
    assert not torch.equal(kept, plain)
    assert torch.equal(kept[~inside], picture[~inside])


def test_sound_stays_as_the_edit_made_it() -> None:
    video, sound = noise(1, 4, 2, 8, 8), noise(1, 2, 16)
    both = nested.with_video(NestedTensor([video, sound]), 2 * video)
    assert torch.equal(both.unbind()[0], 2 * video)
    assert torch.equal(both.unbind()[1], sound)
    assert torch.equal(nested.with_video(video, 2 * video), 2 * video)
