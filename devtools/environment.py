"""The interpreter in `.dev/venv`: built, repaired, and stamped when it is complete.

pip does not install atomically, so the stamp is removed before pip starts and written after everything was checked.
An environment without a valid stamp is repaired in place: packages whose files are missing or cut short are forgotten
and installed again.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .pip import clean_environment, run_pip
from .settings import GIB, NEWEST_PYTHON, OLDEST_PYTHON, DevError, Plan

_STAMP = "diffusion-path-stamp.json"


def interpreter(venv: Path) -> Path:
    return venv / "bin" / "python"


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """Raises DevError if this Python has no wheels of the pinned torch."""
    if not OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        raise DevError(
            f"This is Python {_dotted(version)}, but the set-up needs {_dotted(OLDEST_PYTHON)} to "
            f"{_dotted(NEWEST_PYTHON)}: run it as 'python3.12 ./dev ...' or with another of these."
        )


def is_ready(plan: Plan) -> bool:
    """Whether the environment is complete and made from exactly this plan."""
    try:
        stamp = json.loads((plan.venv / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return stamp == {"plan": fingerprint(plan), "python": python_version(interpreter(plan.venv))}


def fingerprint(plan: Plan) -> str:
    """A hash of all that is to be installed; missing files count as empty."""
    parts = [*plan.requirements, *plan.imports]
    parts += [path.read_text(encoding="utf-8") if path.is_file() else "" for path in plan.requirement_files]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def python_version(python: Path) -> str | None:
    """The version an interpreter reports, None if it does not run."""
    try:
        result = subprocess.run(
            [str(python), "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def create(plan: Plan) -> None:
    """Makes an empty environment unless a working one is there. The stamp of a former set-up becomes invalid."""
    (plan.venv / _STAMP).unlink(missing_ok=True)
    if _has_pip(interpreter(plan.venv)):
        return
    check_python()
    plan.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(plan.home).free
    if free < plan.disk_space:
        raise DevError(
            f"The set-up needs {plan.disk_space / GIB:.0f} GB of free disk space at {plan.home}, but there are "
            f"{free / GIB:.1f} GB: free some space or move the project to another disk."
        )
    shutil.rmtree(plan.venv, ignore_errors=True)
    result = subprocess.run(
        [sys.executable, "-m", "venv", str(plan.venv)], capture_output=True, text=True, env=clean_environment()
    )
    if result.returncode != 0 or not _has_pip(interpreter(plan.venv)):
        raise DevError(
            f"{sys.executable} cannot make virtual environments: on Debian or Ubuntu install python3-venv "
            f"(apt-get install python3-venv), elsewhere use a complete Python."
        )


def install(plan: Plan) -> None:
    """Installs what is missing or damaged, checks that it loads, and stamps the environment as complete."""
    python = interpreter(plan.venv)
    for site_packages in plan.venv.glob("lib/python*/site-packages"):
        forget_damaged(site_packages)
    arguments = ["install", *plan.pip_options, *plan.requirements]
    for path in plan.requirement_files:
        arguments += ["-r", str(path)]
    run_pip(python, arguments, plan.home / "setup.log", "Installing")
    _check_imports(python, plan.imports)
    stamp = {"plan": fingerprint(plan), "python": python_version(python)}
    fresh = plan.venv / (_STAMP + ".part")
    fresh.write_text(json.dumps(stamp), encoding="utf-8")
    os.replace(fresh, plan.venv / _STAMP)


def forget_damaged(site_packages: Path) -> list[str]:
    """Removes the metadata of packages that an interruption left incomplete, so that pip installs them again.

    Returns the names of their metadata folders.
    """
    for leftover in site_packages.glob("~*"):  # pip's own back-ups of packages it was replacing
        shutil.rmtree(leftover, ignore_errors=True)
    damaged = [info for info in site_packages.glob("*.dist-info") if not _is_whole(info)]
    for info in damaged:
        shutil.rmtree(info)
    return sorted(info.name for info in damaged)


def _is_whole(info: Path) -> bool:
    """Whether every file in a package's RECORD exists with the recorded size."""
    try:
        with (info / "RECORD").open(newline="", encoding="utf-8") as record:
            rows = list(csv.reader(record))
        for name, _, size in rows:
            if size and (info.parent / name).stat().st_size != int(size):
                return False
            if not size and not name.endswith(".pyc") and not (info.parent / name).exists():
                return False
    except (OSError, ValueError):
        return False
    return True


def _has_pip(python: Path) -> bool:
    try:
        return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def _check_imports(python: Path, modules: tuple[str, ...]) -> None:
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    result = subprocess.run(
        [str(python), "-c", code, *modules], capture_output=True, text=True, env=clean_environment()
    )
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise DevError(f"The installed packages do not load ('{reason}'): remove {python.parents[1]} and try again.")


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
