"""Edits by prompt, method by method, on the embedded world: `./dev bench edits`.

Landscapes that the model never saw are edited in one attribute (time of day, season, snow on the peak, the colour of
the house, a lake, house or trees added or removed, mountains to hills). A judge reads the attributes of the result; the
structure distance is 1 - correlation of blurred edge maps; the background is where the renders before and after the
edit are alike. Synthetic pictures are made by the model itself from the source prompt. Each part of the work is written
to the folder `--out` when it is done, and not done again when the command is given again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.utils
import torch
from PIL import Image
from torch import Tensor

from ..images.composite import composite_exact
from ..images.grid import labelled_grid
from ..samplers.flowedit import FlowEditSettings as FlowEdit
from ..samplers.mdp import edit as mdp
from ..samplers.schedule import PathSchedule
from .common import machine
from .editing.cases import KINDS, Case, Group, World, cases
from .editing.figures import Results, kinds_table, measure, table
from .editing.rows import (
    Row,
    attention,
    autoencoder,
    flowedit_with,
    manipulation,
    plain,
    residuals,
    sdedit_at,
)

ROOT = Path(__file__).resolve().parents[1]
_SEED = 4_000  # of the scenes; the settings were found on others
_DDIM = mdp.MDPSettings(schedule=PathSchedule(1.0, 0.0, weight=0.0))
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
    "edit-friendly residuals": residuals(0.85, 17),
}
SYNTHETIC = ("SDEdit, t0 0.8", "DDIM inversion", "MDP-\u03b5", "FlowEdit", "MDP Edit, recommended")
COMPOSITED = ", composited"
"""Added to the name of a row that knows where it edited: the rest of the original laid over it by Composite Exact."""
_REAL, _SYNTHETIC = "real", "synthetic"


def work(scenes: int, others: int, synthetic: int, at_once: int) -> Iterator[tuple[str, str, int, tuple[str, ...]]]:
    """(world, kind, part, rows), parts of all kinds in turns, so that what is done is balanced at any time."""
    for part in range(-(-scenes // at_once)):
        rows = (*MAIN, *OTHERS) if part * at_once < others else tuple(MAIN)
        yield from ((_REAL, kind, part, rows) for kind in KINDS)
        if part * at_once < synthetic:
            yield from ((_SYNTHETIC, kind, part, SYNTHETIC) for kind in KINDS)


def run_part(group: Group, world: str, kind: str, part: int, rows: tuple[str, ...], results: Results) -> None:
    """The rows of one part; those that use the source's path are charged for finding it."""
    all_rows = {**MAIN, **OTHERS}
    begin = time.process_time()
    shares_path = {name for name in rows if "MDP" in name or name.startswith("DDIM")}
    if any(not results.has(world, kind, name, part) for name in shares_path):
        _ = group.path
    finding = 0.0 if group.synthetic else time.process_time() - begin
    for name in rows:
        if results.has(world, kind, name, part) or not group.cases:
            continue
        begin = time.process_time()
        made = all_rows[name](group)
        seconds = time.process_time() - begin + (finding if name in shares_path else 0.0)
        pictures = group.world.vae.decode(made.latents)
        figures = measure(group, pictures, (world, kind, name, part), made.evaluations, seconds)
        if made.mask is not None:
            pictures = composite_exact(group.pictures, pictures, made.mask, border=0).image
            label = name + COMPOSITED
            figures += measure(group, pictures, (world, kind, label, part), made.evaluations, seconds)
        results.add(figures)


def contact_sheet(world: World, chosen: dict[str, list[Case]]) -> Tensor:
    """A row of pictures for each kind: the source and what the methods make of it. IMAGE [1, H, W, 3]."""
    shown, labels = [], []
    for kind in KINDS:
        group = Group(world, chosen[kind], _SEED)
        shown.append(group.pictures[:1])
        for row in MAIN.values():
            made = row(group)
            picture = world.vae.decode(made.latents[:1])
            if made.mask is not None:
                picture = composite_exact(group.pictures[:1], picture, made.mask[:1], border=0).image
            shown.append(picture)
        case = chosen[kind][0]
        labels.append(f"{getattr(case.scene, case.attribute)} to {getattr(case.target, case.attribute)}")
    return labelled_grid(torch.cat(shown), col_labels=["source", *MAIN], row_labels=labels)


def faster(model: Any) -> None:
    """Lets the network calculate in bfloat16 where it is slow, about twice as fast here at 0.3 % of error."""
    forward = model.model.diffusion_model.forward

    def quick(*args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(args[0].device.type, torch.bfloat16):
            return forward(*args, **kwargs).float()

    model.model.diffusion_model.forward = quick


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=100, help="edits of each kind for the main rows")
    parser.add_argument("--others", type=int, default=20, help="edits of each kind for the other rows")
    parser.add_argument("--synthetic", type=int, default=20, help="edits of each kind on generated pictures")
    parser.add_argument("--at-once", type=int, default=10, help="pictures in one batch, and in one part of the work")
    parser.add_argument("--out", type=Path, default=ROOT / "output" / "edits")
    parser.add_argument("--full-precision", action="store_true", help="float32 instead of bfloat16 in the network")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="run these rows only, by their names in the table")
    parser.add_argument("--sheet", action="store_true", help="only make the contact sheet in docs/images")
    options = parser.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    torch.set_num_threads(1)
    world = World()
    if not options.full_precision:
        faster(world.model)
    if options.sheet:
        sheet = contact_sheet(world, {kind: cases(kind, 3, _SEED)[2:] for kind in KINDS})
        path = ROOT / "docs" / "images" / "edits.jpg"
        Image.fromarray((sheet[0] * 255).round().byte().numpy()).save(path, quality=85)
        print(path)
        return
    results = Results(options.out / "edits.csv")
    all_cases = {kind: cases(kind, options.scenes, _SEED) for kind in KINDS}
    for kind_world, kind, part, rows in work(options.scenes, options.others, options.synthetic, options.at_once):
        wanted = [name for name in rows if options.rows is None or name in options.rows]
        missing = tuple(name for name in wanted if not results.has(kind_world, kind, name, part))
        if not missing:
            continue
        some = all_cases[kind][part * options.at_once : (part + 1) * options.at_once]
        group = Group(world, some, _SEED + part, kind_world == _SYNTHETIC)
        run_part(group, kind_world, kind, part, missing, results)
        print(f"{kind_world} {kind} {part}: done", flush=True)
    print(machine())
    for name in (_REAL, _SYNTHETIC):
        rows = [each for row in (*MAIN, *OTHERS) for each in (row, row + COMPOSITED)]
        print(f"\n## {name}\n\n{table(results, name, rows, KINDS)}\n\n{kinds_table(results, name, rows, KINDS)}")


if __name__ == "__main__":
    main()
