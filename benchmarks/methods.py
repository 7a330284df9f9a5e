"""Every method on a model of real size, against plain sampling: `./dev bench methods --size sdxl --side 128`.

Seconds and peak memory of 20 steps at cfg 7, on a U-Net of Stable Diffusion 1.5's or SDXL's size with random weights.
The peak is what a short run takes from the card in all, the model's weights among it. With --card the rest of the card
is filled up beforehand, so that what runs there runs on a card of that size, with ComfyUI's offloading at work. Set
COMFYUI_ARGUMENTS to nothing for ComfyUI's defaults: weights are then loaded by dynamic VRAM.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.model_management
import comfy.sd1_clip
import comfy.utils
import torch
from comfy_extras import nodes_custom_sampler as core
from torch import Tensor

from ..devtools.direct import call
from ..lep.guidance import Guidance, guide
from ..lep.training import Example, Plan, train_predictor
from ..samplers.schedule import PathSchedule
from .common import machine
from .memory import highest
from .random_models import SIZES, random_model, random_predictor, random_text

_GIB = 2**30
_STEPS, _WARM_UP, _CFG, _SEED = 20, 3, 7.0, 1
_PLAIN = "plain sampling"


class Clip:
    """CLIP's own tokenizer with random embeddings."""

    def __init__(self, width: int) -> None:
        self.width, self.tokenizer = width, comfy.sd1_clip.SD1Tokenizer()
        self.tokenize = self.tokenizer.tokenize_with_weights

    def encode_from_tokens_scheduled(self, tokens: dict[str, list[list[tuple[int, float]]]]) -> list[list[Any]]:
        return [[torch.randn(1, len(tokens["l"][0]), self.width), {}]]


class World:
    """A model, prompts, a picture's latent and a path, and what each method makes of them."""

    def __init__(self, size: str, side: int, dtype: torch.dtype) -> None:
        self.model, self.clip = random_model(size, dtype), Clip(SIZES[size][0]["context_dim"])
        self.positive, self.source, self.negative = (random_text(size) for _ in range(3))
        self.latent = {"samples": torch.randn(1, 4, side, side)}
        self.mask = (torch.arange(8 * side) < 4 * side).float().expand(1, 8 * side, 8 * side).contiguous()
        self.target = torch.randn(1, 4, side, side)
        self.predictor = random_predictor(self.model)
        self.steps = _STEPS
        self.paths: dict[int, Any] = {}

    @property
    def sigmas(self) -> Tensor:
        return core.BasicScheduler.execute(self.model, "normal", self.steps, 1.0).args[0]

    @property
    def path(self) -> Any:
        return self.paths[self.steps]

    def common(self) -> dict[str, Any]:
        return {"model": self.model, "positive": self.positive, "negative": self.negative}

    def parts(self, model: Any) -> dict[str, Any]:
        """The inputs of SamplerCustomAdvanced."""
        guider = core.CFGGuider.execute(model, self.positive, self.negative, _CFG).args[0]
        euler = core.KSamplerSelect.execute("euler").args[0]
        noise = core.RandomNoise.execute(_SEED).args[0]
        given = {"noise": noise, "guider": guider, "sampler": euler, "sigmas": self.sigmas}
        return {**given, "latent_image": {"samples": torch.zeros_like(self.latent["samples"])}}

    def sampled(self, model: Any = None) -> Tensor:
        return core.SamplerCustomAdvanced.execute(**self.parts(model or self.model)).args[0]["samples"]

    def sdedit(self, **changes: Any) -> Tensor:
        given = {"guide": self.latent, "seed": _SEED, "steps": self.steps, "cfg": _CFG, **changes}
        return call("DPathSDEdit", **self.common(), **given)[0]["samples"]

    def recorded(self) -> Tensor:
        self.paths[self.steps], made = call("DPathRecord", **self.parts(self.model))
        return made["samples"]

    def inverted(self, method: str, cfg: float, **settings: Any) -> Tensor:
        given = {"latent": self.latent, "seed": _SEED, "steps": self.steps, "cfg": cfg}
        chosen = {"method": method, **settings}
        return call("DPathInvert", **{**self.common(), "positive": self.source}, **given, method=chosen)[0].states

    def replayed(self) -> Tensor:
        return call("DPathReconstruct", **self.common(), path=self.path, cfg=_CFG)[0]["samples"]

    def manipulated(self, kind: str, needs: str) -> Tensor:
        given = {"model": self.model, "kind": kind, "source": getattr(self, needs)}
        return self.sampled(call("DPathMDP", **given, schedule=PathSchedule(1.0, 0.5))[0])

    def attention(self) -> Tensor:
        texts = {"source_prompt": "a red house in summer", "target_prompt": "a red house in winter"}
        given = {"model": self.model, "clip": self.clip, "path": self.path, "schedule": PathSchedule(1.0, 0.5)}
        return self.sampled(call("DPathMDPAttention", **given, **texts, mode="replace")[0])

    def edited(self) -> Tensor:
        given = {"source": self.source, "latent": self.latent, "seed": _SEED, "steps": self.steps, "cfg": _CFG}
        return call("DPathMDPEdit", **self.common(), **given)[0]["samples"]

    def flowedit(self) -> Tensor:
        given = {"source": self.source, "latent": self.latent, "seed": _SEED, "steps": max(2, round(0.85 * self.steps))}
        return call("DPathFlowEdit", **self.common(), **given)[0]["samples"]

    def guided(self, checkpointed: bool) -> Tensor:
        sketch = Guidance(self.predictor, lambda *_: (self.target, None), end=0.2, checkpointed=checkpointed)
        return self.sampled(guide(self.model, sketch))

    def trained(self) -> Any:
        with torch.inference_mode(False):
            items = (self.latent["samples"].clone(), self.target.clone(), self.source)
            examples = [Example(*items) for _ in range(5)]
        return train_predictor(self.model, examples, Plan(steps=8, batch=4, validation=0.01))


