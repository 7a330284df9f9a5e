"""Edits by prompt, method by method, on the embedded world: `./dev bench edits`.

Landscapes that the model never saw are edited in one attribute (time of day, season, snow on the peak, the colour of
the house, a lake, house or trees added or removed, mountains to hills). A judge reads the attributes of the result; the
structure distance is 1 - correlation of blurred edge maps; the background is where the renders before and after the
edit are alike. Synthetic pictures are made by the model itself from the source prompt. Each part of the work is written
to the folder `--out` when it is done, and not done again when the command is given again. Processes can share it:

    torchrun --no-python --nproc-per-node 2 ./dev bench edits
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comfy.utils
import torch
from torch import Tensor

from ..common.processes import share, this_process
from ..demo.model import FEW_STEPS
from ..demo.scenes import full_caption
from ..demo.training.style import STYLES
from ..demo.training.transformer import TRANSFORMER
from ..devtools.world import World, sampled_from, save_picture
from ..images.composite import composite_exact
from ..images.grid import labelled_grid
from ..samplers import process
from ..samplers.counting import Counter
from ..samplers.flowedit import FlowEditSettings as FlowEdit
from ..samplers.flowedit import flowedit
from ..samplers.flowedit_methods import FlowAlign, InfEdit, UniEdit
from ..samplers.inversion.euler import Euler
from ..samplers.inversion.fixed_point import FixedPoint
from ..samplers.inversion.invert import invert
from ..samplers.inversion.residual import Residual
from ..samplers.mdp import edit as mdp
from ..samplers.mdp.attention import control_attention
from ..samplers.mdp.token_control import control_tokens
from ..samplers.mdp.tokens import token_map, tokenized
from ..samplers.replay import replay_sampler
from ..samplers.schedule import PathSchedule
from ..samplers.sdedit import SDEditSettings as SDEdit
from ..samplers.sdedit import sdedit
from ..samplers.sigmas import sdedit_sigmas
from .common import MODELS, OUTPUT, PICTURES, add_model, is_one_of_many, is_usual, machine, named_by_model, parser
from .editing import KINDS, STEPS, Case, Group, Results, cases, kinds_table, measure, table
from .published import Published


@dataclass(frozen=True)
class Made:
    """Edited latents, evaluations per picture, and where it was edited (MASK, 1 = edit) for rows that know."""

    latents: Tensor
    evaluations: int
    mask: Tensor | None = None


Row = Callable[[Group], Made]


def autoencoder(group: Group) -> Made:
    """No edit at all: what encoding and decoding alone leave of a picture."""
    return Made(group.latent["samples"], 0)


def sdedit_at(t0: float) -> Row:
    def row(group: Group) -> Made:
        world, settings = group.world, SDEdit(t0=t0, steps=group.world.steps, cfg=group.world.cfg)
        made = sdedit(world.model, group.target, world.negative, group.latent, group.seed, settings)
        return Made(made.latent["samples"], 2 * made.evaluations)

    return row


def manipulation(chosen: mdp.MDPSettings) -> Row:
    """One of the manipulations that MDP Edit has, with what suits the kind of model; the source's path is counted, and
    shared if it is MDP Edit's own.
    """

    def row(group: Group) -> Made:
        world = group.world
        settings = replace(chosen, steps=world.steps, cfg=world.cfg, scheduler=world.scheduler)
        if group.synthetic or settings.inversion == mdp.MDPSettings().inversion:
            source = group.path
        else:
            source = mdp.find_source(
                world.model, group.source, world.negative, group.latent, group.seed, replace(settings, region=None)
            )
        region = mdp.find_region(world.model, group.target, source, settings)
        made = mdp.edit(world.model, group.target, world.negative, source, settings, region.mask)
        found = source.evaluations if source.origin == "inverted" else 0
        return Made(made.latent["samples"], found + region.evaluations + made.evaluations, region.mask)

    return row


def plain(settings: mdp.MDPSettings) -> mdp.MDPSettings:
    """Settings of a manipulation without a region."""
    return replace(settings, region=None, guided_by="negative")


def attention(cross: PathSchedule, within: PathSchedule) -> Row:
    """Prompt-to-Prompt on the source's path. Its words are aligned prompt by prompt, so pictures are edited singly."""

    def row(group: Group) -> Made:
        world, path, edited, evaluations = group.world, group.path.path, [], 0
        for i, case in enumerate(group.cases):
            scenes = case.scene, case.target
            words = [tokenized(world.clip, full_caption(scene)) for scene in scenes]
            tokens = token_map(words[0], words[1], "refine")
            source, target = map(world.encoded, scenes)
            own = path.replaced(states=path.states[:, i : i + 1], batch_index=None)
            counter = Counter(world.model, 1)
            model = control_attention(counter.model, own, source, tokens, cross, within)
            bare = plain(mdp.MDPSettings(schedule=PathSchedule(1.0, 0.0, weight=0.0), cfg=world.cfg))
            made = mdp.edit(model, target, world.negative, mdp.Source(own, source), bare)
            edited.append(made.latent["samples"])
            evaluations += counter.evaluations
        found = group.path.evaluations if group.path.origin == "inverted" else 0
        return Made(torch.cat(edited), found + round(evaluations / len(edited)))

    return row


