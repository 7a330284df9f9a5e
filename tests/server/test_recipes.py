"""The script of docs/recipes.md that runs one sweep on several machines, here on one server that takes all parts."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from diffusion_path.devtools.client import Client
from diffusion_path.tests.server.graph import Graph
from PIL import Image

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"


def test_a_sweep_on_two_servers_shows_what_the_whole_shows(
    client: Client, object_info: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    graph = Graph(object_info)
    model, scene = graph.add("DPathDemoModel"), graph.add("DPathDemoScene", size=64)
    prompt = graph.add("CLIPTextEncode", clip=model[1], text="a lake")
    sweep = graph.add(
        "DPathSweep", model=model[0], positive=prompt[0], negative=prompt[0], vae=model[2], image=scene[0],
        values="0.3 0.5 0.7", steps=3, cfg=1.0,
    )  # fmt: skip
    saved = graph.add("SaveImage", images=sweep[0], filename_prefix="whole")
    workflow = tmp_path / "sweep.json"
    workflow.write_text(json.dumps(graph.prompt), encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", RECIPES.read_text(encoding="utf-8"), re.S)
    script = re.sub(r"(?m)^SERVERS = .*$", f"SERVERS = {[client.url] * 2}", script)
    script = re.sub(r"(?m)^WORKFLOW = .*$", f"WORKFLOW = {str(workflow)!r}", script).replace("sleep(1)", "sleep(0.05)")
    file = tmp_path / "split.py"
    file.write_text(script, encoding="utf-8")
    printed = subprocess.run(
        [sys.executable, str(file)], check=True, capture_output=True, text=True, env={**os.environ, "NO_PROXY": "*"}
    ).stdout
    found = ast.literal_eval(printed)
    whole = client.run(graph.prompt).outputs[saved.number]["images"]
    (one,), (other,) = found["images"], whole
    first, second = (np.asarray(Image.open(io.BytesIO(client.picture(each)))).astype(int) for each in (one, other))
    assert np.abs(first - second).max() <= 1  # a batch may be decoded with other rounding
