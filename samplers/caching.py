"""Step caches (core's EasyCache and LazyCache): they guess a prediction from those of the steps before it."""

from __future__ import annotations

import logging
from typing import Any

_OPTION, _KEYS = "easycache", ("easycache", "lazycache")

log = logging.getLogger(__name__)


def without_step_caches(model: Any, name: str) -> Any:
    """The MODEL for runs in which every evaluation counts, or whose calls do not follow each other along one path.

    A clone without the caches where there are any; name: of what they are left out of, for the log.
    """
    if _OPTION not in model.model_options.get("transformer_options", {}):
        return model
    log.info("%s needs every evaluation: EasyCache is left out of it.", name)
    clone = model.clone()
    del clone.model_options["transformer_options"][_OPTION]
    for kind in list(clone.wrappers):
        for key in _KEYS:
            clone.remove_wrappers_with_key(kind, key)
    return clone
