"""What every field of a path must be: the one check that a path passes when it is made, by a run or from a file.

`path_file.py` puts the reason into the sentence that a user sees for a file, and checks what a file lacks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .path import DiffusionPath

LONGEST_NAME = 200  # characters in a name of a method, sampler, option, figure, ...
MOST_SEED = 2**64 - 1
ASKED = ("", "destination", "origin", "derivative")
"""How an inversion may have asked the network, see `exact.question`; the first: not known, or not to be repeated."""
REMEDY = "make the path again"
_AT_ONCE = 2**20  # numbers that are checked at once
_NOT_FINITE = (math.nan, math.inf)  # as it is shown


def check_path(path: DiffusionPath) -> None:
    """Raises ValueError, in one sentence, for a field of another type, size or range than `DiffusionPath` says."""
    _check_words(path)
    _check_numbers(path)
    tensors = {"sigmas": path.sigmas, "states": path.states, "signal": path.signal, "noise": path.noise}
    for name, tensor in tensors.items():
        _check_tensor(name, tensor)
    _check_levels(path)
    _check_batch(path)
    _check_stored(path)
    _check_finite_states(path)


def check_falling(sigmas: Tensor) -> None:
    """Raises ValueError unless the levels are finite, not negative, and fall strictly from one to another."""
    if sigmas.ndim != 1 or sigmas.numel() < 2:
        raise ValueError(
            f"The schedule has {sigmas.numel()} noise levels, but a path needs at least 2: "
            "give SIGMAS of 1 step or more."
        )
    wrong = (~(torch.isfinite(sigmas) & (sigmas >= 0))).nonzero()
    if wrong.numel():
        i = int(wrong[0, 0])
        raise ValueError(
            f"Noise levels are finite numbers of 0 or more, but level {i + 1} is {float(sigmas[i]):.4g}: give SIGMAS "
            "from a scheduler."
        )
    rises = (sigmas.diff() >= 0).nonzero()
    if rises.numel():
        i = int(rises[0, 0])
        raise ValueError(
            f"The noise levels must fall from step to step, but level {i + 2} ({float(sigmas[i + 1]):.4g}) is not "
            f"below level {i + 1} ({float(sigmas[i]):.4g}): give SIGMAS as a sampler takes them, without flips or "
            "repeats."
        )


def _check_words(path: DiffusionPath) -> None:
    words = {
        "model family": path.model.family,
        "model prediction": path.model.prediction,
        "latent format": path.model.latent_format,
        "method": path.method,
        "sampler": path.sampler,
    }
    for name, value in words.items():
        _must(_is_name(value), name, "a short name", value)
    _must(
        isinstance(path.conditioning, str) and len(path.conditioning) <= LONGEST_NAME,
        "conditioning", "the fingerprint of a prompt", path.conditioning,
    )  # fmt: skip
    _check_mapping("sampler options", path.sampler_options, is_option, "numbers, words and switches by their names")
    _check_mapping("figures", path.figures, _is_figures, "numbers by their names")


def _check_numbers(path: DiffusionPath) -> None:
    _must(_is_whole(path.seed) and path.seed <= MOST_SEED, "seed", "a whole number from 0 to 2^64 - 1", path.seed)
    _must(_is_finite(path.cfg), "cfg", "a finite number", path.cfg)
    _must(_is_finite(path.eta) and path.eta >= 0, "eta", "a number of 0 or more", path.eta)
    _must(path.asked in ASKED, "'asked'", f"one of {', '.join(map(repr, ASKED))}", path.asked)
    _must(isinstance(path.continuous, bool), "'continuous'", "true or false", path.continuous)


def _check_levels(path: DiffusionPath) -> None:
    levels = path.sigmas.numel()
    if levels < 2 or path.states.ndim == 0 or path.states.shape[0] == 0:
        raise ValueError(
            f"The path is empty: it has {levels} noise levels, but it needs at least 2: give it 1 step or more."
        )
    if path.states.ndim < 3 or 0 in path.states.shape:
        raise ValueError(
            f"The path's states are {list(path.states.shape)}, but a path holds latents for each of its levels, "
            f"[{levels}, batch, channels, ...]: {REMEDY}."
        )
    if path.states.shape[0] != levels:
        raise ValueError(
            f"The path has {path.states.shape[0]} states for {levels} noise levels: it needs one for each."
        )
    check_falling(path.sigmas)
    for name, values in (("signal", path.signal), ("noise", path.noise)):
        fits = values.shape == (levels,) and bool((torch.isfinite(values) & (values >= 0)).all())
        _must(fits, name, f"{levels} numbers of 0 or more", values)
    places = path.positions
    if places is not None:
        _check_tensor("positions", places)
        fits = places.shape == (levels,) and bool(((places >= 0) & (places <= 1)).all() and (places.diff() <= 0).all())
        _must(fits, "positions", f"{levels} fractions of training time from 1 to 0 that never rise", places)
    _must(
        bool((path.noise[:-1] > 0).all()) and float(path.signal[-1]) > 0,
        "noise and signal", "above 0 at every level but the last, and the signal above 0 there", path.noise,
    )  # fmt: skip


def _check_batch(path: DiffusionPath) -> None:
    _check_parts(path)
    batch, channels = path.visible_shape[:2]
    index = path.batch_index
    fits = index is None or (isinstance(index, tuple) and len(index) == batch and all(map(_is_whole, index)))
    _must(fits, "batch_index", f"{batch} whole numbers, one for each picture", index)
    if (path.out_scale is None) != (path.out_shift is None):
        raise ValueError(f"The path has one of out_scale and out_shift without the other: {REMEDY}.")
    for name, values in (("out_scale", path.out_scale), ("out_shift", path.out_shift)):
        if values is not None:
            _check_tensor(name, values)
            _must(values.shape == (channels,) and _all_finite(values), name, f"{channels} finite numbers", values)


def _check_parts(path: DiffusionPath) -> None:
    shapes = path.latent_shapes
    if shapes is None:
        return
    wanted = "the sizes of two parts or more, for the same batch, that fill its states"
    given = isinstance(shapes, tuple) and len(shapes) > 1 and all(map(_is_shape, shapes))
    _must(given, "latent_shapes", wanted, shapes)
    batch, room = path.states.shape[1], (1, sum(math.prod(shape[1:]) for shape in shapes))
    fits = all(shape[0] == batch for shape in shapes) and tuple(path.states.shape[2:]) == room
    _must(fits, "latent_shapes", wanted, shapes)


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and 3 <= len(value) <= 5 and all(_is_whole(side) and side > 0 for side in value)


def _check_stored(path: DiffusionPath) -> None:
    """What some methods store for each step."""
    wanted = (path.sigmas.numel() - 1, *path.states.shape[1:])
    for name, tensor in (("denoised", path.denoised), ("residuals", path.residuals)):
        if tensor is None:
            continue
        _check_tensor(name, tensor)
        if tensor.shape != wanted:
            raise ValueError(f"The path's {name} are {list(tensor.shape)}, but its steps are {list(wanted)}: {REMEDY}.")
        _must(_all_finite(tensor), name, "finite numbers", _NOT_FINITE)
    _check_mapping("embeddings", path.null, lambda value: isinstance(value, Tensor), "tensors by their names")
    _check_mapping("progress", path.progress, lambda value: isinstance(value, Tensor), "tensors by their names")
    per_step = all(tensor.ndim > 0 and tensor.shape[0] in (1, wanted[0]) for tensor in path.null.values())
    if path.control is not None:
        _check_tensor("control", path.control)
    if not per_step or (path.control is not None and path.control.shape != (wanted[0],)):
        raise ValueError(f"The data that the path stores does not match its {wanted[0]} steps: {REMEDY}.")
    for group, tensors in (("embeddings", path.null), ("progress", path.progress)):
        for name, tensor in tensors.items():
            _must(_all_finite(tensor), f"{group} {name}", "finite numbers", _NOT_FINITE)
    if path.control is not None:
        _must(_all_finite(path.control), "control", "finite numbers", path.control)


def _check_finite_states(path: DiffusionPath) -> None:
    for level, state in enumerate(path.states):
        if not _all_finite(state):
            bad = int((~torch.isfinite(state)).sum())
            raise ValueError(
                f"The path is not finite from noise level {float(path.sigmas[level]):.4g} on ({bad} values are NaN or "
                "infinite): the model overflows there, so try it in a wider precision (fp32 or bf16)."
            )


def _check_tensor(name: str, value: Any) -> None:
    fits = isinstance(value, Tensor) and value.is_floating_point()
    _must(fits, name, "floating point numbers", value.dtype if isinstance(value, Tensor) else value)


def _check_mapping(name: str, value: Any, fits: Callable[[Any], bool], wanted: str) -> None:
    good = isinstance(value, Mapping) and all(_is_name(key) and fits(each) for key, each in value.items())
    _must(good, name, wanted, value)


def _must(fits: bool, name: str, wanted: str, found: Any) -> None:
    if not fits:
        described = f"{list(found.shape)} numbers" if isinstance(found, Tensor) and found.ndim != 1 else _short(found)
        raise ValueError(f"The path's {name} must be {wanted}, not {described}: {REMEDY}.")


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        value = value[:4].tolist()
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_option(value: Any) -> bool:
    """Whether a path can keep a value of a sampler's option: a number, a short text or a switch."""
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, bool) or _is_finite(value) or (isinstance(value, str) and len(value) <= LONGEST_NAME)


def _is_figures(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, float) for each in value)


def _all_finite(tensor: Tensor) -> bool:
    # In parts, because the check takes as much memory again as what it looks at.
    return all(bool(torch.isfinite(part).all()) for part in tensor.flatten().split(_AT_ONCE))
