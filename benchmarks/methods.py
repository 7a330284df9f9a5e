"""Every method on a model of real size, against plain sampling: `./dev bench methods --size sdxl --side 128`.

Seconds and peak memory of 20 steps at cfg 7, on a U-Net of Stable Diffusion 1.5's or SDXL's size with random weights.
The peak is what a short run takes from the card in all, the model's weights among it. With --card the rest of the card
is filled up beforehand, so that what runs there runs on a card of that size, with ComfyUI's offloading at work. Set
COMFYUI_ARGUMENTS to nothing for ComfyUI's defaults: weights are then loaded by dynamic VRAM.
"""

from __future__ import annotations

import gc
import statistics
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
from ..devtools.world import sampler_inputs
from ..lep.guidance import Guidance, guide
from ..lep.training import Example, Plan, train_predictor
from ..samplers.schedule import PathSchedule
from .common import head, highest, machine, parser, row, timed
from .random_models import SIZES, random_model, random_predictor, random_text

_GIB = 2**30
_STEPS, _WARM_UP, _CFG = 20, 3, 7.0
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
        positive, self.source, negative = (random_text(size) for _ in range(3))
        self.given = {"model": self.model, "positive": positive, "negative": negative}
        self.latent = {"samples": torch.randn(1, 4, side, side)}
        mask = (torch.arange(8 * side) < 4 * side).float().expand(1, 8 * side, 8 * side).contiguous()
        self.masked = {**self.latent, "noise_mask": mask[None]}
        self.target = torch.randn(1, 4, side, side)
        self.predictor = random_predictor(self.model)
        self.steps = _STEPS
        self.paths: dict[int, Any] = {}

    @property
    def path(self) -> Any:
        return self.paths[self.steps]

    def run(self, node_id: str, **given: Any) -> Any:
        """The first output of a node that edits or inverts the picture."""
        return call(node_id, **{**self.given, "seed": 1, "steps": self.steps, "cfg": _CFG, **given})[0]

    def parts(self, model: Any = None) -> dict[str, Any]:
        """The inputs of SamplerCustomAdvanced."""
        sigmas = core.BasicScheduler.execute(self.model, "normal", self.steps, 1.0).args[0]
        empty = {"samples": torch.zeros_like(self.latent["samples"])}
        chosen = {**self.given, "model": model or self.model}
        return sampler_inputs(**chosen, cfg=_CFG, sigmas=sigmas, latent=empty)

    def sampled(self, model: Any = None) -> Tensor:
        return core.SamplerCustomAdvanced.execute(**self.parts(model)).args[0]["samples"]

    def recorded(self) -> Tensor:
        self.paths[self.steps], latent = call("DPathRecord", **self.parts())
        return latent["samples"]

    def inverted(self, method: str, cfg: float = _CFG, **settings: Any) -> Any:
        chosen = {"method": method, **settings}
        return self.run("DPathInvert", latent=self.latent, positive=self.source, cfg=cfg, method=chosen)

    def replayed(self) -> Any:
        return call("DPathReconstruct", **self.given, path=self.path, cfg=_CFG)

    def manipulated(self, kind: str, needs: str) -> Tensor:
        given = {"model": self.model, "kind": kind, "source": getattr(self, needs)}
        return self.sampled(call("DPathMDP", **given, schedule=PathSchedule(1.0, 0.5))[0])

    def attention(self) -> Tensor:
        texts = {"source_prompt": "a red house in summer", "target_prompt": "a red house in winter", "clip": self.clip}
        given = {"model": self.model, "path": self.path, "schedule": PathSchedule(1.0, 0.5)}
        return self.sampled(call("DPathMDPAttention", **given, mode={"mode": "replace", **texts})[0])

    def flowedit(self) -> Any:
        given = {"source": self.source, "latent": self.latent, "seed": 1, "steps": max(2, round(0.85 * self.steps))}
        return call("DPathFlowEdit", **self.given, **given)

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
    return {
        _PLAIN: w.sampled,
        "SDEdit, t0 0.5": partial(w.run, "DPathSDEdit", guide=w.latent),
        "SDEdit, masked": partial(w.run, "DPathSDEdit", guide=w.masked, mask_mode="threshold"),
        "Record Path": w.recorded,
        "Reconstruct from Path": w.replayed,
        "Invert: euler, cfg 1": partial(w.inverted, "euler", 1.0),
        "Invert: fixed point, cfg 1": partial(w.inverted, "fixed point", 1.0, iterations=5),
        "Invert: residual": partial(w.inverted, "residual"),
        "Invert: negative prompt": partial(w.inverted, "negative prompt"),
        "Invert: null text, 2 updates": partial(w.inverted, "null text", iterations=2),
        "Invert: null text, save memory": partial(w.inverted, "null text", iterations=2, save_memory=True),
        "Invert: controlled": partial(w.inverted, "controlled"),
        "MDP noise": partial(w.manipulated, "noise", "path"),
        "MDP latent": partial(w.manipulated, "latent", "path"),
        "MDP conditioning": partial(w.manipulated, "conditioning", "source"),
        "MDP guidance": partial(w.manipulated, "guidance", "source"),
        "MDP attention": w.attention,
        "MDP Edit": partial(w.run, "DPathMDPEdit", source=w.source, latent=w.latent),
        "FlowEdit": w.flowedit,
        "Sketch Guidance, fast": partial(w.guided, False),
        "Sketch Guidance, checkpointed": partial(w.guided, True),
        "Train Map Predictor, 8 steps of 4": w.trained,
    }


