"""Speed and memory of sketch guidance and of its training, against plain implementations: `./dev bench lep`.

Guidance: one step of classifier-free guidance, unguided, guided (`fast` and `checkpointed`), and guided as the public
re-implementations do it: a second call of both branches with gradients, every activation resized and concatenated, and
a backward pass through both halves. Training: samples per second against a port of the public trainer, which calls both
branches of the whole network for one picture at a time and keeps one.

On the embedded model, and with --size on a U-Net of Stable Diffusion 1.5's or SDXL's size with random weights.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from .. import gradients
from ..lep import families
from ..lep.features import capturing
from ..lep.guidance import Guidance, guide
from ..lep.predictor import PAPER_WIDTHS, EdgePredictor
from ..lep.training import Example, Plan, train_predictor
from ..samplers import process
from .common import clock, machine, paired_times, table
from .memory import extra_memory
from .random_models import SIZES, random_model, random_predictor, random_text


@dataclass(frozen=True)
class Bench:
    """A model with random weights, a predictor for it, and the inputs of one step."""

    model: Any
    predictor: EdgePredictor
    x: Tensor
    target: Tensor
    conds: tuple[Any, Any]


def build(size: str, side: int, dtype: torch.dtype, batch: int) -> Bench:
    """A model of the given size on latents of side x side."""
    model = random_model(size, dtype)
    x, target = torch.randn(batch, 4, side, side), torch.randn(1, 4, side, side)
    return Bench(model, random_predictor(model), x, target, (random_text(size), random_text(size)))


def sample(bench: Bench, model: Any, steps: int = 1) -> None:
    """A short run of Euler steps at cfg 4 in the middle of the path, as a sampler node runs it; all are guided."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*bench.conds)
    guider.set_cfg(4.0)
    sigmas = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0][: steps + 1])
    guider.sample(bench.x, bench.x, comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True, seed=0)


