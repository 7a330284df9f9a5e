"""A client for ComfyUI's HTTP API: queue a prompt, follow its progress, fetch what it made."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

Prompt = dict[str, dict[str, Any]]


class PromptError(Exception):
    """A prompt was refused or failed; the message is what a user would read."""


class PromptInterrupted(PromptError):
    """Somebody stopped the prompt."""


@dataclass
class Progress:
    """How far a prompt is: the nodes that are done, and the steps of the one that runs."""

    prompt: Prompt
    done: set[str] = field(default_factory=set)
    title: str = ""
    value: float = 0.0
    maximum: float = 1.0

    @property
    def fraction(self) -> float:
        """Share of the work done, where every node counts the same."""
        current = min(self.value / self.maximum, 1.0) if self.maximum > 0 else 0.0
        return min((len(self.done & self.prompt.keys()) + current) / max(len(self.prompt), 1), 1.0)

    def follow(self, kind: str, data: dict[str, Any]) -> None:
        """Takes a message of the server into account."""
        if kind == "execution_cached":
            self.done.update(data.get("nodes", []))
        elif kind == "progress_state":
            self.value, self.maximum = 0.0, 1.0
            for node, state in data.get("nodes", {}).items():
                if state["state"] == "finished":
                    self.done.add(node)
                elif state["state"] == "running":
                    self.title = _title(self.prompt, node)
                    self.value, self.maximum = state["value"], state["max"]


@dataclass
class Result:
    """What a prompt left in the history: the ui dict of each output node."""

    prompt_id: str
    outputs: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

    def images(self) -> list[tuple[str, dict[str, str]]]:
        """(node id, file reference) of every picture, in order of node ids."""
        found = sorted(self.outputs.items(), key=lambda item: [int(part) for part in item[0].split(":")])
        images = ((node, image) for node, ui in found for image in ui.get("images", []))
        return [(node, image) for node, image in images if isinstance(image, dict) and "filename" in image]


class Client:
    """Talks to one ComfyUI server."""

    def __init__(self, host: str, port: int, timeout: float = 600.0) -> None:
        self.timeout = timeout
        self.url = f"http://{host}:{port}"
        self.client_id = uuid.uuid4().hex
        # a proxy from the environment is for the internet, not for this machine
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, timeout: float | None = None) -> bytes:
        with self._opener.open(self.url + path, timeout=timeout or self.timeout) as answer:
            return answer.read()

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def post(self, path: str, data: Any) -> Any:
        """Posts JSON; returns the decoded answer, whatever its status."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(data).encode(), headers)
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        return json.loads(body) if body else None

    def object_info(self) -> dict[str, dict[str, Any]]:
        return self.get_json("/object_info")

    def queue(self, prompt: Prompt) -> str:
        """Queues a prompt and returns its id; raises PromptError with the reasons if the server refuses any of it."""
        answer = self.post("/prompt", {"prompt": prompt, "client_id": self.client_id})
        if reasons := refusals(answer, prompt):
            raise PromptError("; ".join(reasons))
        return answer["prompt_id"]

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def history(self, prompt_id: str) -> dict[str, Any]:
        """The history entry of a finished prompt, empty while it waits or runs."""
        return self.get_json(f"/history/{prompt_id}").get(prompt_id, {})

    def picture(self, image: dict[str, str]) -> bytes:
        """The file behind an entry of a node's `images`."""
        return self.get("/view?" + urllib.parse.urlencode(image))

    async def messages(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """First ("connected", {}), then what the server says: kind and data. Raises ConnectionError at the end."""
        import aiohttp  # ComfyUI requires it; the Python that runs `./dev` itself may not have it

        async with aiohttp.ClientSession() as session:
            try:
                address = f"{self.url}/ws?clientId={self.client_id}"
                socket = await session.ws_connect(address, max_msg_size=0)
            except aiohttp.ClientError as error:
                raise ConnectionError(f"the server refused the websocket ({error})") from error
            yield "connected", {}
            while True:
                message = await asyncio.wait_for(socket.receive(), self.timeout)
                if message.type == aiohttp.WSMsgType.TEXT:
                    content = json.loads(message.data)
                    yield content["type"], content.get("data", {})
                elif message.type != aiohttp.WSMsgType.BINARY:  # binary messages are previews
                    raise ConnectionError("the server closed the websocket")

    def run(self, prompt: Prompt, on_progress: Callable[[Progress], None] | None = None) -> Result:
        """Queues a prompt and waits until it is done; raises PromptError with the node's own message if it fails."""
        return asyncio.run(self._run(prompt, on_progress))

    async def _run(self, prompt: Prompt, on_progress: Callable[[Progress], None] | None) -> Result:
        progress, prompt_id, failure = Progress(prompt), "", None
        async for kind, data in self.messages():
            if kind == "connected":
                prompt_id = self.queue(prompt)
            elif data.get("prompt_id") != prompt_id:
                continue
            elif kind == "executing" and data.get("node") is None:
                break  # sent after the history was written
            elif kind == "execution_error":
                failure = PromptError(f"{_title(prompt, data['node_id'])}: {data['exception_message'].strip()}")
            elif kind == "execution_interrupted":
                failure = PromptInterrupted(f"interrupted at {_title(prompt, data['node_id'])}")
            else:
                progress.follow(kind, data)
                if on_progress is not None:
                    on_progress(progress)
        if failure is not None:
            raise failure
        return Result(prompt_id, self.history(prompt_id).get("outputs", {}))


def refusals(answer: dict[str, Any], prompt: Prompt) -> list[str]:
    """One line per reason for which the server refused a prompt, or a part of it."""
    reasons = [
        f"{_title(prompt, node)}: {error['message']} ({error['details']})"
        for node, errors in (answer.get("node_errors") or {}).items()
        for error in errors["errors"]
    ]
    if not reasons and "error" in answer:
        error = answer["error"]
        reasons = [error["message"] if isinstance(error, dict) else str(error)]
    return reasons


def _title(prompt: Prompt, node: str) -> str:
    entry = prompt.get(str(node), {})
    return entry.get("_meta", {}).get("title") or entry.get("class_type") or f"node {node}"
