"""What autograd saved is what it gets back: through updates in place, and where weights are streamed in."""

from __future__ import annotations

from typing import Any
from weakref import ref

import comfy.ops
import pytest
import torch
from diffusion_path import gradients
from diffusion_path.gradients.saved_tensors import saved_tensors
from diffusion_path.gradients.streamed_weights import streamed_weights
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.gradient_probes import inside_a_run, latent_gradient
from torch import Tensor, nn


def test_offloaded_weights_come_back_for_the_backward_pass() -> None:
    """Streamed weights and biases lie in one buffer that the next layer overwrites."""
    wanted, _ = inside_a_run(tiny.unet(), latent_gradient())
    model = tiny.unet()
    buffer = torch.empty(2**20)

    def stream(weight: Tensor, start: int) -> Tensor:
        place = buffer[start : start + weight.numel()].view(weight.shape)
        place.numpy()[...] = weight.numpy()  # as the copy engine does it: autograd cannot see it
        return place

    def probe(*arguments: Any) -> tuple[Tensor, Tensor]:
        for layer in (m for m in model.model.modules() if hasattr(m, "weight_function")):
            layer.weight_function = [lambda weight: stream(weight, 0)]  # loading the model cleared the lists
            layer.bias_function = [lambda bias: stream(bias, 2**19)]
        elsewhere = latent_gradient(device=torch.device("meta"))(*arguments)
        return elsewhere[0], latent_gradient()(*arguments)[0]

    elsewhere, here = inside_a_run(model, probe)
    torch.testing.assert_close(elsewhere, wanted)
    assert not torch.allclose(here, wanted)


def test_streamed_weights_are_not_kept_until_the_backward_pass() -> None:
    layer: Any = comfy.ops.manual_cast.Linear(8, 8)
    weight, fetched = torch.linspace(-1, 1, 64).view(8, 8), []
    layer.weight, layer.bias = nn.Parameter(weight, requires_grad=False), None

    def fetch(given: Tensor) -> Tensor:
        copy = given.clone()
        fetched.append(ref(copy))
        return copy

    layer.weight_function = [fetch]

    def loss(x: Tensor) -> Tensor:
        y = layer(x).sum()
        assert [each() for each in fetched] == [None]
        return y

    with gradients.grad_ready([layer], torch.device("meta")) as take:
        _, (gradient,) = take(loss, torch.ones(8))
    assert len(fetched) == 2
    torch.testing.assert_close(gradient, weight.sum(dim=0))


def test_gradients_of_what_is_updated_in_place_whose_memory_is_used_again() -> None:
    """d/dx of sum_k sin(kx) + sum (kx + 1)^2 over the last 412; PyTorch's own way of saving mixes the tensors up."""
    x = torch.linspace(0.1, 1, 512, dtype=torch.float64, requires_grad=True)
    total, wanted, tail = torch.zeros(()), torch.zeros(512, dtype=torch.float64), torch.arange(512) >= 100
    with saved_tensors():
        for k in range(1, 60):
            a = x * float(k)
            total = total + a.sin().sum()
            a.add_(1.0)
            total = total + (a[100:] ** 2).sum()
            a[50:].mul_(0.5)
            known = x.detach()
            wanted += k * (k * known).cos() + 2 * (k * known + 1) * k * tail
        (gradient,) = torch.autograd.grad(total, x)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("streamed", [True, False])
def test_an_update_in_place_is_noticed(streamed: bool) -> None:
    """PyTorch itself notices it only where nobody fetches weights again."""
    layer = comfy.ops.manual_cast.Linear(8, 8, bias=False)
    x = torch.linspace(0.1, 1, 8)
    given = []

    def loss(x: Tensor) -> Tensor:
        given.append(x)
        y = x.exp()
        total = y.sin().sum()
        return total + y.mul_(2.0).sum()

    place = torch.device("meta" if streamed else "cpu")
    with gradients.grad_ready([layer], place) as take:
        assert bool(take.weights) == streamed
        _, (gradient,) = take(loss, x)
        assert take.needs.in_place
    assert len(given) == 2
    torch.testing.assert_close(gradient, x.exp() * x.exp().cos() + 2 * x.exp())


@pytest.mark.parametrize("in_place", [True, False])
def test_what_was_saved_goes_with_the_gradient(in_place: bool) -> None:
    """An output that its own operation saves (exp, attention) must not keep the whole graph alive."""
    x = torch.linspace(0.1, 1, 8, requires_grad=True)
    layer = comfy.ops.manual_cast.Linear(8, 8)
    with streamed_weights([layer], torch.device("meta")) as weights, saved_tensors(weights, in_place):
        y = x.exp()
        gone = ref(y)
        torch.autograd.grad(y.sin().sum(), x, retain_graph=True)  # as where another loss scale may be tried
        del y
    assert gone() is None
