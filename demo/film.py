"""The embedded model as a model of short films, which runs anywhere: a batch of pictures is the frames of a film.

Two known means hold the frames together without any training: all start from the same noise, and where a frame attends
to itself it also attends to the first frame (Khachatryan et al., Text2Video-Zero, ICCV 2023). Nothing is known of how
things move; that has to come from the guide.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP
from torch import Tensor

_KEY = "dpath_demo_film"


def as_film(model: Any) -> Any:
    """The MODEL with batches as films."""
    film = model.clone()
    film.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, _KEY, _share_noise)
    film.set_model_attn1_patch(_look_at_first_frame)
    return film


def _share_noise(executor: WrapperExecutor, noise: Tensor, *args: Any, **kwargs: Any) -> Any:
    return executor(noise[:1].expand_as(noise).clone(), *args, **kwargs)


def _look_at_first_frame(
    queries: Tensor, context: Tensor, values: Tensor, extra_options: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor]:
    """Each [conditionings x frames, tokens, channels]; a call has all frames of each of its conditionings."""
    frames = len(context) // len(extra_options["cond_or_uncond"])
    first = context[::frames].repeat_interleave(frames, dim=0)
    both = torch.cat((context, first), dim=1)
    return queries, both, both
