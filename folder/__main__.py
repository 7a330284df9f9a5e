"""Inverts or edits all pictures of a folder, on one machine or many, from ComfyUI's folder:

    python -m custom_nodes.ComfyUI-DiffusionPath.folder sdedit CHECKPOINT IN OUT --set t0=0.4
    torchrun --nproc-per-node 8 -m custom_nodes.ComfyUI-DiffusionPath.folder edit CHECKPOINT IN OUT --prompt "..."

invert writes the path of each picture (Invert Picture to Path), edit its MDP Edit, sdedit its SDEdit. A picture's
caption is in a .txt file of its name. What exists in OUT is skipped, so that the same command goes on with a run that
was ended; each process takes every N-th picture. A picture that cannot be used is left out and named at the end.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import comfy.model_management
import comfy.sd
import torch

from ..common.processes import Process, this_process
from ..demo.model import load_demo_model
from .settings import settings_of
from .work import CAPTION, NODES, Models, Outcome, Task, jobs_of, run, share

DEMO = "demo"
log = logging.getLogger(__name__)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(NODES))
    parser.add_argument("checkpoint", help=f"a checkpoint that holds model, CLIP and VAE; {DEMO}: the embedded model")
    parser.add_argument("pictures", metavar="IN", type=Path, help="folder of pictures and captions")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the results")
    parser.add_argument(
        "--prompt", help=f"the target prompt; {CAPTION} in it is the picture's caption, which is also the default"
    )
    parser.add_argument("--targets", type=Path, help="folder of .txt files with a target prompt for each picture")
    parser.add_argument("--negative", default="", help="the negative prompt")
    parser.add_argument("--masks", type=Path, help="folder of masks with the names of the pictures; white = edit")
    parser.add_argument("--size", type=int, help="scale the longer side of each picture to this number of pixels")
    parser.add_argument("--settings", type=Path, help="workflow saved with File > Export (API): settings of its node")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the node")
    return parser.parse_args(arguments)


def task_of(options: argparse.Namespace) -> Task:
    """What the command line asks for. Raises ValueError, in one sentence, for what cannot be done."""
    if options.prompt is not None and options.targets is not None:
        raise ValueError("Both --prompt and --targets are given: choose one.")
    if options.kind == "edit" and options.prompt is None and options.targets is None:
        raise ValueError("An edit needs a target prompt: give --prompt, or a folder of them with --targets.")
    if options.kind == "invert" and options.masks is not None:
        raise ValueError("The path of a picture has no mask: leave --masks out, and use masks with edit or sdedit.")
    for folder in (options.masks, options.targets):
        if folder is not None and not folder.is_dir():
            raise ValueError(f"There is no folder {folder}: give one that exists, or leave it out.")
    if options.size is not None and options.size < 1:
        raise ValueError(f"The size is {options.size}: give the longer side of the pictures in pixels.")
    settings = settings_of(NODES[options.kind], options.settings, options.set)
    prompt = CAPTION if options.prompt is None else options.prompt
    return Task(options.kind, settings, prompt, options.negative, options.targets, options.masks, options.size)


def load(checkpoint: str) -> Models:
    if checkpoint == DEMO:
        return Models(*load_demo_model())
    if not Path(checkpoint).is_file():
        raise ValueError(f"There is no checkpoint {checkpoint}: give a file that holds model, CLIP and VAE.")
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(checkpoint)
    if clip is None or vae is None:
        raise ValueError("The checkpoint has no CLIP or no VAE: give one that holds model, CLIP and VAE.")
    return Models(model, clip, vae)


def work(options: argparse.Namespace, process: Process) -> Outcome:
    """Do this process's share of what the command line says."""
    task = task_of(options)
    jobs = share(jobs_of(task, options.pictures, options.out), process)
    with torch.inference_mode():
        return run(task, lambda: load(options.checkpoint), jobs)


def main(arguments: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO)
    process = this_process()
    try:
        outcome = work(parse(arguments), process)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    shown = f"process {process.rank + 1} of {process.world}: " if process.world > 1 else ""
    log.info("%s%d done, %d skipped, %d left out", shown, outcome.done, outcome.skipped, len(outcome.failed))
    for sentence in outcome.failed:
        log.warning("left out: %s", sentence)
    if outcome.failed and process.world == 1:  # of many, torchrun would end those that still work
        raise SystemExit(1)


if __name__ == "__main__":
    main()
