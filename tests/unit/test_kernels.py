"""ComfyUI's fused kernels, which have no backward pass, in a gradient: right, and gone afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusion_path import gradients
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.gradient_probes import differences, inside_a_run, latent_gradient
from torch import Tensor

pytest.importorskip("comfy_kitchen", reason="an older ComfyUI computes without these kernels")

KERNELS = (
    "JoyImage",
    "ERNIE-Image",
    "Cosmos-Predict2",
    "Cosmos-Predict2 I2V",
    "Anima",
    "MiniMax H3 (with sound)",
    "HiDream O1",
)
"""Networks that call a fused kernel in training too, or write over a given tensor."""


@pytest.mark.parametrize("name", [name for name in KERNELS if name in families.EVERY])
def test_gradient_against_central_differences(name: str) -> None:
    family = families.EVERY[name]
    model = families.made(family)
    exact, numeric = inside_a_run(model, differences, family=family)
    assert exact > 0
    assert numeric == pytest.approx(exact, rel=5e-3)
    plain, _ = inside_a_run(model, latent_gradient(), family=family)
    again, _ = inside_a_run(model, latent_gradient(checkpointed=True), family=family)
    torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """A rotary embedding of neighbouring pairs, written out. x [B, H, N, D]; angles [N, D / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([cos * even - sin * odd, sin * even + cos * odd], dim=-1).flatten(-2)


def frequencies(angles: Tensor) -> Tensor:
    """As ComfyUI hands them to the kernels: [1, 1, N, D / 2, 2, 2]."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)[None, None]


def test_a_rotary_kernel_has_the_gradient_of_its_formula_and_is_itself_afterwards() -> None:
    generator = torch.Generator().manual_seed(0)
    x, angles = torch.randn(1, 2, 3, 8, generator=generator), torch.randn(3, 4, generator=generator)
    weights = torch.randn(1, 2, 3, 8, generator=generator)
    kernel = torch.ops.comfy_kitchen.apply_rope1
    with gradients.grad_ready([], torch.device("cpu")) as take:
        _, (found,) = take(lambda v: (kernel(v, frequencies(angles)) * weights).sum(), x)
        _, (wanted,) = take(lambda v: (rotated(v, angles) * weights).sum(), x)
    torch.testing.assert_close(found, wanted)
    leaf = x.clone().requires_grad_(True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        torch.autograd.grad(kernel(leaf, frequencies(angles)).sum(), leaf)


def test_what_is_written_over_a_given_tensor_is_the_same_and_has_a_gradient() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

    def added(v: Tensor) -> Tensor:
        doubled = v * 2
        squares = doubled.square()  # needs what is overwritten for its own gradient
        total = torch.add(doubled, squares, out=doubled)
        assert total is doubled
        return total.square().sum()

    with gradients.grad_ready([], torch.device("cpu")) as take:
        value, (found,) = take(added, x)
    assert value == pytest.approx(float(added(x)))
    total = 2 * x + 4 * x.square()
    torch.testing.assert_close(found, 2 * total * (2 + 8 * x))


def test_another_operation_without_a_backward_pass_is_named_in_a_sentence() -> None:
    @torch.library.custom_op("diffusion_path_tests::doubled", mutates_args=())
    def doubled(x: Tensor) -> Tensor:
        return 2.0 * x

    def loss(x: Tensor) -> Any:
        return torch.ops.diffusion_path_tests.doubled(x).sum()

    assert doubled is not None
    with (
        pytest.raises(ValueError, match=r"no backward pass for diffusion_path_tests\.doubled\).*fixed point") as caught,
        gradients.grad_ready([], torch.device("cpu")) as take,
    ):
        take(loss, torch.ones(3))
    assert "\n" not in str(caught.value)
    assert not torch.is_grad_enabled() or not torch.is_inference_mode_enabled()
