"""Gradients through ComfyUI's models in its inference mode: right, and nothing left behind."""

from __future__ import annotations

from typing import Any

import comfy.ops
import comfy.patcher_extension
import comfy.samplers
import pytest
import torch
from diffusion_path import gradients
from diffusion_path.gradients.checkpoint import Recompute, units
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.gradient_probes import (
    Stop,
    changes,
    differences,
    failing,
    inside_a_run,
    latent_gradient,
    snapshot,
    weighted_square,
)
from torch import Tensor, nn


@pytest.mark.parametrize("name", tiny.MODELS)
def test_gradient_against_central_differences(name: str) -> None:
    exact, numeric = inside_a_run(tiny.MODELS[name](), differences)
    assert exact > 0
    assert numeric == pytest.approx(exact, rel=5e-3)


@pytest.mark.parametrize("name", ["unet", "flux"])
def test_gradient_with_lora_patches(name: str) -> None:
    plain = tiny.MODELS[name]()
    patched = tiny.add_lora(plain)
    exact, numeric = inside_a_run(patched, differences)
    assert numeric == pytest.approx(exact, rel=5e-3)
    assert not torch.allclose(inside_a_run(plain, latent_gradient())[0], inside_a_run(patched, latent_gradient())[0])


def test_gradient_with_a_controlnet() -> None:
    control = tiny.controlnet()
    exact, numeric = inside_a_run(tiny.unet(), differences, tiny.with_control(tiny.cond(0), control))
    assert numeric == pytest.approx(exact, rel=5e-3)
    assert exact != pytest.approx(inside_a_run(tiny.unet(), differences)[0], rel=1e-2)


@pytest.mark.parametrize("name", tiny.MODELS)
@pytest.mark.parametrize("compute", [None, torch.float32])
def test_bf16_gradient_follows_fp32(name: str, compute: torch.dtype | None) -> None:
    """bf16 weights, computed in bf16 and in manually cast fp32: the direction of the fp32 gradient."""
    wanted = inside_a_run(tiny.MODELS[name](), latent_gradient())[0].flatten()
    found = inside_a_run(tiny.MODELS[name](torch.bfloat16, compute), latent_gradient())[0].flatten()
    assert found.dtype == torch.float32
    assert float(torch.cosine_similarity(found, wanted, dim=0)) > (0.995 if compute else 0.98)


@pytest.mark.parametrize("name", tiny.MODELS)
def test_checkpointed_gradient_is_the_gradient(name: str) -> None:
    model = tiny.MODELS[name]()
    assert units([model.model])
    plain, _ = inside_a_run(model, latent_gradient())
    again, _ = inside_a_run(model, latent_gradient(checkpointed=True))
    torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))


def test_checkpointed_gradient_with_a_controlnet() -> None:
    positive = tiny.with_control(tiny.cond(0), tiny.controlnet())
    plain, _ = inside_a_run(tiny.unet(), latent_gradient(), positive)
    again, _ = inside_a_run(tiny.unet(), latent_gradient(checkpointed=True), positive)
    torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))


