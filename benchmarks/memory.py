"""Memory that a run takes beyond what is in use before it: the card's, or the process's where there is no card."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

_M_MMAP_THRESHOLD, _SAMPLE_SECONDS = -3, 0.002


def extra_memory(runs: Mapping[str, Callable[[], object]]) -> tuple[dict[str, int], int]:
    """Bytes that each run needs at its peak beyond the unguided one's, and the unguided one's own."""
    if not (torch.cuda.is_available() or Path("/proc/self/statm").exists()):
        raise SystemExit("Memory can be measured on Linux or on an NVIDIA card only: run the benchmark there.")
    _keep_freed(2**16)  # what is freed goes back to the system at once, and counts no more
    for run in runs.values():
        run()
    usual = peak_memory(runs["unguided"])
    extra = {name: max(1, peak_memory(run) - usual) for name, run in runs.items() if name != "unguided"}
    _keep_freed(2**25)  # where it is kept, as usual, runs pay nothing for it
    return extra, usual


def peak_memory(run: Callable[[], object]) -> int:
    """Bytes that a run needs beyond what is in use before it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
    before = _resident()
    return highest(_resident, run) - before


def highest(read: Callable[[], int], run: Callable[[], object]) -> int:
    """The highest value that `read` gives while a run lasts."""
    found, done = 0, threading.Event()

    def watch() -> None:
        nonlocal found
        while not done.is_set():
            found = max(found, read())
            time.sleep(_SAMPLE_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    return found


def _keep_freed(below: int) -> None:
    """Pieces of memory of at least so many bytes are given back when they are freed, where glibc does it."""
    library = ctypes.CDLL(None)
    if not torch.cuda.is_available() and hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, below)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
