"""Latents of several parts: video with sound, as LTX-2 and MiniMax H3 make them.

As a LATENT they are core's NestedTensor, the video first. Inside a run, and in a path, they are one tensor [B, 1, N]:
their parts flattened, one after the other, as core packs them. What goes by place (masks, film strips, PSNR) concerns
the video. Plain latents pass through everything here unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.sampler_helpers
import comfy.utils
import torch
from comfy.nested_tensor import NestedTensor, cat_nested
from torch import Tensor

Shapes = tuple[tuple[int, ...], ...]
"""Shapes of the parts, [B, C, ...] each."""


def pack(samples: Any) -> Tensor:
    """Samples as one tensor: [B, 1, N] of a nested latent."""
    return comfy.utils.pack_latents(samples.unbind())[0] if samples.is_nested else samples


def unpack(tensor: Tensor, shapes: Shapes | None) -> Any:
    """Samples from one tensor; shapes: of the parts, None for a plain latent."""
    return NestedTensor(comfy.utils.unpack_latents(tensor, shapes)) if shapes else tensor


def shapes_of(samples: Any) -> Shapes | None:
    """Shapes of the parts of a nested latent, None for a plain one."""
    return tuple(tuple(part.shape) for part in samples.unbind()) if samples.is_nested else None


def video(samples: Any, shapes: Shapes | None = None) -> Tensor:
    """The part that has places, [B, C, ...], of samples, or of packed ones with these shapes."""
    if samples.is_nested:
        return samples.unbind()[0]
    return comfy.utils.unpack_latents(samples, shapes)[0] if shapes else samples


def with_video(samples: Any, changed: Tensor) -> Any:
    """Samples with another video, and their own sound."""
    return NestedTensor([changed, *samples.unbind()[1:]]) if samples.is_nested else changed


def each(function: Callable[..., Tensor], *latents: Any) -> Any:
    """The function's results for the parts of the latents, taken together; for plain ones its one result."""
    if not latents[0].is_nested:
        return function(*latents)
    return NestedTensor([function(*parts) for parts in zip(*(latent.unbind() for latent in latents), strict=True)])


def joined(latents: Sequence[Any]) -> Any:
    """Samples as one batch."""
    return cat_nested(latents) if latents[0].is_nested else torch.cat(list(latents))


def sizes(samples: Any) -> str:
    """The shapes of samples, as text for an error."""
    return " with ".join(str(list(shape)) for shape in shapes_of(samples) or (samples.shape,))


def edit_mask(mask: Any, samples: Any) -> Tensor:
    """A LATENT's noise_mask in the shape of the packed samples, as core reads it.

    A plain mask is for the video, and a part without a mask is edited everywhere.
    """
    given = mask.unbind() if mask.is_nested else [mask]
    wanted = samples.unbind() if samples.is_nested else [samples]
    grids = [
        comfy.sampler_helpers.prepare_mask(each, tuple(part.shape), part.device)
        for each, part in zip(given, wanted, strict=False)
    ]
    grids += [torch.ones_like(part, dtype=torch.float32) for part in wanted[len(grids) :]]
    return comfy.utils.pack_latents(grids)[0] if samples.is_nested else grids[0]


def with_mask(latent: dict[str, Any], grid: Tensor) -> dict[str, Any]:
    """The LATENT with a mask for its one part, or for the video; sound keeps a mask of its own."""
    before: Any = latent.get("noise_mask")
    if not latent["samples"].is_nested or before is None or not before.is_nested:
        return {**latent, "noise_mask": grid}
    return {**latent, "noise_mask": NestedTensor([grid, *before.unbind()[1:]])}


def shapes_in(guider: Any) -> Shapes | None:
    """Shapes of the parts of the latent that a guider is sampling; None for a plain one."""
    for conds in (getattr(guider, "conds", None) or {}).values():
        for cond in conds:
            found = getattr(cond.get("model_conds", {}).get("latent_shapes"), "cond", None)
            if found is not None:
                return tuple(tuple(shape) for shape in found) if len(found) > 1 else None
    return None


@dataclass(frozen=True)
class OwnSchedule:
    """The noise levels of sound that a network keeps on another flow shift than its video (MiniMax H3 in core 0.30).

    The video is at (1 - s) x0 + s n, the sound at (1 - s') x0 + s' n with s' = s / c, c = r (1 - s) + s, and the
    network gives the sound the velocity per unit of s. So steps along the ODE need no change, but whatever adds noise
    does: c times the sound's state is r (1 - s) x0 + s n, which runs on the video's schedule.

    begins: where the sound begins in packed samples; ratio: r, the video's shift over the sound's.
    """

    begins: int
    ratio: float

    def noise(self, picture: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
        """Noise with which `process.perturb` takes the sound to its own level, and the video to sigma."""
        scale = self._scale(sigma)
        own = (1 - 1 / scale) * picture[..., self.begins :] + noise[..., self.begins :] / scale
        return torch.cat([noise[..., : self.begins], own], dim=-1)

    def shared(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """A state whose sound is on the video's schedule."""
        return self._times(x, self._scale(sigma))

    def own(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """The inverse of `shared`."""
        return self._times(x, 1 / self._scale(sigma))

    def prediction(self, x: Tensor, denoised: Tensor, sigma: Tensor | float) -> Tensor:
        """What the network's prediction at a state x means at the state `shared` makes of it."""
        scale = self._scale(sigma)
        sound = (self.ratio - scale) * x[..., self.begins :] + scale * denoised[..., self.begins :]
        return torch.cat([denoised[..., : self.begins], sound], dim=-1)

    def _scale(self, sigma: Tensor | float) -> Tensor | float:
        return self.ratio * (1 - sigma) + sigma

    def _times(self, x: Tensor, scale: Tensor | float) -> Tensor:
        return torch.cat([x[..., : self.begins], x[..., self.begins :] * scale], dim=-1)


def own_schedule(base: Any, options: dict[str, Any], shapes: Shapes | None) -> OwnSchedule | None:
    """The sound's own schedule in core's BaseModel, with a MODEL's options; None where it is the video's.

    A core that carries the sound scaled (`ModelSamplingAV`) has both on one schedule.
    """
    network = base.diffusion_model
    if shapes is None or not hasattr(network, "sigma_shift_audio") or hasattr(base.model_sampling, "audio_scale"):
        return None
    set_by_nodes = options.get("transformer_options", {})
    both = [
        float(set_by_nodes.get(f"minimax_h3_sigma_shift_{name}", getattr(network, f"sigma_shift_{name}")))
        for name in ("video", "audio")
    ]
    ratio = both[0] / both[1]
    return None if ratio == 1.0 else OwnSchedule(math.prod(shapes[0][1:]), ratio)


def own_schedule_in(guider: Any) -> OwnSchedule | None:
    """The sound's own schedule in the run of a guider."""
    shapes = shapes_in(guider)
    return None if shapes is None else own_schedule(guider.inner_model, guider.model_options, shapes)
