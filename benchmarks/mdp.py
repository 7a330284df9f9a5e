"""What MDP's manipulations and a whole edit cost, on the embedded model: `./dev bench mdp`.

The manipulations are measured against plain sampling of the same steps, the edit of a real picture against the
procedure of the paper's notebook as one would write it: DDIM inversion, null-text optimisation, the source simulated
again with the optimised embeddings and its predictions kept, then the target with those of the window in the place of
its own. Everything runs in turns in one process.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ..devtools.world import World, sampled_from
from ..samplers import process
from ..samplers.mdp import edit as mdp
from ..samplers.schedule import PathSchedule
from .common import compare, head, machine, parser, row
from .editing import CFG, KINDS, STEPS, Case, Group, cases, mean, measure
from .published import Published

_SEED = 6_000
_LIMITS = {"MDP noise": 0.6, "MDP guidance, all steps": 1.6, "MDP conditioning, all steps": 1.05}
_EDIT_LIMIT = 0.35
_NOTEBOOK = "the notebook's procedure"
_OURS = {
    "MDP Edit, recommended": mdp.Settings(steps=STEPS, cfg=CFG),
    "MDP Edit, noise": mdp.Settings("noise", mdp.WHOLE["noise"], STEPS, CFG, region=None),
}


def by_notebook(group: Group, cfg: float = 7.5, t_max: float = 0.96, t_m: float = 0.5) -> Tensor:
    """Latent of the edit by the notebook's procedure on the same weights: one evaluation after the other, VP
    coordinates, no product code. t_max, t_m: the window as fractions of the steps.
    """
    source = Published.of(group.source, group.world.negative)
    with torch.inference_mode(False):
        sampling = process.model_sampling(group.world.model)
        sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", STEPS).clone()
        picture, target = group.latent["samples"].clone(), group.target[0][0].clone()
        embeddings, _ = source.null_text(picture, sigmas, cfg)
        begin = source.ddim_inversion(picture, sigmas)[-1]
        window = PathSchedule(t_max, t_max - t_m).window(len(sigmas) - 1)

        def followed(prompt: Tensor, injected: dict[int, Tensor]) -> tuple[Tensor, list[Tensor]]:
            """The end of the path for a prompt, and its noise predictions."""
            x, noises = begin, []
            for i, (sigma, below) in enumerate(itertools.pairwise(sigmas)):
                without, with_prompt = source.denoised(x, sigma, embeddings[i], prompt)
                noise = (x - (without + cfg * (with_prompt - without))) / sigma
                noises.append(injected.get(i, noise))  # the notebook has called the model all the same
                x = x + (below - sigma) * noises[-1]
            return x, noises

        with torch.no_grad():
            _, noises = followed(source.positive, {})
            return followed(target, {i: noises[i] for i in window})[0]


def whole_edit(group: Group, settings: mdp.Settings) -> Tensor:
    """All that MDP Edit does to a picture."""
    model, negative = group.world.model, group.world.negative
    source = mdp.find_source(model, group.source, negative, group.latent, 1, settings)
    region = mdp.find_region(model, group.target, source, settings)
    return mdp.edit(model, group.target, negative, source, settings, region.mask).latent["samples"]


def manipulations(group: Group, rounds: int) -> None:
    model, path = group.world.model, group.path

    def sampled(kind: str = "", schedule: PathSchedule | None = None) -> Tensor:
        """The target from the path's start, as KSampler would."""
        bent = mdp.manipulated(model, path, kind, schedule or mdp.WHOLE[kind]) if kind else model
        return sampled_from(path.path, bent, group.target, group.world.negative, CFG)

    runs: dict[str, Callable[[], object]] = {"plain sampling": sampled}
    runs |= {f"MDP {kind}": lambda kind=kind: sampled(kind) for kind in mdp.KINDS}
    everywhere = PathSchedule(1.0, 0.0, weight=0.5)
    for kind in ("conditioning", "guidance"):
        runs[f"MDP {kind}, all steps"] = lambda kind=kind: sampled(kind, everywhere)
    compare(f"Manipulations with their default schedules, {STEPS} steps, cfg {CFG:g}", runs, rounds, _LIMITS)


def whole_edits(groups: list[Group], rounds: int) -> None:
    print(f"\n## The edit of a real picture, {STEPS} steps\n")
    runs: dict[str, Callable[[Group], Tensor]] = {_NOTEBOOK: by_notebook}
    runs |= {name: lambda group, chosen=chosen: whole_edit(group, chosen) for name, chosen in _OURS.items()}
    head("run", "edits", "edit made", "others kept", "structure distance")
    for name, run in runs.items():
        found = [measure(each, each.world.decoded(run(each)), ("real", "", name, 0), 0, 0)[0] for each in groups]
        row(name, len(found), *(f"{mean(found, figure):.3f}" for figure in ("made", "kept", "structure")))
    timed: dict[str, Callable[[], object]] = {name: lambda run=run: run(groups[0]) for name, run in runs.items()}
    compare("Times", timed, rounds, dict.fromkeys(_OURS, _EDIT_LIMIT), warm_up=0)


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__, rounds=7)
    options.add_argument("--edits", type=int, default=1, help="edits of each kind whose scores are compared")
    options.add_argument("--only", choices=["manipulations", "edits"])
    given = options.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    torch.set_num_threads(1)
    print(machine(), flush=True)
    world = World()
    chosen: list[Case] = [case for kind in KINDS for case in cases(kind, given.edits, _SEED)]
    groups = [Group(world, [case], _SEED) for case in chosen]
    if given.only != "edits":
        manipulations(groups[0], given.rounds)
    if given.only != "manipulations":
        whole_edits(groups, max(2, given.rounds // 3))


if __name__ == "__main__":
    main()
