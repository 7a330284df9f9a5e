"""The embedded world's transformer: `./dev train-demo-transformer` trains it from scratch, or goes on.

It is a small network of ComfyUI's Flux class on the same latents and texts. The U-Net teaches it: in random states of
rendered scenes it learns the velocity that the U-Net's flow predicts there, which is smoother than that of the scene
itself. The texts are those of the U-Net's encoder. It is no part of the pack, but shows what methods do on a
transformer.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.ldm.flux.math
import comfy.ldm.modules.attention
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import torch
from PIL import Image
from torch import Tensor, nn

from ...samplers.tensor_file import DamagedFileError, read_tensors
from .. import model
from ..autoencoder import LATENT_CHANNELS
from ..flow import SHIFT
from ..scenes import vocabulary
from ..text import WIDTH, WordTokenizer, encode_for_training
from .common import Budget, Saving, device, half_precision, train
from .diffusion import plain_attention
from .latents import LatentData, make_shard
from .muon import Muon
from .pack import half, read_autoencoder, write_atomic
from .style import PAINTED, Style

TRANSFORMER = "transformer"
"""Its name among the kinds of the landscape model."""
SAMPLING = {**model.SAMPLING, TRANSFORMER: model.SAMPLING[model.FLOW]}
"""Steps, cfg and scheduler that suit each kind."""
WEIGHTS = Path(__file__).parents[2] / "benchmarks" / "weights" / "transformer.safetensors"
FORMAT = "diffusion-path-transformer"
WORK, SHARDS, SEED = Path(".dev/training"), 5, 5
BUDGET = Budget(steps=2500, batch=16, lr=3e-3)

CONFIG: dict[str, Any] = {
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "patch_size": 4,
    "hidden_size": 256,
    "num_heads": 4,
    "mlp_ratio": 3.0,
    "depth": 1,
    "depth_single_blocks": 6,
    "axes_dim": [16, 24, 24],
    "theta": 100,
    "context_in_dim": WIDTH,
    "vec_in_dim": None,
    "guidance_embed": False,
    "txt_ids_dims": [],
    "qkv_bias": False,
    "ops_bias": False,
    "mlp_silu_act": True,
    "global_modulation": True,
}
"""As Flux.2's, but for the sizes: one block of two streams and six of one; a token is 4 x 4 cells of the latent."""


class LandscapeTransformerConfig(model.LandscapeConfig):
    """ComfyUI's description of it: a rectified flow with the shift of the U-Net's."""

    sampling_settings = {"shift": SHIFT, "multiplier": 1}


def build_transformer() -> comfy.model_base.Flux:
    """The model with uninitialised weights."""
    config = LandscapeTransformerConfig(dict(CONFIG))
    config.set_inference_dtype(torch.float32, None)
    return comfy.model_base.Flux(config, comfy.model_base.ModelType.FLOW)


def load_kind(kind: str, style: Style = PAINTED, path: Path = WEIGHTS) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of a kind of the landscape model, or of the transformer.

    Raises:
        ValueError: a file of weights is missing or damaged, or the transformer is not of this style.
    """
    if kind != TRANSFORMER:
        return model.load_demo_model(style.model, kind)
    if style is not PAINTED:
        raise ValueError("The transformer knows the painted world only: choose --style painted.")
    unet, clip, vae = model.load_demo_model(style.model, model.FLOW)
    try:
        weights, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise DamagedFileError("it is another file")
    except DamagedFileError as error:
        raise ValueError(
            f"{path.name} is missing or damaged ({error}): restore it, or train it with './dev train-demo-transformer'."
        ) from error
    base = build_transformer()
    base.diffusion_model.load_state_dict({key: value.float() for key, value in weights.items()})
    base.latent_format = unet.model.latent_format
    mm = comfy.model_management
    patcher = comfy.model_patcher.ModelPatcher(base.train(False), mm.get_torch_device(), mm.unet_offload_device())
    return patcher, clip, vae


def initialise(network: nn.Module) -> None:
    """Initialise the weights, because ComfyUI's layers are not. Modulation and the output start at zero."""
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor):
            continue
        if "modulation" in name or name.startswith("final_layer"):
            nn.init.zeros_(weight)
        elif weight.ndim == 1:
            nn.init.ones_(weight)
        else:
            nn.init.normal_(weight, std=1 / math.sqrt(weight.shape[1]))


def split_groups(network: nn.Module) -> list[dict]:
    """Hidden weight matrices for Muon; first and last layers and gains for AdamW."""
    edges = ("img_in", "time_in", "txt_in", "final_layer")
    matrices, others = [], []
    for name, p in network.named_parameters():
        (matrices if p.ndim >= 2 and not name.startswith(edges) else others).append(p)
    return [{"params": matrices, "matrix": True}, {"params": others}]


