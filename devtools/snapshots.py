"""Writes what tests compare the pack with: `tests/schemas.json` and `tests/core_api.txt`.

Run inside the pack: `python devtools/inprocess.py devtools.snapshots`.
"""

from __future__ import annotations

from comfyui_version import __version__ as comfyui_version

from . import core_api, schemas
from .console import say


def core_api_text() -> str:
    """The list of core's names with the version it was made with in its first line."""
    return "\n".join([f"ComfyUI {comfyui_version}", *core_api.listed()]) + "\n"


if __name__ == "__main__":
    schemas.TARGET.write_text(schemas.dumps(schemas.schemas()), encoding="utf-8")
    core_api.TARGET.write_text(core_api_text(), encoding="utf-8")
    for target in (schemas.TARGET, core_api.TARGET):
        say(f"Wrote {target.relative_to(schemas.ROOT)}")
