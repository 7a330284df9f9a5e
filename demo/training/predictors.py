"""The map predictors of the embedded model: `./dev train-demo-predictor --map edges` trains one from scratch.

Training runs in rounds, each on freshly rendered scenes, and the file is written after each round. Finished rounds are
not repeated; delete the work folder to start over. The file of a run with shorter or fewer rounds, or of another
network, stays in the work folder unless --out says otherwise. With --as-node, one round is trained as Train Map
Predictor's defaults train it on a hundred pictures.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

import comfy.utils
import numpy as np
import torch

from ...images.tensors import from_uint8
from ...lep.checkpoint import load_predictor, save_predictor
from ...lep.dataset import Dataset, Wanted, gather
from ...lep.maps import EDGES
from ...lep.predictor import KINDS, MapPredictor
from ...lep.training import Plan, Progress, train_predictor
from ...lep.versions import VERSIONS
from ..model import FILM, NOISE, WEIGHTS
from ..model import KINDS as MODEL_KINDS
from ..render import render_with_maps
from ..scenes import caption, random_scene
from .style import PAINTED, STYLES, Style
from .transformer import TRANSFORMER, load_kind

WORK = Path(".dev/training")
PICTURES, SEED = 1600, 77
PLAN = Plan(
    network="unet", feature_set="all", steps=2000, batch=8, learning_rate=2e-3, reuse=3,
    validation=0.02, memory=1024**3,
)  # fmt: skip
SMALL = {"width": 16, "depth": 2}
NODE_PICTURES, NODE_SEED = 100, 5
MAPS: dict[str, tuple[int, str, dict[str, int]]] = {
    # rounds, what the renderer calls the map (edges are found in the pictures), and the size of the network
    EDGES: (7, "", {}),
    "depth": (1, "depth_map", SMALL),
    "segmentation": (1, "segments", SMALL),
}


def rendered_data(
    count: int, seed: int, map_kind: str = EDGES, model_kind: str = NOISE, versions: int = 1, style: Style = PAINTED
) -> Dataset:
    """Scenes with random captions, and maps of their pictures; every second one is mirrored."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(count)]
    pictures = [style.rendered(*scenes)]
    shown = MAPS[map_kind][1]
    if shown:
        pictures.append(torch.stack([from_uint8(getattr(render_with_maps(scene), shown)) for scene in scenes]))
    for each in pictures:
        each[::2] = each[::2].flip(2)
    model, clip, vae = load_kind(model_kind, style)
    texts = [clip.encode_from_tokens_scheduled(clip.tokenize(caption(scene, rng))) for scene in scenes]
    return gather(model, vae, [], pictures[:1], texts, pictures[1:], Wanted(map_kind, versions=versions))


def for_all_kinds(predictor: MapPredictor) -> MapPredictor:
    """Of the noise model, also for the flow, which shows the same network the same inputs: None fits any network and
    prediction.
    """
    return replace(predictor, model={**predictor.model, "network": None, "prediction": None})


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev train-demo-predictor", description=__doc__)
    parser.add_argument("--work", type=Path, help="folder for the rounds")
    parser.add_argument("--length", type=float, default=1.0, help="factor on pictures and steps of every round")
    parser.add_argument("--map", choices=list(MAPS), default=EDGES)
    parser.add_argument("--rounds", type=int, help="7 for edges, 1 for other maps")
    parser.add_argument("--network", choices=KINDS)
    kinds = [*(kind for kind in MODEL_KINDS if kind != FILM), TRANSFORMER]
    parser.add_argument("--model", choices=kinds, default=NOISE, help="kind of the landscape model to read")
    parser.add_argument("--style", choices=list(STYLES), default="painted", help="the world to train on; edges only")
    parser.add_argument("--as-node", action="store_true", help="Train Map Predictor's defaults, on 100 landscapes")
    parser.add_argument("--threads", type=int, help="CPU threads; one is often fastest on a shared machine")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    style = STYLES[options.style]
    if options.map != EDGES and style is not PAINTED:
        parser.error(f"maps of {options.map} are known of the painted world only: choose --style painted")
    rounds = MAPS[options.map][0]
    if options.as_node:
        options.rounds = 1
    elif options.rounds is None:
        options.rounds = rounds
    if options.network is None:
        options.network = (Plan if options.as_node else PLAN).network
    whole = options.network == PLAN.network and options.length >= 1 and options.rounds >= rounds
    whole = whole and options.model == NOISE and style is PAINTED and not options.as_node
    if options.work is None:
        part = "as-node" if options.as_node else f"{options.length:g}" if options.length != 1 else ""
        world = WORK if style is PAINTED else WORK / options.style
        options.work = world / options.map / part / ("" if options.model == NOISE else options.model.replace(" ", "-"))
    if options.out is None:
        work_file = options.work / f"{options.network}.safetensors"
        options.out = WEIGHTS.parent / f"{options.map}.safetensors" if whole else work_file
    if options.threads:
        torch.set_num_threads(options.threads)
    comfy.utils.PROGRESS_BAR_ENABLED = False
    options.work.mkdir(parents=True, exist_ok=True)
    for number in range(options.rounds):
        file = options.work / f"{options.network}-{number}.safetensors"
        if not file.exists():
            _train_round(options, number, file)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB", flush=True)


def _round_of(options: argparse.Namespace, number: int) -> tuple[int, int, Plan]:
    """The pictures of a round, their seed, and how to train on them."""
    if options.as_node:
        return NODE_PICTURES, NODE_SEED, Plan(network=options.network)
    # Later rounds refine the existing weights, so their peak learning rate is lower.
    rate = PLAN.learning_rate * 0.8**number
    steps = max(1, round(PLAN.steps * options.length))
    plan = replace(
        PLAN, network=options.network, steps=steps, learning_rate=rate, seed=SEED + number,
        settings=MAPS[options.map][2],
    )  # fmt: skip
    return max(8, round(PICTURES * options.length)), SEED + number, plan


@torch.inference_mode()
def _train_round(options: argparse.Namespace, number: int, file: Path) -> None:
    begin = time.time()
    count, seed, plan = _round_of(options, number)
    style, versions = STYLES[options.style], VERSIONS if options.as_node else 1
    data = rendered_data(count, seed, options.map, options.model, versions, style)
    print(f"round {number}: {count} scenes, {time.time() - begin:.0f} s", flush=True)
    start = load_predictor(options.work / f"{options.network}-{number - 1}.safetensors") if number else None

    def listen(progress: Progress) -> None:
        if progress.seen is not None:
            seconds = time.time() - begin
            line = f"{progress.step}/{progress.steps}: loss {progress.loss:.4f}, held back {progress.validation:.4f}"
            print(f"{line}, {seconds:.0f} s", flush=True)

    model = load_kind(options.model, style)[0]
    trained = train_predictor(model, data.examples, data.planned(plan), start, listen)
    own = options.model == TRANSFORMER
    save_predictor(trained.predictor if own else for_all_kinds(trained.predictor), file)


if __name__ == "__main__":
    main()
