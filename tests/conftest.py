"""Makes ComfyUI and the pack importable for all tests.

ComfyUI comes from COMFYUI_PATH or `.dev/ComfyUI`. The pack is loaded by path, as ComfyUI does it:

    from diffusion_path.samplers import process
    from diffusion_path.tests.unit import analytic      # helpers of the tests themselves
"""

from __future__ import annotations

import gc
import importlib.util
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

if TYPE_CHECKING:
    from diffusion_path.devtools.client import Client
    from diffusion_path.devtools.server import Server


def _inprocess() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "devtools" / "inprocess.py"
    spec = importlib.util.spec_from_file_location("diffusion_path_inprocess", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_loader = _inprocess()
try:
    _loader.load("--cpu")  # results must not depend on the machine
except FileNotFoundError as problem:
    pytest.exit(str(problem), returncode=2)


@pytest.fixture(scope="session")
def pack_root() -> Path:
    """The folder of the pack."""
    return _loader.PACK


@pytest.fixture(scope="session")
def comfyui_root() -> Path:
    """The folder of the ComfyUI under test."""
    return _loader.comfyui_folder()


@pytest.fixture(scope="session")
def server(comfyui_root: Path) -> Iterator[Server]:
    """One real ComfyUI server for all tests that talk to one."""
    from diffusion_path.devtools.runtime import Runtime, given_frontend
    from diffusion_path.devtools.server import Server

    runtime = Runtime(Path(sys.executable), comfyui_root, given_frontend())
    with Server(runtime, 0, None, "--cache-none") as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> Client:
    return server.client


@pytest.fixture(scope="session")
def object_info(client: Client) -> dict[str, dict[str, Any]]:
    return client.object_info()


@pytest.fixture(autouse=True)
def forget_dead_models() -> Iterator[None]:
    """Drops models whose network outlives them, since a test holds it, from ComfyUI's list of what is loaded.

    ComfyUI would collect garbage before every later run, which took most of the suite's time.
    """
    yield
    if management := sys.modules.get("comfy.model_management"):
        loaded = management.current_loaded_models
        loaded[:] = [model for model in loaded if not model.is_dead()]


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "each browser test in one renderer, one family of models for each network, and nothing that takes very long"
    parser.addoption("--quick", action="store_true", help=text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Browser tests come last: Playwright's event loop stays open to the end, and others start loops of their own."""
    items.sort(key=lambda item: "browser" in item.path.parts[-2:])
    if config.getoption("--quick"):
        left_out = {id(item) for item in items if _repeats(item)}
        config.hook.pytest_deselected(items=[item for item in items if id(item) in left_out])
        items[:] = [item for item in items if id(item) not in left_out]


# What a quick run leaves out besides: files, and parameters of single tests.
_LONG_FILES = {"test_setup", "test_load"}  # .ci/run does the first itself; ./dev bench load is the second
_LIKE_ANOTHER = {
    "test_a_model_on_a_card": ("name", "U-Net"),  # test_everything_on_a_card has it too
    "test_no_node_keeps_a_model_alive": ("call", 1),
}


def _repeats(item: pytest.Item) -> bool:
    """Whether a quick run has the test in the other renderer, on another family of the same network, or the like."""
    if item.path.stem in _LONG_FILES:
        return True
    from diffusion_path.tests.unit.families import one_of_each_network

    given = getattr(item, "callspec", None)
    if given is None:
        return False
    turn = zlib.crc32(item.nodeid.partition("[")[0].encode()) % 2
    if "comfy_page" in given.params:
        return given.params["comfy_page"] != ("classic", "nodes2")[turn]
    name, _, _ = item.name.partition("[")
    if name in _LIKE_ANOTHER:
        key, value = _LIKE_ANOTHER[name]
        return given.params[key] == value
    return item.path.stem.startswith("test_families_") and given.params["name"] not in one_of_each_network()


def pytest_collection_finish() -> None:
    """Takes all that is imported by now out of garbage collection, which ComfyUI starts before many of its runs."""
    gc.collect()
    gc.freeze()
