"""The diffusion path as a value: the states between noise and picture, and what is needed to replay them.

A path belongs to a model family, a batch of latents and a schedule; using it with others is an error. It is held on
the CPU (`path_storage.py`), in model space, in the order of sampling: level 0 is the noisiest, the last is the picture.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import comfy.model_sampling
import torch
from torch import Tensor

from . import nested, process
from .levels import Levels
from .path_check import check_falling, check_path
from .reverse_sde import ancestral_sigmas
from .schedule import even_steps


@dataclass(frozen=True)
class ModelKind:
    """What a path and the model that replays it must have in common. Weights may differ: fine-tunes and LoRAs fit."""

    family: str
    prediction: str
    latent_format: str

    def __str__(self) -> str:
        return f"{self.family} ({self.prediction} prediction, {self.latent_format} latents)"


def model_kind(model: Any) -> ModelKind:
    """The kind of a MODEL, object patches (ModelSamplingDiscrete, ...) included."""
    sampling = process.model_sampling(model)
    parts = [
        each.__name__
        for each in type(sampling).__mro__
        if each.__module__ == comfy.model_sampling.__name__ and "calculate_denoised" in vars(each)
    ]
    return ModelKind(
        type(model.model.model_config).__name__,
        parts[0] if parts else type(sampling).__name__,
        type(model.get_model_object("latent_format")).__name__,
    )


@dataclass(frozen=True, eq=False)
class DiffusionPath:
    """N steps over N + 1 noise levels for a batch of B pictures. Tensors: float32 on the CPU, never changed in place.

    sigmas [N + 1], strictly falling; positions [N + 1]: where the levels lie on the model's path, as fractions of
    training time (1 = noise); states [N + 1, B, C, ...] in model space; signal, noise [N + 1]: the coefficients
    of x = a x0 + b n at the levels; out_scale, out_shift [C]: model space to VAE space, None if that is not affine.
    latent_shapes: shapes of the parts of a latent of several (video with sound): its states are packed, [B, 1, N], and
    out_scale and out_shift are the video's.
    continuous: the states are one trajectory of the probability-flow ODE, so that levels between them make sense.
    Stored by some methods only: denoised [N, B, C, ...] (the model's predictions, where the states do not imply them);
    residuals [N, B, C, ...] with the kernel's eta; null: conditioning tensors [N or 1, ...] that replace those of the
    negative prompt, by their name in the model's conditions; control [N]: pull towards the picture at each step;
    asked: how the steps of an inversion asked the network, where the way back asks the same (see `exact.question`);
    progress: the state from which an interrupted optimisation continues, by names that its method knows.
    """

    sigmas: Tensor
    states: Tensor
    signal: Tensor
    noise: Tensor
    model: ModelKind
    method: str
    sampler: str
    seed: int = 0
    cfg: float = 1.0
    conditioning: str = ""
    continuous: bool = True
    batch_index: tuple[int, ...] | None = None
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    out_scale: Tensor | None = None
    out_shift: Tensor | None = None
    denoised: Tensor | None = None
    residuals: Tensor | None = None
    eta: float = 1.0
    null: Mapping[str, Tensor] = field(default_factory=dict)
    control: Tensor | None = None
    figures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    progress: Mapping[str, Tensor] = field(default_factory=dict)
    positions: Tensor | None = None
    asked: str = ""
    latent_shapes: nested.Shapes | None = None

    def __post_init__(self) -> None:
        check_path(self)

    @property
    def steps(self) -> int:
        return self.sigmas.numel() - 1

    @property
    def step_positions(self) -> list[float]:
        """Where each of the steps starts on the model's path (see `positions`); even steps if that is unknown."""
        return even_steps(self.steps) if self.positions is None else self.positions[:-1].tolist()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one state: [B, C, ...]."""
        return tuple(self.states.shape[1:])

    @property
    def picture(self) -> Tensor:
        """The clean end of the path in model space, [B, C, ...]."""
        return self.states[-1]

    @property
    def visible_shape(self) -> tuple[int, ...]:
        """Shape of what `visible` gives of a state: [B, C, (T,) h, w]."""
        return self.latent_shapes[0] if self.latent_shapes else self.shape

    def visible(self, state: Tensor) -> Tensor:
        """What can be seen of a state or prediction, [B, C, (T,) h, w]: all of it, or the video of one with sound."""
        return nested.video(state, self.latent_shapes)

    def replaced(self, **changes: Any) -> DiffusionPath:
        return dataclasses.replace(self, **changes)

    @cached_property
    def levels(self) -> Levels:
        return Levels(self.sigmas)

    def level(self, sigma: float) -> int | None:
        """Which of the path's levels sigma is, if any."""
        return self.levels.index(float(sigma))

    def step_at(self, sigma: float) -> int:
        """The step that is under way at noise level sigma; the last one where the path ends."""
        return min(self.levels.step(float(sigma)), self.steps - 1)

    def displacement(self, step: int) -> Tensor:
        """How the path moves per unit of sigma during a step: d = (x' - x) / (sigma' - sigma), [B, C, ...].

        On a path of Euler steps it is the derivative (x - D) / sigma that the model gave.
        """
        return (self.states[step + 1] - self.states[step]) / (self.sigmas[step + 1] - self.sigmas[step])

    def prediction(self, step: int) -> Tensor:
        """The denoised prediction D of a step: as recorded, or as the step between two states implies it."""
        if self.denoised is not None:
            return self.denoised[step]
        if self.residuals is not None:
            return self.residual_prediction(step, self.states[step])
        return self.states[step] - self.sigmas[step] * self.displacement(step)

    def residual_prediction(self, step: int, x: Tensor) -> Tensor:
        """The prediction whose step with the step's residual leads from x [B, C, ...] to the path's next state."""
        assert self.residuals is not None
        a, a_next, b, b_next = *self.signal[step : step + 2], *self.noise[step : step + 2]
        # The kernel's mean is a' D + kept (x - a D) / b; solved for D.
        kept, _ = ancestral_sigmas(b_next, b_next * a / (b * a_next), self.eta)
        return (self.states[step + 1] - self.residuals[step] - kept / b * x) / (a_next - kept / b * a)

    def predicted_noise(self, step: int) -> Tensor:
        """The noise n of x = a x0 + b n that the step's prediction implies, [B, C, ...]."""
        return (self.states[step] - self.signal[step] * self.prediction(step)) / self.noise[step]

    def at(self, sigma: float) -> Tensor:
        """The state at noise level sigma, [B, C, ...]: recorded, or on the line between two recorded ones.

        A step with constant prediction and noise is straight in sigma for eps, v and flow models alike, so an Euler
        step between the two levels follows the line. Raises ValueError outside the path's range,
        and between the levels of a path whose states are not one trajectory.
        """
        level = self.level(sigma)
        if level is not None:
            return self.states[level]
        start, end = float(self.sigmas[0]), float(self.sigmas[-1])
        if not end < sigma < start:
            raise ValueError(
                f"The path runs from noise level {start:.4g} to {end:.4g} and has no state at {sigma:.4g}: start "
                "later, or make the path from a higher t0."
            )
        if not self.continuous:
            raise ValueError(
                f"This path ({self.method}) is defined only at its own {self.steps + 1} noise levels, not at "
                f"{sigma:.4g}: use its own schedule (Path to Sampling Inputs gives it)."
            )
        step = self.step_at(sigma)
        weight = (float(self.sigmas[step]) - sigma) / float(self.sigmas[step] - self.sigmas[step + 1])
        return torch.lerp(self.states[step], self.states[step + 1], weight)

    def interpolation_error(self, sigma: float) -> float:
        """Estimated error of `at` from the path's bend there: RMS, relative to unit variance; 0 at a level."""
        if self.level(sigma) is not None or self.steps < 2:
            return 0.0
        step = self.step_at(sigma)
        before = max(step - 1, 0)
        bend = self.displacement(before + 1) - self.displacement(before)
        width = float(self.sigmas[before + 2] - self.sigmas[before])
        factor = (sigma - float(self.sigmas[step])) * (sigma - float(self.sigmas[step + 1]))
        scale = math.hypot(float(self.signal[step]), float(self.noise[step]))
        return float(bend.square().mean().sqrt()) * abs(factor / width) / scale

    def from_sigma(self, sigma: float) -> DiffusionPath:
        """The rest of the path from noise level sigma on; between levels its first state is interpolated."""
        level = self.level(sigma)
        if level is None:
            return self.at_levels(torch.cat([self.sigmas.new_tensor([sigma]), self.sigmas[self.step_at(sigma) + 1 :]]))
        if level == self.steps:
            raise ValueError(
                f"The path ends at noise level {float(self.sigmas[-1]):.4g}, so no steps are left from "
                f"{sigma:.4g} on: start at a higher level."
            )
        return self.at_levels(self.sigmas[level:])

    def entered_at(self, sigma: float) -> DiffusionPath:
        """The rest of the path from noise level sigma on, or all of it where sigma is above its start.

        A path whose states are not one trajectory is entered at its level nearest to sigma.
        """
        if sigma >= float(self.sigmas[0]):
            return self
        if not self.continuous:
            sigma = float(self.sigmas[int((self.sigmas - sigma).abs().argmin())])
        return self.from_sigma(sigma)

    def at_levels(self, sigmas: Tensor) -> DiffusionPath:
        """The same path on another schedule inside its range, its states interpolated where the levels differ."""
        check_falling(sigmas)
        levels = [float(sigma) for sigma in sigmas]
        steps = [self.step_at(sigma) for sigma in levels]
        following = [step + 1 for step in steps]
        between = (self.sigmas[steps] - sigmas.to(self.sigmas)) / (self.sigmas[steps] - self.sigmas[following])

        def along(values: Tensor) -> Tensor:
            return torch.lerp(values[steps], values[following], between)

        own_steps = [self.level(sigma) for sigma in levels] == list(range(steps[0], self.steps + 1))
        if own_steps:  # views, because paths may be large
            states, denoised = self.states[steps[0] :], None if self.denoised is None else self.denoised[steps[0] :]
        else:
            states = torch.stack([self.at(sigma) for sigma in levels])
            denoised = None if self.denoised is None else torch.stack([self.prediction(step) for step in steps[:-1]])
        if self.residuals is not None and not own_steps:
            raise ValueError(
                "A residual path can only be replayed in its own steps: use the SIGMAS of Path to Sampling Inputs."
            )
        return self.replaced(
            sigmas=sigmas.to(self.sigmas),
            states=states,
            signal=along(self.signal),
            noise=along(self.noise),
            denoised=denoised,
            residuals=None if self.residuals is None else self.residuals[steps[0] :],
            control=None if self.control is None else self.control[steps[:-1]],
            positions=None if self.positions is None else along(self.positions),
            null={key: tensor if tensor.shape[0] == 1 else tensor[steps[:-1]] for key, tensor in self.null.items()},
            progress={},
            asked=self.asked if own_steps else "",
        )

    def to_vae(self, state: Tensor) -> Tensor:
        """What can be seen of a clean state or prediction [B, C, ...], in the space that a VAE decodes."""
        state = self.visible(state)
        if self.out_scale is None or self.out_shift is None:
            raise ValueError(
                f"{self.model.latent_format} latents cannot be decoded from a path: decode the LATENT of Reconstruct "
                "from Path instead."
            )
        shape = (1, -1, *[1] * (state.ndim - 2))
        return state * self.out_scale.reshape(shape) + self.out_shift.reshape(shape)


def make_path(model: Any, sigmas: Tensor, states: Tensor, **details: Any) -> DiffusionPath:
    """A path of a MODEL from its levels [N + 1] and states [N + 1, B, C, ...]; details: the other fields.

    A batch_index that does not match this batch is left out.
    """
    shapes: nested.Shapes | None = details.get("latent_shapes")
    levels = sigmas.detach().to("cpu", torch.float32).clone()
    sampling = process.model_sampling(model)
    signal, noise = process.coefficients(sampling, levels.double())
    scale, shift = _vae_map(model, shapes[0] if shapes else states.shape[1:])
    if (index := details.get("batch_index")) is not None:
        details["batch_index"] = tuple(int(each) for each in index) if len(index) == states.shape[1] else None
    return DiffusionPath(
        sigmas=levels,
        states=states.detach().to("cpu", torch.float32).contiguous(),
        signal=signal.float().cpu(),
        noise=noise.float().cpu(),
        positions=torch.tensor(process.positions(sampling, levels)),
        model=model_kind(model),
        out_scale=scale,
        out_shift=shift,
        **details,
    )


def _vae_map(model: Any, shape: tuple[int, ...] | torch.Size) -> tuple[Tensor | None, Tensor | None]:
    """Scale and shift per channel of the latent format's process_out, found by probing; None if it is not affine."""
    probe = torch.zeros(1, shape[1], *[3] * (len(shape) - 2))
    probe = torch.cat([probe, probe + 1, torch.arange(probe.numel()).reshape(probe.shape).cos()])
    try:
        out = process.latent_out(model, probe.clone()).float()
    except RuntimeError:
        return None, None
    if out.shape != probe.shape:
        return None, None
    per_channel = (1, -1, *[1] * (len(shape) - 2))
    shift = out[0].flatten(1)[:, 0]
    scale = out[1].flatten(1)[:, 0] - shift
    fits = torch.allclose(probe * scale.reshape(per_channel) + shift.reshape(per_channel), out, rtol=1e-4, atol=1e-4)
    return (scale, shift) if fits else (None, None)
