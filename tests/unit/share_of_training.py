"""One process of a shared training: `python devtools/inprocess.py tests.unit.share_of_training FOLDER OUT`.

What `lep.train_folder` does after it has read a checkpoint, with the embedded model in its place.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from diffusion_path.demo.model import load_demo_model
from diffusion_path.lep import train_folder
from diffusion_path.lep.checkpoint import save_predictor
from diffusion_path.lep.training import Plan

PLAN = Plan(kind="mlp", feature_set="decoder", steps=6, batch=4, reuse=2)


def main(pictures: Path, out: Path) -> Any:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    crew = train_folder.workers()
    with torch.inference_mode():
        model, clip, vae = load_demo_model()
        folder = train_folder.read_folder(pictures, None, 64)
        trained = train_folder.train_folder(model, clip, vae, folder, PLAN, crew, None)
    if crew.rank == 0:
        save_predictor(trained.predictor, out)
    if crew.world > 1:
        torch.distributed.destroy_process_group()
    torch.use_deterministic_algorithms(False)
    return trained


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
