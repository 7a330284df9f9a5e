"""What version 0.1.0 has and gives, kept in tests/golden: nodes, numbers of each method, and files.

    python devtools/inprocess.py tests.unit.golden

writes it again. That is for the time before the release; from then on the files stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import comfy.samplers
import torch
from comfy.model_base import ModelType
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.demo.model import load_demo_model
from diffusion_path.devtools import schemas
from diffusion_path.devtools.direct import call
from diffusion_path.lep.checkpoint import load_predictor, save_predictor
from diffusion_path.lep.predictor import MapPredictor, build_network
from diffusion_path.nodes.mdp import MANIPULATIONS, ON_PATHS
from diffusion_path.samplers.flowedit_methods import METHODS as FLOW_METHODS
from diffusion_path.samplers.mdp.edit import KINDS
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.samplers.sdedit import SOLVERS
from diffusion_path.tests.unit.analytic import bent_model, cond
from torch import Tensor

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "0.1.0"
NODES, NUMBERS = GOLDEN / "nodes.json", GOLDEN / "numbers.json"
INVERSIONS: dict[str, dict[str, Any]] = {
    "residual": {"eta": 1.0},
    "fixed point": {"iterations": 2, "tolerance": 1e-6},
    "euler": {"noise_label": "destination"},
    "negative prompt": {},
    "null text": {"iterations": 1, "stop": 1e-9, "save_memory": False},
    "controlled": {"gamma": 0.5, "pull": 0.9, "stop_at": 0.25, "trend": "constant"},
}
PREDICTORS: dict[str, dict[str, Any]] = {"mlp": {"widths": [16, 8]}, "unet": {"width": 8, "depth": 1}}
CLASSES = {
    "map": "segmentation",
    "target": "classes",
    "palette": ((70, 130, 220), (230, 200, 70), (20, 110, 50), (210, 40, 40)),
}
MODES = ("blend", "threshold", "paper", "langevin")
TARGET, SOURCE = "a landscape, winter, snow", "a landscape, summer, green grass"


@dataclass(frozen=True)
class Place:
    """A model with its prompts, a latent [1, 4, 8, 8], and how closely another machine comes to its numbers."""

    model: Any
    positive: Any
    negative: Any
    source: Any
    latent: dict[str, Any]
    tolerance: float

    def given(self, **more: Any) -> dict[str, Any]:
        prompts = {"positive": self.positive, "negative": self.negative}
        return {"model": self.model, **prompts, "seed": 5, "cfg": 2.0, "steps": 4, **more}


def _latent() -> dict[str, Any]:
    return {"samples": torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)) * 0.5}


def _mask() -> Tensor:
    return torch.linspace(0, 1, 8).expand(1, 8, 8).contiguous()


def _analytic(kind: ModelType) -> Place:
    return Place(bent_model(kind, 1.25), cond(-0.5), cond(-0.25), cond(0.75), _latent(), 1e-4)


@cache
def _embedded() -> Place:
    model, clip, _ = load_demo_model()
    texts = (TARGET, "", SOURCE)
    positive, negative, source = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in texts)
    return Place(model, positive, negative, source, _latent(), 2e-3)


PLACES: dict[str, Callable[[], Place]] = {
    "analytic, eps": lambda: _analytic(ModelType.EPS),
    "analytic, flow": lambda: _analytic(ModelType.FLOW),
    "embedded": _embedded,
}
"""Bent: no method follows them by luck."""


def sdedit(p: Place, mask: Tensor | None = None, **more: Any) -> Tensor:
    guide = p.latent if mask is None else {**p.latent, "noise_mask": mask}
    return call("DPathSDEdit", **p.given(guide=guide, t0=0.6, scheduler="simple", **more))[0]["samples"]


def inverted(p: Place, method: str) -> Any:
    sides = {"positive": p.source, "method": {"method": method, **INVERSIONS[method]}}
    return call("DPathInvert", **p.given(latent=p.latent, t0=0.9, **sides))[0]


def replayed(p: Place, path: Any) -> Tensor:
    """The target's walk on a path of the source."""
    prompts = {"positive": p.positive, "negative": p.negative}
    return call("DPathReconstruct", model=p.model, **prompts, path=path, cfg=2.0)[0]["samples"]


def recorded(p: Place) -> Tensor:
    guider = core.CFGGuider.execute(p.model, p.source, p.negative, 2.0).args[0]
    levels = core.BasicScheduler.execute(p.model, "simple", 4, 1.0).args[0]
    inputs = {"noise": core.Noise_RandomNoise(5), "guider": guider, "latent_image": p.latent, "sigmas": levels}
    return call("DPathRecord", **inputs, sampler=comfy.samplers.sampler_object("euler_ancestral"))[0].states


