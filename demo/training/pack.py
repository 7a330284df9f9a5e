"""Packs the trained parts into the file shipped with the pack: fp16 weights with readable metadata."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ...samplers.files import written_whole
from ..autoencoder import LandscapeAutoencoder
from ..model import FORMAT, read_weights
from ..scenes import vocabulary
from .data import to_model_range
from .diffusion import TextToLatent
from .style import Style

VERSION = 1


def half(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value.detach().to(torch.float16).contiguous() for key, value in module.state_dict().items()}


@torch.no_grad()
def preview_factors(module: LandscapeAutoencoder, pictures: np.ndarray) -> dict[str, list]:
    """Least-squares map from a latent cell to the mean colour (-1..1) of its 8x8 pixels, for ComfyUI's live preview."""
    x = to_model_range(pictures)
    z = module.encode(x).permute(0, 2, 3, 1).reshape(-1, 4)
    colours = nn.functional.avg_pool2d(x, 8).permute(0, 2, 3, 1).reshape(-1, 3)
    design = torch.cat([z, torch.ones(len(z), 1)], dim=1)
    solution = torch.linalg.lstsq(design, colours).solution
    return {"factors": solution[:4].tolist(), "bias": solution[4].tolist()}


def write_atomic(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    with written_whole(path) as part:
        save_file(tensors, part, metadata)


def pack_model(
    autoencoder: LandscapeAutoencoder, model: TextToLatent, pictures: np.ndarray, record: dict, style: Style
) -> int:
    """Write the model file and return its size in bytes. `record` says how it was trained."""
    tensors = {**half(model.unet, "unet."), **half(model.text, "text."), **half(autoencoder, "vae.")}
    metadata = {
        "format": FORMAT,
        "version": json.dumps(VERSION),
        "vocabulary": json.dumps(vocabulary()),
        "preview": json.dumps(preview_factors(autoencoder, pictures)),
        "training": json.dumps(record),
    }
    if style.unet:
        metadata["unet"] = json.dumps(dict(style.unet))
    write_atomic(tensors, metadata, style.model)
    return style.model.stat().st_size


def read_autoencoder(path: Path) -> LandscapeAutoencoder:
    """The autoencoder of a model file."""
    weights, module = read_weights(path)[0], LandscapeAutoencoder()
    module.load_state_dict({k.removeprefix("vae."): v.float() for k, v in weights.items() if k.startswith("vae.")})
    return module.requires_grad_(False)


def pack_attributes(module: nn.Module, record: dict, path: Path) -> int:
    """Write the attribute classifier's file and return its size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(half(module, ""), {"format": "diffusion-path-attributes", "training": json.dumps(record)}, path)
    return path.stat().st_size
