"""Step caches, which guess a prediction from those of the steps before it, and how to run without them.

Core's EasyCache and LazyCache are known by their keys. Those of other packs (TeaCache, First Block Cache of WaveSpeed,
MagCache, ...) put a function around the network's call or in place of its forward, and are known by its name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from .experts import with_low_noise

_OPTION, _WRAPPER = "easycache", "model_function_wrapper"
_NAMES = ("easycache", "lazycache", "teacache", "magcache", "fbcache", "firstblockcache", "dicache", "stepcache",
          "blockcache", "wavespeed")  # fmt: skip
_FORWARDS = ("forward", "_forward", "forward_orig")

log = logging.getLogger(__name__)


def without_step_caches(model: Any, name: str) -> Any:
    """The MODEL for runs in which every evaluation counts, or whose calls do not follow each other along one path.

    A clone without its caches if any can be removed; the log names them. Those that have replaced a method of the
    network itself stay, with a warning in the log. name: what the run is called in the log.
    """
    model = with_low_noise(model, lambda low: without_step_caches(low, name))
    for baked in _baked_in(model):
        log.warning("%s needs every evaluation, but %s is built into the network: reload the model without it.",
                    name, baked)  # fmt: skip
    caches = step_caches(model)
    if not caches:
        return model
    log.info("%s needs every evaluation, so it runs without %s.", name, ", ".join(caches))
    clone = model.clone()
    options = clone.model_options
    options.get("transformer_options", {}).pop(_OPTION, None)
    if _WRAPPER in options and _is_cache(options[_WRAPPER]):
        del options[_WRAPPER]
    for kind, key in list(_cache_wrappers(clone)):
        clone.remove_wrappers_with_key(kind, key)
    for key in [key for key, patch in clone.object_patches.items() if _is_cache(patch)]:
        del clone.object_patches[key]
    return clone


def step_caches(model: Any) -> list[str]:
    """The names of the step caches on a MODEL that a clone can do without, as far as they are known."""
    options = model.model_options
    found = [_OPTION] if _OPTION in options.get("transformer_options", {}) else []
    found += [key for _, key in _cache_wrappers(model)]
    functions = [options.get(_WRAPPER), *model.object_patches.values()]
    found += [_name(function) for function in functions if _is_cache(function)]
    return list(dict.fromkeys(found))


def without_cache_wrappers(options: dict[str, Any]) -> dict[str, Any]:
    """A run's transformer_options for a call that no step cache should count or answer."""
    if "wrappers" not in options:
        return options
    kept = {
        kind: {key: wrappers for key, wrappers in by_key.items() if not _is_cached(key, wrappers)}
        for kind, by_key in options["wrappers"].items()
    }
    return {**options, "wrappers": kept}


def _cache_wrappers(model: Any) -> Iterator[tuple[str, str]]:
    """Kind and key of the wrappers that belong to a cache."""
    for kind, by_key in model.wrappers.items():
        for key, wrappers in by_key.items():
            if _is_cached(key, wrappers):
                yield kind, key


def _is_cached(key: Any, wrappers: list[Any]) -> bool:
    return isinstance(key, str) and (_known(key) or any(map(_is_cache, wrappers)))


def _baked_in(model: Any) -> list[str]:
    """Names of caches that have replaced a method of the network, for every MODEL that shares it."""
    network = getattr(model.model, "diffusion_model", None)
    replaced = [vars(network).get(name) for name in _FORWARDS] if network is not None else []
    return [_name(function) for function in replaced if _is_cache(function)]


def _is_cache(function: Any) -> bool:
    return function is not None and _known(_name(function))


def _known(name: str) -> bool:
    plain = name.lower().replace("_", "").replace("-", "").replace(" ", "")
    return any(each in plain for each in _NAMES)


def _name(function: Any) -> str:
    """Where a function, a bound method or a callable object comes from: module and qualified name."""
    function = getattr(function, "func", function)  # functools.partial
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__.split('.')[-1]}.{named.__qualname__}"
