"""One real ComfyUI server for all tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusion_path.devtools.client import Client
from diffusion_path.devtools.runtime import Runtime
from diffusion_path.devtools.server import Server


@pytest.fixture(scope="session")
def server(comfyui_root: Path) -> Iterator[Server]:
    with Server(Runtime(Path(sys.executable), comfyui_root), 0, None, "--cache-none") as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> Client:
    return server.client


@pytest.fixture(scope="session")
def object_info(client: Client) -> dict[str, dict[str, Any]]:
    return client.object_info()


@pytest.fixture(scope="session")
def pack_info(object_info: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the server knows about the nodes of the pack."""
    return {
        name: info
        for name, info in object_info.items()
        if info["python_module"] == "custom_nodes.ComfyUI-DiffusionPath"
    }
