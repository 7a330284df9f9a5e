"""The browser draws what Python draws, and quickly."""

from __future__ import annotations

import json

import numpy as np
from diffusion_path.tests.browser.page import ARTEFACTS, ComfyPage
from diffusion_path.tests.js.drawings import check_pixels, drawing, scribbles
from diffusion_path.tests.js.node import values

SCRIPTS = "/extensions/ComfyUI-DiffusionPath/js"
_RENDER = """async ([folder, text, width, height]) => {
    const { readDrawing } = await import(folder + "/canvas/document.js");
    const { StrokeLayer } = await import(folder + "/canvas/layer.js");
    const { drawing } = readDrawing(text);
    const layers = ["paint", "sketch"].map((name) => new StrokeLayer(name, width, height));
    for (const layer of layers) layer.sync(drawing.strokes, width / drawing.width, height / drawing.height);
    const coded = (bytes) => { let s = ""; for (let i = 0; i < bytes.length; i += 8192)
        s += String.fromCharCode(...bytes.subarray(i, i + 8192)); return btoa(s); };
    return layers.map((layer) => coded(layer.context.getImageData(0, 0, width, height).data)); }"""


def test_drawings_look_the_same_on_a_real_canvas(comfy: ComfyPage) -> None:
    """A few: tests/js compares more, without what a canvas does to colours that are nearly transparent."""
    for seed in range(4):
        text = drawing(seed)
        width, height = 500, 375
        coded = comfy.evaluate(_RENDER, [SCRIPTS, text, width, height])
        check_pixels(text, coded, width, height, f"drawing {seed}")


_LOAD = """([id, text]) => { const start = performance.now();
    app.canvas.graph.getNodeById(id).widgets.find((w) => w.name === "drawing").value = text;
    return performance.now() - start; }"""


def test_a_thousand_strokes_are_quick(comfy: ComfyPage) -> None:
    (text,) = values("tests/js/drawing.mjs", "simplified", [[scribbles(1000)]])
    comfy.evaluate("() => localStorage.removeItem('DiffusionPath.StrokeCanvas')")
    node = comfy.add("DPathStrokeCanvas", 100, 100, width=1024, height=1024)
    comfy.show(node)
    comfy.page.wait_for_timeout(600)  # until the new size has been noticed
    seconds = comfy.evaluate(_LOAD, [node, text]) / 1000
    stage = comfy.element(node, "drawing").query_selector(".dpath-easel")
    assert stage is not None
    comfy.settle()
    comfy.page.wait_for_function("stage => !stage.hasAttribute('aria-busy')", arg=stage, timeout=60_000)
    comfy.evaluate(
        "() => { window.frames_ = []; const f = (t) => { frames_.push(t); window.frame_ = requestAnimationFrame(f); };"
        " f(performance.now()); }"
    )
    comfy.drag(stage, [(0.15 + 0.7 * (i % 2), 0.1 + 0.04 * i) for i in range(20)], steps=10)
    times = np.diff(comfy.evaluate("() => { cancelAnimationFrame(frame_); return frames_; }")[2:])
    assert json.loads(comfy.widget(node, "drawing"))["strokes"][-1]["points"]
    report = f"{len(text)} bytes, loaded in {seconds:.2f} s, {1000 / times.mean():.0f} frames per second\n"
    (ARTEFACTS / f"thousand-strokes-{comfy.renderer}.txt").write_text(report, encoding="utf-8")
    comfy.screenshot("thousand-strokes")
    # Bounds with room for other work on the machine; alone it takes a tenth of them.
    assert seconds < 1, "the strokes are drawn in slices"
    assert np.median(times) < 1000 / 4
