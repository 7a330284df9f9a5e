"""What SDEdit costs over core's own nodes, on the embedded model: `./dev bench sdedit`.

Every pair runs in turns on the same model, noise levels, noise and solver, so that only the nodes differ.
"""

from __future__ import annotations

import argparse
import resource
from typing import Any

import comfy.samplers
import torch
from comfy_extras import nodes_custom_sampler as core

from ..demo.model import load_demo_model
from ..demo.render import render, render_with_masks
from ..demo.scenes import Scene, full_caption
from ..images.tensors import from_uint8
from ..nodes.masked import MaskedReverseSDE
from ..nodes.sdedit import SDEdit, SDEditSigmas
from ..nodes.sweep import Sweep
from .common import machine, paired_times, table

_SWEEP = "0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8"
_SETTINGS: dict[str, Any] = {"t0": 0.5, "cfg": 4.0, "solver": "ode", "scheduler": "karras"}


class World:
    """A stroke painting of the demo model's world, encoded, with prompts and the mask of its house."""

    def __init__(self, steps: int) -> None:
        self.model, clip, self.vae = load_demo_model()
        scene = Scene(seed=3)
        self.image = from_uint8(render(scene, detail=0.0))[None]
        self.reference = torch.stack([from_uint8(render(Scene(seed=100 + i))) for i in range(12)])
        mask = torch.from_numpy(render_with_masks(scene)[1]["house"].copy()).float()[None, None]
        self.guide = {"samples": self.vae.encode(self.image)}
        self.masked = {**self.guide, "noise_mask": mask}
        self.positive, self.negative = (
            clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (full_caption(scene), "")
        )
        self.steps = steps
        self.sigmas = SDEditSigmas.execute(self.model, 0.5, steps, "karras").args[0]
        self.euler = comfy.samplers.sampler_object("euler")
        self.evaluations = 0

    def core(self, latent: dict[str, Any], sampler: Any = None, sigmas: torch.Tensor | None = None) -> torch.Tensor:
        """Core's SamplerCustomAdvanced with Euler."""
        guider = core.CFGGuider.execute(self.model, self.positive, self.negative, 4.0).args[0]
        noise = core.RandomNoise.execute(1).args[0]
        levels = self.sigmas if sigmas is None else sigmas
        run = core.SamplerCustomAdvanced.execute(noise, guider, sampler or self.euler, levels, latent)
        return run.args[0]["samples"]

    def sdedit(self, latent: dict[str, Any], **changes: Any) -> torch.Tensor:
        settings = {**_SETTINGS, "steps": self.steps, **changes}
        made, _, line = SDEdit.execute(self.model, self.positive, self.negative, latent, 1, **settings).args
        self.evaluations = int(line.split(" evaluations")[0].split()[-1])
        return made["samples"]

    def masked_sampler(self, mode: str) -> torch.Tensor:
        return self.core(self.masked, MaskedReverseSDE.execute(self.euler, mode, "auto", 1).args[0])

    def sweep(self) -> None:
        Sweep.execute(
            self.model, self.positive, self.negative, self.vae, self.image, "t0", _SWEEP, 1,
            **{**_SETTINGS, "steps": self.steps}, reference=self.reference,
        )  # fmt: skip

    def core_sweep(self, decode: bool) -> None:
        """The evaluations of the sweep in core's nodes, each of them encoding and decoding for itself or not at all."""
        for t0 in map(float, _SWEEP.split(", ")):
            guide = {"samples": self.vae.encode(self.image)} if decode else self.guide
            sigmas = SDEditSigmas.execute(self.model, t0, self.steps, "karras").args[0]
            latent = self.core(guide, sigmas=sigmas)
            if decode:
                self.vae.decode(latent)


def report(title: str, runs: dict[str, Any], reference: str, rounds: int, limit: float | None = None) -> None:
    """Prints the paired times, and for each run whether its median ratio is within the limit."""
    result = paired_times(runs, rounds=rounds)
    print(f"\n## {title}\n\n{table(result, reference)}")
    if limit is not None:
        for name in runs:
            ratio = result.ratio(name, reference)[0]
            if name != reference:
                print(f"{name}: {ratio:.3f}, limit {limit:.2f}: {'ok' if ratio <= limit else 'TOO SLOW'}")


def peak_memory() -> int:
    """The most memory this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    world = World(options.steps)
    print(machine())
    same = torch.equal(world.sdedit(world.guide), world.core(world.guide))
    same_masked = torch.equal(world.masked_sampler("blend"), world.core(world.masked))
    for name, equal in (("SDEdit", same), ("Masked Reverse SDE with a mask", same_masked)):
        print(f"{name}: {'bit for bit' if equal else 'NOT'} core's result")

    core_name = "SamplerCustomAdvanced"
    report(
        "SDEdit over core at equal steps",
        {core_name: lambda: world.core(world.guide), "SDEdit": lambda: world.sdedit(world.guide)},
        core_name, options.rounds, 1.02,
    )  # fmt: skip
    masked_runs: dict[str, Any] = {"core, masked": lambda: world.core(world.masked)}
    masked_runs["SDEdit, masked"] = lambda: world.sdedit(world.masked)
    for mode in ("blend", "threshold", "paper"):
        masked_runs[f"Masked Reverse SDE, {mode}"] = lambda mode=mode: world.masked_sampler(mode)
    report("Masked sampling over core's", masked_runs, "core, masked", options.rounds, 1.03)
    world.sdedit(world.masked, mask_mode="threshold")
    print(f"threshold: {world.evaluations} evaluations in {options.steps} steps")

    sweep_rounds = max(2, options.rounds // 4)
    report(
        "Sweep over 7 t0 with its grid, plot and measures",
        {
            "7 x sampling": lambda: world.core_sweep(decode=False),
            "7 x encode, sample, decode": lambda: world.core_sweep(decode=True),
            "SDEdit Sweep": world.sweep,
        },
        "7 x sampling", sweep_rounds, 1.05,
    )  # fmt: skip
    print("\n## Memory over repeats\n")
    for repeats in (1, 3, 5):
        world.sdedit(world.guide, repeats=repeats, steps=4)
        print(f"{repeats} repeats: peak {peak_memory()} MiB")


if __name__ == "__main__":
    main()
