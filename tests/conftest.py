"""Makes ComfyUI and the pack importable for all tests.

ComfyUI comes from COMFYUI_PATH or `.dev/ComfyUI`. The pack is loaded by path, as ComfyUI does it:

    from diffusion_path.samplers import process
    from diffusion_path.tests.unit import analytic      # helpers of the tests themselves
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def _inprocess() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "devtools" / "inprocess.py"
    spec = importlib.util.spec_from_file_location("diffusion_path_inprocess", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_loader = _inprocess()
try:
    _loader.load(cpu=True)  # results must not depend on the machine
except FileNotFoundError as problem:
    pytest.exit(str(problem), returncode=2)


@pytest.fixture(scope="session")
def pack_root() -> Path:
    """The folder of the pack."""
    return _loader.PACK


@pytest.fixture(scope="session")
def comfyui_root() -> Path:
    """The folder of the ComfyUI under test."""
    return _loader.comfyui_folder()
