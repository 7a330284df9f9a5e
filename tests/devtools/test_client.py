"""The client understands what a server sends."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from diffusion_path.devtools import client
from diffusion_path.devtools.client import Client, Progress, Result

PROMPT = {
    "1": {"class_type": "Load", "inputs": {}, "_meta": {"title": "Load it"}},
    "2": {"class_type": "Sample", "inputs": {}},
}


def serve_messages(handler: Callable[[web.WebSocketResponse], Awaitable[Any]]) -> tuple[Client, threading.Thread]:
    """A client of a server that answers one websocket; the thread ends with the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    async def serve() -> None:
        finished = asyncio.Event()

        async def answer(request: web.Request) -> web.WebSocketResponse:
            response = web.WebSocketResponse()
            await response.prepare(request)
            await handler(response)
            await response.close()
            finished.set()
            return response

        app = web.Application()
        app.router.add_get("/ws", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        await asyncio.wait_for(finished.wait(), 10)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    return Client("127.0.0.1", port, timeout=5), thread


async def received(client: Client, into: list[dict[str, Any]]) -> None:
    async for _, data in client.messages():
        into.append(data)


def test_messages_of_every_length_arrive_and_previews_are_skipped() -> None:
    texts = [{"text": "x" * size} for size in (3, 125, 126, 70_000, 5_000_000)]

    async def send(peer: web.WebSocketResponse) -> None:
        for text in texts:
            await peer.send_bytes(b"preview")
            await peer.send_json({"type": "test", "data": text})

    client, thread = serve_messages(send)
    found: list[dict[str, Any]] = []
    with pytest.raises(ConnectionError, match="closed the websocket"):
        asyncio.run(received(client, found))
    assert found == [{}, *texts], "the first says that the connection is there"
    thread.join(5)


def test_a_refused_websocket_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionError, match="refused"):
        asyncio.run(received(Client("127.0.0.1", port), []))


def test_progress_counts_finished_nodes_and_the_steps_of_the_running_one() -> None:
    progress = Progress(PROMPT)
    progress.follow("execution_cached", {"nodes": ["1"]})
    assert progress.fraction == 0.5
    running = {
        "nodes": {"1": {"state": "finished", "value": 1, "max": 1}, "2": {"state": "running", "value": 5, "max": 20}}
    }
    progress.follow("progress_state", running)
    assert (progress.title, progress.value, progress.maximum) == ("Sample", 5, 20)
    assert progress.fraction == pytest.approx(0.625)
    running["nodes"]["2"]["state"] = "finished"
    progress.follow("progress_state", running)
    assert progress.fraction == 1.0
    assert progress.value == 0, "the next node must not inherit the steps of the last"


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        ({"prompt_id": "x", "node_errors": {}}, []),
        (
            {
                "error": {"message": "Prompt outputs failed validation"},
                "node_errors": {"1": {"errors": [{"message": "Value 2 bigger than max of 1", "details": "t0"}]}},
            },
            ["Load it: Value 2 bigger than max of 1 (t0)"],
        ),
        ({"error": {"message": "Prompt has no outputs"}, "node_errors": []}, ["Prompt has no outputs"]),
        ({"error": "broken"}, ["broken"]),
    ],
)
def test_reasons_of_a_refusal_name_the_node(answer: dict[str, Any], reasons: list[str]) -> None:
    answer["node_errors"] = answer.get("node_errors") or {}
    assert client.refusals(answer, PROMPT) == reasons


def test_pictures_come_in_the_order_of_the_nodes() -> None:
    def picture(name: str) -> dict[str, str]:
        return {"filename": name, "subfolder": "", "type": "output"}

    result = Result(
        "x", {"10": {"images": [picture("c")]}, "9": {"images": [picture("a"), picture("b")]}, "3": {"text": []}}
    )
    assert [(node, image["filename"]) for node, image in result.images()] == [("9", "a"), ("9", "b"), ("10", "c")]
