"""The client understands what a server sends."""

from __future__ import annotations

import json
import socket
import struct
import threading
from typing import Any

import pytest
from diffusion_path.devtools import client
from diffusion_path.devtools.client import Progress, Result
from diffusion_path.devtools.websocket import WebSocket

PROMPT = {
    "1": {"class_type": "Load", "inputs": {}, "_meta": {"title": "Load it"}},
    "2": {"class_type": "Sample", "inputs": {}},
}


def frame(payload: bytes, opcode: int = 1, final: bool = True) -> bytes:
    head = bytes((opcode | (0x80 if final else 0),))
    if len(payload) < 126:
        return head + bytes((len(payload),)) + payload
    if len(payload) < 65536:
        return head + b"\x7e" + struct.pack("!H", len(payload)) + payload
    return head + b"\x7f" + struct.pack("!Q", len(payload)) + payload


class Peer:
    """A server for one websocket that sends given bytes and keeps what it receives."""

    def __init__(self, data: bytes, status: str = "101 Switching Protocols") -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.received = b""
        self._data, self._status = data, status
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(4096)
            connection.sendall(f"HTTP/1.1 {self._status}\r\n\r\n".encode() + self._data)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(4096):
                self.received += chunk
        self.listener.close()


def connect(data: bytes, status: str = "101 Switching Protocols") -> tuple[Peer, WebSocket]:
    peer = Peer(data, status)
    return peer, WebSocket("127.0.0.1", peer.port, "/ws", timeout=5)


@pytest.mark.parametrize("size", [3, 125, 126, 70_000])
def test_messages_of_every_length_arrive(size: int) -> None:
    peer, websocket = connect(frame(json.dumps({"text": "x" * size}).encode()))
    with websocket:
        assert websocket.receive() == {"text": "x" * size}
    peer.thread.join(5)


def test_previews_are_skipped_fragments_joined_and_pings_answered() -> None:
    data = (
        frame(b"\x00\x01", opcode=2)
        + frame(b"preview", opcode=2, final=False)
        + frame(b" part", opcode=0)
        + frame(b'{"type":', final=False)
        + frame(b"alive?", opcode=9)
        + frame(b'"status"}', opcode=0)
    )
    peer, websocket = connect(data)
    with websocket:
        assert websocket.receive() == {"type": "status"}
    peer.thread.join(5)
    assert peer.received[0] == 0x8A  # a final pong
    mask, masked = peer.received[2:6], peer.received[6:]
    assert bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked)) == b"alive?"


@pytest.mark.parametrize("end", [b"", frame(b"", opcode=8), b"\x81\x05ab"])
def test_the_end_of_the_server_is_an_error(end: bytes) -> None:
    peer, websocket = connect(end)
    with websocket, pytest.raises(ConnectionError, match="closed the"):
        websocket.receive()
    peer.thread.join(5)


def test_a_refused_websocket_is_an_error() -> None:
    with pytest.raises(ConnectionError, match="refused"):
        connect(b"", status="403 Forbidden")


def test_progress_counts_finished_nodes_and_the_steps_of_the_running_one() -> None:
    progress, done = Progress(total=2), set()
    client._follow(progress, done, "execution_cached", {"nodes": ["1"]}, PROMPT)
    assert progress.fraction == 0.5
    running = {
        "nodes": {"1": {"state": "finished", "value": 1, "max": 1}, "2": {"state": "running", "value": 5, "max": 20}}
    }
    client._follow(progress, done, "progress_state", running, PROMPT)
    assert (progress.title, progress.value, progress.maximum) == ("Sample", 5, 20)
    assert progress.fraction == pytest.approx(0.625)
    running["nodes"]["2"]["state"] = "finished"
    client._follow(progress, done, "progress_state", running, PROMPT)
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
