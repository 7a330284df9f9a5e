"""Gradients through ComfyUI's models, from inside its inference mode: the one place of the pack that takes them.

    with grad_ready(model_roots(guider), x.device) as gradients:
        options = gradient_options(model_options)
        value, (g,) = gradients(lambda x: loss(branch(model, conds, x, sigma, options)), x)

`grad_ready` makes the models of a run differentiable for the length of a ``with`` block and puts everything back,
whatever ends the block. What it yields takes gradients of a loss with respect to any tensors (a latent, an embedding).
It belongs inside a run (a PREDICT_NOISE, CALC_COND_BATCH or SAMPLER_SAMPLE wrapper), where the models are loaded.

Four things stand in autograd's way there, and each has a module that removes it:

- Inference tensors: ComfyUI loads weights and runs prompts under ``torch.inference_mode()``, and autograd refuses such
  tensors. `inference_tensors.normal_tensors` puts aliases over the same memory in their place.
- In-place updates: transformers and ControlNets overwrite tensors that autograd has saved for the backward pass.
  `saved_tensors.saved_tensors` copies what is saved before it is overwritten.
- Streamed weights: offloaded weights are on the device only while their layer computes with them.
  `streamed_weights.streamed_weights` knows them, and the backward pass fetches them again.
- Operations without a backward pass: fused rotary embeddings, ``out=``, Sage and Flash attention.
  `kernels.DifferentiableKernels`, `kernels.plain_attention` and `model_calls.gradient_options` compute the same in
  plain PyTorch.

Where memory is short, `checkpoint.checkpointed` recomputes each block in the backward pass.
"""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import comfy.model_management
import torch
from torch import Tensor, nn

from .checkpoint import checkpointed as checkpointed_blocks
from .inference_tensors import Aliases, normal_tensors
from .kernels import NO_FORMULA, DifferentiableKernels, plain_attention, without_backward
from .model_calls import branch, gradient_options, model_roots, text_embedding, with_text_embedding
from .saved_tensors import saved_tensors
from .streamed_weights import StreamedWeights, streamed_weights

__all__ = [
    "OUT_OF_MEMORY", "Gradients", "Needs", "branch", "grad_ready", "gradient_options", "loss_scales", "model_roots",
    "refuse_no_gradient", "text_embedding", "with_text_embedding",
]  # fmt: skip

# Autograd in half precision underflows where the loss is small, and overflows where it is not: tried in this order.
_LOSS_SCALES = (2.0**10, 1.0, 2.0**-10)

OUT_OF_MEMORY = (
    "The memory did not last for a gradient through the model: use a smaller picture or batch, "
    "or the memory mode 'checkpointed' or 'tiled' where there is one."
)

Loss = Callable[..., Tensor]


@dataclass
class Needs:
    """What the gradients of one model turned out to need; kept for a run, so that each is found out once.

    in_place: guard what autograd saved against in-place updates. plain_kernels: replace operations that have no
    backward pass. Both cost time and are turned on by the first network that needs them. aliases: the weights'.
    """

    in_place: bool = False
    plain_kernels: bool = False
    aliases: Aliases = field(default_factory=dict)

    def learn(self, error: RuntimeError) -> bool:
        """Turn on what would have prevented the error; False where nothing would."""
        if not self.in_place and "modified by an inplace operation" in str(error):
            self.in_place = True
        elif not self.plain_kernels and without_backward(error):
            self.plain_kernels = True
        else:
            return False
        return True


@dataclass
class Gradients:
    """Takes gradients inside `grad_ready`. weights: those that ComfyUI streams in."""

    needs: Needs
    weights: StreamedWeights

    def __call__(self, loss: Loss, *inputs: Tensor, scales: Sequence[float] = (1.0,)) -> tuple[float, list[Tensor]]:
        """The value of ``loss(*inputs)`` and its gradient with respect to each input, in the input's dtype.

        loss gets normal copies of the inputs that require gradients and returns one number; it may be called again.
        scales: factors by which the loss is multiplied for the backward pass, tried until the gradient is finite (see
        `loss_scales`). An input that the loss does not depend on gets zeros. Raises ValueError where the gradient is
        never finite.
        """
        for scale in scales:
            value, found = self._taken(loss, inputs, scale)
            if all(bool(torch.isfinite(gradient).all()) for gradient in found):
                return value, found
        raise ValueError(
            "The gradient through the model is not finite in this precision: load the model in bf16 or fp32 "
            "(Load Diffusion Model's weight_dtype, or --bf16-unet)."
        )

    def _taken(self, loss: Loss, inputs: Sequence[Tensor], scale: float) -> tuple[float, list[Tensor]]:
        while True:
            try:
                return self._attempt(loss, inputs, scale)
            except RuntimeError as error:
                if not self.needs.learn(error):
                    raise

    def _attempt(self, loss: Loss, inputs: Sequence[Tensor], scale: float) -> tuple[float, list[Tensor]]:
        leaves = [tensor.detach().clone().requires_grad_(True) for tensor in inputs]
        kernels = DifferentiableKernels() if self.needs.plain_kernels else contextlib.nullcontext()
        with saved_tensors(self.weights, self.needs.in_place), kernels:
            value = loss(*leaves)
            if not value.requires_grad:
                return float(value), [torch.zeros_like(leaf) for leaf in leaves]
            torch.set_grad_enabled(True)  # the loss may have ended the recording early, to save memory
            found = _backward(value.float() * scale, leaves)
        return float(value.detach()), [gradient.detach() / scale for gradient in found]