def test_block_patches_see_their_own_block_when_recomputed() -> None:
    """A patch keyed by the block must not see the last block's name in the backward pass."""
    model = tiny.unet().clone()

    def patch(h: Tensor, options: dict[str, Any]) -> Tensor:
        return h * (1.0 + 0.1 * options["block"][1])

    def attention(n: Tensor, context: Tensor, value: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        return n * (1.0 + 0.2 * options["block"][1]), context, value

    model.set_model_input_block_patch(patch)
    model.set_model_attn1_patch(attention)
    exact, numeric = inside_a_run(model, differences)
    again, _ = inside_a_run(model, latent_gradient(checkpointed=True))
    assert numeric == pytest.approx(exact, rel=5e-3)
    assert float(again.norm()) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("name", ["unet", "flux"])
def test_gradient_of_the_text_embedding(name: str) -> None:
    def probe(guider: Any, x: Tensor, sigma: Tensor, model_options: dict[str, Any]) -> tuple[float, float]:
        conds = guider.conds["negative"]
        before = gradients.text_embedding(conds).clone()

        def loss(embedding: Tensor, options: dict[str, Any]) -> Tensor:
            replaced = gradients.with_text_embedding(conds, embedding)
            return weighted_square(gradients.branch(guider.inner_model, replaced, x, sigma, options))

        options = gradients.gradient_options(model_options)
        with gradients.grad_ready(gradients.model_roots(guider), x.device) as take:
            _, (gradient,) = take(lambda embedding: loss(embedding, options), before)
        direction, step = gradient / gradient.norm(), 1e-2
        above = loss(before + step * direction, model_options)
        below = loss(before - step * direction, model_options)
        numeric = (above - below) / (2 * step)
        assert torch.equal(gradients.text_embedding(conds), before)
        return float(gradient.norm()), float(numeric)

    exact, numeric = inside_a_run(tiny.MODELS[name](), probe)
    assert exact > 0
    assert numeric == pytest.approx(exact, rel=5e-3)


def test_no_text_embedding_is_said() -> None:
    with pytest.raises(ValueError, match="another form than the text embedding"):
        gradients.text_embedding([{"model_conds": {}}])


def test_what_comfyui_notes_on_a_weight_stays_on_it() -> None:
    """The dtype that it loads a weight in, for one: dynamic VRAM has room for that dtype only."""
    with torch.inference_mode():
        layer: Any = comfy.ops.manual_cast.Linear(8, 8)
    original = layer.weight
    original._model_dtype = torch.float16
    with gradients.grad_ready([layer], torch.device("cpu")):
        assert layer.weight is not original
        assert layer.weight._model_dtype == torch.float16
    assert layer.weight is original


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("error", [Stop(), RuntimeError("broken"), torch.cuda.OutOfMemoryError("CUDA out of memory")])
def test_nothing_is_left_after_a_failure(error: BaseException, checkpointed: bool) -> None:
    model, control = tiny.unet(), tiny.controlnet()
    network: Any = control.control_model
    states: list[Any] = []

    def probe(guider: Any, x: Tensor, sigma: Tensor, model_options: dict[str, Any]) -> str:
        before = snapshot(model, network)
        last = [m for m in model.model.modules() if type(m).__name__ == "ResBlock"][-1]
        inner = next(m for m in last.modules() if type(m).__name__ == "SiLU")
        try:
            with failing(inner, error):
                latent_gradient(checkpointed)(guider, x, sigma, model_options)
        except BaseException as raised:
            states.extend([before, snapshot(model, network)])
            return f"{type(raised).__name__}: {raised}"
        return "nothing raised"

    said = inside_a_run(model, probe, tiny.with_control(tiny.cond(0), control))
    assert not changes(*states)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        assert said == f"OutOfMemoryError: {gradients.OUT_OF_MEMORY}"
        assert "smaller picture" in gradients.OUT_OF_MEMORY
        assert "checkpointed" in gradients.OUT_OF_MEMORY
    else:
        assert said.startswith(type(error).__name__)


def test_nothing_is_left_after_success() -> None:
    model, control = tiny.unet(), tiny.controlnet()
    network: Any = control.control_model

    def probe(*arguments: Any) -> set[str]:
        before = snapshot(model, network)
        for checkpointed in (False, True):
            latent_gradient(checkpointed)(*arguments)
        return changes(before, snapshot(model, network))

    assert inside_a_run(model, probe, tiny.with_control(tiny.cond(0), control)) == set()


def test_what_is_changed_for_the_length_of_a_block_and_put_back() -> None:
    """CONTRIBUTING's rule 2 lists the same."""
    model = tiny.unet()

    def probe(guider: Any, *_: Any) -> tuple[set[str], set[str]]:
        before = snapshot(model)
        # Another device than the weights': so they count as streamed in.
        with gradients.grad_ready(gradients.model_roots(guider), torch.device("meta"), checkpointed=True):
            within = changes(before, snapshot(model))
        return within, changes(before, snapshot(model))

    within, after = inside_a_run(model, probe)
    modes = {"inference mode", "recording"}
    assert within == {"in_training", "_parameters", "_buffers", "forward", "weight_function", "bias_function"} | modes
    assert after == set()


def test_weights_that_a_hook_replaced_are_left_to_it() -> None:
    model = tiny.unet()
    norm = next(m for m in model.model.modules() if type(m).__name__ == "GroupNorm")
    other = nn.Parameter(torch.ones_like(norm.weight), requires_grad=False)
    with gradients.grad_ready([model.model], torch.device("cpu")):
        norm.weight = other
    assert norm.weight is other


def test_inference_tensors_of_other_packs_are_named() -> None:
    model = tiny.unet().clone()
    with torch.inference_mode():
        foreign = torch.full((1,), 1.5)

    def patch(h: Tensor, _: Any) -> Tensor:
        return h * foreign

    model.set_model_input_block_patch(patch)

    def probe(*arguments: Any) -> str:
        with pytest.raises(ValueError, match="gives it tensors that no gradient can pass") as caught:
            latent_gradient()(*arguments)
        return str(caught.value)

    assert "bypass" in inside_a_run(model, probe)


def test_weights_that_ask_for_gradients_cost_no_memory() -> None:
    """A model loaded outside inference mode: its parameters must not enter the graph."""
    model = tiny.unet()
    network = model.model.diffusion_model
    for name, parameter in list(network.named_parameters()):
        module = network.get_submodule(name.rpartition(".")[0])
        module._parameters[name.rpartition(".")[2]] = nn.Parameter(parameter.detach().clone())
    assert all(p.requires_grad and not p.is_inference() for p in network.parameters())
    with gradients.grad_ready([model.model], torch.device("cpu")):
        assert not any(p.requires_grad for p in network.parameters())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_loss_scales_find_a_finite_gradient() -> None:
    with gradients.grad_ready([], torch.device("cpu")) as take:
        x = torch.tensor([1.0, 2.0])
        _, (gradient,) = take(lambda x: (x.half() * 200.0).square().sum(), x, scales=(2.0**10, 1.0, 2.0**-10))
        assert torch.equal(gradient, torch.tensor([80000.0, 160000.0]))
        with pytest.raises(ValueError, match="not finite"):
            take(lambda x: (x / 0.0).sum(), x, scales=(1024.0, 1.0))
    assert gradients.loss_scales(torch.float16) != (1.0,)
    assert gradients.loss_scales(torch.bfloat16) == (1.0,)


def test_a_loss_that_ignores_an_input_has_no_gradient() -> None:
    with gradients.grad_ready([], torch.device("cpu")) as take:
        value, (first, second) = take(lambda a, b: (a**2).sum(), torch.tensor([3.0]), torch.tensor([4.0]))
        assert (value, float(first), float(second)) == (9.0, 6.0, 0.0)
        value, (none,) = take(lambda a: torch.tensor(2.0), torch.tensor([3.0]))
        assert (value, float(none)) == (2.0, 0.0)


def test_attention_without_a_backward_pass_is_replaced() -> None:
    """Sage and Flash attention return tensors without history: their part of the gradient must not go missing."""
    model = tiny.unet().clone()
    wanted, _ = inside_a_run(model, latent_gradient())

    def no_backward(function: Any, *args: Any, **kwargs: Any) -> Tensor:
        return function(*args, **kwargs).detach()

    model.model_options["transformer_options"]["optimized_attention_override"] = no_backward
    found, _ = inside_a_run(model, latent_gradient())
    torch.testing.assert_close(found, wanted)


def test_attention_that_a_network_calls_by_name_is_replaced_for_the_length_of_a_block() -> None:
    """As under --use-sage-attention, in networks that hand no options on; whatever ends the block."""
    import comfy.ldm.pixart.blocks as blocks

    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    plain = blocks.optimized_attention

    def no_backward(*args: Any, **kwargs: Any) -> Tensor:
        return plain(*args, **kwargs).detach()

    def loss(x: Tensor) -> Tensor:
        return (blocks.optimized_attention(x, x @ weight, x, 1) * weight).sum()

    def gradient() -> Tensor:
        with gradients.grad_ready([], weight.device) as take:
            return take(loss, torch.ones(1, 4, 4) + weight)[1][0]

    wanted = gradient()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "optimized_attention", no_backward)
        torch.testing.assert_close(gradient(), wanted)
        assert blocks.optimized_attention is no_backward
        with pytest.raises(Stop), gradients.grad_ready([], weight.device):
            raise Stop
        assert blocks.optimized_attention is no_backward
        assert wanted.any()


