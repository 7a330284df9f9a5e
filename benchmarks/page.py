"""What Stroke Canvas costs the page, in Chromium and both renderers: `./dev bench page`.

`--against FOLDER` (another version of web/) measures that one, too, in turns, so that both meet the same machine.
Work is the time in JavaScript between an event and the end of the frame that shows it; a stall is the longest time in
which the page does nothing else.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Route, sync_playwright

from ..devtools.browser import MISSING, find_chromium
from ..devtools.runtime import Runtime
from ..devtools.server import Server
from ..devtools.settings import DevError
from ..tests.browser.page import RENDERERS, ComfyPage
from ..tests.js.drawings import scribbles
from ..tests.js.node import values
from .common import machine, parser

_OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
_CLEAR = 70.0  # pixels of 1024 around the first stroke's beginning where no other one lies, to take hold of it

_WATCH = """() => { const ask = window.requestAnimationFrame; window.frameWork_ = 0;
    window.requestAnimationFrame = (f) => ask((time) => { const start = performance.now(); f(time);
        frameWork_ += performance.now() - start; });
    window.afterFrame_ = () => new Promise(done => ask(() => setTimeout(done)));
    window.widget_ = (id) => app.canvas.graph.getNodeById(id).widgets.find(w => w.name === "drawing"); }"""

_OPEN = """async ([id, text]) => { const easel = widget_(id).element.querySelector(".dpath-easel");
    let open = true, last = performance.now(), stall = 0; const { port1, port2 } = new MessageChannel();
    port2.onmessage = () => { const now = performance.now(); stall = Math.max(stall, now - last); last = now;
        if (open) port1.postMessage(0); };
    await afterFrame_();
    last = performance.now(); const start = last; port1.postMessage(0); widget_(id).value = text;
    do await afterFrame_(); while (easel.hasAttribute("aria-busy"));
    const whole = performance.now() - start; await afterFrame_(); open = false; return [whole, stall]; }"""

# A drag along a line on the stage, [x, y] in fractions of it, or moves without a button.
_MOVE = """async ([id, from, to, count, pressed]) => {
    const easel = widget_(id).element.querySelector(".dpath-easel"), box = easel.getBoundingClientRect(), work = [];
    easel.setPointerCapture = () => {};
    const send = (kind, k) => easel.dispatchEvent(new PointerEvent(kind, { pointerId: 1, isPrimary: true, button: 0,
        buttons: pressed ? 1 : 0, bubbles: true, cancelable: true,
        clientX: box.left + (from[0] + (to[0] - from[0]) * k) * box.width,
        clientY: box.top + (from[1] + (to[1] - from[1]) * k) * box.height }));
    if (pressed) send("pointerdown", 0);
    for (let i = 1; i <= count; i++) { await afterFrame_(); frameWork_ = 0; const start = performance.now();
        send("pointermove", i / count); const handled = performance.now() - start;
        await afterFrame_(); work.push(handled + frameWork_); }
    if (pressed) send("pointerup", 1);
    return work; }"""

_SLIDE = """async ([id, count]) => { const work = [], { element } = widget_(id);
    const slider = element.querySelector('input[aria-label="Stroke opacity"]');
    for (let i = 1; i <= count; i++) { await afterFrame_(); frameWork_ = 0; const start = performance.now();
        slider.value = 1 - 0.8 * i / count; slider.dispatchEvent(new Event("input", { bubbles: true }));
        const handled = performance.now() - start; await afterFrame_(); work.push(handled + frameWork_); }
    slider.dispatchEvent(new Event("change", { bubbles: true }));
    return work; }"""


def drawing_of(count: int) -> str:
    """Scribbles over 1024 x 1024 pixels; the first one begins where no other one is."""
    first, *others = scribbles(2 * count)
    first = [(140 + 4 * i, 512 + 40 * random.Random(i).random()) for i in range(60)]
    begin = np.array(first[0])
    free = [path for path in others if np.hypot(*(np.array(path) - begin).T).min() > _CLEAR]
    (text,) = values("tests/js/drawing.mjs", "simplified", [[[first, *free[: count - 1]]]])
    return text


class Bench:
    """One renderer with one version of the scripts."""

    def __init__(self, browser: Browser, server: Any, renderer: str, web: Path | None, events: int) -> None:
        self.comfy = ComfyPage(browser, server, renderer)
        self.events = events
        if web is not None:
            self.comfy.page.route(re.compile(r"/extensions/[^/]+/(js|css)/"), lambda route: _serve(route, web))
            self.comfy.open()

    def canvas(self, side: int) -> int:
        self.comfy.reset()
        self.comfy.evaluate("() => localStorage.removeItem('DiffusionPath.StrokeCanvas')")
        node = self.comfy.add("DPathStrokeCanvas", 100, 100, width=side, height=side)
        self.comfy.show(node)
        self.comfy.page.wait_for_timeout(900)  # until the new size has been noticed
        self.comfy.evaluate(_WATCH)
        return node

    def measure(self, texts: dict[int, str]) -> Iterator[tuple[str, list[float]]]:
        """What was done, and the milliseconds of every event."""
        for side in (1024, 4096):
            node = self.canvas(side)
            whole, stall = self.comfy.evaluate(_OPEN, [node, texts[3000]])
            yield f"open 3000 strokes, {side} px: until it is whole", [whole]
            yield f"open 3000 strokes, {side} px: longest stall", [stall]
        yield "paint over 3000 strokes, 4096 px: work", self._move(node, (0.3, 0.3), (0.7, 0.7), True)
        node = self.canvas(1024)
        self.comfy.evaluate(_OPEN, [node, texts[1000]])
        tool = "id => widget_(id).element.querySelector('button[aria-label^=\"Select\"]').click()"
        self.comfy.evaluate(tool, node)
        where = self._place(node, 140, 512)
        yield "drag the first of 1000 strokes, 1024 px: work", self._move(node, where, (where[0] + 0.2, 0.5), True)
        self._press(node, "Escape", ".")
        yield "its opacity slider: work", self.comfy.evaluate(_SLIDE, [node, self.events])
        yield "move over a background of 8000 px: work", self._over_background()

    def _over_background(self) -> list[float]:
        node = self.canvas(512)
        loader = self.comfy.add("LoadImage", 700, 100)
        self.comfy.set_widget(loader, "image", "large.jpg")
        self.comfy.connect(loader, 0, node, "background")
        found = "id => widget_(id).element.querySelector('.dpath-easel').getAttribute('aria-label').includes('8000')"
        self.comfy.wait_until(found, node, 60)
        self.comfy.page.wait_for_timeout(1500)
        return self._move(node, (0.3, 0.3), (0.7, 0.7), False)

    def _place(self, node: int, x: float, y: float) -> tuple[float, float]:
        """A place of the picture of 1024 x 1024 pixels in fractions of the stage."""
        script = "id => { const easel = widget_(id).element.querySelector('.dpath-easel');"
        width, height = self.comfy.evaluate(f"{script} return [easel.clientWidth, easel.clientHeight]; }}", node)
        factor = min(width - 20, height - 20) / 1024
        return 0.5 + (x - 512) * factor / width, 0.5 + (y - 512) * factor / height

    def _move(self, node: int, begin: tuple[float, float], end: tuple[float, float], pressed: bool) -> list[float]:
        return self.comfy.evaluate(_MOVE, [node, begin, end, self.events, pressed])

    def _press(self, node: int, *keys: str) -> None:
        self.comfy.evaluate("id => widget_(id).element.querySelector('.dpath-easel').focus()", node)
        for key in keys:
            self.comfy.page.keyboard.press(key)
        self.comfy.settle()


def _serve(route: Route, web: Path) -> None:
    inner = re.sub(r".*/extensions/[^/]+/|\?.*", "", route.request.url)
    path = web / inner
    if path.is_file():
        route.fulfill(path=str(path))
    else:
        route.fulfill(body="", content_type="text/javascript")  # the server lists what the other version has


def main() -> None:
    options_of = parser(__doc__, events=30)
    options_of.add_argument("--against", type=Path, metavar="FOLDER", help="another version of web/")
    options_of.add_argument("--renderer", choices=RENDERERS, help="only this one")
    options = options_of.parse_args()
    chromium = find_chromium()
    if chromium is None:
        raise DevError(MISSING)
    print(machine())
    texts = {count: drawing_of(count) for count in (1000, 3000)}
    versions = {"now": None, **({"before": options.against.resolve()} if options.against else {})}
    runtime = Runtime(Path(sys.executable), Path(folder_paths.__file__).parent)
    with Server(runtime) as server, sync_playwright() as playwright:
        Image.fromarray(_clouds(8000)).save(server.base / "input" / "large.jpg", quality=85)
        browser = playwright.chromium.launch(executable_path=str(chromium), args=_OPTIONS)
        for renderer in RENDERERS if options.renderer is None else (options.renderer,):
            found: dict[str, dict[str, list[float]]] = {}
            for name, web in versions.items():
                bench = Bench(browser, server, renderer, web, options.events)
                for what, times in bench.measure(texts):
                    found.setdefault(what, {})[name] = times
                    print(json.dumps([renderer, name, what, _text(times)]), flush=True)
                bench.comfy.close()
            _table(renderer, found, list(versions))
        browser.close()


def _table(renderer: str, found: dict[str, dict[str, Any]], names: list[str]) -> None:
    print(f"\n## {renderer}\n\n| what | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for what, times in found.items():
        print(f"| {what} | {' | '.join(_text(times[name]) for name in names)} |", flush=True)


def _text(times: list[float]) -> str:
    if len(times) == 1:
        return f"{times[0]:.0f} ms"
    return f"{np.median(times):.1f} ms (first {times[0]:.0f}, longest of the others {max(times[1:]):.0f})"


def _clouds(side: int) -> np.ndarray:
    """A picture with content at every scale, uint8 [side, side, 3]."""
    small = np.random.default_rng(1).integers(0, 255, (side // 40, side // 40, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