def methods(w: World) -> dict[str, Callable[[], Any]]:
    """What is measured, by its name in the table."""
    masked = {**w.latent, "noise_mask": w.mask[None]}
    return {
        _PLAIN: w.sampled,
        "SDEdit, t0 0.5": w.sdedit,
        "SDEdit, masked": partial(w.sdedit, guide=masked, mask_mode="threshold"),
        "Record Path": w.recorded,
        "Reconstruct From Path": w.replayed,
        "Invert: euler, cfg 1": partial(w.inverted, "euler", 1.0, noise_label="destination"),
        "Invert: fixed point, cfg 1": partial(w.inverted, "fixed point", 1.0, iterations=5, tolerance=1e-4),
        "Invert: residual": partial(w.inverted, "residual", _CFG, eta=1.0),
        "Invert: negative prompt": partial(w.inverted, "negative prompt", _CFG),
        "Invert: null text, 2 updates": partial(
            w.inverted, "null text", _CFG, iterations=2, stop=1e-5, save_memory=False
        ),
        "Invert: null text, save memory": partial(
            w.inverted, "null text", _CFG, iterations=2, stop=1e-5, save_memory=True
        ),
        "Invert: controlled": partial(
            w.inverted, "controlled", _CFG, gamma=0.5, pull=0.9, stop_at=0.25, trend="constant"
        ),
        "MDP noise": partial(w.manipulated, "noise", "path"),
        "MDP latent": partial(w.manipulated, "latent", "path"),
        "MDP conditioning": partial(w.manipulated, "conditioning", "source"),
        "MDP guidance": partial(w.manipulated, "guidance", "source"),
        "MDP attention": w.attention,
        "MDP Edit": w.edited,
        "FlowEdit": w.flowedit,
        "Sketch Guidance, fast": partial(w.guided, False),
        "Sketch Guidance, checkpointed": partial(w.guided, True),
        "Train Edge Predictor, 8 steps of 4": w.trained,
    }


def peak_of(w: World, run: Callable[[], Any]) -> int:
    """Bytes that are in use on the card at the peak of a run of few steps, which also warms up."""
    gc.collect()
    comfy.model_management.soft_empty_cache()
    w.steps = _WARM_UP
    try:
        return highest(_in_use, run)
    finally:
        w.steps = _STEPS


def _in_use() -> int:
    free, total = torch.cuda.mem_get_info()
    return total - free


def seconds_of(run: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Median seconds, and what the run gives."""
    seconds, result = [], None
    for _ in range(rounds):
        gc.collect()
        torch.cuda.synchronize()
        begin = time.perf_counter()
        result = run()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), result


def ballast(gib: float) -> Tensor:
    """Fills the card up until only so many GiB are left."""
    free = torch.cuda.mem_get_info()[0]
    return torch.empty(max(0, int(free - gib * _GIB)), dtype=torch.uint8, device="cuda")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="sd15")
    parser.add_argument("--side", type=int, default=64, help="side of the latent: an eighth of the picture's")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float16")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--card", type=float, help="GiB that the card should have")
    parser.add_argument("--only", nargs="+", help="beginnings of the methods' names")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("./dev bench methods measures a GPU, and PyTorch finds none here.")
    comfy.utils.PROGRESS_BAR_ENABLED = False
    context = _in_use()  # what CUDA itself takes
    world = World(options.size, options.side, getattr(torch, options.dtype))
    torch.cuda.empty_cache()
    filled = ballast(options.card) if options.card else torch.empty(0, dtype=torch.uint8)
    before = context + filled.numel()
    card = f", of which {options.card:g} GiB are free" if options.card else ""
    weights = "dynamic VRAM" if world.model.is_dynamic() else "weights loaded as a whole"
    print(f"{machine()}{card}; {weights}\n{options.size}, {options.dtype}, {8 * options.side} x {8 * options.side}\n")
    print("| method | seconds | of plain | peak, GiB |\n|---|---|---|---|")
    plain, results = 0.0, {}
    for name, run in methods(world).items():
        if options.only and name not in (_PLAIN, "Record Path") and not name.startswith(tuple(options.only)):
            continue
        try:
            peak = (peak_of(world, run) - before) / _GIB
            seconds, results[name] = seconds_of(run, options.rounds)
        except comfy.model_management.OOM_EXCEPTION as error:
            print(f"| {name} | {str(error).partition(':')[0]} | | |", flush=True)
            continue
        plain = plain or seconds
        print(f"| {name} | {seconds:.2f} | {seconds / plain:.2f} | {peak:.1f} |", flush=True)
    guided = [result for name, result in results.items() if name.startswith("Sketch Guidance")]
    if len(guided) == 2:
        apart, moved = ((each - guided[1]).norm().item() for each in (guided[0], results[_PLAIN]))
        print(f"\nThe two kinds of Sketch Guidance lie {apart / moved:.3f} of the way from the unguided picture apart.")


if __name__ == "__main__":
    main()
