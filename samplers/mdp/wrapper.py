"""The wrapper of every manipulation: what it prepares before a run, and how it changes each prediction in it.

A kind of manipulation is a subclass with two methods, `begin` and `predict`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .. import nested
from ..path import DiffusionPath
from ..schedule import PathSchedule, Weights

KEY = "diffusion_path_mdp"


@dataclass(frozen=True)
class Prediction:
    """D(x*, sigma) as a solver requests it of a guider; a call evaluates it, with another state or options if given.

    Some guiders give several predictions at once, for several guidance scales (LanPaint): a call returns the one of
    `index`, and `given` keeps all of them, by call. Those after the first are read from there, without evaluations.
    """

    executor: Callable[..., Any]
    x: Tensor
    timestep: Tensor
    options: dict[str, Any]
    seed: int | None
    index: int = 0
    given: list[tuple[Tensor, ...]] = field(default_factory=list)
    calls: list[None] = field(default_factory=list)

    @property
    def guider(self) -> Any:
        return self.executor.class_obj  # pyright: ignore[reportFunctionMemberAccess]

    @property
    def sigma(self) -> float:
        return float(self.timestep.reshape(-1)[0])

    def __call__(self, x: Tensor | None = None, options: dict[str, Any] | None = None) -> Tensor:
        if self.index:
            self.calls.append(None)
            return self.given[len(self.calls) - 1][self.index]
        x, options = self.x if x is None else x, self.options if options is None else options
        made = self.executor(x, self.timestep, options, self.seed)
        self.given.append(made if isinstance(made, tuple) else (made,))
        return self.given[-1][0]


class Manipulation(ABC):
    """One manipulation of a MODEL. `run` is what `begin` gave, for the length of one sampling run."""

    name: str
    run: Any = None
    count: int | None = None  # of the predictions that the run's guider gives at once, once it is known

    def on(self, model: Any) -> Any:
        """A clone of the MODEL with this manipulation."""
        clone = model.clone()
        for kind, wrapper in self.wrappers().items():
            clone.add_wrapper_with_key(kind, KEY, wrapper)
        return clone

    def wrappers(self) -> Mapping[str, Callable[..., Tensor]]:
        return {WrappersMP.OUTER_SAMPLE: self.outer_sample, WrappersMP.PREDICT_NOISE: self.predict_noise}

    @abstractmethod
    def begin(self, guider: Any, noise: Any, sampler: Any, sigmas: Tensor, denoise_mask: Tensor | None) -> Any:
        """What stays the same during a run; None if nothing is manipulated. Raises ValueError if inputs do not fit.

        noise: [B, C, ...], or nested.
        """

    @abstractmethod
    def predict(self, run: Any, prediction: Prediction) -> Tensor:
        """The manipulated prediction D*, [B, C, ...]."""

    def outer_sample(self, executor: Callable[..., Tensor], noise: Tensor, latent_image: Tensor, sampler: Any,
                     sigmas: Tensor, denoise_mask: Tensor | None = None, *args: Any, **kwargs: Any):  # fmt: skip
        guider = executor.class_obj  # pyright: ignore[reportFunctionMemberAccess]
        shapes = kwargs.get("latent_shapes") or ()
        like = nested.unpack(noise, tuple(map(tuple, shapes)) if len(shapes) > 1 else None)
        outer, self.run, self.count = self.run, self.begin(guider, like, sampler, sigmas, denoise_mask), None
        try:
            return executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)
        finally:
            self.run = outer

    def predict_noise(self, executor: Callable[..., Tensor], x: Tensor, timestep: Tensor,
                      model_options: dict[str, Any] | None = None, seed: int | None = None) -> Any:  # fmt: skip
        if self.run is None:
            return executor(x, timestep, model_options or {}, seed)
        prediction = Prediction(executor, x, timestep, model_options or {}, seed)
        made = self.predict(self.run, prediction)
        if prediction.given:
            self.count = len(prediction.given[0])
        elif self.count is None and not _is_core(prediction.guider):
            prediction()  # to see how many it gives; where the path's prediction is used, none of them is
            self.count = len(prediction.given.pop())
        if self.count in (None, 1):
            return made
        others = range(1, self.count)
        return made, *(self.predict(self.run, replace(prediction, index=index, calls=[])) for index in others)


def _is_core(guider: Any) -> bool:
    """Whether the guider's predictions are made by ComfyUI's own code, which gives one at a time."""
    return type(guider).predict_noise.__module__.partition(".")[0] in ("comfy", "comfy_extras")


def weights_along(path: DiffusionPath, schedule: PathSchedule) -> Weights:
    """The weight of the source at each of the path's levels."""
    return Weights(schedule, path.levels, [*path.step_positions, 0.0])
