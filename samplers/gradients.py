"""Gradients through ComfyUI's models, from inside its inference mode: the one place of the pack that takes them.

ComfyUI runs every prompt under ``torch.inference_mode()`` and loads its weights there, so that autograd refuses them.
`grad_ready` makes the models of a run differentiable for the length of a ``with`` block and leaves nothing behind,
whatever ends the block; what it yields takes gradients of a loss with respect to any tensors (a latent, an embedding):

    with grad_ready(model_roots(guider), x.device) as gradients:
        options = gradient_options(model_options)
        value, (g,) = gradients(lambda x: loss(branch(model, conds, x, sigma, options)), x)

It belongs inside a run (a PREDICT_NOISE, CALC_COND_BATCH or SAMPLER_SAMPLE wrapper), where the models are loaded.
"""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.conds
import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from .kernels import NO_BACKWARD, DifferentiableKernels
from .recompute import recomputed
from .saved import kept_as_saved
from .streamed import StreamedWeights

# Autograd in half precision underflows where the loss is small, and overflows where it is not: tried in this order.
_LOSS_SCALES = (2.0**10, 1.0, 2.0**-10)

OUT_OF_MEMORY = (
    "The memory did not last for a gradient through the model: use a smaller picture or batch, "
    "or the memory mode 'checkpointed' where there is one."
)

Loss = Callable[..., Tensor]


@dataclass
class Gradients:
    """Takes gradients inside `grad_ready`.

    mutation: keep what autograd saved safe from in-place updates (transformers, ControlNets), which costs time: it is
    turned on by the first network that needs it. weights: those that ComfyUI streams in. kernels: replace fused kernels
    without a backward pass, which costs some time too and is turned on in the same way.
    """

    checkpointed: bool
    mutation: bool = False
    weights: StreamedWeights | None = None
    kernels: bool = False

    def __call__(self, loss: Loss, *inputs: Tensor, scales: Sequence[float] = (1.0,)) -> tuple[float, list[Tensor]]:
        """The value of ``loss(*inputs)`` and its gradient with respect to each input, in the input's dtype.

        loss gets normal copies of the inputs that require gradients and returns one number; it may be called again.
        scales: factors that the loss is multiplied with for the backward pass, tried until the gradient is finite (see
        `loss_scales`). An input that the loss does not depend on gets zeros. Raises ValueError where the gradient is
        never finite.
        """
        for scale in scales:
            value, slopes = self._taken(loss, inputs, scale)
            if all(bool(torch.isfinite(slope).all()) for slope in slopes):
                return value, slopes
        raise ValueError(
            "The gradient through the model is not finite in this precision: load the model in bf16 or fp32 "
            "(Load Diffusion Model's weight_dtype, or --bf16-unet)."
        )

    def _taken(self, loss: Loss, inputs: Sequence[Tensor], scale: float) -> tuple[float, list[Tensor]]:
        while True:
            try:
                return self._attempt(loss, inputs, scale)
            except RuntimeError as error:
                if not self._learnt(str(error)):
                    raise

    def _learnt(self, problem: str) -> bool:
        """Turn on what a network turns out to need; False where nothing is left that could help."""
        if not self.mutation and "modified by an inplace operation" in problem:
            self.mutation = True
            return True
        if not self.kernels and NO_BACKWARD in problem:
            self.kernels = True
            return True
        return False

    def _attempt(self, loss: Loss, inputs: Sequence[Tensor], scale: float) -> tuple[float, list[Tensor]]:
        leaves = [tensor.detach().clone().requires_grad_(True) for tensor in inputs]
        kernels = DifferentiableKernels() if self.kernels else contextlib.nullcontext()
        with kept_as_saved(self.weights, self.mutation), kernels:
            value = loss(*leaves)
            if not value.requires_grad:
                return float(value), [torch.zeros_like(leaf) for leaf in leaves]
            torch.set_grad_enabled(True)  # the loss may have ended the recording early, to save memory
            found = torch.autograd.grad(value.float() * scale, leaves, allow_unused=True)
        slopes = [_unscaled(slope, leaf, scale) for slope, leaf in zip(found, leaves, strict=True)]
        return float(value.detach()), slopes


