"""A few random prompts, valid, broken and hostile: no crash, no hang, and nothing that is not a clear sentence.

`./dev bench fuzz` runs many more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from diffusion_path.devtools.client import Client
from diffusion_path.tests.server.graph import Info
from diffusion_path.tests.server.random_prompts import (
    broken_prompts,
    hostile_prompts,
    hostile_server,
    outcomes,
    save_a_path,
    valid_prompts,
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
    found = outcomes(client, strategy(info), count)
    assert all(result.clear for result in found), found
    assert expected in {result.kind for result in found}


@pytest.fixture(scope="module")
def hostile_client() -> Iterator[Client]:
    with hostile_server("--cache-none") as server:
        yield server.client


def test_what_links_bring_is_looked_at(hostile_client: Client) -> None:
    save_a_path(hostile_client, hostile_client.object_info())
    found = outcomes(hostile_client, hostile_prompts(hostile_client.object_info()), 20)
    assert all(result.clear for result in found), found
    assert "failed" in {result.kind for result in found}
