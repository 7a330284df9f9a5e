"""Another version of ComfyUI's page than the one its requirements name, in a folder of its own in `.dev/`."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from . import environment
from .pip import run_pip
from .settings import NEWEST_FRONTEND, DevError, Plan

PACKAGE = "comfyui-frontend-package"
_STATIC = Path("comfyui_frontend_package", "static")
_PART = "part-"


def find_or_install(named: str, plan: Plan) -> Path:
    """The folder with the page's `index.html`.

    `named` is "newest" (the newest version that the tests were run on), a version, or a folder that is there. What is
    missing is downloaded, as a wheel and without what it depends on.
    """
    if (folder := Path(named).expanduser()).is_dir():
        return _checked(folder.resolve())
    version = NEWEST_FRONTEND if named == "newest" else named
    if not re.fullmatch(r"\d+(\.\d+)+", version):
        raise DevError(f"There is no page '{named}': give 'newest', a version of {PACKAGE}, or a folder.")
    shelf = plan.home / "frontends"
    target = shelf / version
    if not target.exists():
        _download(version, target, plan)
    return _checked(target / _STATIC)


def _download(version: str, target: Path, plan: Plan) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(_PART + "*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_PART) as part:
        fresh = Path(part) / "page"
        what = ["--no-deps", "--only-binary", ":all:", "--target", str(fresh), f"{PACKAGE}=={version}"]
        python = environment.interpreter(plan.venv)
        run_pip(python, ["install", *plan.pip_options, *what], plan.home / "setup.log", "Downloading ComfyUI's page")
        os.rename(fresh, target)  # only what is complete has the name of its version


def _checked(folder: Path) -> Path:
    if not (folder / "index.html").is_file():
        raise DevError(f"There is no page at {folder}: name the folder that has index.html in it, or remove it.")
    return folder