class PlainNetwork(nn.Module):
    """The public network: everything concatenated at full size, noise map and encodings included."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels + 40
        for width in PAPER_WIDTHS:
            layers += [nn.Linear(inputs, width), nn.ReLU(), nn.BatchNorm1d(width)]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, 4))

    def forward(self, features: list[Tensor], noise: Tensor) -> Tensor:
        size = (noise.shape[-2], noise.shape[-1])
        wide = [F.interpolate(f.float(), size=size, mode="bilinear", align_corners=False) for f in features]
        encoded = [torch.sin(6.2831853 * noise * 2.0**-level) for level in range(9)]
        pixels = torch.cat([*wide, noise, *encoded], dim=1).movedim(1, -1)
        return self.layers(pixels.flatten(0, 2)).reshape(*pixels.shape[:3], 4).movedim(-1, 1)


def plainly_guided(bench: Bench) -> Any:
    """The model guided as the public re-implementations do it."""
    with torch.inference_mode(False):
        network = PlainNetwork(sum(bench.predictor.channels)).train(False).requires_grad_(False)
        target, noise = (t.clone().to(comfy.model_management.get_torch_device()) for t in (bench.target, bench.x))
        network.to(target.device)
    diffusion = families.network_of(bench.model)

    def wrapper(executor: Any, x: Tensor, sigma: Tensor, options: Any = None, seed: Any = None) -> Tensor:
        guider = executor.class_obj
        denoised = executor(x, sigma, options, seed)
        branches = [guider.conds["positive"], guider.conds["negative"]]

        def loss(state: Tensor) -> Tensor:
            with capturing(diffusion, bench.predictor.taps, lambda _, feature: feature.clone()) as capture:
                comfy.samplers.calc_cond_batch(guider.inner_model, branches, state, sigma, plain)
            seen = network(capture.readings[0].values, torch.cat([noise] * 2))
            return ((seen[len(state) :] - target) ** 2).mean()

        plain = gradients.gradient_options(options)
        with gradients.grad_ready(gradients.model_roots(guider), x.device) as take:
            _, (gradient,) = take(loss, x)
        return denoised - gradient * (denoised.norm() / gradient.norm().clamp_min(1e-12))

    clone = bench.model.clone()
    clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "plain", wrapper)
    return clone


def guided(bench: Bench, checkpointed: bool) -> Any:
    """The model with Sketch Guidance."""
    return guide(
        bench.model,
        Guidance(bench.predictor, lambda height, width: (bench.target, None), 1.0, 1.0, 0.0, checkpointed=checkpointed),
    )


def plain_training(bench: Bench, steps: int, batch: int) -> float:
    """Samples per second of a port of the public trainer: both branches of all blocks, one picture at a time."""
    with torch.inference_mode(False):
        network = PlainNetwork(sum(bench.predictor.channels)).train()
        network.to(comfy.model_management.get_torch_device())
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    diffusion = families.network_of(bench.model)
    took: list[float] = []

    def probe(executor: Any, x: Tensor, sigma: Tensor, options: Any = None, seed: Any = None) -> Tensor:
        guider = executor.class_obj
        branches = [guider.conds["positive"], guider.conds["negative"]]
        sampling = guider.inner_model.model_sampling
        begin = clock()
        for _ in range(steps):
            collected, noises = [], []
            for _ in range(batch):
                noise = torch.randn_like(x)
                level = process.t0_to_sigma(sampling, float(torch.rand(())) * 0.65 + 0.25)
                noisy = process.perturb(sampling, x, noise, level, prior=False)
                with capturing(diffusion, bench.predictor.taps, lambda _, feature: feature.clone()) as capture:
                    comfy.samplers.calc_cond_batch(guider.inner_model, branches, noisy, sigma * 0 + level, options)
                collected.append([value[:1].float() for value in capture.readings[0].values])
                noises.append(noise)
            with torch.inference_mode(False), torch.enable_grad():
                features = [torch.cat(parts).clone() for parts in zip(*collected, strict=True)]
                seen = network(features, torch.cat(noises).clone())
                loss = F.mse_loss(seen, bench.target.to(x.device).clone().expand_as(seen))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        took.append(clock() - begin)
        return executor(x, sigma, options, seed)

    clone = bench.model.clone()
    clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "train", probe)
    sample(bench, clone)
    return steps * batch / took[0]


def our_training(bench: Bench, steps: int, batch: int, reuse: int) -> float:
    """Samples per second of Train Edge Predictor, without its start."""
    with torch.inference_mode(False):
        examples = [Example(bench.x[:1].clone(), bench.target.clone(), bench.conds[0]) for _ in range(batch + 1)]
    ticks: list[float] = []
    train_predictor(
        bench.model,
        examples,
        Plan(steps=steps + 1, batch=batch, reuse=reuse, validation=0.01),
        listen=lambda _: ticks.append(clock()),
    )
    # The last step also looks at the held-back picture.
    return (steps - 1) * batch / (ticks[-2] - ticks[0])


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="demo")
    parser.add_argument("--side", type=int, default=32, help="side of the latent")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--batch", type=int, default=1, help="pictures at once")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=5, help="0 leaves the times out")
    parser.add_argument("--ours-alone", action="store_true", help="leave the plain implementation out")
    parser.add_argument("--run", type=int, default=4, choices=range(1, 5), help="guided steps of a timed run")
    parser.add_argument("--steps", type=int, default=8, help="training steps to time; 0 leaves training out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bench = build(options.size, options.side, getattr(torch, options.dtype), options.batch)
    print(f"{machine()}; {options.size}-size U-Net, {options.dtype}, latent {options.side} x {options.side}\n")
    variants = {
        "unguided": bench.model,
        "fast": guided(bench, False),
        "checkpointed": guided(bench, True),
    }
    if not options.ours_alone:
        variants["plain"] = plainly_guided(bench)
    runs = {name: (lambda model=model: sample(bench, model, options.run)) for name, model in variants.items()}
    extra, usual = extra_memory(runs)
    if options.rounds > 0:
        print(table(paired_times(runs, options.rounds), "unguided"))
    print(f"\n| memory beyond the unguided step's {usual / 2**20:.0f} MiB | | of plain |\n|---|---|---|")
    for name, size in extra.items():
        share = "" if options.ours_alone else f"{size / extra['plain']:.3f}"
        print(f"| {name} | {size / 2**20:.0f} MiB | {share} |")
    if options.steps > 0:
        reference = plain_training(bench, max(1, options.steps // 4), 12)
        print(f"\n| training | samples per second | ratio |\n|---|---|---|\n| port | {reference:.2f} | 1.00 |")
        for reuse in (1, 4):
            speed = our_training(bench, options.steps, 12, reuse)
            print(f"| ours, each call used {reuse} times | {speed:.2f} | {speed / reference:.2f} |")


if __name__ == "__main__":
    main()