def test_a_failing_backward_pass_gives_one_sentence() -> None:
    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            raise RuntimeError("expected strides of 4. Got 2.\nStack: many lines")

    with (
        pytest.raises(
            ValueError, match=r"through this model \(expected strides of 4\): use a method without gradients"
        ),
        gradients.grad_ready([], torch.device("cpu")) as take,
    ):
        take(lambda x: Failing.apply(x).sum(), torch.ones(3))


def test_gradient_options_leave_the_run_alone() -> None:
    compiled = {"apply_model": {"torch.compile": [lambda *a: None], "other": []}}
    given = {"multigpu_clones": {}, "transformer_options": {"wrappers": compiled, "sigmas": 1}}
    options = gradients.gradient_options(given)
    assert "multigpu_clones" not in options
    assert options["transformer_options"]["wrappers"] == {"apply_model": {"other": []}}
    assert set(given) == {"multigpu_clones", "transformer_options"}
    assert "torch.compile" in given["transformer_options"]["wrappers"]["apply_model"]
    assert "optimized_attention_override" not in given["transformer_options"]


def test_recompute_with_updates_in_place_and_empty_outputs() -> None:
    def block(x: Tensor, y: Tensor) -> tuple[Tensor, None]:
        x += torch.sin(x * y)
        return x, None

    x, y = torch.randn(4, requires_grad=True), torch.randn(4, requires_grad=True)
    out, none = Recompute.apply(block, None, x, y)
    assert none is None
    found = torch.autograd.grad(out.sum(), (x, y))
    wanted = torch.autograd.grad((x + torch.sin(x * y)).sum(), (x, y))
    torch.testing.assert_close(found, wanted)


