"""Where the picture is in a block's output: found by marking, in networks known and unknown, and nothing disturbed."""

from __future__ import annotations

from typing import Any

import comfy.nested_tensor
import comfy.samplers
import comfy.supported_models as supported
import pytest
import torch
from comfy.ldm.common_dit import pad_to_patch_size
from comfy.ldm.modules.attention import optimized_attention
from diffusion_path import gradients
from diffusion_path.lep import families as architectures
from diffusion_path.lep.features import Places, call_network, capturing, run_with_prompts, survey
from diffusion_path.lep.guidance import Guidance, guide
from diffusion_path.lep.places import Call, find_places
from diffusion_path.lep.predictor import EdgePredictor, build_network
from diffusion_path.tests.unit import families, tiny
from diffusion_path.tests.unit.families import FAMILIES, Family
from diffusion_path.tests.unit.guided import run
from torch import Tensor, nn

TRANSFORMERS = [name for name, family in FAMILIES.items() if "model_channels" not in family.unet]
REFERENCE = Family(
    "Wan 2.1 with a reference", supported.WAN21_T2V, {**tiny.WAN, "in_dim_ref_conv": 16}, prefix=None, frames=2
)
LTX2 = Family(
    "LTX-2", supported.LTXAV,
    {"image_model": "ltxav", "in_channels": 128, "cross_attention_dim": 64, "attention_head_dim": 32,
     "num_attention_heads": 2, "caption_channels": tiny.WIDTH, "num_layers": 2,
     "positional_embedding_max_pos": [20, 2048, 2048], "audio_in_channels": 128, "audio_cross_attention_dim": 32,
     "audio_attention_head_dim": 16, "audio_num_attention_heads": 2, "audio_positional_embedding_max_pos": [20],
     "connector_attention_head_dim": 16, "connector_num_attention_heads": 1, "connector_num_layers": 1},
    width=2 * tiny.WIDTH, prefix=None, grid=4, frames=2,
)  # fmt: skip


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
    call = Call.of(arguments)
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
def conditioning(family: Family, seed: int = 0) -> Any:
    [[tokens, more]] = families.cond(family, seed)
    if family is REFERENCE:
        more["reference_latents"] = [torch.randn(1, 16, 1, 8, 8, generator=torch.Generator().manual_seed(seed))]
    return [[tokens, more]]


def inside(family: Family, model: Any, body: Any) -> None:
    """Calls body(call of the network, a random state) inside a run."""

    def within(guider: Any, options: dict[str, Any], noise: Tensor) -> None:
        state = torch.randn(noise.shape, generator=torch.Generator().manual_seed(2))
        conds, sigma = [guider.conds["positive"][0]], torch.full((1,), 0.5)
        plain = gradients.gradient_options(options)
        body(guider, lambda x: call_network(guider, plain, x, sigma, conds), state)

    run_with_prompts(model, [conditioning(family)], families.latent(family)["samples"], within)


def model_of(name: str) -> tuple[Family, Any]:
    for family in (REFERENCE, LTX2):
        if family.name == name:
            return family, families.built(family)
    return FAMILIES[name], families.model(name)


@pytest.mark.parametrize("name", [*TRANSFORMERS, REFERENCE.name, LTX2.name])
def test_the_picture_is_where_the_latent_changes_and_the_final_layer_takes_it(name: str) -> None:
    family, model = model_of(name)
    network = architectures.network_of(model)
    with torch.inference_mode():
        taps, channels = survey(model, families.latent(family)["samples"], conditioning(family), "all")
    places: Places = {}
    taken: list[Tensor] = []

    def listen(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        taken.extend(each for each in arguments if isinstance(each, Tensor) and each.shape[-1] == channels[-1])

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
                place = torch.zeros_like(change)
                place[cell[0], cell[1] // patch[0], cell[2] // patch[1]] = 1.0
                assert int(change.argmax()) == int(place.argmax())
        handles = [module.register_forward_pre_hook(listen) for module in network.modules()]
        last = read(x)[-1].movedim(1, -1).flatten(0, 2)  # [tokens, C]
        for handle in handles:
            handle.remove()
        later = [each.flatten(0, -2) for each in taken]
        assert any(
            torch.equal(each[start : start + len(last)], last)
            for each in later
            for start in range(len(each) - len(last) + 1)
        )

    with torch.no_grad():
        inside(family, model, body)


@pytest.mark.parametrize("name", [*TRANSFORMERS, LTX2.name])
def test_gradients_against_central_differences_in_both_memory_modes(name: str) -> None:
    family, model = model_of(name)
    network = architectures.network_of(model)
    with torch.inference_mode():
        taps, _ = survey(model, families.latent(family)["samples"], conditioning(family), "all")

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
            slope = float(loss(x + step * way) - loss(x - step * way)) / (2 * step)
        assert slope == pytest.approx(float(found[0].norm()), rel=0.02)

    with torch.inference_mode():
        inside(family, model, body)


def test_sketch_guidance_of_a_video_with_a_reference_follows_every_frame() -> None:
    """The reference's tokens come before the video's: read as its first frame, they would leave the last one out."""
    model = families.built(REFERENCE)
    latent, cond = families.latent(REFERENCE)["samples"], conditioning(REFERENCE)
    taps, channels = survey(model, latent, cond, "levels")
    predictor = EdgePredictor(
        build_network("mlp", channels, 16), "mlp", taps, channels, architectures.signature(model, taps)
    )
    target = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(4))
    first, last = (torch.zeros(2, 1, 8, 8) for _ in range(2))
    first[0], last[1] = 1.0, 1.0
    plain = run(model, positive=cond, steps=1)
    for weight, frame in ((first, 0), (last, 1)):
        guided = run(guide(model, Guidance(predictor, lambda *_: (target, weight), end=0.0)), positive=cond, steps=1)  # noqa: B023
        moved = (guided - plain).square().sum(dim=(0, 1, 3, 4))
        assert int(moved.argmax()) == frame


def test_sketch_guidance_of_video_with_sound_moves_the_video() -> None:
    model, cond = families.built(LTX2), conditioning(LTX2)
    taps, channels = survey(model, families.latent(LTX2)["samples"], cond, "levels")
    predictor = EdgePredictor(
        build_network("mlp", channels, 128), "mlp", taps, channels, architectures.signature(model, taps)
    )
    target = torch.randn(2, 128, 4, 4, generator=torch.Generator().manual_seed(4))

    def sampled(beta: float) -> list[Tensor]:
        guided = guide(model, Guidance(predictor, lambda *_: (target, None), beta, end=0.0))
        guider = comfy.samplers.CFGGuider(guided)
        guider.set_conds(cond, conditioning(LTX2, 1))
        guider.set_cfg(2.0)
        generator = torch.Generator().manual_seed(3)
        parts = [[torch.randn(shape, generator=generator) for shape in ((1, 128, 2, 4, 4), (1, 8, 4, 16))]] * 2
        noise, latent = (comfy.nested_tensor.NestedTensor(each) for each in parts)
        sigmas, euler = torch.tensor([0.9, 0.5]), comfy.samplers.sampler_object("euler")
        return guider.sample(noise, latent, euler, sigmas, disable_pbar=True, seed=1).unbind()

    with torch.inference_mode():
        (plain, plain_sound), (video, sound) = sampled(0.0), sampled(0.5)
    torch.testing.assert_close(sound, plain_sound)
    assert not torch.allclose(video, plain)
