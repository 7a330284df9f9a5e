"""How well each inversion leads back to its picture, over rendered landscapes: `./dev bench reconstruction`.

Results are kept in a file after every batch, so that a run which was ended goes on where it was. Processes can share
it:

    torchrun --no-python --nproc-per-node 2 ./dev bench reconstruction
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.utils
import torch

from ..common.processes import share, this_process
from ..demo.scenes import Scene
from ..demo.training.evaluate import unseen_scenes
from ..demo.training.style import STYLES
from ..devtools.direct import call
from ..devtools.world import World
from ..images.metrics import edit_metrics
from ..samplers.files import written_whole
from .common import (
    MODELS,
    OUTPUT,
    add_model,
    files_of_all,
    head,
    is_one_of_many,
    machine,
    named_by_model,
    own_file,
    parser,
    row,
)  # fmt: skip

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
Found = dict[str, dict[str, Figures]]
"""By the run with its row, then by the batch."""


def measure(world: World, method: dict[str, Any], cfg: float, scenes: list[Scene], steps: int) -> Figures:
    """Inverts a batch of landscapes with their own captions, and follows the paths back."""
    latent, given = world.latent(world.style.rendered(*scenes)), world.inputs(*scenes)
    begin = time.process_time()
    path = call("DPathInvert", **given, latent=latent, seed=1, steps=steps, cfg=cfg, method=method)[0]
    seconds = time.process_time() - begin
    made, replayed, _ = call("DPathReconstruct", **given, path=path, cfg=cfg)
    before, after = (world.decoded(each).clamp(0, 1) for each in (latent, made))
    values = edit_metrics(before, after).values["whole"]
    latent_psnr = list(replayed.figures["latent_psnr"])
    return {"latent": latent_psnr, "picture": values["psnr"], "ssim": values["ssim"], "seconds": [seconds]}


def kept_figures(file: Path) -> Found:
    """What all processes have found so far."""
    found: Found = {}
    for each in files_of_all(file):
        for name, parts in json.loads(each.read_text()).items():
            found.setdefault(name, {}).update(parts)
    return found


def print_table(found: Mapping[str, list[Figures]]) -> None:
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
    text = "what a stopped run continues from; to begin again, remove it and those of other processes beside it"
    options.add_argument("--results", type=Path, default=OUTPUT / "reconstruction.json", help=text)
    options.add_argument("--rows", default="", help="only the methods whose names begin so")
    given = options.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    world, scenes = World(MODELS[given.model], STYLES[given.style]), unseen_scenes(given.scenes, 30_000)
    steps = given.steps or world.steps
    run = named_by_model(f"{steps} steps", given)
    print(f"{machine()}; {given.scenes} scenes, {run}\n", flush=True)
    worker = this_process()
    file, found = own_file(given.results, worker), kept_figures(given.results)
    rows = {name: chosen for name, chosen in _ROWS.items() if name.startswith(given.rows)}
    batches = {
        f"scenes {start + 1} to {min(start + _BATCH, given.scenes)}": scenes[start : start + _BATCH]
        for start in range(0, given.scenes, _BATCH)
    }
    for batch, name in share(list(itertools.product(batches, rows)), worker):
        if batch in found.get(f"{run}, {name}", {}):
            continue
        found.setdefault(f"{run}, {name}", {})[batch] = measure(world, *rows[name], batches[batch], steps)
        with written_whole(file) as unfinished:
            unfinished.write_text(json.dumps(found))
        print(f"{name}: {batch}", flush=True)
    if not is_one_of_many(worker):
        print()
        print_table({name: [found[f"{run}, {name}"][batch] for batch in batches] for name in rows})


if __name__ == "__main__":
    main()