class Streams(nn.Module):
    """A network whose blocks pass a pair of streams on and update it in place, as those of video with sound do."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Pair(i) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        streams, options = (x.sin(), x.cos()), {"block": 0, "shared": [x * 0.5]}
        for number, block in enumerate(self.blocks):
            options["block"] = number
            first, (second,) = block(streams, options=options)
            streams = (first, second)
        return streams[0] * streams[1]


class _Pair(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, streams: tuple[Tensor, Tensor], options: dict[str, Any]) -> tuple[Tensor, list[Tensor]]:
        assert options["block"] == self.number, "a recomputed block must see its own options"
        first, second = streams
        first += second.sin() * options["shared"][0]
        second.mul_(first.cos())
        return first, [second]


def test_blocks_of_several_streams_are_recomputed() -> None:
    """Pairs, lists and dicts of tensors go in and out of a block, and all of them carry the gradient."""
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(1)).double()
    network = Streams()
    assert units([network]) == list(network.blocks)
    found = []
    for checkpointed in (False, True):
        with gradients.grad_ready([network], x.device, checkpointed) as take:
            found.append(take(lambda v: network(v).square().sum(), x)[1][0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    step = 1e-6
    for place in [(0, 0), (1, 2)]:
        moved = torch.zeros_like(x)
        moved[place] = step
        numeric = (network(x + moved).square().sum() - network(x - moved).square().sum()) / (2 * step)
        assert float(found[0][place]) == pytest.approx(float(numeric), rel=1e-6, abs=1e-8)


def test_a_gradient_of_zero_is_refused_in_a_sentence() -> None:
    gradients.refuse_no_gradient(torch.tensor([0.0, 1e-30]), "the text", "choose another method")
    with pytest.raises(ValueError, match=r"does not depend on the text \(the gradient is 0 everywhere\): choose"):
        gradients.refuse_no_gradient(torch.zeros(3), "the text", "choose another method")


def test_gradients_of_a_quantised_layer() -> None:
    from comfy.quant_ops import QuantizedTensor

    with torch.inference_mode():
        layer = nn.Linear(32, 16, bias=False)
        weight = torch.randn(16, 32)
        layer.weight = nn.Parameter(QuantizedTensor.from_float(weight, "TensorCoreFP8E4M3Layout"), requires_grad=False)
    original = layer.weight
    with gradients.grad_ready([layer], torch.device("cpu")) as take:
        assert not layer.weight.is_inference()
        plain = layer.weight.dequantize()
        _, (gradient,) = take(
            lambda x: torch.nn.functional.linear(x, layer.weight.dequantize()).sum(), torch.ones(1, 32)
        )
    torch.testing.assert_close(gradient, plain.sum(dim=0, keepdim=True))
    assert layer.weight is original
