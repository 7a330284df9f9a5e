"""Trains a map predictor over a folder of pictures, on one machine or many, from ComfyUI's folder:

    python -m custom_nodes.ComfyUI-DiffusionPath.lep.train_folder CHECKPOINT PICTURES OUT.safetensors
    torchrun --nproc-per-node 8 -m custom_nodes.ComfyUI-DiffusionPath.lep.train_folder ...

A picture's caption is in a .txt file of its name, its map in the folder --maps under its name (edges need none). All
pictures are cut and scaled to --size. The file is the one that Save Map Predictor writes.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd
import torch
from torch import Tensor

from ..common.processes import this_process
from ..images.files import picture_files, read_caption, read_square, some_picture_files
from .checkpoint import load_predictor, save_predictor
from .dataset import Wanted, captioned, gather
from .families import FEATURE_SETS
from .maps import EDGES, MAPS
from .predictor import KINDS
from .training import Plan, Progress, train_predictor
from .versions import VERSIONS
from .workers import ALONE, Workers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folder:
    """The pictures [N, H, W, 3] of a folder, their captions, and their maps where there are any."""

    pictures: Tensor
    captions: list[str]
    maps: Tensor | None


def read_folder(folder: Path, maps: Path | None, size: int) -> Folder:
    """Read all pictures of a folder, cut to `size` pixels square. Only regular files count.

    Raises ValueError, naming the file, where one cannot be read or lacks its map.
    """
    files = some_picture_files(folder)
    drawn = {file.stem: file for file in picture_files(maps)} if maps is not None else {}
    read: list[Tensor] = []
    for path in files if maps is not None else []:
        if path.stem not in drawn:
            raise ValueError(f"{path.name} has no map in {maps}: add one of its name, or leave --maps out.")
        read.append(read_square(drawn[path.stem], size))
    return Folder(
        torch.stack([read_square(path, size) for path in files]),
        [read_caption(path.with_suffix(".txt")) for path in files],
        torch.stack(read) if read else None,
    )


def workers() -> Workers:
    """This process among those that torchrun started; alone without it."""
    rank, world = this_process()
    if world == 1:
        return ALONE
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return Workers(rank, world, share)


def share(module: torch.nn.Module) -> torch.nn.Module:
    """Average the module's gradients over all processes."""
    return torch.nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


def train_folder(
    model: Any, clip: Any, vae: Any, folder: Folder, plan: Plan, crew: Workers, start: Path | None, versions: int = 1
) -> Any:
    """Encode the pictures and train; every process works on its share of each batch."""
    if clip is None or vae is None:
        raise ValueError("The checkpoint has no CLIP or no VAE: give one that holds model, CLIP and VAE.")
    texts = [captioned(clip, caption, 1)[0] for caption in folder.captions]
    begun = load_predictor(start) if start else None
    wanted = Wanted(begun.map, palette=begun.palette) if begun else Wanted(plan.map)
    wanted = replace(wanted, versions=versions, seed=plan.seed)
    data = gather(model, vae, [], [folder.pictures], texts, [] if folder.maps is None else [folder.maps], wanted)

    def listen(progress: Progress) -> None:
        if crew.rank == 0 and progress.seen is not None:
            log.info("step %d: loss %.4g, held back %.4g", progress.step, progress.loss, progress.validation)

    return train_predictor(model, data.examples, data.planned(plan), begun, listen, crew)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a checkpoint that holds model, CLIP and VAE")
    parser.add_argument("pictures", type=Path, help="folder of pictures and captions")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--map", choices=list(MAPS), default=EDGES, help="what to predict")
    parser.add_argument("--maps", type=Path, help="folder of maps; without it Canny edges are made")
    parser.add_argument("--size", type=int, default=512, help="side of the pictures in pixels")
    parser.add_argument("--start", type=Path, help="a predictor to train further")
    parser.add_argument("--network", choices=KINDS, default=Plan.network)
    parser.add_argument("--features", choices=FEATURE_SETS, default=Plan.feature_set)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16, help="of all processes together")
    parser.add_argument("--learning-rate", type=float, default=Plan.learning_rate)
    parser.add_argument("--versions", type=int, default=VERSIONS, help="of each picture: enlarged parts, mirrored")
    parser.add_argument("--reuse", type=int, default=Plan.reuse)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO)
    options = parse(arguments)
    try:
        run(options)
    except ValueError as error:
        raise SystemExit(str(error)) from error


def run(options: argparse.Namespace) -> None:
    """Train as the command line says. Raises ValueError, in one sentence, for files that cannot be used."""
    if not options.checkpoint.is_file():
        raise ValueError(f"There is no checkpoint {options.checkpoint}: give a file that holds model, CLIP and VAE.")
    folder = read_folder(options.pictures, options.maps, options.size)
    crew = workers()
    plan = Plan(
        network=options.network, map=options.map, feature_set=options.features, steps=options.steps,
        batch=options.batch, learning_rate=options.learning_rate, reuse=options.reuse, seed=options.seed,
    )  # fmt: skip
    with torch.inference_mode():
        model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(options.checkpoint))
        trained = train_folder(model, clip, vae, folder, plan, crew, options.start, options.versions)
    if crew.rank == 0:
        save_predictor(trained.predictor, options.out)
        log.info("%s: %s", options.out, trained.predictor.record)
    if crew.world > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
