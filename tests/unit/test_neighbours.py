"""The same runs beside other features of ComfyUI, and what the pack leaves behind in ComfyUI: nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from diffusion_path.tests.unit import compatibility_page, neighbours
from diffusion_path.tests.unit.compatibility import outcome
from diffusion_path.tests.unit.neighbours import LIKE, NEIGHBOURS, UNET


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_the_page_says_what_changes_beside_it(name: str) -> None:
    text = compatibility_page.PAGE.read_text(encoding="utf-8")
    usual = compatibility_page.usual(compatibility_page.families_in(text), name)
    found = neighbours.changes(name, usual)
    assert compatibility_page.neighbours_in(text).get(name) == found, "If that is meant, run ./dev compatibility."


@pytest.mark.parametrize("label", ["DPathRecord", "DPathMDP: noise", "DPathInvert: null text", "DPathSketchGuidance"])
def test_a_compiled_network_changes_nothing(label: str) -> None:
    text = compatibility_page.PAGE.read_text(encoding="utf-8")
    usual = compatibility_page.families_in(text)[label][LIKE[UNET.name]]
    assert outcome(label, neighbours.compiled())[0] == usual


_SCRIPT = """
import importlib.util, os, sys, types

spec = importlib.util.spec_from_file_location("loader", {loader!r})
loader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(loader)
sys.path.insert(0, str(loader.comfyui_folder()))
import comfy.options
comfy.options.enable_args_parsing()
import utils.extra_config  # as main.py does: an older nodes.py puts comfy/ with its utils.py first
import comfy.sd, comfy.samplers, comfy.sample, execution, latent_preview, nodes, server

PLAIN = (int, float, str, bool, type(None), tuple)
OURS = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "latent_preview", "nodes",
        "server", "torch.nn", "torch.nn.functional", "torch")

def belongs(name):
    return name in OURS or name.startswith(("comfy.", "comfy_api.", "comfy_execution.", "comfy_extras."))

def attributes():
    found = {{}}
    for name, module in list(sys.modules.items()):
        if module is None or not belongs(name):
            continue
        for key, value in list(vars(module).items()):
            if isinstance(value, types.ModuleType) or (key.startswith("__") and key.endswith("__")):
                continue
            found[name, key] = value
            if isinstance(value, type) and value.__module__ == name:
                found.update({{(name, key, inner): each for inner, each in vars(value).items() if inner != "__doc__"}})
    return found

def changed(before):
    now = attributes()
    return sorted(
        ".".join(key) for key, value in before.items()
        if key not in now or not (now[key] is value or (isinstance(value, PLAIN) and now[key] == value))
    )

before = attributes()
loader.load("--cpu")
print("import", changed(before))
import comfy.utils
from diffusion_path.tests.unit import compatibility, neighbours
for name in ("attention patches (IP-Adapter)", "NAG"):
    before = attributes() | before
    for label in compatibility.CASES:
        compatibility.outcome(label, neighbours.world(name))
print("runs", changed(before))
print(len(before), "attributes")
"""


def test_nothing_of_comfyui_is_changed_by_an_import_or_by_runs(pack_root: Path) -> None:
    script = _SCRIPT.format(loader=str(pack_root / "devtools" / "inprocess.py"))
    done = subprocess.run([sys.executable, "-c", script, "--cpu"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    *_, imported, ran, count = done.stdout.strip().splitlines()
    assert imported == "import []"
    assert ran == "runs []"
    assert int(count.split()[0]) > 10_000
