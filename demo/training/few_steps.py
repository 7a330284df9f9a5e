"""Distils the diffusion model to four steps at cfg 1, as a LoRA that ComfyUI's own loaders apply.

The teacher travels from noise to a picture with guidance, in steps finer than the student's. From each level that the
student knows, it learns to reach the state where the teacher is at the next one in a single Euler step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.ldm.modules.attention
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...samplers.files import written_whole
from ..model import LEVELS, build_base_model, load_demo_model
from ..scenes import caption, random_scene
from .common import Budget, Saving, device, train
from .diffusion import plain_attention
from .pack import write_atomic

SHARD, SIDE, RANK, CFG = 16, 32, 12, 4.0
# The teacher's timesteps from each of the student's levels to the next; the last segment decides about texture.
_SEGMENTS = ((999, 874), (749, 624), (499, 374), (249, 166, 83, 25))
_DETAIL, _ENERGY = 1.0, 0.5  # weights of the losses of detail


class Teacher:
    """The trained model: eps prediction on ComfyUI's classes, with the levels that it was trained on."""

    def __init__(self, weights: Path) -> None:
        model, self.clip, _ = load_demo_model(weights)
        self.unet = model.model.diffusion_model.to(device()).requires_grad_(False)
        self.sigmas = model.model.model_sampling.sigmas.to(device())

    def context(self, texts: list[str]) -> Tensor:
        """Text hidden states [B, tokens, width]."""
        encoded = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))[0][0] for text in texts]
        return torch.cat(encoded).to(device())

    def denoised(self, x: Tensor, timestep: int, context: Tensor, empty: Tensor) -> Tensor:
        """The picture that the teacher expects in states x [B, C, h, w], with guidance."""
        sigma, count = self.sigmas[timestep], len(x)
        shown, t = x / (1 + sigma**2).sqrt(), torch.full((count,), float(timestep), device=x.device)
        both = torch.cat([context, empty.expand_as(context)])
        eps, free = self.unet(shown.repeat(2, 1, 1, 1), t.repeat(2), context=both).chunk(2)
        return x - sigma * (free + CFG * (eps - free))

    def trajectory(self, noise: Tensor, context: Tensor, empty: Tensor) -> Tensor:
        """States at the student's levels and the picture, [B, levels + 1, C, h, w], by DPM-Solver++(2M)."""
        steps = [t for segment in _SEGMENTS for t in segment]
        sigmas = [*(float(self.sigmas[t]) for t in steps), 0.0]
        x, old, states = noise * (1 + sigmas[0] ** 2) ** 0.5, None, []
        for i, t in enumerate(steps):
            if t in LEVELS:
                states.append(x)
            picture = self.denoised(x, t, context, empty)
            if old is None or sigmas[i + 1] == 0:
                aim = picture
            else:
                h, last = np.log(sigmas[i] / sigmas[i + 1]), np.log(sigmas[i - 1] / sigmas[i])
                aim = picture + (picture - old) * (h / (2 * last))
            x, old = aim + (x - aim) * (sigmas[i + 1] / sigmas[i]), picture
        return torch.stack([*states, x], dim=1)


@torch.inference_mode()
def make_trajectories(folder: Path, teacher: Teacher, index: int, seed: int) -> None:
    """Write one file of SHARD trajectories with random captions into `folder`, unless it is there already."""
    path = folder / f"trajectories-{seed}-{index}.npz"
    if path.exists():
        return
    rng, generator = np.random.default_rng([seed, index]), torch.Generator().manual_seed(seed * 1000 + index)
    context = teacher.context([caption(random_scene(rng), rng) for _ in range(SHARD)])
    noise = torch.randn(SHARD, 4, SIDE, SIDE, generator=generator).to(device())
    states = teacher.trajectory(noise, context, teacher.context([""]))
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, states=states.cpu().numpy(), context=context.cpu().numpy())


def read_trajectories(folder: Path, seed: int) -> tuple[Tensor, Tensor]:
    """All states [N, levels + 1, C, h, w] and contexts [N, tokens, width] in a folder."""
    files = sorted(folder.glob(f"trajectories-{seed}-*.npz"))
    parts = [np.load(file) for file in files]
    return tuple(torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in ("states", "context"))  # pyright: ignore[reportReturnType]


