"""What paths and inversions cost, against published procedures and plain sampling: `./dev bench paths`.

Null text is compared at equal reconstruction error: with the fewest updates per step that reach the error of the
published procedure. Everything runs on the embedded model, in turns in one process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
import comfy.utils
import torch
from comfy_extras import nodes_custom_sampler as core
from torch import Tensor

from ..demo.scenes import Scene
from ..devtools import world
from ..devtools.direct import call
from ..devtools.world import rendered, sampler_inputs
from ..samplers import process
from ..samplers.inversion.invert import invert
from ..samplers.inversion.null_text import NullText
from ..samplers.inversion.residual import Residual
from ..samplers.path import DiffusionPath
from ..samplers.path_fit import latent_psnr
from ..samplers.replay import replay
from .common import compare, machine, parser
from .published import Published

_EXAMPLE = Scene(seed=3, time="sunset", trees="pines", house="red")


class World(world.World):
    """A landscape with its caption, the model as ComfyUI loads it, and the published procedures on the same weights."""

    def __init__(self) -> None:
        with torch.inference_mode():
            super().__init__()
            self.guide, self.given = self.latent(rendered(_EXAMPLE)), self.inputs(_EXAMPLE)
        self.picture = self.guide["samples"].clone()
        self.published = Published.of(self.encoded(_EXAMPLE), self.negative)

    def sigmas(self, steps: int, scheduler: str = "ddim_uniform") -> Tensor:
        return comfy.samplers.calculate_sigmas(process.model_sampling(self.model), scheduler, steps)

    @torch.inference_mode()
    def invert(self, method: Any, sigmas: Tensor, cfg: float) -> DiffusionPath:
        model, *prompts = (self.given[name] for name in ("model", "positive", "negative"))
        return invert(model, tuple(prompts), self.guide, sigmas, method, cfg, seed=1)

    @torch.inference_mode()
    def reconstruction(self, path: DiffusionPath, cfg: float) -> float:
        """Latent PSNR in dB."""
        return min(replay(**self.given, path=path, cfg=cfg)[0].figures["latent_psnr"])

    @torch.inference_mode()
    def sampled(self, sigmas: Tensor, record: bool) -> Any:
        inputs = sampler_inputs(
            **self.given, cfg=4.0, sigmas=sigmas, latent={"samples": torch.zeros_like(self.picture)}
        )
        return call("DPathRecord", **inputs)[0] if record else core.SamplerCustomAdvanced.execute(**inputs)


def null_text(world: World, steps: int, rounds: int, cfg: float) -> None:
    sigmas = world.sigmas(steps)
    print(f"\n## Null text at equal error: {len(sigmas) - 1} steps, cfg {cfg:g}\n")
    wanted = latent_psnr(world.picture, world.published.null_text(world.picture, sigmas, cfg)[1])[0]
    print(f"published: {wanted:.2f} dB", flush=True)
    for updates in range(1, 11):
        psnr = world.reconstruction(world.invert(NullText(iterations=updates), sigmas, cfg), cfg)
        print(f"null text, at most {updates} updates: {psnr:.2f} dB", flush=True)
        if psnr >= wanted:
            break
    else:
        print(f"null text stays below {wanted:.2f} dB")
    ours = f"null text, at most {updates} updates"
    runs: dict[str, Callable[[], object]] = {
        "published": lambda: world.published.null_text(world.picture, sigmas, cfg),
        ours: lambda: world.invert(NullText(iterations=updates), sigmas, cfg),
    }
    compare("Times", runs, rounds, {ours: 0.5}, warm_up=0)


def residual(world: World, steps: int, skip: int, rounds: int, cfg: float) -> None:
    sigmas = world.sigmas(steps, "normal")
    rest = sigmas[round(skip * (len(sigmas) - 1) / steps) :]
    title = f"Residual: {len(sigmas) - 1} steps, of which an edit skips {len(sigmas) - len(rest)}, cfg {cfg:g}"
    runs: dict[str, Callable[[], object]] = {
        "published, one at a time": lambda: world.published.edit_friendly(world.picture, sigmas, cfg, 1),
        "residual, from where the edit starts": lambda: world.invert(Residual(), rest, cfg),
        "residual, all steps": lambda: world.invert(Residual(), sigmas, cfg),
    }
    compare(title, runs, rounds, {"residual, from where the edit starts": 0.6})
    print(f"reconstruction: {world.reconstruction(world.invert(Residual(), rest, cfg), cfg):.1f} dB", flush=True)


def recording(world: World, steps: int, rounds: int) -> None:
    sigmas = world.sigmas(steps, "normal")
    runs: dict[str, Callable[[], object]] = {
        "SamplerCustomAdvanced": lambda: world.sampled(sigmas, record=False),
        "Record Path": lambda: world.sampled(sigmas, record=True),
    }
    compare(f"Recording: {steps} steps of Euler, cfg 4", runs, rounds, {"Record Path": 1.03})


def memory(world: World) -> None:
    path = world.sampled(world.sigmas(50, "normal"), record=True)
    total = sum(value.nbytes for value in vars(path).values() if isinstance(value, Tensor))
    states = path.states.nbytes
    print(f"\n## Memory of a path of {path.steps} steps, {list(path.shape)}\n")
    print(f"{total} bytes, of which {states} are its states and {total - states} its levels")


def main() -> None:
    options = parser(__doc__, rounds=5)
    options.add_argument("--only", choices=["null-text", "residual", "recording", "memory"])
    options.add_argument("--steps", type=int, default=50, help="of null text and recording")
    options.add_argument("--cfg", type=float, default=7.5)
    given = options.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    world = World()
    print(machine(), flush=True)
    parts: dict[str, Callable[[], None]] = {
        "recording": lambda: recording(world, given.steps, 2 * given.rounds),
        "memory": lambda: memory(world),
        "residual": lambda: residual(world, 100, 36, given.rounds, 3.5),
        "null-text": lambda: null_text(world, given.steps, max(2, given.rounds // 2), given.cfg),
    }
    for name, part in parts.items():
        if given.only in (None, name):
            part()


if __name__ == "__main__":
    main()
