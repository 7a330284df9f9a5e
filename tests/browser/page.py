"""The page of a ComfyUI server as a test sees it: load, add, connect, drag, queue, look."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion_path.devtools.server import Server
from diffusion_path.devtools.settings import ROOT
from playwright.sync_api import Browser, ConsoleMessage, ElementHandle, Request, Response, Route

ARTEFACTS = ROOT / "output" / "browser"
RENDERERS = ("classic", "nodes2")
VIEWPORT = {"width": 1400, "height": 1000}

_SETTINGS: dict[str, Any] = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.VersionCompatibility.DisableWarnings": True,
    "Comfy.AppBuilder.VueNodeSwitchDismissed": True,
    "Comfy.Window.UnloadConfirmation": False,
    "Comfy.Appearance.DisableAnimations": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Locale": "en",
}
_READY = """() => window.app?.isGraphReady && app.extensionManager?.workflow?.activeWorkflow
    && !app.extensionManager.spinner"""
# What the page says by itself, with no pack at all.
_NOISE = re.compile(
    r"graph accessed before initialization|legacy queue/history menu|MaskEditor|without a callback"
    r"|Invalid layout total size"  # of its own side panels
    r"|willReadFrequently|Automatic fallback to software WebGL|Failed to fetch.*(version|release|survey)"
    r"|input\.link is deprecated"  # read by its own code: this pack reads no links
    r"|Connecting to 'https://huggingface|Fetch API cannot load https://huggingface"  # for models that are not there
)
# What it asks for whether it is there or not: help in the user's language, a style of the user's, and, with a new Load
# Image, the first picture of an empty folder.
_NOT_THERE = re.compile(r"/docs/\w+/en\.md$|:\d+/user\.css$|/view\?type=input&filename=undefined&")
_FRAMES = "(n) => new Promise(done => { const f = () => n-- > 0 ? requestAnimationFrame(f) : done(); f(); })"


@dataclass(frozen=True)
class Run:
    """A finished prompt: what Python was given and what the nodes sent back."""

    prompt: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]


class ComfyPage:
    """One browser tab in one renderer ("classic": LiteGraph's canvas, "nodes2": Vue nodes)."""

    def __init__(self, browser: Browser, server: Server, renderer: str) -> None:
        self.client = server.client
        self.server = server
        self.renderer = renderer
        self.problems: list[str] = []
        self._tabs = 0
        self._post_settings({**_SETTINGS, "Comfy.VueNodes.Enabled": renderer == "nodes2"})
        self._context = browser.new_context(viewport=VIEWPORT)  # type: ignore[arg-type]
        self._context.route(re.compile(r"^https?://"), self._stay_at_home)
        self.page = self._context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        self.page.on("response", self._on_response)
        self.page.on("requestfailed", self._on_failed)
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.open()

    def close(self) -> None:
        self._context.close()

    # --- the page -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Loads the page, or loads it again."""
        self.page.goto(self.client.url)
        self.page.wait_for_function(_READY, timeout=60_000)
        self.settle()

    def reset(self) -> None:
        """An empty graph in a tab of its own, in this page's renderer, at zoom 1, with no dialog or side panel open."""
        self.page.keyboard.press("Escape")
        self.set_renderer(self.renderer)
        self.set_setting("Comfy.RightSidePanel.IsOpen", False)
        self._tabs += 1  # a tab of the same name would bring back the outputs of the one before it
        self.load(_empty(), f"test-{self._tabs}")
        self.evaluate(_CLOSE_OTHERS)
        self.problems.clear()

    def set_renderer(self, renderer: str) -> None:
        self.set_setting("Comfy.VueNodes.Enabled", renderer == "nodes2")

    def set_setting(self, name: str, value: Any) -> None:
        self.page.evaluate("([id, v]) => app.extensionManager.setting.set(id, v)", [name, value])
        self.settle()

    def settle(self, frames: int = 4) -> None:
        """Waits until the page has drawn what is new."""
        self.page.evaluate(_FRAMES, frames)

    def screenshot(self, name: str, element: ElementHandle | None = None) -> Path:
        path = ARTEFACTS / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}-{self.renderer}.png"
        self.settle()
        (element or self.page).screenshot(path=str(path))
        return path

    def evaluate(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def wait_until(self, script: str, argument: Any = None, seconds: float = 10.0) -> None:
        """Waits for a JavaScript condition."""
        self.page.wait_for_function(script, arg=argument, timeout=seconds * 1000)

    # --- the graph ----------------------------------------------------------------------------------------------

    def load(self, workflow: dict[str, Any] | Path, name: str | None = None) -> None:
        """Opens a workflow in a new tab."""
        if isinstance(workflow, Path):
            name = name or workflow.stem
            workflow = json.loads(workflow.read_text(encoding="utf-8"))
        script = "async ([flow, name]) => { await app.loadGraphData(flow, true, true, name + '.json'); }"
        self.page.evaluate(script, [workflow, name or "workflow"])
        self.page.wait_for_function(_READY)
        self.settle()

    def serialized(self) -> dict[str, Any]:
        """The workflow as it would be saved now."""
        return self.page.evaluate("() => JSON.parse(JSON.stringify(app.rootGraph.serialize()))")

    def add(self, kind: str, x: float = 100, y: float = 100, **widgets: Any) -> int:
        """Adds a node; returns its id."""
        script = """([kind, x, y, values]) => {
            const node = LiteGraph.createNode(kind);
            if (!node) throw new Error("no node " + kind);
            node.pos = [x, y];
            app.canvas.graph.add(node);
            for (const [name, value] of Object.entries(values)) node.widgets.find(w => w.name === name).value = value;
            return Number(node.id); }"""
        node = self.page.evaluate(script, [kind, x, y, widgets])
        self.settle()
        self.capture()
        return node

    def connect(self, source: int, slot: int, target: int, name: str) -> None:
        """Links an output to the input called `name`."""
        script = """([a, slot, b, name]) => { const g = app.canvas.graph, to = g.getNodeById(b);
            g.getNodeById(a).connect(slot, to, to.inputs.findIndex(i => i.name === name)); }"""
        self.page.evaluate(script, [source, slot, target, name])
        self.settle()
        self.capture()

    def capture(self) -> None:
        """Makes what was done by script one step of the page's undo, as a mouse would have."""
        script = (
            "() => { const t = app.extensionManager.workflow.activeWorkflow?.changeTracker; t?.captureCanvasState(); }"
        )
        self.page.evaluate(script)

    def node_ids(self, kind: str) -> list[int]:
        script = "(k) => app.canvas.graph.nodes.filter(n => n.type === k).map(n => Number(n.id))"
        return self.page.evaluate(script, kind)

    def widget(self, node: int, name: str) -> Any:
        """The value of a widget."""
        return self.page.evaluate(f"([id, name]) => ({_WIDGET}).value", [node, name])

    def set_widget(self, node: int, name: str, value: Any) -> None:
        script = f"([id, name, v]) => {{ const w = {_WIDGET}; w.value = v; w.callback?.(v); }}"
        self.page.evaluate(script, [node, name, value])
        self.settle()

    def element(self, node: int, name: str) -> ElementHandle:
        """The element of a DOM widget."""
        handle = self.page.evaluate_handle(f"([id, name]) => ({_WIDGET}).element", [node, name]).as_element()
        assert handle is not None, f"widget {name} of node {node} has no element"
        return handle

    # --- hands and eyes -----------------------------------------------------------------------------------------

    def show(self, node: int, zoom: float = 1.0) -> None:
        """Brings a node to the upper left of the canvas at a zoom."""
        # Set until it stays: the page places a freshly loaded graph itself, some frames later.
        script = """([id, zoom]) => { const n = app.canvas.graph.getNodeById(id), ds = app.canvas.ds;
            const wanted = [zoom, 110 / zoom - n.pos[0], 110 / zoom - n.pos[1]];
            const ours = n.flags.collapsed ? null : n.widgets?.find(w => w.element?.dataset.widget && w.isVisible?.());
            const part = ours?.element;  // core's own text boxes have one of their own in Nodes 2.0
            const scale = part ? part.getBoundingClientRect().width / part.offsetWidth : zoom;  // not a number at first
            if (ds.scale === zoom && ds.offset[0] === wanted[1] && Math.abs(scale / zoom - 1) < 0.01) return true;
            [ds.scale, ds.offset[0], ds.offset[1]] = wanted;
            app.canvas.setDirty(true, true);
            return false; }"""
        self.settle()
        self.wait_until(script, [node, zoom])
        self.settle(6)

    def click(self, element: ElementHandle, at: tuple[float, float], **options: Any) -> None:
        """Clicks a place given in fractions of the element."""
        x, y = self._place(element, at)
        self.page.mouse.click(x, y, **options)
        self.settle()

    def drag(self, element: ElementHandle, points: Sequence[tuple[float, float]], steps: int = 6) -> None:
        """Drags with the left button along points given in fractions of the element."""
        places = [self._place(element, point) for point in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=steps)
        self.page.mouse.up()
        self.settle()

    def focus_canvas(self) -> None:
        """Clicks the empty canvas, so that shortcuts reach the graph."""
        self.page.evaluate("() => { document.activeElement?.blur(); app.canvas.canvas.focus(); }")

    def undo(self) -> None:
        self.focus_canvas()
        self.page.keyboard.press("Control+z")
        self.settle(12)

    def redo(self) -> None:
        self.focus_canvas()
        self.page.keyboard.press("Control+y")
        self.settle(12)

    def queue(self, seconds: float = 60.0) -> Run:
        """Queues the graph as the Run button does, and waits for the end."""
        with self.page.expect_response(lambda answer: answer.url.endswith("/api/prompt")) as caught:
            self.page.evaluate("() => app.queuePrompt(0, 1)")
        answer = caught.value.json()
        assert "prompt_id" in answer, f"refused: {answer}"
        assert not answer.get("node_errors"), answer["node_errors"]
        end = time.monotonic() + seconds
        while not (entry := self.client.history(answer["prompt_id"])):
            assert time.monotonic() < end, f"the prompt did not end in {seconds} s"
            self.page.wait_for_timeout(50)
        assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
        self.settle()
        return Run(entry["prompt"][2], entry["outputs"])

    # --- inner --------------------------------------------------------------------------------------------------

    def _place(self, element: ElementHandle, at: tuple[float, float]) -> tuple[float, float]:
        box = element.bounding_box()
        assert box is not None, "the element is not shown"
        return box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"]

    def _post_settings(self, settings: dict[str, Any]) -> None:
        self.client.post("/api/settings", settings)
        for name, content in (("user.css", ""), ("comfy.templates.json", [])):
            self.client.post(f"/api/userdata/{name}?overwrite=true", content)

    def _is_local(self, url: str) -> bool:
        return url.startswith(self.client.url) or url.startswith(("blob:", "data:"))

    def _stay_at_home(self, route: Route) -> None:
        if self._is_local(route.request.url):
            route.continue_()
        else:
            route.abort()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning") or _NOISE.search(message.text):
            return
        place = message.location.get("url", "")
        if message.text.startswith("Failed to load resource"):
            return  # responses are judged by themselves
        if "net::ERR_FAILED" in message.text or (place and not self._is_local(place)):
            return
        self.problems.append(f"{message.type}: {message.text} ({place})")

    def _on_response(self, response: Response) -> None:
        if response.status < 400 or not self._is_local(response.url):
            return
        if not _NOT_THERE.search(response.url):
            self.problems.append(f"{response.status}: {response.url}")

    def _on_failed(self, request: Request) -> None:
        if self._is_local(request.url) and "ERR_ABORTED" not in (request.failure or ""):
            self.problems.append(f"failed: {request.url} ({request.failure})")


_CLOSE_OTHERS = """async () => { const tabs = app.extensionManager.workflow;
    for (const tab of [...tabs.openWorkflows]) if (tab !== tabs.activeWorkflow) await tabs.closeWorkflow(tab); }"""
_WIDGET = "app.canvas.graph.getNodeById(id).widgets.find(w => w.name === name)"


def _empty() -> dict[str, Any]:
    extra = {"ds": {"scale": 1, "offset": [0, 0]}}
    lists: dict[str, Any] = {name: [] for name in ("nodes", "links", "groups")}
    return {"last_node_id": 0, "last_link_id": 0, **lists, "config": {}, "extra": extra, "version": 0.4}
