"""The page opens, and what every node of the pack brings is served."""

from __future__ import annotations

from diffusion_path.tests.browser.page import ComfyPage


def test_the_page_opens_and_runs_a_graph(comfy: ComfyPage) -> None:
    scene = comfy.add("DPathDemoScene", 100, 100)
    preview = comfy.add("PreviewImage", 500, 100)
    comfy.connect(scene, 0, preview, "images")
    run = comfy.queue()
    assert run.outputs[str(preview)]["images"]
    comfy.screenshot("page")
