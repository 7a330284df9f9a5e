"""What paths and inversions cost, against published procedures and plain sampling: `./dev bench paths`.

Null text is compared at equal reconstruction error: with as many updates per step as bring it to the error that the
published procedure reaches. Everything runs on the embedded model, in turns in one process.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import comfy.samplers
import comfy.utils
import torch
from comfy_extras import nodes_custom_sampler as core
from torch import Tensor

from ..demo.model import load_demo_model
from ..demo.render import render
from ..demo.scenes import Scene, full_caption
from ..images.tensors import from_uint8
from ..nodes.paths import RecordPath
from ..samplers import process
from ..samplers.inversion.invert import invert
from ..samplers.inversion.null_text import NullText
from ..samplers.inversion.residual import Residual
from ..samplers.path import DiffusionPath
from ..samplers.path_fit import latent_psnr
from ..samplers.replay import replay
from .common import machine, paired_times, table
from .published import Published

_EXAMPLE = Scene(seed=3, time="sunset", trees="pines", house="red")


class World:
    """A landscape with its caption, the model as ComfyUI loads it, and the published procedures on the same weights."""

    def __init__(self) -> None:
        with torch.inference_mode():
            self.model, clip, vae = load_demo_model()
            self.latent = {"samples": vae.encode(from_uint8(render(_EXAMPLE))[None])}
            self.positive, self.negative = (
                clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (full_caption(_EXAMPLE), "")
            )
        base = load_demo_model()[0].model.requires_grad_(False)
        self.picture = self.latent["samples"].clone()
        self.published = Published(base, self.positive[0][0].clone(), self.negative[0][0].clone())

    def sigmas(self, steps: int, scheduler: str = "ddim_uniform") -> Tensor:
        return comfy.samplers.calculate_sigmas(process.model_sampling(self.model), scheduler, steps)

    @torch.inference_mode()
    def invert(self, method: Any, sigmas: Tensor, cfg: float) -> DiffusionPath:
        return invert(self.model, self.positive, self.negative, self.latent, sigmas, method, cfg, seed=1)

    @torch.inference_mode()
    def reconstruction(self, path: DiffusionPath, cfg: float) -> float:
        """Latent PSNR in dB."""
        return min(replay(self.model, self.positive, self.negative, path, cfg)[0].figures["latent_psnr"])

    @torch.inference_mode()
    def sampled(self, sigmas: Tensor, recorded: bool) -> Any:
        guider = core.CFGGuider.execute(self.model, self.positive, self.negative, 4.0).args[0]
        node = RecordPath if recorded else core.SamplerCustomAdvanced
        noise = core.RandomNoise.execute(1).args[0]
        euler = comfy.samplers.sampler_object("euler")
        return node.execute(noise, guider, euler, sigmas, {"samples": torch.zeros_like(self.picture)})


def null_text(world: World, steps: int, rounds: int, cfg: float, both_too: bool) -> None:
    sigmas = world.sigmas(steps)
    print(f"\n## Null text at equal error: {len(sigmas) - 1} steps, cfg {cfg:g}\n")
    reached: dict[str, float] = {}
    names = {"published, positive once": False}
    if both_too:
        names["published, both branches"] = True
    for name, both in names.items():
        reached[name] = latent_psnr(world.picture, world.published.null_text(world.picture, sigmas, cfg, both=both)[1])[
            0
        ]
        print(f"{name}: {reached[name]:.2f} dB", flush=True)
    wanted = reached["published, positive once"]
    for updates in range(1, 11):
        psnr = world.reconstruction(world.invert(NullText(iterations=updates), sigmas, cfg), cfg)
        print(f"null text, at most {updates} updates: {psnr:.2f} dB", flush=True)
        if psnr >= wanted:
            break
    else:
        print(f"null text stays below {wanted:.2f} dB")
    runs: dict[str, Callable[[], object]] = {
        name: lambda both=both: world.published.null_text(world.picture, sigmas, cfg, both=both)
        for name, both in names.items()
    }
    ours = f"null text, at most {updates} updates"
    runs[ours] = lambda: world.invert(NullText(iterations=updates), sigmas, cfg)
    result = paired_times(runs, rounds, warm_up=0)
    for reference in names:
        _report(result, ours, reference, 0.5)
    print(table(result, next(iter(names))), flush=True)


def residual(world: World, steps: int, skip: int, rounds: int, cfg: float) -> None:
    sigmas = world.sigmas(steps, "normal")
    rest = sigmas[round(skip * (len(sigmas) - 1) / steps) :]
    print(f"\n## Residual: {len(sigmas) - 1} steps, of which an edit skips {len(sigmas) - len(rest)}, cfg {cfg:g}\n")
    runs: dict[str, Callable[[], object]] = {
        "published, one at a time": lambda: world.published.edit_friendly(world.picture, sigmas, cfg, 1),
        "residual, from where the edit starts": lambda: world.invert(Residual(), rest, cfg),
        "residual, all steps": lambda: world.invert(Residual(), sigmas, cfg),
    }
    result = paired_times(runs, rounds)
    print(table(result, "published, one at a time"))
    _report(result, "residual, from where the edit starts", "published, one at a time", 0.6)
    print(f"reconstruction: {world.reconstruction(world.invert(Residual(), rest, cfg), cfg):.1f} dB", flush=True)


def recording(world: World, steps: int, rounds: int) -> None:
    sigmas = world.sigmas(steps, "normal")
    print(f"\n## Recording: {steps} steps of Euler, cfg 4\n")
    runs: dict[str, Callable[[], object]] = {
        "SamplerCustomAdvanced": lambda: world.sampled(sigmas, recorded=False),
        "Record Path": lambda: world.sampled(sigmas, recorded=True),
    }
    result = paired_times(runs, rounds)
    print(table(result, "SamplerCustomAdvanced"))
    _report(result, "Record Path", "SamplerCustomAdvanced", 1.03)


def memory(world: World) -> None:
    sigmas = world.sigmas(50, "normal")
    path = world.sampled(sigmas, recorded=True).args[0]
    tensors = [value for value in vars(path).values() if isinstance(value, Tensor)]
    total, states = (sum(each.numel() * each.element_size() for each in group) for group in (tensors, [path.states]))
    print(f"\n## Memory of a path of {path.steps} steps, {list(path.shape)}\n")
    print(f"{total} bytes, of which {states} are its states and {total - states} its levels")


def _report(result: Any, ours: str, reference: str, limit: float) -> None:
    ratio = result.ratio(ours, reference)[0]
    print(f"{ours} over {reference}: {ratio:.3f}, limit {limit:.2f}: {'ok' if ratio <= limit else 'TOO SLOW'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["null-text", "residual", "recording", "memory"])
    parser.add_argument("--steps", type=int, default=50, help="of null text and recording")
    parser.add_argument("--cfg", type=float, default=7.5)
    text = "also time the published null text with gradients through both branches"
    parser.add_argument("--both", action="store_true", help=text)
    options = parser.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    world = World()
    print(machine(), flush=True)
    parts: dict[str, Callable[[], None]] = {
        "recording": lambda: recording(world, options.steps, 2 * options.rounds),
        "memory": lambda: memory(world),
        "residual": lambda: residual(world, 100, 36, options.rounds, 3.5),
        "null-text": lambda: null_text(world, options.steps, max(2, options.rounds // 2), options.cfg, options.both),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            part()


if __name__ == "__main__":
    main()
