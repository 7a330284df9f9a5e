"""Gradients taken in the middle of a run, what they could leave changed, and failures, shared by tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management as management
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from diffusion_path import gradients
from diffusion_path.samplers import process
from diffusion_path.tests.unit import families, tiny
from torch import Tensor, nn
from torch._C import _len_torch_dispatch_stack, _len_torch_function_stack

Probe = Callable[[Any, Tensor, Tensor, dict[str, Any]], Any]


def inside_a_run(
    model: ModelPatcher,
    probe: Probe,
    positive: Any = None,
    batch: int = 1,
    seed: int = 0,
    family: families.Family | None = None,
) -> Any:
    """Call probe(guider, x, sigma, model_options) at the first model call of a run, as a node's wrapper would be.

    family: of the model, where its prompts or latents are not those of the models in `tiny`.
    """
    found = []

    def wrapper(executor: Any, x: Tensor, sigma: Tensor, model_options: dict[str, Any], seed: int) -> Tensor:
        if not found:
            found.append(probe(executor.class_obj, x, sigma, model_options))
        return executor(x, sigma, model_options, seed)

    clone = model.clone()
    clone.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, "test", wrapper)
    with torch.inference_mode():
        guider = comfy.samplers.CFGGuider(clone)
        own, negative = (families.cond(family, i) if family else tiny.cond(i) for i in range(2))
        guider.set_conds(positive or own, negative)
        guider.set_cfg(3.0)
        latent = (families.latent(family, batch) if family else tiny.latent(model, batch))["samples"]
        noise = comfy.sample.prepare_noise(latent, seed)
        sampling = process.model_sampling(model)
        sigmas = torch.tensor([float(sampling.percent_to_sigma(0.6)), 0.0])
        guider.sample(noise, latent, comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True, seed=0)
    return found[0]


def weighted_square(d: Tensor) -> Tensor:
    """A loss that depends on every element differently."""
    weights = torch.randn(d.shape[1:], generator=torch.Generator().manual_seed(5)).to(d)
    return ((d * weights).sum(dim=tuple(range(1, d.ndim))) ** 2).sum() + (d**2 * weights).sum()


def loss_of(guider: Any, sigma: Tensor, options: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    def loss(x: Tensor) -> Tensor:
        denoised = gradients.branch(guider.inner_model, guider.conds["positive"], x, sigma, options)
        return weighted_square(denoised.float())

    return loss


def latent_gradient(checkpointed: bool = False, device: torch.device | None = None) -> Probe:
    def probe(guider: Any, x: Tensor, sigma: Tensor, model_options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        options = gradients.gradient_options(model_options)
        with gradients.grad_ready(gradients.model_roots(guider), device or x.device, checkpointed) as take:
            _, (gradient,) = take(loss_of(guider, sigma, options), x)
        return gradient, x.clone()

    return probe


def differences(guider: Any, x: Tensor, sigma: Tensor, model_options: dict[str, Any]) -> tuple[float, float]:
    """The directional derivative along the gradient: autograd's, and by central differences of ComfyUI's own calls."""
    gradient, _ = latent_gradient()(guider, x, sigma, model_options)
    direction = gradient / gradient.norm()
    loss, step = loss_of(guider, sigma, model_options), 2e-2 * float(x.norm()) / x.numel() ** 0.5
    numeric = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    return float(gradient.norm()), float(numeric)


State = dict[tuple[str, int, Any], Any]
"""(what, number of the module, name) -> the object that is there."""


def snapshot(model: ModelPatcher, *others: nn.Module) -> State:
    """Everything that a gradient could leave changed: the modules' attributes, tensors and hooks, and all switches."""
    state: State = {
        ("in_training", 0, ""): management.in_training,
        ("inference mode", 0, ""): torch.is_inference_mode_enabled(),
        ("recording", 0, ""): torch.is_grad_enabled(),
        ("hooks on saved tensors", 0, ""): torch._C._autograd._top_saved_tensors_default_hooks(True),  # pyright: ignore[reportAttributeAccessIssue]
        ("dispatch modes", 0, ""): _len_torch_dispatch_stack(),
        ("function modes", 0, ""): _len_torch_function_stack(),
    }
    modules = [module for root in (model.model, *others) for module in root.modules()]
    for number, module in enumerate(modules):
        for what, value in vars(module).items():
            if what == "latent_shapes":
                continue  # a newer ComfyUI notes those of the last run
            parts = dict(enumerate(value)) if isinstance(value, list) else value
            if isinstance(parts, dict):
                state.update({(what, number, name): part for name, part in parts.items()})
            else:
                state[what, number, None] = value
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                state["memory", number, name] = tensor.data_ptr()
                state["gradient", number, name] = tensor.grad
    return state


def changes(before: State, after: State) -> set[str]:
    """What differs between two snapshots; nothing is compared by value that could be another object."""
    missing = object()

    def same(key: tuple[str, int, Any]) -> bool:
        old, new = before.get(key, missing), after.get(key, missing)
        return old is new or (isinstance(old, int) and isinstance(new, int) and old == new)

    return {key[0] for key in before.keys() | after.keys() if not same(key)}


class Stop(BaseException):
    """Stands for an interrupt: ComfyUI's own is not an Exception either."""


@contextmanager
def failing(module: nn.Module, error: BaseException) -> Iterator[None]:
    def hook(*_: Any) -> None:
        raise error

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
