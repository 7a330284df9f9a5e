from diffusion_path.tests.browser.page import ComfyPage
from diffusion_path.devtools.settings import ROOT
def test_zz(comfy: ComfyPage) -> None:
    comfy.load(ROOT/"example_workflows"/"draw-the-schedule.json")
    comfy.queue(200)
    comfy.page.wait_for_timeout(1500)
    f = comfy.node_ids("DPathFilmstrip")[0]; s = comfy.node_ids("DPathSchedule")[0]
    v = comfy.element(f,"viewer"); t = v.query_selector(".dpath-track")
    comfy.evaluate("() => { const b = app.canvas; b.ds.scale=0.45; b.ds.offset[0]=60; b.ds.offset[1]=60; b.setDirty(true,true);}")
    comfy.settle(10)
    comfy.page.wait_for_timeout(500)
    comfy.screenshot("draw-all")
    comfy.show(f,1.5); comfy.click(t,(0.45,0.4)); comfy.page.mouse.move(1390,990); comfy.screenshot("draw-film")
    comfy.show(s,1.5); comfy.screenshot("draw-sched")
