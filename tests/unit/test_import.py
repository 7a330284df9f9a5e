"""The pack lives beside ComfyUI without getting in its way."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any


def test_comfyuis_own_nodes_module_is_imported(comfyui_root: Path) -> None:
    nodes: Any = importlib.import_module("nodes")

    assert Path(nodes.__file__).resolve() == comfyui_root / "nodes.py"
    assert "KSampler" in nodes.NODE_CLASS_MAPPINGS


def test_pack_root_is_not_on_sys_path(pack_root: Path) -> None:
    assert pack_root not in {Path(entry or ".").resolve() for entry in sys.path}


def test_entry_point_gives_the_extension_and_no_old_style_mappings() -> None:
    import diffusion_path
    from comfy_api.latest import ComfyExtension

    extension = asyncio.run(diffusion_path.comfy_entrypoint())
    assert isinstance(extension, ComfyExtension)
    assert not hasattr(diffusion_path, "NODE_CLASS_MAPPINGS"), "ComfyUI would drop every V3 node"


def test_web_directory_exists(pack_root: Path) -> None:
    import diffusion_path

    assert (pack_root / diffusion_path.WEB_DIRECTORY).is_dir()
