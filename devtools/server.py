"""A real ComfyUI server with this pack and nothing else of the user's, started and stopped from outside."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
from pathlib import Path

from .client import Client
from .runtime import Runtime
from .settings import HOME, PACK_FOLDER, ROOT, DevError, made_folder

HOST = "127.0.0.1"
_FOLDERS = ("custom_nodes", "input", "output", "temp", "models", "user/default/workflows", "user/default/subgraphs")
# A page without a tour, release notes, dialogs or questions to outside servers.
_PAGE_SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.VersionCompatibility.DisableWarnings": True,
    "Comfy.AppBuilder.VueNodeSwitchDismissed": True,
}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BROKEN = ("IMPORT FAILED", "Cannot import", "Error while calling comfy_entrypoint", "did not return a")


class Server:
    """`with Server(runtime) as server:` starts ComfyUI and is sure to end it.

    `base` is the folder for its inputs, outputs and models (default: a temporary one that is removed), `port` 0 takes
    a free one.
    """

    def __init__(self, runtime: Runtime, port: int = 0, base: Path | None = None, *options: str) -> None:
        self.runtime = runtime
        self.port = port or free_port()
        self.temporary = base is None
        self.base = base or _temporary_base()
        self.log = self.base / "server.log"
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.client = Client(HOST, self.port)

    def __enter__(self) -> Server:
        try:
            self._start()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the server's whole process group and removes its temporary folder."""
        if self.process is not None:
            _end_group(self.process)
            self.process = None
        if self.temporary:
            shutil.rmtree(self.base, ignore_errors=True)

    def _start(self) -> None:
        prepare_base(self.base)
        command = [
            *(str(self.runtime.python), str(self.runtime.comfyui / "main.py")),
            *("--base-directory", str(self.base), "--database-url", "sqlite:///:memory:"),
            *("--listen", HOST, "--port", str(self.port), "--disable-auto-launch", "--disable-api-nodes"),
            *("--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK_FOLDER),
            *(() if has_accelerator(self.runtime) else ("--cpu",)),
            *(() if self.runtime.frontend is None else ("--front-end-root", str(self.runtime.frontend))),
            *self.options,
        ]
        environment = {**self.runtime.environment(), "PYTHONUNBUFFERED": "1"}
        with self.log.open("wb") as log:
            # In a session of its own, Ctrl-C reaches ./dev alone, which then ends the server in order.
            self.process = subprocess.Popen(
                command, cwd=self.runtime.comfyui, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=environment, start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )  # fmt: skip

    def _wait_until_ready(self, seconds: float = 180.0) -> None:
        assert self.process is not None
        end = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                raise DevError(f"ComfyUI stopped while it started: {self.last_words()}")
            try:
                self.client.get("/system_stats", timeout=5)
                break
            except (OSError, urllib.error.URLError):
                if time.monotonic() > end:
                    raise DevError(f"ComfyUI was not ready after {seconds:.0f} s: {self.last_words()}") from None
                time.sleep(0.1)
        if broken := self.complaints():
            raise DevError(f"ComfyUI could not load the pack: {broken[0]}")

    def complaints(self) -> list[str]:
        """Lines of the log that say that the pack could not be loaded."""
        pack = os.path.join("custom_nodes", PACK_FOLDER)
        return [line for line in self.lines() if pack in line and any(sign in line for sign in _BROKEN)]

    def last_words(self) -> str:
        """The last line of its log."""
        return (self.lines() or ["its log is empty."])[-1]

    def lines(self) -> list[str]:
        """Its log without colours and empty lines."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return [line.strip() for line in _COLOURS.sub("", text).splitlines() if line.strip()]


def prepare_base(base: Path) -> None:
    """Makes the folders ComfyUI expects, with the pack linked into `custom_nodes`."""
    for folder in _FOLDERS:
        made_folder(base / folder)
    link = base / "custom_nodes" / PACK_FOLDER
    if link.is_symlink():
        link.unlink()
    link.symlink_to(ROOT, target_is_directory=True)
    settings = base / "user" / "default" / "comfy.settings.json"
    if not settings.exists():
        settings.write_text(json.dumps(_PAGE_SETTINGS, indent=2), encoding="utf-8")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def has_accelerator(runtime: Runtime) -> bool:
    """Whether the runtime's PyTorch can use a GPU. Asked only where there are signs of one: it takes seconds."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/kfd").exists() and not Path("/dev/dxg").exists():
        return False
    command = [str(runtime.python), "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"]
    return subprocess.run(command, env=runtime.environment()).returncode == 0


def _temporary_base() -> Path:
    """A fresh folder under `.dev/run`; folders of processes that were killed are removed on the way."""
    folder = made_folder(HOME / "run")
    for old in folder.iterdir():
        owner = old.name.partition("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=folder, prefix=f"{os.getpid()}-"))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(5)
    process.wait()


def _die_with_parent() -> None:
    """Asks the Linux kernel to end the server even if ./dev is killed without a chance to clean up."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
