"""What SDEdit costs over core's own nodes, on the embedded model: `./dev bench sdedit`.

Every pair runs in turns on the same model, noise levels, noise and solver, so that only the nodes differ.
"""

from __future__ import annotations

import resource
from typing import Any

import torch
from comfy_extras import nodes_custom_sampler as core
from torch import Tensor

from ..demo.render import render_with_maps
from ..demo.scenes import Scene
from ..devtools import world
from ..devtools.direct import call
from ..devtools.world import rendered, sampler_inputs
from .common import compare, machine, parser

_SCENE = Scene(seed=3)
_SWEEP = "0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8"


class World(world.World):
    """A stroke painting of the demo model's world, encoded, with prompts and the mask of its house."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.image = rendered(_SCENE, detail=0.0)
        self.reference = rendered(*(Scene(seed=100 + i) for i in range(12)))
        mask = torch.from_numpy(render_with_maps(_SCENE).masks["house"].copy()).float()[None, None]
        self.guide = self.latent(self.image)
        self.masked = {**self.guide, "noise_mask": mask}
        self.given = self.inputs(_SCENE)
        self.settings: dict[str, Any] = {"t0": 0.5, "cfg": 4.0, "solver": "ode", "scheduler": "karras", "steps": steps}
        self.half = self.sigmas(0.5)

    def sigmas(self, t0: float) -> Tensor:
        return call("DPathSigmas", model=self.model, t0=t0, steps=self.settings["steps"], scheduler="karras")[0]

    def core(self, latent: dict[str, Any], sigmas: Tensor | None = None, mask_mode: str | None = None) -> Tensor:
        """Core's SamplerCustomAdvanced with Euler, within Masked Reverse SDE where a mode is given."""
        inputs = sampler_inputs(**self.given, cfg=4.0, sigmas=self.half if sigmas is None else sigmas, latent=latent)
        if mask_mode:
            chosen = {"mask_mode": mask_mode, "keep_noise": "auto", "repeats": 1}
            inputs["sampler"] = call("DPathMaskedSampler", sampler=inputs["sampler"], **chosen)[0]
        return core.SamplerCustomAdvanced.execute(**inputs).args[0]["samples"]

    def sdedit(self, latent: dict[str, Any], **changes: Any) -> tuple[Tensor, str]:
        """The result and the report."""
        made, _, line = call("DPathSDEdit", **self.given, guide=latent, seed=1, **{**self.settings, **changes})
        return made["samples"], line

    def sweep(self) -> None:
        given = {"vae": self.vae, "image": self.image, "sweep": "t0", "values": _SWEEP, "seed": 1}
        call("DPathSweep", **self.given, **given, **self.settings, reference=self.reference)

    def core_sweep(self, decode: bool) -> None:
        """The evaluations of the sweep in core's nodes, each of them encoding and decoding for itself or not at all."""
        for t0 in map(float, _SWEEP.split(", ")):
            latent = self.core(self.latent(self.image) if decode else self.guide, self.sigmas(t0))
            if decode:
                self.vae.decode(latent)


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__, rounds=9, steps=20).parse_args()
    w = World(options.steps)
    print(machine())
    same = torch.equal(w.sdedit(w.guide)[0], w.core(w.guide))
    same_masked = torch.equal(w.core(w.masked, mask_mode="blend"), w.core(w.masked))
    for name, equal in (("SDEdit", same), ("Masked Reverse SDE with a mask", same_masked)):
        print(f"{name}: {'bit for bit' if equal else 'NOT'} core's result")

    runs = {"SamplerCustomAdvanced": lambda: w.core(w.guide), "SDEdit": lambda: w.sdedit(w.guide)}
    compare("SDEdit over core at equal steps", runs, options.rounds, {"SDEdit": 1.02})
    runs = {"core, masked": lambda: w.core(w.masked), "SDEdit, masked": lambda: w.sdedit(w.masked)}
    for mode in ("blend", "threshold", "paper"):
        runs[f"Masked Reverse SDE, {mode}"] = lambda mode=mode: w.core(w.masked, mask_mode=mode)
    compare("Masked sampling over core's", runs, options.rounds, dict.fromkeys(list(runs)[1:], 1.03))
    evaluations = w.sdedit(w.masked, mask_mode="threshold")[1].split(" evaluations")[0].split()[-1]
    print(f"threshold: {evaluations} evaluations in {options.steps} steps")

    runs = {
        "7 x sampling": lambda: w.core_sweep(decode=False),
        "7 x encode, sample, decode": lambda: w.core_sweep(decode=True),
        "SDEdit Sweep": w.sweep,
    }
    limits = dict.fromkeys(list(runs)[1:], 1.05)
    compare("Sweep over 7 t0 with its grid, plot and measures", runs, max(2, options.rounds // 4), limits)
    print("\n## Memory over repeats\n")
    for repeats in (1, 3, 5):
        w.sdedit(w.guide, repeats=repeats, steps=4)
        print(f"{repeats} repeats: peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
