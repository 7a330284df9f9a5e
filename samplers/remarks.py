"""What a report adds if an edit cannot have worked, or not as intended: a sentence per cause, with a remedy.

Every function judges the pictures of a batch one by one, never by their mean, and returns its sentences, if any.
`lines` turns them into lines of a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from . import mask_times, nested, process
from .conditioning import is_same
from .process import positions
from .sigmas import ON_LEVEL, nearest

# Measured on the embedded model: the smallest edits (a house's colour) find 9 % of the picture, one cell that is grown
# 0.9 %, equal prompts 0; additions up to 30 %, hills 50 %, a season 65 %, a time of day all of it.
NEARLY_NOTHING, NEARLY_EVERYTHING = 0.005, 0.8
_SHORT = 0.5  # a target of less than this share of the source's tokens leaves out most of what the source describes
_PADDING = 0.9  # cosine above which the embeddings of neighbouring tokens count as the same padding
_UNCHANGED = 1e-3  # RMS of an invisible change, in standard deviations of the picture
FEW_STEPS = 8  # the most that distilled models (turbo, lightning, schnell, lightx2v) are made for
LARGE_PATH = 10**9  # bytes
_LOUD = 3.0  # RMS of a network's input above which it is not the unit variance that it was trained on


def lines(remarks: Iterable[str]) -> list[str]:
    """The remarks as lines of a report."""
    return [f"note: {remark}" for remark in remarks]


def for_pictures(affected: Sequence[bool], sentence: str) -> list[str]:
    """The sentence with the numbers of the pictures it is true of, counted from 1; empty if there are none.

    For a single picture, or for all, the numbers are left out.
    """
    numbers = [str(number) for number, each in enumerate(affected, 1) if each]
    if not numbers:
        return []
    if len(numbers) == len(affected):
        return [sentence]
    word = "picture" if len(numbers) == 1 else "pictures"
    return [f"{word} {', '.join(numbers)} of {len(affected)}: {sentence}"]


def about_prompts(target: Any, source: Any, negative: Any, cfg: float, batch: int) -> list[str]:
    """Problems with the CONDITIONINGs alone. source, negative: None without one; batch: number of pictures."""
    items = range(batch)
    found = [] if negative is None else about_guidance(target, negative, cfg, batch)
    if source is None:
        return found
    same = [equal_prompts(target, source, i, batch) for i in items]
    found += for_pictures(
        same,
        "the source prompt and the target prompt are equal, so nothing would change: describe the edited picture "
        "in the target prompt.",
    )
    return found + for_pictures(
        [not equal and short for equal, short in zip(same, much_shorter(target, source, batch), strict=True)],
        "the target prompt is much shorter than the source prompt, so it leaves open what the rest of the picture "
        "shows: repeat the source prompt in it and change only the words of the edit.",
    )


def about_guidance(positive: Any, negative: Any, cfg: float, batch: int) -> list[str]:
    """Where the negative prompt, or guidance altogether, has no effect."""
    items = range(batch)
    if cfg == 1.0:
        # An empty prompt is often connected only because the input needs one.
        unused = [not is_empty(negative, i, batch) and not equal_prompts(positive, negative, i, batch) for i in items]
        return for_pictures(
            [any(unused)], "at cfg 1 the negative prompt has no effect: raise cfg, or leave the prompt empty."
        )
    return for_pictures(
        [equal_prompts(positive, negative, i, batch) for i in items],
        "the positive prompt and the negative prompt are equal, so cfg has no effect: leave the negative prompt empty, "
        "or name in it what the picture should not show.",
    )


def about_unused_negative(negative: Any, batch: int) -> list[str]:
    """A negative prompt that the source prompt stands in for."""
    return for_pictures(
        [not all(is_empty(negative, i, batch) for i in range(batch))],
        "guidance leads away from the source prompt, so the negative prompt has no effect: leave it empty, or use the "
        "method noise with the mask.",
    )


def about_mask(mask: Any, batch: int) -> list[str]:
    """MASK or noise_mask (1 = edit) that leaves nothing to edit."""
    if mask is None or (mask.is_nested and any(part.any() for part in mask.unbind())):
        return []
    mask = nested.video(mask)
    return for_pictures(
        [not bool(each.any()) for each in per_picture(mask, batch)],
        "the mask is 0 everywhere, so nothing is edited: paint the part to edit (1 = edit), or disconnect the mask.",
    )


def about_shared_times(network: Any, grid: Tensor | None, mode: str) -> list[str]:
    """A mask on the latent grid, [B, C, T, h, w], that core would turn into one time for a frame of several levels.

    network: the BaseModel; mode: of the mask.
    """
    return for_pictures(
        [grid is not None and mode == "blend" and mask_times.mixes_frames(network, grid)],
        "this model takes one noise level for each frame, and in blend, as in ComfyUI's own masking, that is the mean "
        "over the frame's mask, less noise than the edited part has: set mask_mode to threshold, or mask whole "
        "frames.",
    )


def about_region(found: Tensor | None, mask: Tensor | None, batch: int) -> list[str]:
    """A region that was found where the prompts differ, MASK [B or 1, H, W], before `mask` limits it.

    mask: the region that is edited in the end.
    """
    if found is None:
        return []
    shares = [float(each.float().mean()) for each in per_picture(found, batch)]
    within = shares if mask is None else [float(each.float().mean()) for each in per_picture(mask, batch)]
    outside = [share >= NEARLY_NOTHING > left for share, left in zip(shares, within, strict=True)]
    return [
        *for_pictures(
            [share < NEARLY_NOTHING for share in shares],
            f"the prompts differ nearly nowhere (less than {NEARLY_NOTHING:.1%} of the picture), so nearly nothing is "
            "edited: lower the threshold, name the change in more words, or edit the whole picture with another "
            "method and a mask.",
        ),
        *for_pictures(
            outside,
            "the prompts differ only outside the mask, so nearly nothing is edited: paint the mask over the edit, "
            "or disconnect it.",
        ),
        *for_pictures(
            [share > NEARLY_EVERYTHING for share in shares],
            f"the prompts differ nearly everywhere (more than {NEARLY_EVERYTHING:.0%} of the picture), so nothing is "
            "held: right for a change of light or season; else let both prompts describe the picture and differ in the "
            "words of the edit alone, or raise the threshold.",
        ),
    ]


def about_weights(weights: Sequence[float]) -> list[str]:
    """Weights of the source at the steps of a path that leave it without any effect."""
    return for_pictures(
        [not any(weights)],
        "the weight is 0 at every step, so the source has no effect where the picture is edited: raise the weight in "
        "Path Schedule.",
    )


def about_path(path_prompt: str, prompt: str) -> list[str]:
    """Compares fingerprints: of the prompt that a path was made with (empty: not known), and of the source prompt."""
    return for_pictures(
        [bool(path_prompt) and path_prompt != prompt],
        "the source prompt is not the one that the path was made with: connect that one, or make the path again.",
    )


def about_size(size: int, place: str) -> list[str]:
    """A path of up to `size` bytes that is kept in one of `path_storage.KEEP_IN`, if that is much."""
    where = {
        "memory": "of memory: set keep_in to disk to keep it in a file",
        "disk": "on disk, in ComfyUI's temporary folder, for as long as ComfyUI keeps the path",
    }
    return [f"the path takes up to {size / 1e9:.1f} GB {where[place]}."] if size >= LARGE_PATH else []


def about_result(before: Any, after: Any) -> list[str]:
    """Pictures (LATENT samples [B, C, ...], or nested) that an edit returned unchanged."""
    return for_pictures(
        unchanged(nested.pack(before), nested.pack(after)),
        "the result is the source, unchanged: check that prompts, mask and strength ask for a change.",
    )


def about_model(model: Any, *cfgs: float) -> list[str]:
    """Settings that do not suit the MODEL. cfgs: those of the run."""
    distilled = process.guidance_embedded(model) and any(cfg != 1.0 for cfg in cfgs)
    return about_levels(process.model_sampling(model)) + for_pictures(
        [distilled],
        "this model has its guidance distilled in: cfg other than 1 doubles the time for guidance on top of that, so "
        "set cfg 1 and the strength in FluxGuidance, unless the model was trained further to use cfg.",
    )


def about_levels(sampling: Any) -> list[str]:
    """A model that gets states of another scale from core's samplers than it was trained on (CogVideoX)."""
    sigma = torch.tensor([float(sampling.sigma_max)])
    a, b = process.coefficients(sampling, sigma)
    seen = float(process.network_view(sampling, torch.hypot(a, b), sigma).abs())
    return for_pictures(
        [seen > _LOUD],
        f"the samplers show this model states {seen:.3g} times as large as it was trained on, so its pictures are not "
        "to be trusted: set its sampling with ModelSamplingDiscrete (v_prediction, zsnr), or use its own sampler.",
    )


