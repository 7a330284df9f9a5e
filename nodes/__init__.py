"""The nodes a user sees: one module per family, each with its own list `NODES`."""

from __future__ import annotations

from types import ModuleType

from comfy_api.latest import ComfyExtension, io

from . import (
    demo,
    drag,
    edges,
    experts,
    flowedit,
    inverse,
    inversion,
    lep,
    lep_training,
    masked,
    mdp,
    mdp_edit,
    metrics,
    paths,
    pictures,
    schedule,
    sdedit,
    stroke_canvas,
    sweep,
)
from .gate import guarded

FAMILIES: tuple[ModuleType, ...] = (
    demo,
    sdedit,
    stroke_canvas,
    masked,
    drag,
    sweep,
    paths,
    experts,
    inversion,
    schedule,
    mdp,
    mdp_edit,
    flowedit,
    edges,
    lep,
    lep_training,
    inverse,
    pictures,
    metrics,
)


class DiffusionPathExtension(ComfyExtension):
    """Gives ComfyUI the nodes of all families."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [guarded(node) for family in FAMILIES for node in family.NODES]
