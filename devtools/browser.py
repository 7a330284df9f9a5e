"""The Chromium that the browser tests drive: found, or installed with apt where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .console import say
from .settings import HOME, made_folder

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_PACKAGES = ("chromium", "fonts-dejavu-core")  # a page without any font has no text to look at
MISSING = (
    "There is no Chromium for the browser tests, which are skipped: install it (apt-get install chromium) or name one "
    "in CHROMIUM_PATH."
)


def find_chromium() -> Path | None:
    """The browser named by CHROMIUM_PATH, or the first one installed, if any."""
    named = os.environ.get("CHROMIUM_PATH")
    found = map(shutil.which, (named,) if named else (*_NAMES, *_PLACES))
    return next((Path(path) for path in found if path), None)


def ensure_chromium() -> str | None:
    """Installs Chromium if it is missing and this process may; returns a sentence if it is still missing."""
    may_install = not os.environ.get("CHROMIUM_PATH") and os.geteuid() == 0 and shutil.which("apt-get")
    if find_chromium() is None and may_install:
        say("Installing Chromium for the browser tests")
        _apt("update", "-q")
        _apt("install", "-q", "-y", "--no-install-recommends", *_PACKAGES)
    return None if find_chromium() is not None else MISSING


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with (made_folder(HOME) / "setup.log").open("a", encoding="utf-8") as log:
        subprocess.run(["apt-get", *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
