"""Where the picture is in a block's output: found by marking, in networks known and unknown, and nothing disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.ldm.common_dit import pad_to_patch_size
from comfy.ldm.modules.attention import optimized_attention
from diffusion_path import gradients
from diffusion_path.lep import families as architectures
from diffusion_path.lep.features import Places, call_network, capturing, run_with_prompts, survey
from diffusion_path.lep.guidance import Guidance, guide
from diffusion_path.lep.places import find_places, latent_of
from diffusion_path.lep.predictor import MapPredictor
from diffusion_path.samplers.marking import Call
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.families import EVERY, FAMILIES, Family
from diffusion_path.tests.unit.guided import Fixed, predictor_for, run
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

REFERENCE, LTX2 = "Wan 2.1 with a reference", "LTX-2 (with sound)"
UNUSUAL = [
    REFERENCE, LTX2, "Hunyuan DiT 1.2", "ERNIE-Image", "SeedVR2", "Cosmos 1 T2V", "CogVideoX 1.5", "HiDream I1",
    "Chroma Radiance", "Wan SCAIL with a reference", "HiDream O1",
]  # fmt: skip
"""Tokens before, after and among the picture's, attention that cannot be muted, batches on other axes, pixels."""
NAMES = [name for name, family in FAMILIES.items() if "model_channels" not in family.unet]
NAMES += [name for name in UNUSUAL if name in EVERY]


# ---- a network that nobody knows -----------------------------------------------------------------------------------
class Block(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.mix, self.own = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, text: Tensor, transformer_options: Any) -> dict[str, Any]:
        q = self.mix(tokens)
        tokens = tokens + optimized_attention(q, q, q, heads=2, transformer_options=transformer_options)
        return {"text": text, "rest": [None, tokens + self.own(tokens)]}


class Unknown(nn.Module):
    """Three registers and the text before the picture's tokens, in patches of 2 x 2; the last prompt is kept."""

    def __init__(self, by_rows: bool = True, muted: bool = True) -> None:
        super().__init__()
        self.by_rows, self.muted = by_rows, muted
        self.embed, self.registers = nn.Linear(16, 16), nn.Parameter(torch.randn(1, 3, 16))
        self.layers = nn.ModuleDict({"first": Block(), "second": Block()})
        self.refiner = nn.ModuleList([nn.Linear(16, 16)])
        self.prompt: Tensor | None = None

    def forward(self, x: Tensor, time: Tensor, context: Tensor, transformer_options: Any = None) -> Tensor:
        self.prompt = context.clone()
        options = transformer_options if self.muted else {}
        patches = pad_to_patch_size(x, (2, 2)).unfold(2, 2, 2).unfold(3, 2, 2)  # [B, C, h, w, 2, 2]
        axes = (0, 2, 3, 1, 4, 5) if self.by_rows else (0, 3, 2, 1, 4, 5)
        tokens = self.embed(patches.permute(axes).flatten(3).flatten(1, 2)) + torch.rand(())
        text = self.refiner[0](context)
        front = torch.cat([self.registers.expand(len(x), -1, -1), text], dim=1)
        tokens = torch.cat([front, tokens], dim=1)
        for block in self.layers.values():
            tokens = block(tokens, text, options)["rest"][1]
        return tokens


def given(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(batch, 4, 7, 10, generator=generator), torch.ones(batch),
            torch.randn(batch, 5, 16, generator=generator))  # fmt: skip