def attention_by_tokens(structure: PathSchedule) -> Row:
    """A transformer's attention with the source's queries and keys, where the two prompts differ."""

    def row(group: Group) -> Made:
        world, source, counter = group.world, group.path, Counter(group.world.model, len(group.cases))
        region = mdp.find_region(counter.model, group.target, source, mdp.MDPSettings())
        model = control_tokens(counter.model, source.path, source.conditioning, structure, mask=region.mask)
        bare = plain(mdp.MDPSettings(schedule=PathSchedule(1.0, 0.0, weight=0.0), cfg=world.cfg))
        made = mdp.edit(model, group.target, world.negative, source, bare, region.mask)
        found = source.evaluations if source.origin == "inverted" else 0
        return Made(made.latent["samples"], found + counter.evaluations, region.mask)

    return row


def flowedit_with(chosen: FlowEdit) -> Row:
    """FlowEdit with settings for 20 steps: the same share of the model's steps, and no more guidance than it takes."""

    def row(group: Group) -> Made:
        world, prompts = group.world, (group.source, group.target, group.world.negative)
        steps, source_cfg = _share(chosen.steps, world), min(chosen.source_cfg, world.cfg)
        settings = replace(chosen, steps=steps, source_cfg=source_cfg, cfg=min(chosen.cfg, world.cfg))
        if world.kind == FEW_STEPS:  # those of its levels, rather than others between them
            settings = replace(settings, start=steps / world.steps, scheduler=world.scheduler)
        made, _, evaluations = flowedit(world.model, *prompts, group.latent, group.seed, settings)
        return Made(made["samples"], evaluations)

    return row


def uni_edit(group: Group) -> Made:
    """Uni-Edit as published, picture by picture."""
    world, edited = group.world, []
    sigmas = sdedit_sigmas(process.model_sampling(world.model), 1.0, world.steps, world.scheduler)
    pictures = process.latent_in(world.model, group.latent["samples"])
    for picture, case in zip(pictures.split(1), group.cases, strict=True):
        published = Published.of(world.encoded(case.scene), world.negative)
        edited.append(published.uni_edit(picture, world.encoded(case.target)[0][0], sigmas))
    return Made(process.latent_out(world.model, torch.cat(edited)), round(0.6 * world.steps) * 3)


def _share(steps: int, world: World) -> int:
    """Of a model's steps, the share that `steps` are of `STEPS`."""
    return max(1, round(steps * world.steps / STEPS))


def residuals(t0: float, steps: int) -> Row:
    """Edit-friendly inversion from t0, then the target prompt with the residuals."""

    def row(group: Group) -> Made:
        world, counter = group.world, Counter(group.world.model, len(group.cases))
        sigmas = sdedit_sigmas(process.model_sampling(world.model), t0, _share(steps, world), world.scheduler)
        kept = Residual(), world.cfg, group.seed
        path = invert(counter.model, (group.source, world.negative), group.latent, sigmas, *kept)
        edited = sampled_from(path, counter.model, group.target, world.negative, world.cfg, replay_sampler(path))
        return Made(edited, counter.evaluations)

    return row


