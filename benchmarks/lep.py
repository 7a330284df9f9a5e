"""Speed and memory of sketch guidance and of its training, against plain implementations: `./dev bench lep`.

Guidance: one step of classifier-free guidance, unguided, guided (`fast` and `checkpointed`), and guided as the public
re-implementations do it: a second call of both branches with gradients, every activation resized and concatenated, and
a backward pass through both halves. Training: samples per second against a port of the public trainer, which calls both
branches of the whole network for one picture at a time and keeps one.

On the embedded model, and with --size on a U-Net of Stable Diffusion 1.5's or SDXL's size with random weights.
"""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.samplers
import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from .. import gradients
from ..devtools.world import guider
from ..lep import families
from ..lep.features import capturing
from ..lep.guidance import Guidance, guide
from ..lep.predictor import PAPER_WIDTHS
from ..lep.training import Example, Plan, train_predictor
from ..samplers import process
from .common import clock, compare, extra_memory, head, machine, parser, row
from .random_models import SIZES, random_model, random_predictor, random_text


class Bench:
    """A model with random weights, a predictor for it, and the inputs of one step on latents of side x side."""

    def __init__(self, size: str, side: int, dtype: torch.dtype, batch: int) -> None:
        self.model = random_model(size, dtype)
        self.x, self.target = torch.randn(batch, 4, side, side), torch.randn(1, 4, side, side)
        self.predictor = random_predictor(self.model)
        self.conds = random_text(size), random_text(size)

    def sample(self, model: Any, steps: int = 1) -> None:
        """A short run of Euler steps at cfg 4 in the middle of the path, as a sampler node runs it; all are guided."""
        sigmas, euler = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0][: steps + 1]), comfy.samplers.sampler_object("euler")
        guider(model, *self.conds, 4.0).sample(self.x, self.x, euler, sigmas, disable_pbar=True, seed=0)

    def wrapped(self, wrapper: Any) -> Any:
        """The model with a wrapper around each guided prediction."""
        clone = self.model.clone()
        clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "plain", wrapper)
        return clone

    def network(self, train: bool = False) -> PlainNetwork:
        with torch.inference_mode(False):
            network = PlainNetwork(sum(self.predictor.channels)).train(train).requires_grad_(train)
            return network.to(comfy.model_management.get_torch_device())

    def features(self, chosen: Any, x: Tensor, sigma: Tensor, options: Any) -> list[Tensor]:
        """What the predictor's taps see when both branches are called."""
        network = families.network_of(self.model)
        with capturing(network, self.predictor.taps, lambda _, feature: feature.clone()) as capture:
            branches = [chosen.conds["positive"], chosen.conds["negative"]]
            comfy.samplers.calc_cond_batch(chosen.inner_model, branches, x, sigma, options)
        return capture.readings[0].values


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
    network = bench.network()
    with torch.inference_mode(False):
        target, noise = (t.clone().to(comfy.model_management.get_torch_device()) for t in (bench.target, bench.x))

    def wrapper(executor: Any, x: Tensor, sigma: Tensor, options: Any = None, seed: Any = None) -> Tensor:
        chosen = executor.class_obj
        denoised = executor(x, sigma, options, seed)
        plain = gradients.gradient_options(options)

        def loss(state: Tensor) -> Tensor:
            seen = network(bench.features(chosen, state, sigma, plain), torch.cat([noise] * 2))
            return ((seen[len(state) :] - target) ** 2).mean()

        with gradients.grad_ready(gradients.model_roots(chosen), x.device) as take:
            _, (gradient,) = take(loss, x)
        return denoised - gradient * (denoised.norm() / gradient.norm().clamp_min(1e-12))

    return bench.wrapped(wrapper)


def guided(bench: Bench, checkpointed: bool) -> Any:
    """The model with Sketch Guidance."""
    sketch = Guidance(bench.predictor, lambda *_: (bench.target, None), 1.0, 1.0, 0.0, checkpointed=checkpointed)
    return guide(bench.model, sketch)


def plain_training(bench: Bench, steps: int, batch: int) -> float:
    """Samples per second of a port of the public trainer: both branches of all blocks, one picture at a time."""
    network = bench.network(train=True)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    took: list[float] = []

    def probe(executor: Any, x: Tensor, sigma: Tensor, options: Any = None, seed: Any = None) -> Tensor:
        chosen = executor.class_obj
        sampling = chosen.inner_model.model_sampling
        begin = clock()
        for _ in range(steps):
            collected, noises = [], []
            for _ in range(batch):
                noise = torch.randn_like(x)
                level = process.t0_to_sigma(sampling, float(torch.rand(())) * 0.65 + 0.25)
                noisy = process.perturb(sampling, x, noise, level, prior=False)
                features = bench.features(chosen, noisy, sigma * 0 + level, options)
                collected.append([value[:1].float() for value in features])
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

    bench.sample(bench.wrapped(probe))
    return steps * batch / took[0]


def our_training(bench: Bench, steps: int, batch: int, reuse: int) -> float:
    """Samples per second of Train Map Predictor, without its start."""
    with torch.inference_mode(False):
        examples = [Example(bench.x[:1].clone(), bench.target.clone(), bench.conds[0]) for _ in range(batch + 1)]
    ticks: list[float] = []
    plan = Plan(network="mlp", steps=steps + 1, batch=batch, reuse=reuse, validation=0.01)  # as the port
    train_predictor(bench.model, examples, plan, listen=lambda _: ticks.append(clock()))
    # The last step also looks at the held-back picture.
    return (steps - 1) * batch / (ticks[-2] - ticks[0])


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__)
    options.add_argument("--size", choices=list(SIZES), default="demo")
    options.add_argument("--side", type=int, default=32, help="side of the latent")
    options.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    options.add_argument("--batch", type=int, default=1, help="pictures at once")
    options.add_argument("--threads", type=int, default=1, help="CPU threads")
    options.add_argument("--rounds", type=int, default=5, help="0 leaves the times out")
    options.add_argument("--ours-alone", action="store_true", help="leave the plain implementation out")
    options.add_argument("--run", type=int, default=4, choices=range(1, 5), help="guided steps of a timed run")
    options.add_argument("--steps", type=int, default=8, help="training steps to time; 0 leaves training out")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    bench = Bench(given.size, given.side, getattr(torch, given.dtype), given.batch)
    print(f"{machine()}; {given.size}-size U-Net, {given.dtype}, latent {given.side} x {given.side}\n")
    variants = {"unguided": bench.model, "fast": guided(bench, False), "checkpointed": guided(bench, True)}
    if not given.ours_alone:
        variants["plain"] = plainly_guided(bench)
    runs = {name: (lambda model=model: bench.sample(model, given.run)) for name, model in variants.items()}
    extra, usual = extra_memory(runs)
    if given.rounds > 0:
        compare("Times", runs, given.rounds, {})
    print()
    head(f"memory beyond the unguided step's {usual / 2**20:.0f} MiB", "", "of plain")
    for name, size in extra.items():
        row(name, f"{size / 2**20:.0f} MiB", "" if given.ours_alone else f"{size / extra['plain']:.3f}")
    if given.steps > 0:
        reference = plain_training(bench, max(1, given.steps // 4), 12)
        print()
        head("training", "samples per second", "ratio")
        row("port", f"{reference:.2f}", "1.00")
        for reuse in (1, 4):
            speed = our_training(bench, given.steps, 12, reuse)
            row(f"ours, each call used {reuse} times", f"{speed:.2f}", f"{speed / reference:.2f}")


if __name__ == "__main__":
    main()
