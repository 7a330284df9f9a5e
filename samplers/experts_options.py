"""What belongs to a model in a run's model_options, and how it is exchanged for what belongs to another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension

KEY = "diffusion_path_experts"
"""Of the pair's wrappers, which stay before all others; in a run's model_options, of the expert that they are for."""
_MISSING = object()


def own_options(model: Any) -> dict[str, Any]:
    """A model's options as a run of it begins with them."""
    options = comfy.model_patcher.create_model_options_clone(model.model_options)
    transformer = options.setdefault("transformer_options", {})
    for name, own in (("wrappers", model.wrappers), ("callbacks", model.callbacks)):
        comfy.patcher_extension.merge_nested_dicts(transformer.setdefault(name, {}), own, copy_dict1=False)
    return options


def exchanged(options: Any, base: Any, own: Any) -> dict[Any, Any]:
    """`own` with the changes that lead from `base` to `options`; all are nested dicts and lists of functions."""
    result: dict[Any, Any] = {}
    for key in dict.fromkeys([*(key for key in options if key == KEY), *own, *options]):
        new, old, mine = options.get(key, _MISSING), base.get(key, _MISSING), own.get(key, _MISSING)
        if new is _MISSING and old is not _MISSING:
            continue  # somebody has removed it since
        present = [each for each in (new, mine) if each is not _MISSING]
        if all(isinstance(each, dict) for each in present):
            result[key] = exchanged(*(each if isinstance(each, dict) else {} for each in (new, old, mine)))
        elif all(isinstance(each, list) for each in present):
            added, known, kept = (each if isinstance(each, list) else [] for each in (new, old, mine))
            result[key] = [*kept, *(each for each in added if not holds(known, each))]
        else:
            value = mine if new is old else new
            if value is not _MISSING:
                result[key] = value
    return result


def holds(items: Iterable[Any], item: Any) -> bool:
    return any(each is item for each in items)