_SEED = 4_000  # of the scenes that are reported; the settings were found on others
_DDIM = mdp.MDPSettings(schedule=PathSchedule(1.0, 0.0, weight=0.0), inversion=Euler(exact=False))
MAIN: dict[str, Row] = {
    "SDEdit, t0 0.8": sdedit_at(0.8),
    "DDIM inversion": manipulation(plain(_DDIM)),
    "MDP-\u03b5": manipulation(plain(mdp.MDPSettings(schedule=mdp.WHOLE["noise"]))),
    "FlowEdit": flowedit_with(FlowEdit()),
    "MDP Edit, recommended": manipulation(mdp.MDPSettings()),
}
"""The rows that are run on every scene."""
OTHERS: dict[str, Row] = {
    "autoencoder alone": autoencoder,
    "SDEdit, t0 0.6": sdedit_at(0.6),
    "SDEdit, t0 0.7": sdedit_at(0.7),
    "SDEdit, t0 0.9": sdedit_at(0.9),
    "MDP-x": manipulation(plain(mdp.MDPSettings("latent", mdp.WHOLE["latent"]))),
    "MDP-c": manipulation(plain(mdp.MDPSettings("conditioning", mdp.WHOLE["conditioning"]))),
    "MDP-\u03b2": manipulation(plain(mdp.MDPSettings("guidance", mdp.WHOLE["guidance"]))),
    "MDP attention": attention(PathSchedule(1.0, 0.4), PathSchedule(1.0, 0.6)),
    "MDP attention, tokens": attention_by_tokens(PathSchedule(1.0, 0.4)),
    "edit-friendly residuals": residuals(0.85, 17),
    "DirectEdit": manipulation(plain(replace(_DDIM, inversion=Euler()))),
    "Uni-Inv": manipulation(plain(replace(_DDIM, inversion=FixedPoint(iterations=1)))),
    "Uni-Edit": uni_edit,
    "recommended, Euler": manipulation(mdp.MDPSettings(inversion=Euler())),
    "recommended, by the negative prompt": manipulation(mdp.MDPSettings(guided_by="negative")),
    "FlowAlign": flowedit_with(FlowEdit(method=FlowAlign())),
    "InfEdit": flowedit_with(FlowEdit(1.0, 12, 1.0, 2.0, method=InfEdit())),
    "Uni-Edit's guidance": flowedit_with(FlowEdit(cfg=2.0, method=UniEdit())),
}
UNET_ONLY, TRANSFORMER_ONLY = ("MDP attention", "Uni-Edit"), ("MDP attention, tokens",)
COMPOSITED = ", composited"
"""Added to the name of a row that knows where it edited: the rest of the original laid over it by Composite Exact."""
_REAL, _SYNTHETIC = "real", "synthetic"