class LowRank(nn.Module):
    """Changes of a network's weights: a product of rank RANK added to every matrix or convolution, and their biases."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = (network,)  # in a tuple, so that it is no part of what is trained
        sizes = dict(network.named_parameters())
        self.names = [name for name, p in sizes.items() if p.ndim >= 2]
        self.biases = [name for name in sizes if name.removesuffix("bias") + "weight" in self.names]
        self.down, self.up, self.bias = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for name in self.names:
            rows, columns = sizes[name].flatten(1).shape
            rank = min(RANK, rows, columns)
            self.down.append(nn.Parameter(torch.randn(rank, columns) / columns**0.5))
            self.up.append(nn.Parameter(torch.zeros(rows, rank)))
        self.bias.extend(nn.Parameter(torch.zeros_like(sizes[name])) for name in self.biases)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        (network,) = self.network
        given = dict(network.named_parameters())
        changed = {
            name: given[name] + (up @ down).view_as(given[name])
            for name, up, down in zip(self.names, self.up, self.down, strict=True)
        }
        changed |= {name: given[name] + more for name, more in zip(self.biases, self.bias, strict=True)}
        return torch.func.functional_call(network, changed, (x, timesteps), {"context": context})

    def tensors(self) -> dict[str, Tensor]:
        """The changes in fp16, under the names that ComfyUI reads."""
        (network,) = self.network
        sizes, found = dict(network.named_parameters()), {}
        for name, up, down in zip(self.names, self.up, self.down, strict=True):
            key, extra = f"diffusion_model.{name.removesuffix('.weight')}", sizes[name].shape[2:]
            found[f"{key}.lora_up.weight"] = up.detach().view(*up.shape, *[1] * len(extra))
            found[f"{key}.lora_down.weight"] = down.detach().view(len(down), -1, *extra)
        for name, more in zip(self.biases, self.bias, strict=True):
            found[f"diffusion_model.{name.removesuffix('.bias')}.diff_b"] = more.detach()
        return {key: value.to("cpu", torch.float16).contiguous() for key, value in found.items()}


def _detail(x: Tensor) -> Tensor:
    return x - F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _rms(x: Tensor) -> Tensor:
    """Root mean square of each sample [B, ...]: every level counts alike, however large its errors are."""
    return (x.square().flatten(1).mean(dim=1) + 1e-6).sqrt()


def train_few_steps(folder: Path, weights: Path, shards: int, budget: Budget, seed: int) -> LowRank:
    """Make the trajectories, train from scratch (or resume) and return the averaged changes."""
    torch.manual_seed(seed)
    teacher = Teacher(weights)
    for index in range(shards):
        make_trajectories(folder, teacher, index, seed)
    for attribute in ("optimized_attention", "optimized_attention_masked"):
        setattr(comfy.ldm.modules.attention, attribute, plain_attention)
    states, context = read_trajectories(folder, seed)
    module = LowRank(teacher.unet).to(device())
    optimizer = torch.optim.AdamW(module.parameters(), lr=budget.lr, weight_decay=0.0, betas=(0.9, 0.98))
    levels = torch.tensor(LEVELS, device=device())
    sigmas = torch.cat([teacher.sigmas[levels], torch.zeros(1, device=device())])

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng(seed)
        while True:  # all levels of each trajectory, in an order of trajectories that is new every time
            order = torch.from_numpy(rng.permutation(len(states)))
            for some in order.split(max(1, budget.batch // len(LEVELS))):
                yield states[some].to(device()), context[some].to(device())

    def loss(batch: Any, step: int) -> tuple[Tensor, list[float]]:
        x, text = batch
        now, after = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
        sigma, rest = (sigmas[part].repeat(len(x)).view(-1, 1, 1, 1) for part in (slice(-1), slice(1, None)))
        ratio = rest / sigma
        aim = (after - ratio * now) / (1 - ratio)
        eps = module(now / (1 + sigma**2).sqrt(), levels.repeat(len(x)).float(), text.repeat_interleave(len(LEVELS), 0))
        found = now - sigma * eps
        whole, fine = _rms(found - aim), _rms(_detail(found) - _detail(aim))
        energy = (F.avg_pool2d(_detail(found).abs(), 4) - F.avg_pool2d(_detail(aim).abs(), 4)).abs().flatten(1).mean(1)
        value = (whole + _DETAIL * fine + _ENERGY * energy).mean()
        by_level = whole.detach().view(-1, len(LEVELS)).mean(0)
        return value, [value.item(), fine.mean().item(), energy.mean().item(), *by_level.tolist()]

    names = ["loss", "detail", "energy", *(f"level {t}" for t in LEVELS)]
    saving = Saving(folder / "few_steps.pt", names, every=25, ema=0.99)
    result = train(module, optimizer, budget, batches(), loss, saving)
    assert isinstance(result, LowRank)
    return result


def pack_few_steps(module: LowRank, record: dict, path: Path) -> int:
    """Write the LoRA with the levels that it was trained at, and return its size in bytes. `record` says how."""
    sigmas = build_base_model().model_sampling.sigmas[list(LEVELS)].tolist()
    metadata = {
        "format": "diffusion-path-few-steps",
        "timesteps": json.dumps(LEVELS),
        "sigmas": json.dumps(sigmas),
        "cfg": "1.0",
        "training": json.dumps(record),
    }
    write_atomic(module.tensors(), metadata, path)
    return path.stat().st_size