def _joint_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, *_: Any, **__: Any) -> Tensor:
    """`plain_attention` on tensors whose heads are split already, [B, heads, tokens, width]."""
    q, k, v = (t.transpose(1, 2).flatten(2) for t in (q, k, v))
    return plain_attention(q, k, v, heads)


def _made_differentiable(network: nn.Module) -> None:
    """Flux adds to its streams in place, which the norms before would need unchanged for the backward pass."""
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(lambda _, given: (given[0].clone(),))


def train_transformer(folder: Path, data: LatentData, budget: Budget, seed: int) -> nn.Module:
    """Train from scratch (or resume) and return the averaged network."""
    torch.manual_seed(seed)
    network = build_transformer().diffusion_model
    initialise(network)
    network.requires_grad_(True).to(device())
    _made_differentiable(network)
    unet, clip, _ = model.load_demo_model(PAINTED.model, model.FLOW)
    teacher = unet.model.diffusion_model.requires_grad_(False).to(device())
    texts = clip.cond_stage_model.clip_l.transformer.requires_grad_(False).to(device())
    for attribute in ("optimized_attention", "optimized_attention_masked"):
        setattr(comfy.ldm.modules.attention, attribute, plain_attention)
    comfy.ldm.flux.math.optimized_attention = _joint_attention  # pyright: ignore[reportAttributeAccessIssue]
    comfy.model_management.in_training = True

    def loss(batch: object, step: int) -> tuple[Tensor, list[float]]:
        assert isinstance(batch, tuple)
        latents, tokens = (part.to(device()) for part in batch)
        count = len(latents)
        even = (torch.randperm(count) + torch.rand(count)) / count
        t = (SHIFT * even / (1 + (SHIFT - 1) * even)).clamp(1e-3, 1 - 1e-4).to(device())
        share = t.view(-1, 1, 1, 1)
        x = (1 - share) * latents + share * torch.randn_like(latents)
        with half_precision():
            with torch.no_grad():
                context = encode_for_training(texts, tokens).float()
                aim = teacher(x, t * 1000, context=context).float()
            found = network(x, t, context=context).float()
        error = (found - aim).square().mean(dim=(1, 2, 3))
        noisy, clean = error[t > 0.8], error[t < 0.4]
        return error.mean(), [error.mean().item(), *(part.mean().item() for part in (noisy, clean))]

    batches = data.batches(budget.batch, WordTokenizer(vocabulary()), seed)
    saving = Saving(folder / "transformer.pt", ["velocity", "noisy", "clean"], every=100, ema=0.9985)
    return train(network, Muon(split_groups(network), lr=budget.lr), budget, batches, loss, saving)


def pack_transformer(network: nn.Module, record: dict, path: Path = WEIGHTS) -> int:
    """Write the file and return its size in bytes. `record` says how it was trained."""
    write_atomic(half(network, ""), {"format": FORMAT, "training": json.dumps(record)}, path)
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev train-demo-transformer", description=__doc__)
    parser.add_argument("--work", type=Path, default=WORK, help="folder for latents and checkpoints")
    parser.add_argument("--length", type=float, default=1.0, help="factor on the steps")
    parser.add_argument("--shards", type=int, default=SHARDS, help="shards of 4096 latents")
    parser.add_argument("--threads", type=int, help="CPU threads; one is often fastest on a shared machine")
    parser.add_argument("--out", type=Path, help="file for the weights; by default a short run's stays in --work")
    parser.add_argument("--judge", action="store_true", help="only evaluate the existing weights")
    parser.add_argument("--count", type=int, default=200, help="pictures to judge")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.judge:
        _judge(options.work, options.count)
        return
    autoencoder = read_autoencoder(PAINTED.model).to(device())
    for index in range(options.shards):
        make_shard(options.work, PAINTED, autoencoder, index, PAINTED.seed + 2)
    budget = replace(BUDGET, steps=max(1, int(BUDGET.steps * options.length)))
    data = LatentData(options.work, PAINTED.seed + 2)
    network = train_transformer(options.work, data, budget, SEED)
    file = options.out or (WEIGHTS if options.length >= 1 else options.work / WEIGHTS.name)
    size = pack_transformer(network.cpu(), {"budget": vars(budget), "shards": options.shards}, file)
    print(f"wrote {file}, {size / 1e6:.2f} MB", flush=True)


def _judge(work: Path, count: int) -> None:
    """Figures and a contact sheet of the packed weights, made through ComfyUI and read by the pack's own classifier."""
    from .evaluate import evaluate, sheet

    figures, made, _ = evaluate(PAINTED, count, kind=TRANSFORMER)
    Image.fromarray(sheet(made[:40])).save(work / "sheet-transformer.png")
    print(f"generated, {TRANSFORMER}: {figures}", flush=True)


if __name__ == "__main__":
    main()