@pytest.mark.parametrize("muted", [True, False])
def test_an_unknown_network_is_read_and_not_disturbed(muted: bool) -> None:
    torch.manual_seed(0)
    network, arguments, seen = Unknown(muted=muted), given(), {}
    torch.manual_seed(3)
    plain, drawn = network(*arguments, transformer_options={}), torch.rand(())
    network.prompt = kept = torch.zeros(1)
    torch.manual_seed(3)
    with capturing(network, ["layers.first", "layers.second"], lambda i, value: seen.update({i: value.clone()})):
        read = network(*arguments, transformer_options={})
    assert torch.equal(read, plain), "the marks have left nothing"
    assert torch.equal(torch.rand(()), drawn), "nothing was drawn for them"
    assert not kept.any()
    assert torch.equal(seen[1], plain[:, 8:].unflatten(1, (4, 5)).movedim(-1, 1))
    assert not network._forward_pre_hooks
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_what_a_prompt_left_behind_is_not_replaced_by_marks() -> None:
    network, arguments = Unknown(), given(1)
    network.prompt = kept = torch.zeros(1)
    blocks = {name: network.get_submodule(name) for name in architectures.block_names(network)}
    first = {name: architectures.first_of_list(network, name) for name in blocks}
    places = find_places(network, blocks, first, arguments, {"transformer_options": {}})
    assert network.prompt is kept
    assert places["refiner.0"] is None
    place = places["layers.first"]
    assert place is not None
    assert (place.start, place.length, place.grid) == (8, 28, (1, 4, 5))
    call = Call.on(latent_of(arguments))
    cut = network(*arguments, transformer_options={})[:, 7:]  # one token less in front: a prompt that is kept elsewhere
    assert torch.equal(place.picture([None, None, cut], call), cut[:, 1:].unflatten(1, (4, 5)).movedim(-1, 1))
    with pytest.raises(ValueError, match="gave 10 tokens where it had given 28"):
        place.picture([None, None, cut[:, :10]], call)


def test_another_order_is_refused() -> None:
    network = Unknown(by_rows=False)
    with (
        pytest.raises(ValueError, match=r"layers\.first of this model does not show the picture in rows and columns"),
        capturing(network, ["layers.first"], lambda *_: None),
    ):
        network(*given(), transformer_options={})


# ---- the networks of the families ----------------------------------------------------------------------------------
@cache
def model_of(name: str) -> Any:
    return families.model(name) if name in FAMILIES else families.made(EVERY[name])


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    model_of.cache_clear()


def picture_of(family: Family) -> Tensor:
    """A latent of the family: of video alone where it can have sound."""
    samples = families.latent(family)["samples"]
    return samples.unbind()[0] if family.parts else samples


def surveyed(name: str, feature_set: str = "all") -> tuple[tuple[str, ...], tuple[int, ...]]:
    with torch.inference_mode():
        return survey(model_of(name), picture_of(EVERY[name]), families.cond(EVERY[name]), feature_set)


def predictor_of(name: str) -> MapPredictor:
    return predictor_for(model_of(name), like=picture_of(EVERY[name]), cond=families.cond(EVERY[name]))


