"""A few random prompts, valid, broken and hostile: no crash, no hang, and nothing that is not a clear sentence.

`./dev bench fuzz` runs many more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusion_path.devtools.client import Client
from diffusion_path.devtools.random_prompts import (
    broken_prompts,
    hostile_prompts,
    link_hostile,
    outcome,
    save_a_path,
    valid_prompts,
)
from diffusion_path.devtools.runtime import Runtime
from diffusion_path.devtools.server import Server
from diffusion_path.tests.server.graph import Info
from hypothesis import HealthCheck, Phase, given, settings

CALM = settings(
    deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def info(client: Client, object_info: Info) -> Info:
    save_a_path(client, object_info)
    return client.object_info()


@pytest.mark.parametrize(
    ("strategy", "count", "expected"), [(valid_prompts, 12, "done"), (broken_prompts, 25, "refused")]
)
def test_whatever_is_asked_the_answer_is_clear(
    client: Client, info: Info, strategy: Callable[[Info], Any], count: int, expected: str
) -> None:
    kinds: set[str] = set()

    @settings(CALM, max_examples=count)
    @given(strategy(info))
    def ask(prompt: dict[str, Any]) -> None:
        result = outcome(client, prompt)
        kinds.add(result.kind)
        assert result.clear, result

    ask()
    assert expected in kinds


@pytest.fixture(scope="module")
def hostile_client(comfyui_root: Path) -> Iterator[Client]:
    """A server that also has the nodes of devtools/hostile."""
    server = Server(Runtime(Path(sys.executable), comfyui_root), 0, None, "--cache-none")
    server.options = (*server.options, *link_hostile(server.base))
    with server:
        yield server.client


def test_what_links_bring_is_looked_at(hostile_client: Client) -> None:
    save_a_path(hostile_client, hostile_client.object_info())
    kinds: set[str] = set()

    @settings(CALM, max_examples=20)
    @given(hostile_prompts(hostile_client.object_info()))
    def ask(prompt: dict[str, Any]) -> None:
        result = outcome(hostile_client, prompt)
        kinds.add(result.kind)
        assert result.clear, result

    ask()
    assert "failed" in kinds
