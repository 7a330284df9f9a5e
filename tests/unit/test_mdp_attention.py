"""Prompt-to-Prompt on tiny U-Nets: identities, chains with other patches, and which token stands for which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import comfy.ops
import comfy.samplers
import comfy.sd1_clip
import comfy_extras.nodes_differential_diffusion as differential
import comfy_extras.nodes_pag as pag
import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from diffusion_path.samplers.mdp.attention import attention_maps, control_attention, edited_maps
from diffusion_path.samplers.mdp.states import inject_latent, inject_noise
from diffusion_path.samplers.mdp.tokens import Prompt, TokenMap, token_map, tokenized
from diffusion_path.samplers.path import DiffusionPath
from diffusion_path.samplers.record import record
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import tiny
from torch import Tensor

SIGMAS = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])
FULL, NONE = PathSchedule(1.0, 0.0), PathSchedule(1.0, 0.0, weight=0.0)
SAME = TokenMap(torch.eye(tiny.TOKENS), torch.ones(tiny.TOKENS), torch.ones(tiny.TOKENS))
SOURCE, TARGET, NEGATIVE = tiny.cond(1), tiny.cond(2), tiny.cond(3)
NOISE = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def guider(model: Any, positive: Any, cfg: float = 3.0) -> comfy.samplers.CFGGuider:
    made = comfy.samplers.CFGGuider(model)
    made.set_conds(positive, NEGATIVE)
    made.set_cfg(cfg)
    return made


@torch.inference_mode()
def run(model: Any, positive: Any = TARGET, cfg: float = 3.0, latent: Tensor | None = None, mask: Any = None) -> Tensor:
    latent = torch.zeros_like(NOISE) if latent is None else latent
    euler = comfy.samplers.sampler_object("euler")
    return guider(model, positive, cfg).sample(NOISE, latent, euler, SIGMAS, mask, disable_pbar=True, seed=0)


@torch.inference_mode()
def recorded(model: Any) -> DiffusionPath:
    euler = comfy.samplers.sampler_object("euler")
    return record(guider(model, SOURCE), euler, SIGMAS, NOISE, {"samples": torch.zeros_like(NOISE)}, disable_pbar=True)[
        0
    ]


@pytest.fixture(scope="module", params=["unet", "sdxl"])
def world(request: pytest.FixtureRequest) -> SimpleNamespace:
    model = tiny.MODELS[request.param]()
    return SimpleNamespace(model=model, path=recorded(model), plain=run(model))


def test_a_unet_that_attends_over_time_is_refused() -> None:
    """SVD and SV3D: their time stacks reach the attention of the pictures with other shapes, and they read no text."""
    sizes = {
        **tiny.UNET, **tiny.OUTPUTS, "in_channels": 8, "use_temporal_attention": True, "use_temporal_resblock": True,
        "extra_ff_mix_layer": True, "use_spatial_context": True, "merge_strategy": "learned_with_images",
        "merge_factor": 0.0, "video_kernel_size": [3, 1, 1],
    }  # fmt: skip
    with torch.inference_mode():
        network = UNetModel(**sizes, operations=comfy.ops.disable_weight_init, dtype=torch.float32)
        video = SimpleNamespace(model=SimpleNamespace(diffusion_model=network))
    path = recorded(tiny.unet())
    with pytest.raises(ValueError, match="attends over time too"):
        control_attention(video, path, SOURCE, SAME, FULL)


@pytest.mark.parametrize("within", [None, FULL, PathSchedule(1.0, 0.5)])
def test_identical_prompts_give_the_source(world: SimpleNamespace, within: PathSchedule | None) -> None:
    for cross in (FULL, NONE, PathSchedule(1.0, 0.25, "linear")):
        controlled = control_attention(world.model, world.path, SOURCE, SAME, cross, within)
        torch.testing.assert_close(run(controlled, SOURCE), run(world.model, SOURCE), rtol=1e-3, atol=1e-4)


def test_no_weight_is_the_plain_target_bit_for_bit(world: SimpleNamespace) -> None:
    assert torch.equal(run(control_attention(world.model, world.path, SOURCE, SAME, NONE, NONE)), world.plain)
    edited = run(control_attention(world.model, world.path, SOURCE, SAME, FULL, None))
    assert not torch.allclose(edited, world.plain, atol=1e-3)


def test_new_words_alone_are_the_plain_target(world: SimpleNamespace) -> None:
    """Where no token has a counterpart the target keeps its own maps."""
    nothing = TokenMap(torch.zeros(tiny.TOKENS, tiny.TOKENS), torch.zeros(tiny.TOKENS), torch.ones(tiny.TOKENS))
    found = run(control_attention(world.model, world.path, SOURCE, nothing, FULL, None))
    torch.testing.assert_close(found, world.plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_only_the_positive_branch_is_edited(cfg: float) -> None:
    model = tiny.unet()
    path = recorded(model)
    seen: list[list[int]] = []

    def spy(apply: Any, args: dict[str, Any]) -> Tensor:
        seen.append(list(args["cond_or_uncond"]))
        return apply(args["input"], args["timestep"], **args["c"])

    watched = model.clone()
    watched.set_model_unet_function_wrapper(spy)
    run(control_attention(watched, path, SOURCE, SAME, PathSchedule(1.0, 0.6), None), cfg=cfg)
    branch = [1, 0] if cfg != 1.0 else [0]
    assert seen == [[0], branch, [0], branch, branch, branch], "one more call for the source, in the window alone"


def test_a_longer_negative_prompt_repeats_the_tokens(world: SimpleNamespace) -> None:
    """Core batches prompts of other lengths by repetition; the maps are folded and give the same result."""
    generator = torch.Generator().manual_seed(4)
    long = [[torch.randn(1, 2 * tiny.TOKENS, tiny.WIDTH, generator=generator), NEGATIVE[0][1]]]
    model = control_attention(world.model, world.path, SOURCE, SAME, FULL, None)
    together = comfy.samplers.CFGGuider(model)
    together.set_conds(TARGET, long)
    together.set_cfg(3.0)
    euler, zeros = comfy.samplers.sampler_object("euler"), torch.zeros_like(NOISE)
    with torch.inference_mode():
        found = together.sample(NOISE, zeros, euler, SIGMAS, disable_pbar=True, seed=0)
        doubled = [[TARGET[0][0].repeat(1, 2, 1), TARGET[0][1]]]
        twice = TokenMap(torch.eye(2 * tiny.TOKENS), torch.ones(2 * tiny.TOKENS), torch.ones(2 * tiny.TOKENS))
        source = [[SOURCE[0][0].repeat(1, 2, 1), SOURCE[0][1]]]
        apart = comfy.samplers.CFGGuider(control_attention(world.model, world.path, source, twice, FULL, None))
        apart.set_conds(doubled, long)
        apart.set_cfg(3.0)
        wanted = apart.sample(NOISE, zeros, euler, SIGMAS, disable_pbar=True, seed=0)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def patched(kind: str, model: Any) -> Any:
    if kind == "lora":
        return tiny.add_lora(model)
    if kind == "pag":
        return pag.PerturbedAttentionGuidance.execute(model, 2.0).args[0]
    return differential.DifferentialDiffusion.execute(model).args[0]


@pytest.mark.parametrize("kind", ["lora", "pag", "differential"])
@pytest.mark.parametrize("before", [True, False])
def test_chains_with_patches_of_core(kind: str, before: bool) -> None:
    """In either order it runs, does something, and is bit for bit the plain patched sample at weight 0."""
    model = tiny.unet()
    base = patched(kind, model)
    path = recorded(tiny.add_lora(model) if kind == "lora" else model)
    latent = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(6))
    mask = torch.linspace(0, 1, 8).expand(2, 1, 8, 8).contiguous() if kind == "differential" else None
    plain = run(base, latent=latent, mask=mask)
    makers = (
        lambda m, w: control_attention(m, path, SOURCE, SAME, w, w),
        lambda m, w: inject_noise(m, path, w),
        lambda m, w: inject_latent(m, path, w),
    )
    for make in makers:

        def chained(weight: PathSchedule, make: Any = make) -> Any:
            return make(base, weight) if before else patched(kind, make(model, weight))

        assert torch.equal(run(chained(NONE), latent=latent, mask=mask), plain)
        found = run(chained(PathSchedule(1.0, 0.5)), latent=latent, mask=mask)
        assert bool(torch.isfinite(found).all())
        assert not torch.allclose(found, plain, atol=1e-4)


def test_chains_with_controlnet() -> None:
    model, control = tiny.unet(), tiny.controlnet()
    target, source = tiny.with_control(TARGET, control), tiny.with_control(SOURCE, control)
    path = recorded(model)
    plain = run(model, target)
    for schedule, same in ((NONE, True), (FULL, False)):
        for made in (
            control_attention(model, path, source, SAME, schedule, schedule),
            inject_noise(model, path, schedule),
        ):
            assert torch.equal(run(made, target), plain) is same


def test_maps_are_rebuilt_as_the_network_makes_them() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 32, generator=generator) for n in (16, 5, 5))
    maps = attention_maps(q, k, 4)
    assert maps.shape == (2, 4, 16, 5)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 4, 16))
    wanted = optimized_attention(q, k, v, 4)
    found = (maps @ v.unflatten(-1, (4, 8)).transpose(1, 2)).transpose(1, 2).flatten(2)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_edited_maps_replace_refine_and_reweight() -> None:
    source, target = torch.rand(1, 1, 2, 3), torch.rand(1, 1, 2, 3)
    tokens = TokenMap(
        torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]), torch.tensor([1.0, 1, 0]), torch.tensor([1.0, 2, 3])
    )
    found = edited_maps(source, target, tokens)
    assert torch.equal(found[..., 0], source[..., 1])
    assert torch.equal(found[..., 1], 2 * source[..., 0])
    assert torch.equal(found[..., 2], 3 * target[..., 2])


def test_models_without_cross_attention_are_refused() -> None:
    model = tiny.flux()
    path = DiffusionPath(
        torch.tensor([1.0, 0.0]), torch.zeros(2, 1, 16, 8, 8), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]),
        world_kind(model), method="recorded", sampler="euler",
    )  # fmt: skip
    with pytest.raises(ValueError, match="needs a U-Net .* this model is a Flux: choose the mode tokens"):
        control_attention(model, path, tiny.cond(1), SAME, FULL)


def world_kind(model: Any) -> Any:
    from diffusion_path.samplers.path import model_kind

    return model_kind(model)


def test_other_prompts_than_announced_are_refused(world: SimpleNamespace) -> None:
    tokens = TokenMap(torch.eye(7), torch.ones(7), torch.ones(7))
    with pytest.raises(ValueError, match="source prompt has 5 tokens, but this control was made for 7"):
        run(control_attention(world.model, world.path, SOURCE, tokens, FULL))
    with pytest.raises(ValueError, match="needs a source prompt of one part, but this one has 2"):
        run(control_attention(world.model, world.path, [*SOURCE, *SOURCE], SAME, FULL))


def prompt(text: str, length: int = 8) -> Prompt:
    """Words of one token each between start and end, padded."""
    words = text.split()
    texts = ["<start>", *words, "<end>", *["<pad>"] * (length - 2 - len(words))]
    return Prompt(tuple(texts), tuple(i == 0 or i > len(words) for i in range(length)))


def positions(tokens: TokenMap) -> dict[int, int]:
    """Target position -> source position."""
    return {int(t): int(s) for s, t in tokens.mapper.nonzero()}


def test_replace_swaps_word_for_word() -> None:
    tokens = token_map(prompt("a red house"), prompt("a blue house"), "replace")
    assert positions(tokens) == {i: i for i in range(8)}
    assert bool((tokens.kept == 1).all())
    with pytest.raises(ValueError, match="source prompt has 3 words and the target 4: use 'refine'"):
        token_map(prompt("a red house"), prompt("a small red house"), "replace")


def test_refine_keeps_what_both_have() -> None:
    tokens = token_map(prompt("a red house"), prompt("a small red cabin"), "refine")
    assert positions(tokens) == {0: 0, 1: 1, 3: 2, 5: 4, 6: 5, 7: 6}, "padding stands for padding"
    assert tokens.kept.tolist() == [1, 1, 0, 1, 0, 1, 1, 1]
    shorter = token_map(prompt("a small red cabin"), prompt("cabin"), "refine")
    assert positions(shorter) == {0: 0, 1: 4, 2: 5, 3: 6, 4: 7}
    assert shorter.kept.tolist() == [1, 1, 1, 1, 1, 0, 0, 0]


def test_reweight_names_words_of_the_target() -> None:
    tokens = token_map(prompt("a red house"), prompt("a blue house"), "replace", "blue: 2, house:0.5")
    assert tokens.scale.tolist() == [1, 1, 2, 0.5, 1, 1, 1, 1]
    for text, problem in (("blue", "cannot be read"), ("snow:2", "no word 'snow' to reweight: it has a, blue, house")):
        with pytest.raises(ValueError, match=problem):
            token_map(prompt("a red house"), prompt("a blue house"), "replace", text)
    with pytest.raises(ValueError, match="no attention control 'swap'"):
        token_map(prompt("a"), prompt("b"), "swap")


def test_tokens_of_clip_words_of_several_and_long_prompts() -> None:
    tokenizer = comfy.sd1_clip.SD1Tokenizer()
    clip = SimpleNamespace(tokenizer=tokenizer, tokenize=tokenizer.tokenize_with_weights)
    source, target = (tokenized(clip, f"a photo of a {animal}, (winter:1.3)") for animal in ("chinchilla", "cat"))
    assert [word for word, _ in source.words()] == ["a", "photo", "of", "a", "chinchilla", ",", "winter"]
    (chinchilla,) = [p for word, p in source.words() if word == "chinchilla"]
    (cat,) = [p for word, p in target.words() if word == "cat"]
    assert len(chinchilla) > 1
    assert len(cat) == 1
    tokens = token_map(source, target, "replace")
    assert tokens.mapper.shape == (77, 77)
    assert tokens.mapper[chinchilla, cat[0]].tolist() == [1.0] * len(chinchilla), "a cat gets all of the chinchilla's"
    back = token_map(target, source, "replace")
    assert back.mapper[cat[0], chinchilla].sum() == pytest.approx(1.0)
    long = tokenized(clip, "a house " * 60)
    assert len(long.texts) == 154
    assert positions(token_map(long, long, "refine")) == {i: i for i in range(154)}


def test_attention_functions_of_other_packs_still_serve(world: SimpleNamespace) -> None:
    calls: list[int] = []

    def override(function: Any, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        return function(*args, **kwargs)

    model = world.model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    assert torch.equal(run(model), world.plain)
    plain = len(calls)
    run(control_attention(model, world.path, SOURCE, SAME, FULL, None))
    assert len(calls) - plain >= plain


def test_prompts_for_an_area_are_refused_with_a_sentence(world: SimpleNamespace) -> None:
    somewhere = [[tokens, {**extra, "area": (4, 4, 0, 0), "strength": 1.0}] for tokens, extra in TARGET]
    controlled = control_attention(world.model, world.path, SOURCE, SAME, FULL, None)
    with pytest.raises(ValueError, match=r"target prompt is for an area of the picture.*connect one CLIP Text Encode"):
        run(controlled, somewhere)