class _BackwardError(RuntimeError):
    """What PyTorch says where a backward pass fails."""


def _backward(value: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    try:
        return torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
    except RuntimeError as error:
        if comfy.model_management.is_oom(error):
            raise
        raise _BackwardError(str(error)) from error


def loss_scales(dtype: torch.dtype) -> tuple[float, ...]:
    """Scales for `Gradients` by the dtype that the model computes in: only half precision needs any."""
    return _LOSS_SCALES if dtype == torch.float16 else (1.0,)


@contextlib.contextmanager
def grad_ready(
    roots: Iterable[nn.Module], device: torch.device, checkpointed: bool = False, needs: Needs | None = None
) -> Iterator[Gradients]:
    """Make the modules under `roots` differentiable for the length of the block, weights not copied.

    roots: every network that the gradient passes through (`model_roots`). device: where they compute.
    checkpointed: recompute each block in the backward pass instead of keeping its activations: about a third of the
    memory for one forward pass more. needs: an object to keep for the length of one run of the model, which makes the
    next block faster.
    Raises the memory error of the backend with a sentence that names the knobs; ValueError where the backward pass
    fails (an operation has none), or another pack feeds the model a tensor that autograd cannot keep. All are raised
    after everything has been put back.
    """
    roots, needs, management = list(roots), needs or Needs(), comfy.model_management
    modules = list(dict.fromkeys(module for root in roots for module in root.modules()))
    try:
        with torch.inference_mode(False), torch.enable_grad(), _training(), contextlib.ExitStack() as undo:
            undo.enter_context(normal_tensors(modules, needs.aliases))
            weights = undo.enter_context(streamed_weights(modules, device))
            undo.enter_context(plain_attention())
            if checkpointed:
                undo.enter_context(checkpointed_blocks(roots, weights))
            yield Gradients(needs, weights)
    except Exception as error:
        if management.is_oom(error):
            traceback.clear_frames(error.__traceback__)  # they hold the activations that did not fit
            raise management.OOM_EXCEPTION(OUT_OF_MEMORY) from None
        if isinstance(error, RuntimeError) and "nference tensor" in str(error):
            raise ValueError(
                "Another node's patch on this model gives it tensors that no gradient can pass: bypass the nodes "
                "between the model loader and this one, one after the other, to find it."
            ) from error
        if isinstance(error, _BackwardError):
            raise ValueError(
                f"PyTorch cannot take a gradient through this model ({_cause(error)}): use a method without gradients "
                "(fixed point in the place of null text), or another model."
            ) from error
        raise


@contextlib.contextmanager
def _training() -> Iterator[None]:
    """ComfyUI's own switch: transformers then avoid kernels that have no backward pass."""
    management = comfy.model_management
    before, management.in_training = management.in_training, True
    try:
        yield
    finally:
        management.in_training = before


def _cause(error: RuntimeError) -> str:
    """The operation that has no backward pass, or else the first sentence of what PyTorch says."""
    text = str(error)
    if NO_FORMULA in text:
        found = re.search(r"backward through (\S+)", text)
        return f"no backward pass for {found[1].removesuffix('.default') if found else 'an operation of another pack'}"
    return re.split(r"[.:;]\s|\n", text.strip(), maxsplit=1)[0].rstrip(".:")[:200]


def refuse_no_gradient(gradient: Tensor, what: str, remedy: str) -> None:
    """Raises ValueError where a gradient is zero in every element, so that it could not improve anything.

    what: what the model does not depend on, with its article. remedy: what to do, as an imperative.
    """
    if not bool(gradient.any()):
        raise ValueError(f"This model's prediction does not depend on {what} (the gradient is 0 everywhere): {remedy}.")
