"""Runs pip quietly: its words go to a log, one line of it to the terminal, its failures into one sentence."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .console import StatusLine
from .settings import DevError

_OFFLINE = (
    "Failed to establish a new connection",
    "NewConnectionError",
    "NameResolutionError",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "Max retries exceeded",
    "ConnectTimeoutError",
    "Read timed out",
    "ProxyError",
    "Connection refused",
)
_FULL = ("No space left on device", "Disk quota exceeded")
_HASH = ("DO NOT MATCH THE HASHES",)


def clean_environment() -> dict[str, str]:
    """The environment without what would put foreign modules into our interpreter."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}


def run_pip(python: Path, arguments: Sequence[str], log: Path, title: str) -> None:
    """Runs `python -m pip arguments`; raises DevError with one sentence if that fails."""
    command = [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check", "--retries", "2", *arguments]
    status = StatusLine()
    output: list[str] = []
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as record:
        record.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(
            [*command, "--progress-bar", "off"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=clean_environment(),
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                record.write(line)
                output.append(line.strip())
                if line.strip().startswith(("Collecting", "Downloading", "Installing", "Using cached")):
                    status.update(f"{title}: {line.strip()}")
            code = process.wait()
        finally:
            status.clear()
            if process.poll() is None:
                process.terminate()
                process.wait()
    if code != 0:
        raise DevError(explain(output, log))


def explain(output: Sequence[str], log: Path) -> str:
    """One sentence for a failed pip run, from what it printed."""
    text = "\n".join(output)
    if any(sign in text for sign in _FULL):
        return "The disk is full: free some space and run the same command again."
    if any(sign in text for sign in _HASH):
        return f"A download does not have the expected checksum, so nothing of it was used (details in {log})."
    if any(sign in text for sign in _OFFLINE):
        return (
            f"The package index cannot be reached: check the network or pip's proxy settings and run the same command "
            f"again (details in {log})."
        )
    errors = [line.removeprefix("ERROR: ") for line in output if line.startswith("ERROR:")]
    errors = [line for line in errors if not line.startswith("Ignored the following")]  # pages of other versions
    reason = errors[0] if errors else (output[-1] if output else "no output")
    return f"pip failed with '{reason}' (details in {log})."