def _unscaled(slope: Tensor | None, leaf: Tensor, scale: float) -> Tensor:
    return torch.zeros_like(leaf) if slope is None else slope.detach() / scale


def loss_scales(dtype: torch.dtype) -> tuple[float, ...]:
    """Scales for `Gradients` by the dtype that the model computes in: only half precision needs any."""
    return _LOSS_SCALES if dtype == torch.float16 else (1.0,)


_Swap = tuple[Any, str, Tensor, Tensor]  # store, name, alias, original

Aliases = dict[tuple[int, str], tuple[Tensor, Tensor]]
"""Aliases made before, to be used again in the same run: (id of the store, name) -> (original, alias)."""


@contextlib.contextmanager
def grad_ready(
    roots: Iterable[nn.Module],
    device: torch.device,
    checkpointed: bool = False,
    mutation: bool = False,
    aliases: Aliases | None = None,
    kernels: bool = False,
) -> Iterator[Gradients]:
    """Make the modules under `roots` differentiable for the length of the block, weights not copied.

    roots: every network that the gradient passes through (`model_roots`). device: where they compute.
    checkpointed: recompute each block in the backward pass instead of keeping its activations: about a third of the
    memory for one forward pass more. mutation, kernels: see `Gradients`. aliases: a dict to keep for the length of one
    run of the model, which makes the next entry faster.
    Raises the memory error of the backend with a sentence that names the knobs; ValueError where another pack feeds
    the model a tensor that autograd cannot keep. Both after everything has been put back.
    """
    modules = _distinct_modules(roots)
    management = comfy.model_management
    was_training = management.in_training
    with torch.inference_mode(False), torch.enable_grad(), contextlib.ExitStack() as undo:
        undo.callback(setattr, management, "in_training", was_training)
        swapped: list[_Swap] = []
        weights = StreamedWeights()
        undo.callback(_put_back, swapped)
        try:
            for module in modules:
                _alias_tensors(module, swapped, {} if aliases is None else aliases)
                weights.watch(module, device, undo)
            if checkpointed:
                undo.enter_context(recomputed(roots, weights))
            management.in_training = True  # transformers then avoid kernels that have no backward pass
            yield Gradients(checkpointed, mutation, weights, kernels)
        except Exception as error:
            if management.is_oom(error):
                traceback.clear_frames(error.__traceback__)  # they hold the activations that did not fit
                raise management.OOM_EXCEPTION(OUT_OF_MEMORY) from None
            if isinstance(error, RuntimeError) and NO_BACKWARD in str(error):
                raise ValueError(
                    f"This model computes with an operation that no gradient can pass ({_operation(error)}): use a "
                    "method without gradients (fixed point in the place of null text), or another model."
                ) from error
            if isinstance(error, RuntimeError) and "nference tensor" in str(error):
                raise ValueError(
                    "Another node's patch on this model gives it tensors that no gradient can pass: bypass the nodes "
                    "between the model loader and this one, one after the other, to find it."
                ) from error
            raise


def refuse_no_gradient(gradient: Tensor, what: str, remedy: str) -> None:
    """Raises ValueError where a gradient is zero in every element: what it should improve would stay as it is.

    what: what the model does not depend on, with its article. remedy: what to do, as an imperative.
    """
    if not bool(gradient.any()):
        raise ValueError(f"This model's prediction does not depend on {what} (the gradient is 0 everywhere): {remedy}.")


def _operation(error: RuntimeError) -> str:
    """The name of the operation that PyTorch has no backward pass for, from its own sentence."""
    found = re.search(r"backward through (\S+)", str(error))
    return found[1].removesuffix(".default") if found else "an operation of another pack"


def model_roots(guider: Any) -> list[nn.Module]:
    """The networks of a run: the diffusion model and all that was loaded with it (ControlNets, adapters)."""
    loaded = [patcher.model for patcher in guider.loaded_models]
    return [guider.inner_model, *(model for model in loaded if isinstance(model, nn.Module))]


