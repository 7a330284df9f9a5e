"""How well each inversion leads back to its picture, over rendered landscapes: `./dev bench reconstruction`.

Results are kept in a file after every batch, so that a run which was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import comfy.utils
import numpy as np
import torch
from torch import Tensor

from ..demo.model import load_demo_model
from ..demo.render import render
from ..demo.scenes import Scene, full_caption, random_scene
from ..images.metrics import edit_metrics
from ..images.tensors import from_uint8
from ..samplers import process
from ..samplers.inversion.controlled import Controlled
from ..samplers.inversion.euler import Euler
from ..samplers.inversion.fixed_point import FixedPoint
from ..samplers.inversion.invert import invert
from ..samplers.inversion.negative_prompt import NegativePrompt
from ..samplers.inversion.null_text import NullText
from ..samplers.inversion.residual import Residual
from ..samplers.inversion.run import Method
from ..samplers.replay import replay
from ..samplers.sigmas import sdedit_sigmas
from .common import machine

_RESULTS = Path(__file__).resolve().parents[1] / "output" / "reconstruction.json"
_BATCH = 10
_ROWS: dict[str, tuple[Method, float]] = {
    "residual, cfg 1": (Residual(), 1.0),
    "residual, cfg 4": (Residual(), 4.0),
    "residual, cfg 7.5": (Residual(), 7.5),
    "fixed point, cfg 1": (FixedPoint(), 1.0),
    "euler, cfg 1": (Euler(), 1.0),
    "euler, cfg 7.5": (Euler(), 7.5),
    "negative prompt, cfg 7.5": (NegativePrompt(), 7.5),
    "null text, 2 updates, cfg 7.5": (NullText(iterations=2), 7.5),
    "null text, 10 updates, cfg 7.5": (NullText(iterations=10), 7.5),
    "controlled, cfg 7.5": (Controlled(), 7.5),
}
# (row, figure, least): what must hold for every picture.
_LEAST = [
    *((f"residual, cfg {cfg}", "latent", 60.0) for cfg in ("1", "4", "7.5")),
    *((f"residual, cfg {cfg}", "picture", 60.0) for cfg in ("1", "4", "7.5")),
    ("fixed point, cfg 1", "latent", 50.0),
]
_ORDER = ["euler, cfg 7.5", "negative prompt, cfg 7.5", "null text, 10 updates, cfg 7.5"]

Figures = dict[str, list[float]]
"""latent, picture: PSNR in dB of every scene; ssim; seconds of every batch."""


class World:
    """Unseen landscapes, encoded, with their captions."""

    def __init__(self, count: int, steps: int) -> None:
        rng = np.random.default_rng(30_000)
        self.scenes = [random_scene(rng) for _ in range(count)]
        self.model, self.clip, self.vae = load_demo_model()
        self.sigmas = sdedit_sigmas(process.model_sampling(self.model), 1.0, steps, "normal")
        self.negative = self._conditioning([""])

    def measure(self, method: Method, cfg: float, scenes: list[Scene]) -> Figures:
        """Invert and walk back a batch of landscapes with their own captions."""
        pictures = torch.stack([from_uint8(render(scene)) for scene in scenes])
        latent = {"samples": self.vae.encode(pictures)}
        positive = self._conditioning([full_caption(scene) for scene in scenes])
        begin = time.process_time()
        path = invert(self.model, positive, self.negative, latent, self.sigmas, method, cfg, seed=1)
        seconds = time.process_time() - begin
        walked, made = replay(self.model, positive, self.negative, path, cfg)
        first, second = (self._decoded(samples) for samples in (latent["samples"], made["samples"]))
        values = edit_metrics(first, second).values["whole"]
        return {
            "latent": list(walked.figures["latent_psnr"]),
            "picture": values["psnr"],
            "ssim": values["ssim"],
            "seconds": [seconds],
        }

    def _decoded(self, samples: Tensor) -> Tensor:
        return self.vae.decode(samples).cpu().clamp(0, 1)

    def _conditioning(self, texts: list[str]) -> list[list[Any]]:
        """One CONDITIONING whose batch is the texts."""
        encoded = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))[0] for text in texts]
        return [[torch.cat([tokens for tokens, _ in encoded]), encoded[0][1]]]


def print_table(found: dict[str, list[Figures]]) -> None:
    print("| method | pictures | latent PSNR, worst | median | picture PSNR, worst | median | SSIM, worst | s |")
    print("|---|---|---|---|---|---|---|---|")
    joined = {
        name: {key: [value for part in parts for value in part[key]] for key in parts[0]}
        for name, parts in found.items()
    }
    for name, figures in joined.items():
        count = len(figures["latent"])
        cells = [f"{choose(figures[key]):.1f}" for key in ("latent", "picture") for choose in (min, statistics.median)]
        per_picture = sum(figures["seconds"]) / count
        print(f"| {name} | {count} | {' | '.join(cells)} | {min(figures['ssim']):.4f} | {per_picture:.1f} |")
    print()
    for name, key, least in _LEAST:
        if name in joined:
            worst = min(joined[name][key])
            print(f"{name}: worst {key} {worst:.1f} dB, wanted {least:g}: {'ok' if worst >= least else 'TOO LOW'}")
    if all(name in joined for name in _ORDER):
        columns = zip(*(joined[name]["latent"] for name in _ORDER), strict=False)
        ordered = [all(a < b for a, b in itertools.pairwise(row)) for row in columns]
        print(f"{' < '.join(_ORDER)}: in {sum(ordered)} of {len(ordered)} pictures")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--results", type=Path, default=_RESULTS, help="what a run that was ended goes on from")
    parser.add_argument("--rows", default="", help="only the methods whose names begin so")
    parser.add_argument("--fresh", action="store_true", help="forget what is there")
    options = parser.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    print(f"{machine()}; {options.scenes} scenes, {options.steps} steps\n", flush=True)
    kept = options.results.exists() and not options.fresh
    found: dict[str, list[Figures]] = json.loads(options.results.read_text()) if kept else {}
    world = World(options.scenes, options.steps)
    rows = {name: row for name, row in _ROWS.items() if name.startswith(options.rows)}
    for start in range(0, options.scenes, _BATCH):
        scenes = world.scenes[start : start + _BATCH]
        for name, (method, cfg) in rows.items():
            row = f"{options.steps} steps, {name}"
            if len(found.setdefault(row, [])) > start // _BATCH:
                continue
            found[row].append(world.measure(method, cfg, scenes))
            options.results.parent.mkdir(parents=True, exist_ok=True)
            options.results.write_text(json.dumps(found))
            print(f"{name}: scenes {start + 1} to {start + len(scenes)}", flush=True)
    print()
    prefix, batches = f"{options.steps} steps, ", -(-options.scenes // _BATCH)
    print_table({name: found[prefix + name][:batches] for name in rows})


if __name__ == "__main__":
    main()