def mdp_edit(p: Place, method: str) -> Tensor:
    return call("DPathMDPEdit", **p.given(source=p.source, latent=p.latent, steps=6, method=method))[0]["samples"]


def flowedit(p: Place, method: str) -> Tensor:
    settings = {"source": p.source, "latent": p.latent, "source_cfg": 1.5, "start": 0.8, "method": method}
    return call("DPathFlowEdit", **p.given(**settings))[0]["samples"]


def levels(p: Place) -> Tensor:
    return call("DPathSigmas", model=p.model, t0=0.7, steps=4)[0]


def sampled(p: Place, model: Any, sampler: Any = None) -> Tensor:
    """Core's sampler, and Euler's steps if none is given, from t0 0.7 to the picture."""
    guider = core.CFGGuider.execute(model, p.positive, p.negative, 2.0).args[0]
    sampler = sampler or comfy.samplers.sampler_object("euler")
    found = core.SamplerCustomAdvanced.execute(core.Noise_RandomNoise(5), guider, sampler, levels(p), p.latent)
    return found.args[0]["samples"]


def bent(p: Place, kind: str) -> Tensor:
    """MDP on a path of the source, or on its prompt."""
    inverted_at = {"positive": p.source, "method": {"method": "euler"}, "sigmas": levels(p)}
    source = call("DPathInvert", **p.given(latent=p.latent, **inverted_at))[0] if kind in ON_PATHS else p.source
    schedule = call("DPathSchedule", start=0.9, end=0.2, shape="cosine")[0]
    return sampled(p, call("DPathMDP", model=p.model, kind=kind, source=source, schedule=schedule)[0])


def masked(p: Place) -> Tensor:
    """Masked Reverse SDE around the paper's reverse SDE."""
    sampler = call("DPathMaskedSampler", sampler=call("DPathReverseSDE")[0], mask_mode="threshold", seed=5)[0]
    return sampled(replace(p, latent={**p.latent, "noise_mask": _mask()}), p.model, sampler)


def perturbed(p: Place) -> Tensor:
    return call("DPathPerturb", model=p.model, latent=p.latent, seed=5, t0=0.6)[0]["samples"]


def attention(p: Place) -> Tensor:
    """A recorded path's maps of words, in core's sampling of another prompt on it."""
    guider = core.CFGGuider.execute(p.model, p.source, p.negative, 2.0).args[0]
    inputs = {"noise": core.Noise_RandomNoise(5), "guider": guider, "latent_image": p.latent, "sigmas": levels(p)}
    path = call("DPathRecord", **inputs, sampler=comfy.samplers.sampler_object("euler"))[0]
    mode = {"mode": "refine", "clip": load_demo_model()[1], "source_prompt": SOURCE, "target_prompt": TARGET}
    schedule = call("DPathSchedule", start=1.0, end=0.4)[0]
    return sampled(p, call("DPathMDPAttention", model=p.model, path=path, schedule=schedule, mode=mode)[0])


def sketch_guidance(p: Place) -> Tensor:
    sketch = torch.zeros(1, 64, 64, 3)
    sketch[:, 20:22] = sketch[:, :, 40:42] = 1.0
    given = {"predictor": call("DPathLoadMapPredictor")[0], "vae": load_demo_model()[2], "sketch": sketch}
    return sampled(p, call("DPathSketchGuidance", model=p.model, **given)[0])


def measurement_guidance(p: Place, known: str) -> Tensor:
    ramp = torch.linspace(0.1, 0.9, 64)
    image = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.full((64, 64), 0.4)], dim=-1)[None]
    known_as = {"known": known, **({"image_is": "an original"} if known == "smaller" else {})}
    given = {"vae": load_demo_model()[2], "measurement": call("DPathMeasurement", image=image, known=known_as)[0]}
    # A second iteration is taken or not by a comparison, whose outcome can hang on rounding.
    return sampled(p, call("DPathMeasurementGuidance", model=p.model, every=1, iterations=1, **given)[0])


RUNS: dict[str, Callable[[Place], Tensor]] = {
    **{f"SDEdit, {solver}": lambda p, s=solver: sdedit(p, solver=s) for solver in SOLVERS},
    "SDEdit, repeats": lambda p: sdedit(p, repeats=2),
    "SDEdit, trained levels": lambda p: sdedit(p, levels="trained"),
    **{f"SDEdit, {mode}": lambda p, m=mode: sdedit(p, _mask(), mask_mode=m) for mode in MODES},
    "Record Path": recorded,
    **{f"Invert, {method}": lambda p, m=method: inverted(p, m).states for method in INVERSIONS},
    **{f"Reconstruct, {method}": lambda p, m=method: replayed(p, inverted(p, m)) for method in INVERSIONS},
    **{f"MDP Edit, {method}": lambda p, m=method: mdp_edit(p, m) for method in ("recommended", *KINDS)},
    **{f"FlowEdit, {method}": lambda p, m=method: flowedit(p, m) for method in FLOW_METHODS},
    **{f"MDP, {kind}": lambda p, k=kind: bent(p, k) for kind in MANIPULATIONS},
    "Masked Reverse SDE": masked,
    "SDE Perturb": perturbed,
}
WITH_PICTURES: dict[str, Callable[[Place], Tensor]] = {
    "MDP Attention": attention,
    "Sketch Guidance": sketch_guidance,
    "Measurement Guidance, grey": lambda p: measurement_guidance(p, "grey"),
    "Measurement Guidance, smaller": lambda p: measurement_guidance(p, "smaller"),
}
"""What only the embedded model can run, which has a VAE, words and a map predictor."""