def gradient_options(model_options: dict[str, Any]) -> dict[str, Any]:
    """A copy of a run's model_options for a differentiable call.

    Attention becomes PyTorch's own: Sage and Flash attention have no backward pass and would silently leave its part
    out. Compiled models and calls on several GPUs step aside for the same reason.
    """
    options = comfy.model_patcher.create_model_options_clone(model_options)
    options.pop("multigpu_clones", None)
    transformer = options.setdefault("transformer_options", {})
    transformer["optimized_attention_override"] = _plain_attention
    transformer.get("wrappers", {}).get("apply_model", {}).pop("torch.compile", None)
    return options


def branch(model: Any, conds: list[dict[str, Any]], x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Tensor:
    """D(x, sigma) of one branch (positive, negative, ...) without guidance: one half of the memory of both."""
    return comfy.samplers.calc_cond_batch(model, [conds], x, sigma.clone(), options)[0]


def text_embedding(conds: list[dict[str, Any]]) -> Tensor:
    """The text embedding [1, tokens, width] of the first of a run's processed conds.

    Raises ValueError for a model without cross-attention text.
    """
    for cond in conds:
        if "c_crossattn" in cond.get("model_conds", {}):
            return cond["model_conds"]["c_crossattn"].cond
    raise ValueError("This model has no text embedding to take a gradient of: connect a text-to-image model.")


def with_text_embedding(conds: list[dict[str, Any]], embedding: Tensor) -> list[dict[str, Any]]:
    """A run's processed conds with another text embedding [1 or B, tokens, width] in each; the given ones stay."""
    replaced = []
    for cond in conds:
        model_conds = dict(cond.get("model_conds", {}))
        if "c_crossattn" in model_conds:
            model_conds["c_crossattn"] = type(model_conds["c_crossattn"])(embedding)
        replaced.append({**cond, "model_conds": model_conds})
    return replaced


def _plain_attention(_: Any, *args: Any, **kwargs: Any) -> Tensor:
    return attention_pytorch(*args, **kwargs)


def _distinct_modules(roots: Iterable[nn.Module]) -> list[nn.Module]:
    found: dict[int, nn.Module] = {}
    for root in roots:
        found.update((id(module), module) for module in root.modules())
    return list(found.values())


def _alias(tensor: Tensor) -> Tensor:
    """A normal tensor over the same memory as an inference tensor, which autograd may keep."""
    if is_traceable_wrapper_subclass(tensor):  # a quantised weight
        names, context = tensor.__tensor_flatten__()
        inner = {name: _alias(getattr(tensor, name)) for name in names}
        kind: Any = type(tensor)
        return kind.__tensor_unflatten__(inner, context, 0, 0)
    if not tensor.is_inference():
        return tensor.detach()
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def _alias_tensors(module: nn.Module, swapped: list[_Swap], aliases: Aliases) -> None:
    """Put aliases in the place of a module's parameters, buffers and plain tensor attributes where autograd objects."""
    stores: list[Any] = [module._parameters, module._buffers, module.__dict__]
    for store in stores:
        for name, tensor in list(store.items()):
            if not isinstance(tensor, Tensor) or tensor.is_meta:
                continue
            # Weights loaded outside inference mode may ask for gradients of their own, which would cost memory.
            if not (tensor.is_inference() or tensor.requires_grad):
                continue
            key = (id(store), name)
            original, alias = aliases.get(key, (None, None))
            if alias is None or original is not tensor:
                alias = _alias(tensor)
                if store is module._parameters:
                    alias = nn.Parameter(alias, requires_grad=False)
                    for noted, value in vars(tensor).items():  # by ComfyUI: the dtype to load it in
                        vars(alias).setdefault(noted, value)
                aliases[key] = (tensor, alias)
            store[name] = alias
            swapped.append((store, name, alias, tensor))


def _put_back(swapped: list[_Swap]) -> None:
    for store, name, ours, original in swapped:
        # A hook may have put other weights there meanwhile; those are not ours to touch.
        if store.get(name) is ours:
            store[name] = original