def _in_use() -> int:
    free, total = torch.cuda.mem_get_info()
    return total - free


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__, rounds=2)
    options.add_argument("--size", choices=list(SIZES), default="sd15")
    options.add_argument("--side", type=int, default=64, help="side of the latent: an eighth of the picture's")
    options.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float16")
    options.add_argument("--card", type=float, help="GiB that the card should have")
    options.add_argument("--only", nargs="+", help="beginnings of the methods' names")
    given = options.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("./dev bench methods measures a GPU, and PyTorch finds none here.")
    comfy.utils.PROGRESS_BAR_ENABLED = False
    context = _in_use()  # what CUDA itself takes
    world = World(given.size, given.side, getattr(torch, given.dtype))
    torch.cuda.empty_cache()
    ballast = max(0, int(torch.cuda.mem_get_info()[0] - given.card * _GIB)) if given.card else 0
    filled = torch.empty(ballast, dtype=torch.uint8, device="cuda")  # leaves the free memory of a card of that size
    before = context + filled.numel()
    card = f", of which {given.card:g} GiB are free" if given.card else ""
    weights = "dynamic VRAM" if world.model.is_dynamic() else "weights loaded as a whole"
    print(f"{machine()}{card}; {weights}\n{given.size}, {given.dtype}, {8 * given.side} x {8 * given.side}\n")
    head("method", "seconds", "of plain", "peak, GiB")
    plain, results = 0.0, {}
    for name, run in methods(world).items():
        if given.only and name not in (_PLAIN, "Record Path") and not name.startswith(tuple(given.only)):
            continue

        def kept(name: str = name, run: Callable[[], Any] = run) -> None:
            results[name] = run()

        try:
            gc.collect()
            comfy.model_management.soft_empty_cache()
            world.steps = _WARM_UP  # few steps suffice for the peak, and warm up
            peak = (highest(_in_use, run) - before) / _GIB
            world.steps = _STEPS
            seconds = statistics.median(timed(kept) for _ in range(given.rounds))
        except comfy.model_management.OOM_EXCEPTION as error:
            world.steps = _STEPS
            row(name, str(error).partition(":")[0], "", "")
            continue
        plain = plain or seconds
        row(name, f"{seconds:.2f}", f"{seconds / plain:.2f}", f"{peak:.1f}")
    guided = [result for name, result in results.items() if name.startswith("Sketch Guidance")]
    if len(guided) == 2:
        apart, moved = ((each - guided[1]).norm().item() for each in (guided[0], results[_PLAIN]))
        print(f"\nThe two kinds of Sketch Guidance lie {apart / moved:.3f} of the way from the unguided picture apart.")


if __name__ == "__main__":
    main()