def about_trained_levels(sampling: Any, t0s: Sequence[float], full: Tensor, kept: bool) -> list[str]:
    """t0 of one run or several against the levels [N + 1] of a distilled model's own run.

    kept: whether they keep to these levels.
    """
    places = positions(sampling, full[:-1])
    starts = ", ".join(f"{round(place, 2):g}" for place in places)
    if not kept:
        return [
            "a model that is distilled to few steps is right only at the levels of its own run, and these steps lie "
            f"between them: set levels to trained, where an edit in {len(places)} steps begins at t0 {starts}."
        ]
    begins = {t0: places[nearest(places, t0)] for t0 in t0s if t0 > 0}
    moved = [f"{t0:.4g} to {round(begin, 2):g}" for t0, begin in begins.items() if abs(begin - t0) > ON_LEVEL]
    if not moved:
        return []
    return [f"t0 lies off the levels of the full run ({starts}) and is moved to the nearest: {', '.join(moved)}."]


def has_few_steps(steps: int, cfg: float) -> bool:
    """Whether a run looks like one of a model that is distilled to few steps, which has its guidance within."""
    return cfg == 1.0 and steps <= FEW_STEPS


def may_be_distilled(model: Any, cfg: float, steps: int) -> bool:
    """Whether a run is one that only a model distilled to few steps can do well: few steps, without guidance."""
    return has_few_steps(steps, cfg) and not process.guidance_embedded(model)