SLOW = {label for label in RUNS if label.startswith(("SDEdit", "Invert", "Reconstruct", "MDP Edit"))} - {
    "SDEdit, sde_small", "SDEdit, dpmpp_2m", "SDEdit, threshold", "Invert, residual", "Reconstruct, residual",
    "Reconstruct, fixed point", "Invert, null text", "MDP Edit, recommended", "MDP Edit, latent",
}  # fmt: skip
"""Left out on the embedded model, which takes longer: what differs from another run in the same numbers alone."""


def runs_on(name: str) -> dict[str, Callable[[Place], Tensor]]:
    return {label: run for label, run in (RUNS | WITH_PICTURES).items() if label not in left_out(name)}


def left_out(name: str) -> set[str]:
    return SLOW if name == "embedded" else set(WITH_PICTURES)


def summary(result: Tensor) -> list[float]:
    """Eight numbers of a result, evenly spaced, with its mean and deviation."""
    flat = result.detach().double().flatten()
    places = torch.linspace(0, len(flat) - 1, 8).long()
    return [round(float(value), 6) for value in (*flat[places], flat.mean(), flat.std())]


def predictor(kind: str) -> MapPredictor:
    """A small map predictor, with weights that follow from their places."""
    settings = {"out_channels": 4, **PREDICTORS[kind]}
    network = build_network(kind, (8, 6), **settings)
    with torch.no_grad():
        for number, weight in enumerate(network.parameters()):
            values = torch.sin(torch.arange(weight.numel()) * 0.37 + number).reshape(weight.shape) * 0.25
            weight.copy_(values.half())  # as the file keeps them
    taps, record = ("input_blocks.0", "input_blocks.1"), {"steps": 7, "loss": 0.25}
    return MapPredictor(network, kind, taps, (8, 6), {"network": "UNetModel"}, noise_range=(0.1, 0.9),
                         settings=settings, record=record, **(CLASSES if kind == "unet" else {}))  # fmt: skip


def predicted(network: Any) -> Tensor:
    features = [torch.sin(torch.arange(8 * 64) * 0.1).reshape(1, 8, 8, 8), torch.ones(1, 6, 4, 4)]
    with torch.no_grad():
        return network(features, torch.tensor([0.4]), (8, 8))


def path_file(method: str) -> Path:
    return GOLDEN / f"path-{method.replace(' ', '-')}.safetensors"


def predictor_file(kind: str) -> Path:
    return GOLDEN / f"predictor-{kind}.safetensors"


def of_files() -> dict[str, list[float]]:
    """The numbers that the files give."""
    found = {}
    with torch.inference_mode():
        for method in INVERSIONS:
            path, place = load_path(path_file(method)), PLACES["analytic, flow"]()
            found[f"path, {method}"] = [*summary(path.states), *summary(replayed(place, path))]
    loaded = {kind: load_predictor(predictor_file(kind)) for kind in PREDICTORS}
    seen = {kind: predicted(each.network) for kind, each in loaded.items()}
    found |= {f"predictor, {kind}": summary(each) for kind, each in seen.items()}
    found["predictor, unet, shown"] = summary(loaded["unet"].encoding.picture(None, None, seen["unet"], (16, 16)))
    return found


def main() -> None:
    """Write all of it."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    NODES.write_text(schemas.dumps(schemas.schemas()), encoding="utf-8")
    numbers: dict[str, dict[str, list[float]]] = {}
    with torch.inference_mode():
        for name, make in PLACES.items():
            place = make()
            numbers[name] = {label: summary(run(place)) for label, run in runs_on(name).items()}
        for method in INVERSIONS:
            save_path(inverted(PLACES["analytic, flow"](), method), path_file(method))
    for kind in PREDICTORS:
        save_predictor(predictor(kind), predictor_file(kind))
    numbers["files"] = of_files()
    groups = []
    for name, found in numbers.items():
        lines = ",\n".join(f"  {json.dumps(label)}: {values}" for label, values in found.items())
        groups.append(f" {json.dumps(name)}: {{\n{lines}\n }}")
    NUMBERS.write_text("{\n" + ",\n".join(groups) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
