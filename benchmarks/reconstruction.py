"""How well each inversion leads back to its picture, over rendered landscapes: `./dev bench reconstruction`.

Results are kept in a file after every batch, so that a run which was ended goes on where it was.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import comfy.utils
import torch

from ..demo.scenes import Scene
from ..demo.training.evaluate import unseen_scenes
from ..devtools.direct import call
from ..devtools.world import World, rendered
from ..images.metrics import edit_metrics
from .common import MODELS, OUTPUT, add_model, head, machine, parser, row

_BATCH = 10
_ROWS: dict[str, tuple[dict[str, Any], float]] = {
    "residual, cfg 1": ({"method": "residual"}, 1.0),
    "residual, cfg 4": ({"method": "residual"}, 4.0),
    "residual, cfg 7.5": ({"method": "residual"}, 7.5),
    "fixed point, cfg 1": ({"method": "fixed point"}, 1.0),
    "fixed point, 1 iteration, cfg 1": ({"method": "fixed point", "iterations": 1}, 1.0),
    "euler, cfg 1": ({"method": "euler"}, 1.0),
    "euler, cfg 7.5": ({"method": "euler"}, 7.5),
    "euler, guided, cfg 7.5": ({"method": "euler", "guided": True}, 7.5),
    "euler, not exact, cfg 1": ({"method": "euler", "exact": False}, 1.0),
    "euler, not exact, cfg 7.5": ({"method": "euler", "exact": False}, 7.5),
    "negative prompt, cfg 7.5": ({"method": "negative prompt"}, 7.5),
    "negative prompt, not exact, cfg 7.5": ({"method": "negative prompt", "exact": False}, 7.5),
    "null text, 2 updates, cfg 7.5": ({"method": "null text", "iterations": 2}, 7.5),
    "null text, 10 updates, cfg 7.5": ({"method": "null text"}, 7.5),
    "controlled, cfg 7.5": ({"method": "controlled"}, 7.5),
}
# (row, figure, least): what must hold for every picture.
_LEAST = [
    *((f"residual, cfg {cfg}", figure, 60.0) for figure in ("latent", "picture") for cfg in ("1", "4", "7.5")),
    ("fixed point, cfg 1", "latent", 50.0),
    *((name, "latent", 100.0) for name in ("euler, cfg 1", "euler, guided, cfg 7.5", "negative prompt, cfg 7.5")),
]
_ORDER = ["euler, not exact, cfg 7.5", "negative prompt, not exact, cfg 7.5", "null text, 10 updates, cfg 7.5"]

Figures = dict[str, list[float]]
"""latent, picture: PSNR in dB of every scene; ssim; seconds of every batch."""


def measure(world: World, method: dict[str, Any], cfg: float, scenes: list[Scene], steps: int) -> Figures:
    """Inverts a batch of landscapes with their own captions, and follows the paths back."""
    latent, given = world.latent(rendered(*scenes)), world.inputs(*scenes)
    begin = time.process_time()
    path = call("DPathInvert", **given, latent=latent, seed=1, steps=steps, cfg=cfg, method=method)[0]
    seconds = time.process_time() - begin
    made, replayed, _ = call("DPathReconstruct", **given, path=path, cfg=cfg)
    before, after = (world.decoded(each).clamp(0, 1) for each in (latent, made))
    values = edit_metrics(before, after).values["whole"]
    latent_psnr = list(replayed.figures["latent_psnr"])
    return {"latent": latent_psnr, "picture": values["psnr"], "ssim": values["ssim"], "seconds": [seconds]}


def print_table(found: dict[str, list[Figures]]) -> None:
    head("method", "pictures", "latent PSNR, worst", "median", "picture PSNR, worst", "median", "SSIM, worst", "s")
    joined = {
        name: {key: [value for part in parts for value in part[key]] for key in parts[0]}
        for name, parts in found.items()
    }
    for name, figures in joined.items():
        count = len(figures["latent"])
        cells = [f"{choose(figures[key]):.1f}" for key in ("latent", "picture") for choose in (min, statistics.median)]
        row(name, count, *cells, f"{min(figures['ssim']):.4f}", f"{sum(figures['seconds']) / count:.1f}")
    print()
    for name, key, least in _LEAST:
        if name in joined:
            worst = min(joined[name][key])
            print(f"{name}: worst {key} {worst:.1f} dB, wanted {least:g}: {'ok' if worst >= least else 'TOO LOW'}")
    if all(name in joined for name in _ORDER):
        columns = zip(*(joined[name]["latent"] for name in _ORDER), strict=False)
        ordered = [all(a < b for a, b in itertools.pairwise(each)) for each in columns]
        print(f"{' < '.join(_ORDER)}: in {sum(ordered)} of {len(ordered)} pictures")


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__, scenes=50, steps=0)
    add_model(options)
    text = "what a run that was ended goes on from"
    options.add_argument("--results", type=Path, default=OUTPUT / "reconstruction.json", help=text)
    options.add_argument("--rows", default="", help="only the methods whose names begin so")
    options.add_argument("--fresh", action="store_true", help="forget what is there")
    given = options.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    world, scenes = World(MODELS[given.model]), unseen_scenes(given.scenes, 30_000)
    steps = given.steps or world.steps
    run = f"{steps} steps" if given.model == "noise" else f"{given.model}, {steps} steps"
    print(f"{machine()}; {given.scenes} scenes, {run}\n", flush=True)
    kept = given.results.exists() and not given.fresh
    found: dict[str, list[Figures]] = json.loads(given.results.read_text()) if kept else {}
    rows = {name: chosen for name, chosen in _ROWS.items() if name.startswith(given.rows)}
    batches = [scenes[start : start + _BATCH] for start in range(0, given.scenes, _BATCH)]
    for index, batch in enumerate(batches):
        for name, (method, cfg) in rows.items():
            parts = found.setdefault(f"{run}, {name}", [])
            if len(parts) > index:
                continue
            parts.append(measure(world, method, cfg, batch, steps))
            given.results.parent.mkdir(parents=True, exist_ok=True)
            given.results.write_text(json.dumps(found))
            print(f"{name}: scenes {index * _BATCH + 1} to {index * _BATCH + len(batch)}", flush=True)
    print()
    print_table({name: found[f"{run}, {name}"][: len(batches)] for name in rows})


if __name__ == "__main__":
    main()
