"""Runs an inversion inside ComfyUI's own sampling, so that models, patches, hooks and memory work as they always do.

An inversion is a `Method`: a value that is called with a `Run` (the loaded model, the picture, the schedule) and gives
the fields of the path. It takes the place of a sampler, and goes up the schedule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import comfy.model_management
import torch
from torch import Tensor

from ..own_sampler import SamplerRun
from ..path_storage import room

Fields = dict[str, Any]
"""Fields of a DiffusionPath: `states` [N + 1, B, C, ...] at least."""


@dataclass
class Run(SamplerRun):
    """What a method works on: the path ends at the picture, and the noise belongs to the seed.

    cfg is that of the edit to come, while the guider's own is `Method.run_cfg`.
    """

    indices: Sequence[int] = ()
    cfg: float = 1.0
    done: int = field(default=0, init=False)

    @property
    def picture(self) -> Tensor:
        return self.latent_image

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

    def room(self, count: int) -> Tensor:
        """Where so many states of the path are to be written, [count, B, C, ...] on the CPU."""
        return room([count, *self.picture.shape], self.picture.dtype)

    def progress(self, x: Tensor, denoised: Tensor, steps: int = 1) -> None:
        """Report more finished steps to ComfyUI, with a preview; raises if the user has interrupted."""
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
        """The most evaluations of the network that it takes; a gradient counts as two more, which is its cost."""
        return steps

    def kept_states(self, steps: int) -> int:
        """How many tensors of a state's size the path keeps."""
        return steps + 1

    def prepared(self, model: Any, cfg: float, steps: int, batch: int) -> Any:
        """The MODEL to run on; raises ValueError if the method cannot work on it."""
        return model

    @abstractmethod
    def __call__(self, run: Run) -> Fields:
        """Finds the path of the run's picture."""


def inverting(method: Method, indices: Sequence[int] | None = None, cfg: float = 1.0) -> Callable[[SamplerRun], Fields]:
    """For `run_inside` on a picture: what the method finds. indices: batch_index of its items, by default from 0.

    A mask is ignored, because the path is that of the whole picture.
    """

    @torch.no_grad()
    def invert(given: SamplerRun) -> Fields:
        items = range(given.latent_image.shape[0]) if indices is None else indices
        return method(Run(**vars(given), indices=items, cfg=cfg))

    return invert


def climbing(run: Run, advance: Callable[[Tensor, int], tuple[Tensor, Tensor]]) -> Tensor:
    """The states [N + 1, B, C, ...] from the picture up to the noisiest level, on the CPU.

    advance(x, i) takes the state of level i + 1 to level i and also gives a denoised prediction to preview.
    """
    x, states = run.picture, run.room(run.steps + 1)
    states[-1] = x
    for i in reversed(range(run.steps)):
        x, denoised = advance(x, i)
        states[i] = x
        run.progress(x, denoised)
    return states