def work(scenes: int, others: int, synthetic: int, at_once: int) -> Iterator[tuple[str, str, int, tuple[str, ...]]]:
    """(world, kind, part, rows), parts of all kinds in turns, so that what is done is balanced at any time."""
    for part in range(-(-scenes // at_once)):
        rows = (*MAIN, *OTHERS) if part * at_once < others else tuple(MAIN)
        yield from ((_REAL, kind, part, rows) for kind in KINDS)
        if part * at_once < synthetic:
            yield from ((_SYNTHETIC, kind, part, tuple(MAIN)) for kind in KINDS)


def composited(group: Group, pictures: Tensor, made: Made) -> Tensor:
    """The edit laid over the original by Composite Exact, where the row knows where it edited."""
    if made.mask is None:
        return pictures
    return composite_exact(group.pictures, pictures, made.mask).image


def run_part(group: Group, world: str, kind: str, part: int, rows: tuple[str, ...], results: Results) -> None:
    """The rows of one part; those that use the source's path are charged for finding it."""
    begin = time.process_time()
    shares_path = {name for name in rows if "MDP" in name or name == "recommended, by the negative prompt"}
    if shares_path:
        _ = group.path
    finding = 0.0 if group.synthetic else time.process_time() - begin
    for name in rows if group.cases else ():
        begin = time.process_time()
        made = {**MAIN, **OTHERS}[name](group)
        seconds = time.process_time() - begin + (finding if name in shares_path else 0.0)
        pictures, labels = group.world.decoded(made.latents), (world, kind, name, part)
        figures = measure(group, pictures, labels, made.evaluations, seconds)
        if made.mask is not None:
            labels = (world, kind, name + COMPOSITED, part)
            figures += measure(group, composited(group, pictures, made), labels, made.evaluations, seconds)
        results.add(figures)


def contact_sheet(world: World, chosen: dict[str, list[Case]]) -> Tensor:
    """A row of pictures for each kind: the source and what the methods make of it. IMAGE [1, H, W, 3]."""
    shown, labels = [], []
    for kind in KINDS:
        group, case = Group(world, chosen[kind], _SEED), chosen[kind][0]
        shown.append(group.pictures)
        for row in MAIN.values():
            made = row(group)
            shown.append(composited(group, world.decoded(made.latents), made))
        labels.append(f"{getattr(case.scene, case.attribute)} to {getattr(case.target, case.attribute)}")
    return labelled_grid(torch.cat(shown), col_labels=["source", *MAIN], row_labels=labels)


def faster(model: Any) -> None:
    """Lets the network calculate in bfloat16, at 0.3 % of error; slower where the processor has to emulate it."""
    forward = model.model.diffusion_model.forward

    def quick(*args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(args[0].device.type, torch.bfloat16):
            return forward(*args, **kwargs).float()

    model.model.diffusion_model.forward = quick


@torch.inference_mode()
def main() -> None:
    given = parser(__doc__)
    given.add_argument("--scenes", type=int, default=100, help="edits of each kind for the main rows")
    given.add_argument("--others", type=int, default=20, help="edits of each kind for the other rows")
    given.add_argument("--synthetic", type=int, default=20, help="edits of each kind on generated pictures")
    given.add_argument("--at-once", type=int, default=10, help="pictures in one batch, and in one part of the work")
    given.add_argument("--out", type=Path, help="folder for the figures, by default one for each kind of model")
    given.add_argument("--seed", type=int, default=_SEED, help="of the scenes: another one to choose settings by")
    given.add_argument("--bfloat16", action="store_true", help="faster on processors that calculate in it")
    given.add_argument("--rows", nargs="+", metavar="ROW", help="run these rows only, by their names in the table")
    add_model(given)
    given.add_argument("--sheet", action="store_true", help="only make the contact sheet")
    options = given.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    torch.set_num_threads(1)
    world = World(MODELS[options.model], STYLES[options.style])
    out = options.out or OUTPUT / named_by_model("edits", options)
    if options.bfloat16:
        faster(world.model)
    if options.sheet:
        sheet = contact_sheet(world, {kind: cases(kind, 3, _SEED, world.style)[2:] for kind in KINDS})
        file = (PICTURES if is_usual(options) else out) / "edits.jpg"
        save_picture(sheet[0], file, 85)
        print(file)
        return
    unfit = UNET_ONLY if world.kind == TRANSFORMER else TRANSFORMER_ONLY
    worker = this_process()
    results = Results(out / "edits.csv", worker)
    all_cases = {kind: cases(kind, options.scenes, options.seed, world.style) for kind in KINDS}
    parts = list(work(options.scenes, options.others, options.synthetic, options.at_once))
    for kind_world, kind, part, rows in share(parts, worker):
        wanted = [name for name in rows if name not in unfit and (options.rows is None or name in options.rows)]
        missing = tuple(name for name in wanted if not results.has(kind_world, kind, name, part))
        if not missing:
            continue
        some = all_cases[kind][part * options.at_once : (part + 1) * options.at_once]
        group = Group(world, some, options.seed + part, kind_world == _SYNTHETIC)
        run_part(group, kind_world, kind, part, missing, results)
        print(f"{kind_world} {kind} {part}: done", flush=True)
    if is_one_of_many(worker):
        return
    print(machine())
    for name in (_REAL, _SYNTHETIC):
        rows = [each for row in (*MAIN, *OTHERS) for each in (row, row + COMPOSITED)]
        print(f"\n## {name}\n\n{table(results, name, rows, KINDS)}\n\n{kinds_table(results, name, rows, KINDS)}")


if __name__ == "__main__":
    main()
