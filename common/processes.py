"""The processes that share the work on many pictures, started by torchrun or by any tool that sets its variables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch

Item = TypeVar("Item")


class Process(NamedTuple):
    """One of `world` processes, counted from 0."""

    rank: int = 0
    world: int = 1


ALONE = Process()


def this_process() -> Process:
    """This process, from then on with a graphics card of its own where there are enough; alone without torchrun."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return ALONE
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return Process(int(os.environ["RANK"]), world)


def share(items: Sequence[Item], process: Process) -> list[Item]:
    """What one process does of a list: every `world`-th item."""
    return list(items[process.rank :: process.world])


def allow_cpu() -> None:
    """Let ComfyUI work on a machine without a graphics card, as its --cpu does; to be called before it is loaded."""
    import comfy.cli_args

    accelerators = (getattr(torch, "accelerator", torch.cuda), torch.cuda, torch.backends.mps)
    if not any(each.is_available() for each in accelerators):
        comfy.cli_args.args.cpu = True
