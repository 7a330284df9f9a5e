"""Latents of rendered scenes with their labels: the training set of the diffusion model, extended in shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...samplers.files import written_whole
from ..autoencoder import LATENT_CHANNELS, LandscapeAutoencoder
from ..render import SIZE
from ..scenes import caption, random_scene
from ..text import MAX_TOKENS, PAD, UNKNOWN, WordTokenizer
from .common import device, half_precision
from .data import scene_from_row, scene_row, to_model_range
from .style import Style

SHARD = 4096
EMPTY_CAPTION = 0.10
UNKNOWN_WORD = 0.01


@torch.no_grad()
def make_shard(folder: Path, style: Style, module: LandscapeAutoencoder, index: int, seed: int) -> Path:
    """Render and encode one shard of SHARD scenes into `folder`, unless it already exists."""
    path = folder / f"latents-{seed}-{index}.npz"
    if path.exists():
        return path
    rng = np.random.default_rng([seed, index])
    latents = np.empty((SHARD, LATENT_CHANNELS, SIZE // 8, SIZE // 8), dtype=np.float16)
    rows = np.empty((SHARD, 8), dtype=np.int64)
    for start in range(0, SHARD, 32):
        scenes = [random_scene(rng) for _ in range(32)]
        x = to_model_range(np.stack([style.render(scene) for scene in scenes])).to(device())
        with half_precision():
            z = module.encode(x)
        latents[start : start + 32] = z.float().cpu().numpy()
        rows[start : start + 32] = [scene_row(scene) for scene in scenes]
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, latents=latents, rows=rows)
    return path


class LatentData:
    """All shards present in a folder, in memory; `refresh` picks up shards written since."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed, self.files = folder, seed, 0
        self.latents: list[np.ndarray] = []
        self.rows: list[np.ndarray] = []
        self.refresh()

    def refresh(self) -> None:
        while (path := self.folder / f"latents-{self.seed}-{self.files}.npz").exists():
            with np.load(path) as shard:
                self.latents.append(shard["latents"])
                self.rows.append(shard["rows"])
            self.files += 1

    def batches(self, batch: int, tokenizer: WordTokenizer, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless (latents [B, z, h, w], token ids [B, MAX_TOKENS]) with a new random caption each time."""
        rng = np.random.default_rng(seed)
        count = 0
        while True:
            count += 1
            if count % 500 == 0:
                self.refresh()
            shards = rng.integers(self.files, size=batch)
            picks = rng.integers(SHARD, size=batch)
            latents = np.stack([self.latents[s][i] for s, i in zip(shards, picks, strict=True)])
            tokens = np.full((batch, MAX_TOKENS), PAD)
            for k, (s, i) in enumerate(zip(shards, picks, strict=True)):
                text = "" if rng.random() < EMPTY_CAPTION else caption(scene_from_row(self.rows[s][i]), rng)
                tokens[k] = tokenizer.pad(text)
            words = tokens > UNKNOWN
            tokens[words & (rng.random(tokens.shape) < UNKNOWN_WORD)] = UNKNOWN
            yield torch.from_numpy(latents).float(), torch.from_numpy(tokens)
