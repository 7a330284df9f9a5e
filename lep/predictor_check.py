"""What every field of a predictor must be: the one check that it passes when it is made, by training or from a file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from ..images.palette import MOST_COLOURS
from .maps import EDGES, MAPS, TARGETS

if TYPE_CHECKING:
    from .predictor import MapPredictor

BRANCHES = ("positive", "negative")
WIDEST_LINE = 512
LONGEST_NAME = 200  # characters
_COUNTS, _LOSSES = ("steps", "pictures", "held_back", "batch", "versions"), ("loss", "validation_loss", "learning_rate")


class BadPredictorError(ValueError):
    """reason: what is wrong, without a full stop and without what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: train or save it again.")
        self.reason = reason


def check_predictor(predictor: MapPredictor) -> None:
    """Raises BadPredictorError, a ValueError, for a field of another type or range than `MapPredictor` says."""
    taps, channels = predictor.taps, predictor.channels
    _must(_is_name(predictor.kind), "kind", "a short name", predictor.kind)
    good = isinstance(taps, tuple) and bool(taps) and all(map(_is_name, taps))
    _must(good, "taps", "names of the model's blocks", taps)
    good = isinstance(channels, tuple) and len(channels) == len(taps) and all(_is_whole(each, 1) for each in channels)
    _must(good, "channels", "a whole number for each of its taps", channels)
    good = isinstance(predictor.model, dict) and all(
        _is_name(key) and (value is None or _is_name(value) or _is_whole(value))
        for key, value in predictor.model.items()
    )
    _must(good, "model", "names and numbers that tell its model", predictor.model)
    _must(predictor.map in tuple(MAPS), "map", " or ".join(MAPS), predictor.map)
    _must(predictor.target in TARGETS, "target", " or ".join(TARGETS), predictor.target)
    targets = [MAPS[predictor.map].target, *(["pixels"] if predictor.map == EDGES else [])]
    _must(predictor.target in targets, f"target for {predictor.map}", " or ".join(targets), predictor.target)
    _check_palette(predictor.palette, predictor.target == "classes")
    _must(predictor.branch in BRANCHES, "branch", " or ".join(BRANCHES), predictor.branch)
    good = _is_whole(predictor.line_width) and predictor.line_width <= WIDEST_LINE
    _must(good, "line_width", f"a whole number of pixels from 0 to {WIDEST_LINE}", predictor.line_width)
    _must(isinstance(predictor.binarise, bool), "'binarise'", "true or false", predictor.binarise)
    span = predictor.noise_range
    good = isinstance(span, tuple) and len(span) == 2 and all(map(_is_number, span)) and 0 <= span[0] < span[1] <= 1
    _must(good, "noise_range", "two fractions of training time, the lower one first", span)
    good = isinstance(predictor.settings, dict) and all(
        _is_name(key) and all(map(_is_whole, value if isinstance(value, list | tuple) else [value]))
        for key, value in predictor.settings.items()
    )
    _must(good, "settings", "whole numbers by their names", predictor.settings)
    coded = predictor.model.get("latent_channels")
    outputs = {"pixels": (1, 3), "classes": (len(predictor.palette),)}.get(predictor.target, (coded,) if coded else ())
    good = not outputs or predictor.settings.get("out_channels", outputs[-1]) in outputs
    _must(good, "settings", f"those of {' or '.join(map(str, outputs))} outputs", predictor.settings)
    _check_record(predictor.record)
    for name, tensor in predictor.network.state_dict().items():
        if not tensor.is_meta:
            _must(bool(torch.isfinite(tensor).all()), f"weights {name}", "finite numbers", (math.nan, math.inf))


def _check_palette(palette: Any, classes: bool) -> None:
    counts = range(2, MOST_COLOURS + 1) if classes else range(1)
    good = isinstance(palette, tuple) and len(palette) in counts and all(map(_is_colour, palette))
    good = good and len(set(palette)) == len(palette)  # a class whose colour another one has would never be seen
    wanted = (
        f"2 to {MOST_COLOURS} different colours of three whole numbers"
        if classes
        else "empty, as it predicts no classes"
    )
    _must(good, "palette", wanted, palette)


def _is_colour(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(_is_whole(each) and each < 256 for each in value)


def _check_record(record: Any) -> None:
    _must(isinstance(record, dict) and all(map(_is_name, record)), "record", "its training record by names", record)
    for name, value in record.items():
        if name in _COUNTS:
            _must(_is_whole(value), f"record of {name}", "a whole number", value)
        elif name in _LOSSES:
            _must(_is_number(value), f"record of {name}", "a finite number", value)


def _must(fits: bool, name: str, wanted: str, found: Any) -> None:
    if not fits:
        text = " ".join(repr(found).split())
        described = text if len(text) <= 60 else f"{text[:60]}..."
        raise BadPredictorError(f"The map predictor's {name} must be {wanted}, not {described}")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME


def _is_whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return _is_whole(value)
    return isinstance(value, float) and math.isfinite(value)
