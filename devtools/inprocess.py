"""Loads ComfyUI and the pack into this Python process, for tests, benchmarks and training.

As a script it runs a module of the pack with ComfyUI importable: `python devtools/inprocess.py benchmarks.sdedit ...`.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

PACK = Path(__file__).resolve().parents[1]
NAME = "diffusion_path"


def comfyui_folder() -> Path:
    """COMFYUI_PATH, or the ComfyUI that `./dev` has set up; raises FileNotFoundError if it is not there."""
    folder = Path(os.environ.get("COMFYUI_PATH") or PACK / ".dev" / "ComfyUI").resolve()
    if not (folder / "comfy" / "cli_args.py").is_file():
        raise FileNotFoundError(f"No ComfyUI at {folder}: run ./dev test, or set COMFYUI_PATH to a ComfyUI folder.")
    return folder


def load(cpu: bool) -> ModuleType:
    """Makes `comfy` and the pack, as `diffusion_path`, importable and returns the pack.

    Only ComfyUI's folder goes on `sys.path`: the pack's own `nodes` folder would shadow ComfyUI's `nodes.py`.
    """
    comfyui = comfyui_folder()
    hidden = (PACK, PACK / "devtools")
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in hidden]
    sys.path.insert(0, str(comfyui))

    import comfy.options

    comfy.options.enable_args_parsing(False)  # this process's arguments are not ComfyUI's

    import utils.extra_config  # noqa: F401  as main.py does: an older nodes.py puts comfy/ with its utils.py in front
    from comfy.cli_args import args

    args.cpu = cpu  # must be set before any other module of comfy is imported

    spec = importlib.util.spec_from_file_location(NAME, PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{PACK} cannot be loaded as a package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


def _no_accelerator() -> bool:
    import torch

    return not (torch.cuda.is_available() or torch.backends.mps.is_available())


if __name__ == "__main__":
    load(cpu=_no_accelerator())
    target = sys.argv[0] = sys.argv.pop(1)
    runpy.run_module(f"{NAME}.{target}", run_name="__main__", alter_sys=False)
