"""Cancelling work that does not sample: ComfyUI sets a flag, and long loops have to check it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import comfy.model_management

T = TypeVar("T")


def check_interrupt() -> None:
    """Raises ComfyUI's InterruptProcessingException if the user has cancelled. Costs less than a microsecond."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def interruptible(items: Iterable[T]) -> Iterator[T]:
    """The items, with a check for interrupts before each: for loops whose iterations take well under two seconds."""
    for item in items:
        check_interrupt()
        yield item


def answering(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Runs function(*args, **kwargs), a long call into third-party code, checking for interrupts ten times a second.

    The call runs in its own thread. After an interrupt it is not waited for: it ends on its own, and its result is
    dropped. Only for code without gradients, because PyTorch's modes are set per thread.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def call() -> None:
        try:
            outcome.append(function(*args, **kwargs))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    while True:
        thread.join(0.1)
        if not thread.is_alive():
            break
        check_interrupt()
    if failure:
        raise failure[0]
    return outcome[0]
