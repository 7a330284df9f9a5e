"""What MDP's manipulations and a whole edit cost, on the embedded model: `./dev bench mdp`.

The manipulations are measured against plain sampling of the same steps, the edit of a real picture against the
procedure of the paper's notebook as one would write it: DDIM inversion, null-text optimisation, the source simulated
again with the optimised embeddings and its predictions kept, then the target with those of the window in the place of
its own. Everything runs in turns in one process.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ..demo.attributes import read_attributes
from ..demo.model import load_demo_model
from ..images.metrics import edit_metrics
from ..samplers import process
from ..samplers.mdp import edit as mdp
from ..samplers.replay import start
from ..samplers.schedule import PathSchedule
from .common import Paired, machine, paired_times, table
from .editing.cases import CFG, KINDS, STEPS, Case, Group, World, attributes, cases
from .published import Published

_SEED = 6_000
_LIMITS = {"MDP noise": 0.6, "MDP guidance, all steps": 1.6, "MDP conditioning, all steps": 1.05}
_EDIT_LIMIT = 0.35
_NOTEBOOK = "the notebook's procedure"


class Notebook:
    """The notebook's procedure on the same weights: one evaluation after the other, VP coordinates, no product code."""

    def __init__(self, base: Any, group: Group) -> None:
        """base: the network with weights that were not loaded in inference mode."""
        prompts = [each[0][0].clone() for each in (group.source, group.world.negative, group.target)]
        self.source, self.target = Published(base, prompts[0], prompts[1]), prompts[2]
        self.picture = group.latent["samples"].clone()
        sampling = process.model_sampling(group.world.model)
        self.sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", STEPS).clone()

    def edited(self, cfg: float = 7.5, t_max: float = 0.96, t_m: float = 0.5) -> Tensor:
        """Latent of the edit; t_max, t_m: the window as fractions of the steps."""
        sigmas = self.sigmas
        embeddings, _ = self.source.null_text(self.picture, sigmas, cfg)
        begin = self.source.ddim_inversion(self.picture, sigmas)[-1]
        steps = len(sigmas) - 1
        window = PathSchedule(t_max, t_max - t_m).window(steps)
        noises = []
        with torch.no_grad():
            self._walk(begin, embeddings, self.source.positive, cfg, noises)
            return self._walk(begin, embeddings, self.target, cfg, [], noises, window)

    def _walk(
        self, x: Tensor, embeddings: list[Tensor], prompt: Tensor, cfg: float, kept: list[Tensor],
        injected: list[Tensor] | None = None, window: range = range(0),
    ) -> Tensor:  # fmt: skip
        for i, (sigma, below) in enumerate(zip(self.sigmas[:-1], self.sigmas[1:], strict=True)):
            without, with_prompt = self.source.denoised(x, sigma, embeddings[i], prompt)
            noise = (x - (without + cfg * (with_prompt - without))) / sigma
            if injected is not None and i in window:
                noise = injected[i]  # the notebook has called the model all the same
            kept.append(noise)
            x = x + (below - sigma) * noise
        return x


class Bench:
    """One real picture with its path, and runs of the manipulations on it."""

    def __init__(self, world: World, case: Case) -> None:
        self.world, self.group = world, Group(world, [case], _SEED)
        self.path = self.group.path

    def sampled(self, model: Any) -> Tensor:
        """The target from the path's start, with cfg, as KSampler would."""
        noise, latent = start(model, self.path.path)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(self.group.target, self.world.negative)
        guider.set_cfg(CFG)
        euler = comfy.samplers.sampler_object("euler")
        drawn = noise.generate_noise(latent)
        return guider.sample(drawn, latent["samples"], euler, self.path.path.sigmas, disable_pbar=True, seed=1)

    def manipulated(self, kind: str, schedule: PathSchedule | None = None) -> Tensor:
        return self.sampled(mdp.manipulated(self.world.model, self.path, kind, schedule or mdp.WHOLE[kind]))

    def whole_edit(self, settings: mdp.MDPSettings) -> Tensor:
        """All that MDP Edit does to a picture."""
        world, group = self.world, self.group
        source = mdp.find_source(world.model, group.source, world.negative, group.latent, 1, settings)
        region = mdp.find_region(world.model, group.target, source, settings)
        return mdp.edit(world.model, group.target, world.negative, source, settings, region.mask).latent["samples"]


