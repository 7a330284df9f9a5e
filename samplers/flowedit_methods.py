"""FlowEdit and its kin, which are one loop with other weights, another state of the target, or another guidance.

In the words of `FlowEditSampler`: e is the edit so far, r = sigma' / sigma, z the picture with fresh noise, and
difference = D_tar(state of the target) - D_src(z). Each method says where the target's state lies, how the edit goes on
from there, and how the target is guided. Written for denoised predictions, they work in every family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class FlowEditMethod:
    """FlowEdit (Kulikov et al. 2024): e' = r e + (1 - r) difference. guided_by_source: the source prompt takes the
    place of the negative one for the target, and the source itself is predicted without guidance.
    """

    name: ClassVar[str] = "flowedit"
    guided_by_source: ClassVar[bool] = False

    def state(self, source: Tensor, edit: Tensor, signal: Tensor) -> Tensor:
        """Where the target is predicted; source: z; signal: a of z = a x0 + b n. [B, C, ...]"""
        return source + edit

    def next_edit(self, edit: Tensor, difference: Tensor, ratio: Tensor) -> Tensor:
        return ratio * edit + (1 - ratio) * difference

    def guidance(self, difference: Tensor, cfg: float) -> Tensor | float:
        """The scale on the difference [B, C, ...] of the target's and the source's predictions, where those guide."""
        return cfg


@dataclass(frozen=True)
class FlowAlign(FlowEditMethod):
    """FlowAlign (Kim et al. 2026): guidance starts from the source prompt, and each step pulls the edit back to the
    source by zeta: e' = r e + (1 - r - zeta) difference. A step shorter than zeta leaves e at r e.
    """

    name: ClassVar[str] = "flowalign"
    guided_by_source: ClassVar[bool] = True

    zeta: float = 0.01

    def next_edit(self, edit: Tensor, difference: Tensor, ratio: Tensor) -> Tensor:
        return ratio * edit + (1 - ratio - self.zeta).clamp(min=0) * difference


@dataclass(frozen=True)
class InfEdit(FlowEditMethod):
    """InfEdit's virtual inversion (DDCM, Xu et al. 2024): consistency steps, e' = difference. The target's state is the
    edited picture with the noise of z.
    """

    name: ClassVar[str] = "infedit"

    def state(self, source: Tensor, edit: Tensor, signal: Tensor) -> Tensor:
        return source + signal * edit

    def next_edit(self, edit: Tensor, difference: Tensor, ratio: Tensor) -> Tensor:
        return difference


@dataclass(frozen=True)
class UniEdit(FlowEditMethod):
    """The region-adaptive guidance of Uni-Edit (Jiao et al. 2026) in FlowEdit's loop: guidance starts from the source
    prompt and is m + cfg (1 + m), stronger where the prompts differ more (m: 0 to 1 over each picture).
    """

    name: ClassVar[str] = "uni-edit"
    guided_by_source: ClassVar[bool] = True

    def guidance(self, difference: Tensor, cfg: float) -> Tensor | float:
        strength = difference.abs().mean(1, keepdim=True)  # [B, 1, ...]
        low, high = (each.reshape(-1, *[1] * (strength.ndim - 1)) for each in strength.flatten(1).aminmax(dim=1))
        span = high - low
        share = torch.where(span > 0, (strength - low) / span, torch.zeros_like(strength))
        return share + cfg * (1 + share)


METHODS: dict[str, type[FlowEditMethod]] = {
    method.name: method for method in (FlowEditMethod, FlowAlign, InfEdit, UniEdit)
}
