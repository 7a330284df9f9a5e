"""Diffusion Path: editing methods for ComfyUI that work on the path a diffusion model draws from noise to picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import DiffusionPathExtension

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint() -> DiffusionPathExtension:
    from .nodes import DiffusionPathExtension  # imported here, so that the maths can be used without the nodes

    return DiffusionPathExtension()
