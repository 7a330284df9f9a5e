"""Cancelling work that does not sample: ComfyUI sets a mark, and long loops have to look at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import comfy.model_management

T = TypeVar("T")


def check_interrupt() -> None:
    """Raises ComfyUI's InterruptProcessingException if the user has cancelled. Costs less than a microsecond."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def interruptible(items: Iterable[T]) -> Iterator[T]:
    """The items, with a look at the mark before each: for loops whose every turn takes well under two seconds."""
    for item in items:
        check_interrupt()
        yield item
