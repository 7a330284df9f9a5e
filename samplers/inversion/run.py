"""Runs an inversion inside ComfyUI's own sampling, so that models, patches, hooks and memory work as they always do.

An inversion is a `Method`: a value that is called with a `Run` (the loaded model, the picture, the schedule) and gives
the fields of the path. It stands where a sampler stands, and walks the schedule upwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import comfy.model_management
import torch
from torch import Tensor

from ..own_sampler import OwnSampler

Fields = dict[str, Any]
"""Fields of a DiffusionPath: `states` [N + 1, B, C, ...] at least."""


@dataclass
class Run:
    """What a method works on. All tensors in model space, on the model's device.

    sigmas [N + 1] fall as in sampling; picture [B, C, ...] is the path's end; noise [B, C, ...] belongs to the seed.
    cfg is that of the edit to come, while the guider's own is `Method.run_cfg`.
    """

    guider: Any
    sigmas: Tensor
    picture: Tensor
    noise: Tensor
    model_options: dict[str, Any]
    seed: int
    indices: Sequence[int]
    cfg: float = 1.0
    callback: Callable[..., None] | None = None
    done: int = field(default=0, init=False)

    @property
    def sampling(self) -> Any:
        return self.guider.inner_model.model_sampling

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x, sigma) with the run's guidance; sigma: a number for all items, or one per item."""
        sigma = sigma if sigma.ndim else sigma * x.new_ones([x.shape[0]])
        return self.guider(x, sigma, model_options=self.model_options, seed=self.seed)

    def progress(self, x: Tensor, denoised: Tensor, steps: int = 1) -> None:
        """Tell ComfyUI that so many steps more are done, with a preview; raises where the user has interrupted."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.done += steps
        if self.callback is not None:
            self.callback(self.done - 1, denoised, x, self.steps)


class Method(ABC):
    """A way to find the path of a picture."""

    name: ClassVar[str]

    def run_cfg(self, cfg: float) -> float:
        """The guidance that the inversion itself needs, for an edit at cfg."""
        return 1.0

    def plan(self, steps: int, cfg: float) -> int:
        """How many evaluations of the network it takes at most; a gradient counts as two more, as it costs."""
        return steps

    def prepared(self, model: Any, cfg: float, steps: int, batch: int) -> Any:
        """The MODEL to run on; raises ValueError where the method cannot work on what is given."""
        return model

    @abstractmethod
    def __call__(self, run: Run) -> Fields:
        """Finds the path of the run's picture."""


class InversionSampler(OwnSampler):
    """A SAMPLER that inverts the latent it is given and returns it unchanged; `fields` holds what the method found."""

    def __init__(self, method: Method, indices: Sequence[int] | None = None, cfg: float = 1.0) -> None:
        super().__init__()
        self.method = method
        self.indices = indices
        self.cfg = cfg
        self.fields: Fields = {}

    def run(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable[..., None] | None,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """ComfyUI's Sampler contract; a mask is not looked at, for the path is that of the whole picture."""
        indices = range(latent_image.shape[0]) if self.indices is None else self.indices
        options, seed = extra_args.get("model_options", {}), extra_args.get("seed") or 0
        run = Run(model_wrap, sigmas, latent_image, noise, options, seed, indices, self.cfg, callback)
        with torch.no_grad():
            self.fields = self.method(run)
        return latent_image


def climbing(run: Run, advance: Callable[[Tensor, int], tuple[Tensor, Tensor]]) -> Tensor:
    """The states [N + 1, B, C, ...] of a walk from the picture up to the noisiest level.

    advance(x, i) takes the state of level i + 1 to level i and also gives a denoised prediction to preview.
    """
    states = [run.picture]
    for i in reversed(range(run.steps)):
        x, denoised = advance(states[0], i)
        states.insert(0, x)
        run.progress(x, denoised)
    return torch.stack(states)