def unchanged(before: Tensor, after: Tensor) -> list[bool]:
    """Which of the pictures [B, C, ...] look the same."""
    a, b = before.detach().float().cpu().flatten(1), after.detach().float().cpu().flatten(1)
    if a.shape != b.shape:
        return [False] * len(b)
    change = (a - b).square().mean(1).sqrt()
    return (change <= _UNCHANGED * a.std(1)).tolist()


def per_picture(mask: Tensor, batch: int) -> list[Tensor]:
    """The parts of a mask by picture; a single entry if it is shared by all, or holds the frames of a video."""
    whole = mask.reshape(-1, *mask.shape[-2:])
    return list(whole) if len(whole) == batch else [whole]


def equal_prompts(first: Any, second: Any, item: int = 0, batch: int = 1) -> bool:
    """Whether two CONDITIONINGs are the same for one picture of a batch: embeddings and all their extras."""
    return is_same(_of_item(first, item, batch), _of_item(second, item, batch))


def much_shorter(target: Any, source: Any, batch: int) -> list[bool]:
    """Whether a picture's target prompt leaves open most of what its source prompt says."""
    lengths = [(content_length(target, i, batch), content_length(source, i, batch)) for i in range(batch)]
    return [wanted < _SHORT * given for wanted, given in lengths]


def content_length(conditioning: Any, item: int = 0, batch: int = 1) -> int:
    """How many tokens of a CONDITIONING are not padding, by its attention mask, or else by the embeddings.

    Encoders with a fixed length fill it with one token, whose embeddings are all but equal. Parts are added up.
    """
    return sum(_content(tokens, extra) for tokens, extra in _of_item(conditioning, item, batch))


def is_empty(conditioning: Any, item: int = 0, batch: int = 1) -> bool:
    """Whether a prompt is empty: zeroed out, or only a start and an end."""
    parts = _of_item(conditioning, item, batch)
    zero = all(not isinstance(tokens, Tensor) or not bool(tokens.any()) for tokens, _ in parts)
    fixed = any(isinstance(tokens, Tensor) and tokens.shape[-2] > 2 for tokens, _ in parts)
    return zero or (fixed and content_length(conditioning, item, batch) <= 2 * len(parts))


def _content(tokens: Any, extra: dict[str, Any]) -> int:
    mask = extra.get("attention_mask")
    if isinstance(mask, Tensor):
        return int((mask > 0).sum())
    if not isinstance(tokens, Tensor):
        return 0
    rows = tokens.reshape(-1, tokens.shape[-1]).float()
    alike = F.cosine_similarity(rows[:-1], rows[1:], dim=-1) > _PADDING
    blank = rows.abs().amax(-1) == 0
    last = len(rows)
    while last > 1 and (bool(blank[last - 1]) or bool(alike[last - 2])):
        last -= 1
    padded = last < len(rows) and not bool(blank[last])
    return last - 1 if padded and last > 1 else last  # the first of equal tokens is padding too


def _of_item(value: Any, item: int, batch: int) -> Any:
    """A CONDITIONING, or one of its extras, as it is for one picture of a batch."""
    if isinstance(value, Tensor):
        return value[item] if batch > 1 and value.ndim > 0 and value.shape[0] == batch else value
    if isinstance(value, dict):
        return {key: _of_item(each, item, batch) for key, each in value.items()}
    return [_of_item(each, item, batch) for each in value] if isinstance(value, (list, tuple)) else value
