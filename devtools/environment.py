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
from collections.abc import Sequence
from pathlib import Path

from .console import say
from .settings import GIB, NEWEST_PYTHON, OLDEST_PYTHON, DevError, Plan

_STAMP = "diffusion-path-stamp.json"
_BASE = "diffusion-path-base.pth"
_REASONS = {
    "The disk is full: free some space and run the same command again.": (
        "No space left on device", "Disk quota exceeded",
    ),
    "A download does not have the expected checksum, so nothing of it was used (details in {log}).": (
        "DO NOT MATCH THE HASHES",
    ),
    "The package index cannot be reached: check the network or pip's proxy settings and run the same command again "
    "(details in {log}).": (
        "Failed to establish a new connection", "NewConnectionError", "NameResolutionError", "Network is unreachable",
        "Temporary failure in name resolution", "Max retries exceeded", "ConnectTimeoutError", "Read timed out",
        "ProxyError", "Connection refused",
    ),
}  # fmt: skip


def interpreter(venv: Path) -> Path:
    return venv / "bin" / "python"


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """Raises DevError if this Python has no wheels of the pinned torch."""
    if not OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        given, oldest, newest = (f"{major}.{minor}" for major, minor in (version, OLDEST_PYTHON, NEWEST_PYTHON))
        raise DevError(
            f"This is Python {given}, but the set-up needs {oldest} to {newest}: run it as 'python3.12 ./dev ...' or "
            "with another of these."
        )


def is_ready(plan: Plan) -> bool:
    """Whether the environment is complete and made from exactly this plan."""
    try:
        return (plan.venv / _STAMP).read_text(encoding="utf-8") == _stamp(plan)
    except OSError:
        return False


def fingerprint(plan: Plan) -> str:
    """A hash of all that is to be installed; missing files count as empty."""
    parts = [*plan.requirements, *plan.imports]
    files = plan.requirement_files if plan.base is None else (*plan.requirement_files, plan.base / _STAMP)
    parts += [path.read_text(encoding="utf-8") if path.is_file() else "" for path in files]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _stamp(plan: Plan) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return json.dumps({"plan": fingerprint(plan), "python": _run(interpreter(plan.venv), "-I", "-S", "-c", code)})


def create(plan: Plan) -> None:
    """Makes an empty environment unless a working one exists. The stamp of a former set-up becomes invalid."""
    (plan.venv / _STAMP).unlink(missing_ok=True)
    maker = Path(sys.executable) if plan.base is None else interpreter(plan.base)
    link = None if plan.base is None else _link_to(plan.base)
    if _run(interpreter(plan.venv), "-m", "pip", "--version") and _link_in(plan.venv) == link:
        return
    if plan.base is None:
        check_python()
    plan.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(plan.home).free
    if free < plan.disk_space:
        raise DevError(
            f"The set-up needs {plan.disk_space / GIB:.0f} GB of free disk space at {plan.home}, but there are "
            f"{free / GIB:.1f} GB: free some space or move the project to another disk."
        )
    shutil.rmtree(plan.venv, ignore_errors=True)
    _run(maker, "-m", "venv", str(plan.venv))
    if not _run(interpreter(plan.venv), "-m", "pip", "--version"):
        raise DevError(
            f"{maker} cannot make virtual environments: on Debian or Ubuntu install python3-venv "
            f"(apt-get install python3-venv), elsewhere use a complete Python."
        )
    if link is not None:
        (_site_packages(plan.venv) / _BASE).write_text(link, encoding="utf-8")


def _link_to(base: Path) -> str:
    """A .pth file that puts another environment's packages behind an interpreter's own."""
    return f"import site; site.addsitedir({str(_site_packages(base))!r})\n"


def _link_in(venv: Path) -> str | None:
    """What an environment's link to another one says, None without one."""
    link = _site_packages(venv) / _BASE
    return link.read_text(encoding="utf-8") if link.is_file() else None


def _site_packages(venv: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(_run(interpreter(venv), "-I", "-c", code))  # without site (-S) it would be that of the Python below


def install(plan: Plan) -> None:
    """Installs what is missing or damaged, checks that it loads, and stamps the environment as complete."""
    python = interpreter(plan.venv)
    for site_packages in plan.venv.glob("lib/python*/site-packages"):
        forget_damaged(site_packages)
    files = [part for path in plan.requirement_files for part in ("-r", str(path))]
    run_pip(python, ["install", *plan.pip_options, *plan.requirements, *files], plan.home / "setup.log", "Installing")
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    command = [str(python), "-c", code, *plan.imports]
    result = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise DevError(f"The installed packages do not load ('{reason}'): remove {plan.venv} and try again.")
    fresh = plan.venv / (_STAMP + ".part")
    fresh.write_text(_stamp(plan), encoding="utf-8")
    os.replace(fresh, plan.venv / _STAMP)


def forget_damaged(site_packages: Path) -> None:
    """Removes the metadata of packages that an interruption left incomplete, so that pip installs them again."""
    for leftover in site_packages.glob("~*"):  # pip's own back-ups of packages it was replacing
        shutil.rmtree(leftover, ignore_errors=True)
    for info in site_packages.glob("*.dist-info"):
        if not _is_whole(info):
            shutil.rmtree(info)


def _is_whole(info: Path) -> bool:
    """Whether every file in a package's RECORD exists with the recorded size."""
    try:
        with (info / "RECORD").open(newline="", encoding="utf-8") as record:
            for name, _, size in csv.reader(record):
                if not size and name.endswith(".pyc"):
                    continue  # compiled later
                found = (info.parent / name).stat().st_size
                if size and found != int(size):
                    return False
    except (OSError, ValueError):
        return False
    return True


def _run(python: Path, *arguments: str) -> str:
    """What an interpreter prints, "" if it does not run or fails."""
    try:
        result = subprocess.run([str(python), *arguments], capture_output=True, text=True, env=clean_environment())
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def clean_environment() -> dict[str, str]:
    """The environment without what would put foreign modules into our interpreter."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}


def run_pip(python: Path, arguments: Sequence[str], log: Path, title: str) -> None:
    """Runs `python -m pip arguments`; raises DevError with one sentence if that fails."""
    say(title)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check", "--retries", "2", *arguments]
    result = subprocess.run(
        [*command, "--log", str(log)],
        stdout=None if sys.stdout.isatty() else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=clean_environment(),
    )
    if result.returncode != 0:
        raise DevError(explain([line.strip() for line in result.stderr.splitlines() if line.strip()], log))


def explain(output: Sequence[str], log: Path) -> str:
    """One sentence for a failed pip run, from its warnings and errors."""
    for sentence, signs in _REASONS.items():
        if any(sign in line for line in output for sign in signs):
            return sentence.format(log=log)
    errors = [line.removeprefix("ERROR: ") for line in output if line.startswith("ERROR:")]
    errors = [line for line in errors if not line.startswith("Ignored the following")]  # pages of other versions
    reason = (errors or output[-1:] or ["no output"])[0]
    return f"pip failed with '{reason}' (details in {log})."
