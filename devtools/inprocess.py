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


def load(*arguments: str) -> ModuleType:
    """Makes `comfy` and the pack, as `diffusion_path`, importable and returns the pack.

    arguments: ComfyUI's own, `--cpu` for one. The variable COMFYUI_ARGUMENTS takes their place where it is set: empty
    for the GPU with all of ComfyUI's defaults. Only ComfyUI's folder goes on `sys.path`: the pack's own `nodes` folder
    would shadow ComfyUI's `nodes.py`.
    """
    comfyui = comfyui_folder()
    hidden = (PACK, PACK / "devtools")
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in hidden]
    sys.path.insert(0, str(comfyui))

    import comfy.options

    comfy.options.enable_args_parsing()
    given, sys.argv = sys.argv, [sys.argv[0], *(os.environ.get("COMFYUI_ARGUMENTS", " ".join(arguments)).split())]
    try:
        import utils.extra_config  # noqa: F401  as main.py does: an older nodes.py puts comfy/ with its utils.py first
        from comfy.cli_args import args, enables_dynamic_vram
    finally:
        sys.argv = given  # this process's own arguments are not ComfyUI's
    if not args.cpu and enables_dynamic_vram():
        _enable_dynamic_vram()

    spec = importlib.util.spec_from_file_location(NAME, PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{PACK} cannot be loaded as a package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


def _enable_dynamic_vram() -> None:
    """Weights that come and go with the memory there is, as main.py turns it on wherever NVIDIA's cards allow it."""
    import comfy_aimdo.control

    comfy_aimdo.control.init()  # must come before torch
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher

    if comfy.model_management.is_nvidia() and comfy_aimdo.control.init_devices(
        device.index for device in comfy.model_management.get_all_torch_devices()
    ):
        comfy_aimdo.control.set_log_warning()
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True


if __name__ == "__main__":
    load("--cpu")
    target = sys.argv[0] = sys.argv.pop(1)
    runpy.run_module(f"{NAME}.{target}", run_name="__main__", alter_sys=False)
