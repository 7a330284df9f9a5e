"""The command line of folders, once ComfyUI may be loaded."""

from __future__ import annotations

import argparse
from pathlib import Path

import comfy.sd
import torch

from ..common.processes import Process, share
from ..demo.model import load_demo_model
from . import CAPTION, DEMO
from .settings import settings_of
from .work import NODES, Models, Outcome, Task, jobs_of, run


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
