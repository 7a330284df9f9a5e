"""Which latent frame each frame of a video goes to.

Video VAEs are causal: of 1 + 4 n frames (or 8, or 6) they make 1 + n latent frames. The first holds the first frame
alone, and frames left over at the end are dropped. How many go together comes from the VAE or the model where one is
known, else from the numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def ratio_of(model: Any) -> int | None:
    """Frames per latent frame of a MODEL, after the first; None where its latents are no videos, or it is not known."""
    return _video_ratio(getattr(model.get_model_object("latent_format"), "temporal_downscale_ratio", None))


def ratio_of_vae(vae: Any) -> int | None:
    """Frames per latent frame of a VAE, after the first; None for VAEs of pictures."""
    read = getattr(vae, "temporal_compression_decode", None)
    return _video_ratio(None if read is None else read())


def _video_ratio(ratio: Any) -> int | None:
    return int(ratio) if ratio is not None and ratio > 1 else None


def latent_frames(frames: int, count: int, ratio: int | None = None) -> Tensor:
    """Which of `count` latent frames each frame of a video goes to, [N]; -1 for those that the VAE drops at the end.

    ratio: frames per latent frame, if known. Where the two numbers do not belong together (`find_ratio`), the frames
    after the first are spread evenly.
    """
    index = torch.arange(frames)
    if frames == 1 or frames == count:
        return index
    each = find_ratio(frames, count, ratio)
    if each is None:
        return (1 + (index - 1) * (count - 1) // (frames - 1)).clamp_min(0)
    places = (index + each - 1) // each
    return torch.where(places < count, places, -1)


def find_ratio(frames: int, count: int, ratio: int | None = None) -> int | None:
    """Frames per latent frame of the causal VAE that makes `count` latent frames of `frames`; None where no VAE does.

    ratio: the known one. Otherwise the number with the most factors of 2 that fits, as ratios are 4 or 8, seldom 6.
    """
    if count < 2:
        return None
    fitting = range((frames - 1) // count + 1, (frames - 1) // (count - 1) + 1)
    if ratio is not None:
        return ratio if ratio in fitting else None
    return max(fitting, key=lambda number: (number & -number, -number), default=None)


def frames_fit(frames: int, count: int, ratio: int | None = None) -> bool:
    """Whether masks for `frames` belong to a video of `count` latent frames: one for all or for each, or a VAE's."""
    return frames in (1, count) or find_ratio(frames, count, ratio) is not None


def frames_note(frames: int, count: int, ratio: int | None = None, name: str = "mask") -> str:
    """A sentence on how masks for the frames of a video became those of its latent frames."""
    if frames == 1:
        return f"One {name} for all {count} latent frames."
    if frames == count:
        return f"The {name} has {frames} frames, one for each latent frame."
    each = find_ratio(frames, count, ratio)
    if each is None:
        made = "" if ratio is None else f" (a VAE makes {(frames - 1) // ratio + 1} of them)"
        return (
            f"The {name} has {frames} frames, which do not belong to a video of {count} latent frames{made}: they are "
            "spread evenly after the first."
        )
    left = frames - 1 - each * (count - 1)
    last = "the last one is" if left == 1 else f"the last {left} are"
    more = f"; {last} dropped, as the VAE does" if left else ""
    return f"The {name} has {frames} frames for {count} latent frames: the first alone, then {each} for each{more}."
