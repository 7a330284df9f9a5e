"""Makes ComfyUI and the pack importable for all tests.

ComfyUI comes from COMFYUI_PATH or `.dev/ComfyUI`, and only its folder goes on `sys.path`: the pack's own `nodes` folder
would shadow ComfyUI's `nodes.py`. The pack is loaded by path, as ComfyUI does it, under the name `diffusion_path`:

    from diffusion_path.samplers import process
    from diffusion_path.tests.unit import analytic      # helpers of the tests themselves
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parents[1]
COMFYUI = Path(os.environ.get("COMFYUI_PATH") or PACK / ".dev" / "ComfyUI").resolve()


def _prepare_comfyui() -> None:
    if not (COMFYUI / "comfy" / "cli_args.py").is_file():
        pytest.exit(f"No ComfyUI at {COMFYUI}: run ./dev test, or set COMFYUI_PATH to a ComfyUI folder.", returncode=2)
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != PACK]
    sys.path.insert(0, str(COMFYUI))

    import comfy.options

    comfy.options.enable_args_parsing(False)  # pytest's own arguments are not ComfyUI's

    from comfy.cli_args import args

    args.cpu = True  # results must not depend on the machine


def _load_pack() -> None:
    spec = importlib.util.spec_from_file_location(
        "diffusion_path", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["diffusion_path"] = module
    spec.loader.exec_module(module)


_prepare_comfyui()
_load_pack()


@pytest.fixture(scope="session")
def pack_root() -> Path:
    """The folder of the pack."""
    return PACK


@pytest.fixture(scope="session")
def comfyui_root() -> Path:
    """The folder of the ComfyUI under test."""
    return COMFYUI
