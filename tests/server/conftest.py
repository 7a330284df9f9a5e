"""What the server of these tests says about the pack."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def pack_info(object_info: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the server knows about the nodes of the pack."""
    return {
        name: info
        for name, info in object_info.items()
        if info["python_module"] == "custom_nodes.ComfyUI-DiffusionPath"
    }