def inside(name: str, body: Any) -> None:
    """Calls body(guider, call of the network, a random state) inside a run."""

    def within(guider: Any, options: dict[str, Any], noise: Tensor) -> None:
        state = torch.randn(noise.shape, generator=torch.Generator().manual_seed(2))
        conds, sigma = [guider.conds["positive"][0]], torch.full((1,), 0.5)
        plain = gradients.gradient_options(options)
        body(guider, lambda x: call_network(guider, plain, x, sigma, conds), state)

    run_with_prompts(model_of(name), [families.cond(EVERY[name])], picture_of(EVERY[name]), within)


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_is_where_the_latent_changes_and_the_final_layer_takes_it(name: str) -> None:
    network = architectures.network_of(model_of(name))
    taps, channels = surveyed(name)
    places: Places = {}
    taken: list[Tensor] = []

    def listen(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        leaves = tree_leaves((arguments, keywords))
        taken.extend(each for each in leaves if isinstance(each, Tensor) and each.shape[-1:] == channels[-1:])

    def body(_: Any, call: Any, x: Tensor) -> None:
        def read(state: Tensor) -> list[Tensor]:
            with capturing(network, taps, lambda _, value: value.clone(), places=places) as capture:
                call(state)
            return capture.readings[-1].values

        base = read(x)
        frames = x.shape[2] if x.ndim == 5 else 1
        for cell in ((0, 0, 0), (frames - 1, 2, 5 % x.shape[-1]), (0, x.shape[-2] - 1, 1)):
            marked = x.clone()
            marked[(slice(None), slice(None), *cell[-(x.ndim - 2) :])] += 5.0
            for before, after in zip(base, read(marked), strict=True):
                change = (after - before).norm(dim=1)  # [frames, h, w]
                patch = (x.shape[-2] // change.shape[1], x.shape[-1] // change.shape[2])
                assert change[cell[0], cell[1] // patch[0], cell[2] // patch[1]] == change.max()
        handles = [module.register_forward_pre_hook(listen, with_kwargs=True) for module in network.modules()]
        (found,) = places.values()
        place: Any = found[taps[-1]]
        last = read(x)[-1][:: frames // place.grid[0]].movedim(1, -1).flatten(0, 2)  # [tokens, C]
        for handle in handles:
            handle.remove()
        later = [each.flatten(0, -2) for each in taken]
        assert any(
            torch.equal(each[start : start + len(last)], last)
            for each in later
            for start in range(len(each) - len(last) + 1)
        )

    with torch.no_grad():
        inside(name, body)


@pytest.mark.parametrize("name", [name for name in NAMES if name in FAMILIES or name == LTX2])
def test_gradients_against_central_differences_in_both_memory_modes(name: str) -> None:
    network, (taps, _) = architectures.network_of(model_of(name)), surveyed(name)

    def body(guider: Any, call: Any, x: Tensor) -> None:
        places: Places = {}

        def loss(state: Tensor) -> Tensor:
            recording = torch.is_grad_enabled()
            keep = lambda _, value: value[:, ::3].float().square().mean()  # noqa: E731
            with capturing(network, taps, keep, gradients=recording, places=places) as capture:
                call(state)
            with torch.set_grad_enabled(recording):
                return sum(capture.readings[-1].values, torch.zeros(()))

        found = []
        for checkpointed in (False, True):
            with gradients.grad_ready([guider.inner_model], x.device, checkpointed) as take:
                found.append(take(loss, x)[1][0])
        torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-6)
        way = found[0] / found[0].norm()
        with torch.no_grad():
            step = 0.02 * float(x.norm()) / x.numel() ** 0.5
            derivative = float(loss(x + step * way) - loss(x - step * way)) / (2 * step)
        assert derivative == pytest.approx(float(found[0].norm()), rel=0.02)

    with torch.inference_mode():
        inside(name, body)


@pytest.mark.skipif(REFERENCE not in EVERY, reason="not in this ComfyUI")
def test_sketch_guidance_of_a_video_with_a_reference_follows_every_frame() -> None:
    """The reference's tokens come before the video's: read as its first frame, they would leave the last one out."""
    model, cond, predictor = model_of(REFERENCE), families.cond(EVERY[REFERENCE]), predictor_of(REFERENCE)
    target = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(4))
    plain = run(model, positive=cond, steps=1)
    for frame in (0, 1):
        weight = torch.zeros(2, 1, 8, 8)
        weight[frame] = 1.0
        guided = run(guide(model, Guidance(predictor, Fixed(target, weight), end=0.0)), positive=cond, steps=1)
        moved = (guided - plain).square().sum(dim=(0, 1, 3, 4))
        assert int(moved.argmax()) == frame


@pytest.mark.skipif(LTX2 not in EVERY, reason="not in this ComfyUI")
def test_sketch_guidance_of_video_with_sound_moves_the_video() -> None:
    model, family, predictor = model_of(LTX2), EVERY[LTX2], predictor_of(LTX2)
    target = torch.randn(2, 128, 8, 8, generator=torch.Generator().manual_seed(4))

    def sampled(beta: float) -> list[Tensor]:
        guider = comfy.samplers.CFGGuider(guide(model, Guidance(predictor, Fixed(target), beta, end=0.0)))
        guider.set_conds(families.cond(family), families.cond(family, 1))
        guider.set_cfg(2.0)
        noise, latent = (families.latent(family, seed=seed)["samples"] for seed in (3, 4))
        sigmas, euler = torch.tensor([0.9, 0.5]), comfy.samplers.sampler_object("euler")
        return guider.sample(noise, latent, euler, sigmas, disable_pbar=True, seed=1).unbind()

    with torch.inference_mode():
        (plain, plain_sound), (video, sound) = sampled(0.0), sampled(0.5)
    torch.testing.assert_close(sound, plain_sound)
    assert not torch.allclose(video, plain)


def test_a_model_that_takes_no_video_alone_is_refused() -> None:
    name = "MiniMax H3 (with sound)"
    if name in EVERY:
        with pytest.raises(ValueError, match="it takes video only together with sound"):
            surveyed(name)
