"""The whole recipe: `./dev train-demo-model` trains the weight files of the embedded world from scratch.

Every stage resumes where it stopped and is skipped when it is finished; delete the work folder to start over. A run
that is shorter than the recipe uses its own folder, and its weights stay there unless --out says otherwise.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...images.plot import Axis, Series, line_plot
from .. import model
from ..autoencoder import LandscapeAutoencoder
from .attributes import accuracy, train_attributes
from .autoencoder import evaluate as evaluate_autoencoder
from .autoencoder import train_faithful
from .common import Budget, device, save_atomic
from .data import render_store
from .diffusion import train_diffusion
from .few_steps import pack_few_steps, train_few_steps
from .latents import LatentData, make_shard
from .pack import pack_attributes, pack_model, read_autoencoder
from .style import PAINTED, STYLES, Style
from .texture import train_texture

BUDGETS = {
    "attributes": Budget(steps=1200, batch=32, lr=2e-3),
    "autoencoder": Budget(steps=4000, batch=16, lr=1.5e-3),
    "texture": Budget(steps=2500, batch=12, lr=4e-4, warmup=50),
    "diffusion": Budget(steps=4200, batch=24, lr=1e-3),
    "few_steps": Budget(steps=260, batch=8, lr=2e-3, warmup=10),
}
TRAJECTORIES = 4  # shards of the teacher's runs for the distillation to few steps
WORK = Path(".dev/training")


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev train-demo-model", description=__doc__)
    parser.add_argument("--work", type=Path, help="folder for pictures and checkpoints")
    parser.add_argument("--style", choices=list(STYLES), default="painted", help="how the world is drawn")
    parser.add_argument("--length", type=float, help="factor on the steps of every stage")
    parser.add_argument("--pictures", type=int, help="rendered pictures for the autoencoder")
    parser.add_argument("--shards", type=int, help="shards of 4096 latents for the diffusion model")
    parser.add_argument(
        "--threads", type=int, default=None, help="CPU threads; one is often fastest on a shared machine"
    )
    parser.add_argument("--out", type=Path, help="folder for the weight files")
    parser.add_argument(
        "--judge", action="store_true", help="only evaluate the existing weights: figures and a contact sheet"
    )
    parser.add_argument("--count", type=int, default=200, help="pictures to judge of each kind of model")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    style = STYLES[options.style]
    for name, usual in zip(("length", "pictures", "shards"), style.recipe, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, usual)
    recipe = (options.length, options.pictures, options.shards)
    if options.work is None:
        folder = WORK if style is PAINTED else WORK / options.style
        options.work = folder if recipe == style.recipe else folder / "-".join(f"{value:g}" for value in recipe)
    if options.out is None:
        whole = options.judge or all(value >= least for value, least in zip(recipe, style.recipe, strict=True))
        options.out = style.weights if whole else options.work
    style = replace(style, weights=options.out)
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    if options.judge:
        _judge(options.work, style, options.count)
        return
    _train(options, style)


def _train(options: argparse.Namespace, style: Style) -> None:
    budgets = {name: replace(b, steps=max(1, int(b.steps * options.length))) for name, b in BUDGETS.items()}
    print(f"Training on {device()}, work folder {options.work}", flush=True)

    pictures, rows = render_store(options.work, style, options.pictures, style.seed, flat_every=8)
    held_out, held_rows = render_store(options.work, style, min(1000, options.pictures), style.seed + 1)

    reader = train_attributes(options.work, pictures, rows, budgets["attributes"], style.seed)
    figures = {"attributes": accuracy(reader, held_out, held_rows)}
    print(f"attribute classifier: {figures['attributes']}", flush=True)
    record = {"budget": vars(budgets["attributes"]), **figures}
    pack_attributes(reader.cpu(), record, style.attributes)

    autoencoder = _autoencoder(options.work, style, pictures, held_out, budgets)
    figures["autoencoder"] = evaluate_autoencoder(autoencoder, held_out[:256])
    print(f"autoencoder: {figures['autoencoder']}", flush=True)

    for index in range(options.shards):
        make_shard(options.work, style, autoencoder, index, style.seed + 2)
    data = LatentData(options.work, style.seed + 2)
    diffusion = train_diffusion(options.work, data, budgets["diffusion"], style.seed, style.unet)

    record = {"budgets": {name: vars(b) for name, b in budgets.items()}, "shards": options.shards, **figures}
    size = pack_model(autoencoder.cpu(), diffusion.cpu(), held_out[:64], record, style)
    print(f"wrote {style.model}, {size / 1e6:.2f} MB", flush=True)
    _few_steps(options, style, budgets["few_steps"])
    _draw_losses(options.work)
    _judge(options.work, style, options.count)


def _autoencoder(
    work: Path, style: Style, pictures: np.ndarray, held_out: np.ndarray, budgets: dict[str, Budget]
) -> LandscapeAutoencoder:
    """Both stages. The latent statistics are measured between them and kept in a separate file."""
    if style.autoencoder is not None:
        return read_autoencoder(style.autoencoder).to(device())
    path = work / "faithful.pt"
    if path.exists():
        module = LandscapeAutoencoder().to(device())
        module.load_state_dict(torch.load(path, weights_only=True, map_location=device(), mmap=False))
    else:
        module = train_faithful(work, pictures, held_out, budgets["autoencoder"], style.seed)
        save_atomic(module.state_dict(), path)
    return train_texture(work, module, pictures, held_out, budgets["texture"], style.seed)


def _few_steps(options: argparse.Namespace, style: Style, budget: Budget) -> None:
    """Distils the packed model and writes the LoRA beside it."""
    shards = max(1, round(TRAJECTORIES * options.length))
    changes = train_few_steps(options.work, style.model, shards, budget, style.seed)
    size = pack_few_steps(changes, {"budget": vars(budget), "shards": shards}, style.few_steps)
    print(f"wrote {style.few_steps}, {size / 1e6:.2f} MB", flush=True)


def _draw_losses(work: Path) -> None:
    """Loss curves of all stages that have run, as `losses.png`: loss on a log axis over the progress of the stage."""
    series = []
    for name in BUDGETS:
        log = work / f"{name}.csv"
        if log.exists():
            rows = np.genfromtxt(log, delimiter=",", skip_header=1, ndmin=2)
            if rows.shape[1] < 3:  # too short a stage to have logged anything
                continue
            steps, losses = rows[:, 0], rows[:, 2]
            x, y = (steps / steps[-1]).tolist(), np.log10(losses / losses[0]).tolist()
            series.append(Series(name, x, y, style="line"))
    if series:
        plot = line_plot(series, Axis("share of the stage"), Axis("log10 of the loss relative to its start"))
        Image.fromarray((plot[0] * 255).byte().numpy()).save(work / "losses.png")


def _judge(work: Path, style: Style, count: int) -> None:
    """Figures and contact sheets of what was packed, made through ComfyUI and read by the pack's own classifier."""
    from .evaluate import evaluate, sheet

    found = {}
    distilled = style.few_steps.exists()
    for kind, name in ((model.NOISE, "sheet.png"), (model.FEW_STEPS, "sheet-few-steps.png"))[: 1 + distilled]:
        found[kind], made, _ = evaluate(style, count, kind=kind)
        Image.fromarray(sheet(made[:40])).save(work / name)
        print(f"generated, {kind}: {found[kind]}", flush=True)
    (work / "figures.json").write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
