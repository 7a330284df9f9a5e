"""Runs the JavaScript of web/ in Node."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusion_path.devtools.javascript import find_node
from diffusion_path.devtools.settings import ROOT

HERE = ROOT / "tests" / "js"


def run_node(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    # ComfyUI serves .js files with no package.json beside them; Node warns that it has to find out what they are.
    command = [str(find_node(Path(sys.executable))), "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", *arguments]
    return subprocess.run(command, input=given, capture_output=True, encoding="utf-8", cwd=ROOT)


def answers(module: str, name: str, calls: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """What a module's function makes of each list of arguments: {"value": ...}, or {"error": message}."""
    result = run_node(str(HERE / "answer.mjs"), given=json.dumps({"module": module, "name": name, "calls": calls}))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def values(module: str, name: str, calls: Sequence[Sequence[Any]]) -> list[Any]:
    return [answer["value"] for answer in answers(module, name, calls)]