def judged(bench: Bench, latent: Tensor) -> tuple[float, float, float]:
    """Edit made, share of the others kept, structure distance."""
    (case,) = bench.group.cases
    picture = bench.world.vae.decode(latent)
    seen, before, wanted = read_attributes(picture)[0], attributes(case.scene), attributes(case.target)
    kept = sum(seen[name] == before[name] for name in before if name != case.attribute) / (len(before) - 1)
    distance = edit_metrics(bench.group.pictures, picture).values["whole"]["edges"][0]
    return float(seen[case.attribute] == wanted[case.attribute]), kept, distance


def manipulations(bench: Bench, rounds: int) -> None:
    print(f"\n## Manipulations with their default schedules, {STEPS} steps, cfg {CFG:g}\n")
    runs: dict[str, Callable[[], object]] = {"plain sampling": lambda: bench.sampled(bench.world.model)}
    for kind in mdp.KINDS:
        runs[f"MDP {kind}"] = lambda kind=kind: bench.manipulated(kind)
    everywhere = PathSchedule(1.0, 0.0, weight=0.5)
    for kind in ("conditioning", "guidance"):
        runs[f"MDP {kind}, all steps"] = lambda kind=kind: bench.manipulated(kind, everywhere)
    result = paired_times(runs, rounds)
    print(table(result, "plain sampling"))
    for name, limit in _LIMITS.items():
        _report(result, name, "plain sampling", limit)


def whole_edits(world: World, chosen: list[Case], rounds: int) -> None:
    print(f"\n## The edit of a real picture, {STEPS} steps\n")
    benches = [Bench(world, case) for case in chosen]
    with torch.inference_mode(False):
        base = load_demo_model()[0].model.requires_grad_(False)
        notebooks = [Notebook(base, bench.group) for bench in benches]
    ours = {
        "MDP Edit, recommended": mdp.MDPSettings(steps=STEPS, cfg=CFG),
        "MDP Edit, noise": mdp.MDPSettings("noise", mdp.WHOLE["noise"], STEPS, CFG, region=None),
    }

    def by_notebook(notebook: Notebook) -> Tensor:
        with torch.inference_mode(False):
            return notebook.edited()

    scores = {_NOTEBOOK: [judged(b, by_notebook(n)) for b, n in zip(benches, notebooks, strict=True)]}
    for name, settings in ours.items():
        scores[name] = [judged(bench, bench.whole_edit(settings)) for bench in benches]
    print("| run | edits | edit made | others kept | structure distance |\n|---|---|---|---|---|")
    for name, found in scores.items():
        made, kept, distance = (sum(column) / len(found) for column in zip(*found, strict=True))
        print(f"| {name} | {len(found)} | {made:.3f} | {kept:.3f} | {distance:.3f} |", flush=True)
    runs: dict[str, Callable[[], object]] = {_NOTEBOOK: lambda: by_notebook(notebooks[0])}
    for name, settings in ours.items():
        runs[name] = lambda settings=settings: benches[0].whole_edit(settings)
    result = paired_times(runs, rounds, warm_up=0)
    print(f"\n{table(result, _NOTEBOOK)}")
    for name in ours:
        _report(result, name, _NOTEBOOK, _EDIT_LIMIT)


def _report(result: Paired, name: str, reference: str, limit: float) -> None:
    ratio = result.ratio(name, reference)[0]
    print(f"{name}: {ratio:.3f}, limit {limit:.2f}: {'ok' if ratio <= limit else 'TOO SLOW'}", flush=True)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--edits", type=int, default=1, help="edits of each kind whose scores are compared")
    parser.add_argument("--only", choices=["manipulations", "edits"])
    options = parser.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    torch.set_num_threads(1)
    print(machine(), flush=True)
    world = World()
    chosen = [case for kind in KINDS for case in cases(kind, options.edits, _SEED)]
    if options.only != "edits":
        manipulations(Bench(world, chosen[0]), options.rounds)
    if options.only != "manipulations":
        whole_edits(world, chosen, max(2, options.rounds // 3))


if __name__ == "__main__":
    main()
