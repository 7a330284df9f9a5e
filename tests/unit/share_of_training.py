"""One process of a shared training: `python devtools/inprocess.py tests.unit.share_of_training FOLDER OUT`.

What `lep.train_folder` does after it has read a checkpoint, with the embedded model in its place. Model and predictor
compute in float64, so that the result does not depend on the order in which a processor adds.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion_path.demo import model as demo
from diffusion_path.lep import folder_training, training
from diffusion_path.lep.checkpoint import save_predictor
from diffusion_path.lep.predictor import build_network
from diffusion_path.lep.training import Plan

PLAN = Plan(network="mlp", feature_set="decoder", steps=6, batch=4, reuse=2)


def main(pictures: Path, out: Path) -> Any:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    crew = folder_training.workers()
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "build_base_model", partial(demo.build_base_model, torch.float64))
        patch.setattr(training, "build_network", lambda *given, **named: build_network(*given, **named).double())
        model, clip, vae = demo.load_demo_model()
        folder = folder_training.read_folder(pictures, None, 64)
        trained = folder_training.train_folder(model, clip, vae, folder, PLAN, crew, None)
    if crew.rank == 0:
        save_predictor(trained.predictor, out)
    if crew.world > 1:
        torch.distributed.destroy_process_group()
    torch.use_deterministic_algorithms(False)
    return trained


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
