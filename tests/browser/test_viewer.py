"""The path viewer of Path Filmstrip."""

from __future__ import annotations

from diffusion_path.tests.browser.page import ComfyPage
from playwright.sync_api import ElementHandle

_LOADED = """e => { const shown = [...e.querySelectorAll('img')];
    return shown.length > 0 && shown.every(i => i.complete && i.naturalWidth === 128); }"""


def graph(comfy: ComfyPage) -> int:
    """Two recorded paths of 4 steps from one noise, their viewer, and a window; returns the viewer's node."""
    model, empty = comfy.add("DPathDemoModel", 900, 100), comfy.add("EmptyLatentImage", 900, 300, width=128, height=128)
    noise, sampler = comfy.add("RandomNoise", 900, 500, noise_seed=3), comfy.add("KSamplerSelect", 900, 650)
    sigmas = comfy.add("BasicScheduler", 900, 780, steps=4)
    comfy.connect(model, 0, sigmas, "model")
    paths = []
    for k, text in enumerate(("a landscape, summer, a lake", "a landscape, winter, a lake")):
        prompt, guider = (
            comfy.add("CLIPTextEncode", 1300, 100 + 300 * k, text=text),
            comfy.add("BasicGuider", 1700, 100 + 300 * k),
        )
        paths.append(comfy.add("DPathRecord", 2000, 100 + 300 * k))
        comfy.connect(model, 1, prompt, "clip")
        comfy.connect(model, 0, guider, "model")
        comfy.connect(prompt, 0, guider, "conditioning")
        for source, name in (
            (noise, "noise"),
            (guider, "guider"),
            (sampler, "sampler"),
            (sigmas, "sigmas"),
            (empty, "latent_image"),
        ):
            comfy.connect(source, 0, paths[-1], name)
    schedule = comfy.add("DPathSchedule", 100, 800, shape="linear", start=0.75, end=0.25)
    strip = comfy.add("DPathFilmstrip", 100, 100, count=4)
    comfy.connect(paths[0], 0, strip, "path")
    comfy.connect(model, 2, strip, "vae")
    comfy.connect(paths[1], 0, strip, "other")
    comfy.connect(schedule, 0, strip, "schedule")
    comfy.show(strip)
    return strip


def track(element: ElementHandle) -> ElementHandle:
    found = element.query_selector(".dpath-track")
    assert found is not None
    return found


def at(element: ElementHandle) -> str:
    return track(element).get_attribute("aria-valuetext") or ""


def test_the_path_is_walked_by_mouse_and_keys(comfy: ComfyPage) -> None:
    node = graph(comfy)
    element = comfy.element(node, "viewer")
    assert "Run to walk" in element.inner_text()
    run = comfy.queue(120)
    assert len(run.outputs[str(node)]["dpath_frames"]) == 8
    assert "viewer" not in run.prompt[str(node)]["inputs"]
    comfy.wait_until(
        f"([id]) => ({_LOADED})(app.canvas.graph.getNodeById(id).widgets.find(w => w.name === 'viewer').element)",
        [node],
    )
    assert at(element).startswith("picture")
    track(element).focus()
    comfy.page.keyboard.press("ArrowLeft")
    assert at(element).startswith("step 4 of 4")
    comfy.page.keyboard.press("Home")
    assert at(element).startswith("step 1 of 4")
    assert "noise 100 %" in at(element)
    assert "apart 0" in at(element)
    comfy.drag(track(element), [(0.1, 0.4), (0.4, 0.4)])
    assert at(element).startswith("step 3 of 4"), "the decoded point nearest to the mouse"
    assert "weight" in at(element)
    assert len(element.query_selector_all("img.dpath-now")) == 2
    comfy.page.mouse.move(5, 5)
    comfy.screenshot("viewer", element)
    button, stage = element.query_selector("[aria-label^='One over']"), element.query_selector(".dpath-stage")
    assert button is not None
    assert stage is not None
    button.click()
    comfy.drag(stage, [(0.9, 0.5), (0.3, 0.5)])
    edge = stage.get_attribute("aria-valuenow")
    assert edge is not None
    assert abs(float(edge) - 30) < 2
    stage.focus()
    comfy.page.keyboard.press("ArrowRight")
    assert float(stage.get_attribute("aria-valuenow") or 0) > float(edge)
    comfy.screenshot("viewer-over", element)
    comfy.screenshot("viewer-page")
    assert len(comfy.node_ids("DPathFilmstrip")) == 1


def test_the_side_panel_leaves_the_viewer_its_width(comfy: ComfyPage) -> None:
    node = comfy.add("DPathFilmstrip", 100, 100)
    comfy.show(node)
    comfy.evaluate("(id) => app.canvas.selectNode(app.canvas.graph.getNodeById(id))", node)
    comfy.set_setting("Comfy.RightSidePanel.IsOpen", True)
    comfy.page.get_by_text("viewer", exact=True).first.wait_for()
    wide = "(id) => { app.canvas.graph.getNodeById(id).setSize([700, 600]); app.canvas.setDirty(true, true); }"
    comfy.evaluate(wide, node)
    comfy.settle(12)
    box = comfy.element(node, "viewer").bounding_box()
    assert box
    assert box["width"] > 600


def test_what_was_shown_comes_back_with_the_tab_and_is_not_saved(comfy: ComfyPage) -> None:
    node = graph(comfy)
    comfy.queue(120)
    saved = next(each for each in comfy.serialized()["nodes"] if each["id"] == node)
    assert saved["widgets_values"] == [4, "prediction", 0]
    comfy.set_widget(node, "count", 5)
    comfy.capture()
    comfy.undo()
    element = comfy.element(node, "viewer")
    element.wait_for_selector("img.dpath-now")
    assert element.is_visible()
    assert at(element).startswith("picture")
    shown = element.query_selector("img.dpath-now")
    assert shown is not None
    address = shown.get_attribute("src")
    comfy.load({**comfy.serialized(), "nodes": [], "links": []}, "other")
    comfy.evaluate("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    comfy.wait_until("() => app.canvas.graph.nodes.some(n => n.type === 'DPathFilmstrip')")
    back = comfy.element(node, "viewer").wait_for_selector("img.dpath-now")
    assert back is not None
    assert back.get_attribute("src") == address
