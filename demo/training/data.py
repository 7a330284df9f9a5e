"""Rendered scenes as training data: a memory-mapped store of pictures with labels, written once and reused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...samplers.files import written_whole
from ..render import SIZE
from ..scenes import ATTRIBUTES, Scene, random_scene
from .style import Style


def scene_from_row(row: np.ndarray) -> Scene:
    """A scene from its stored row [8]: seven class indices and the layout seed."""
    values = {name: options[int(i)] for (name, options), i in zip(ATTRIBUTES.items(), row[:-1], strict=True)}
    return Scene(**values, seed=int(row[-1]))  # pyright: ignore[reportArgumentType]


def scene_row(scene: Scene) -> np.ndarray:
    return np.append(scene.labels(), scene.seed)


def render_store(
    folder: Path, style: Style, count: int, seed: int, flat_every: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [count, SIZE, SIZE, 3] and rows int64 [count, 8] from `folder`, rendered first if missing.

    flat_every: every n-th picture is a flat stroke painting, so that an autoencoder learns to reconstruct those too.
    """
    pictures_path, rows_path = folder / f"pictures-{count}-{seed}.npy", folder / f"rows-{count}-{seed}.npy"
    if not rows_path.exists():
        rng = np.random.default_rng(seed)
        rows = np.empty((count, len(ATTRIBUTES) + 1), dtype=np.int64)
        with written_whole(pictures_path) as part:
            store = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE, 3))
            for i in range(count):
                scene = random_scene(rng)
                flat = flat_every > 0 and i % flat_every == flat_every - 1
                rows[i], store[i] = scene_row(scene), style.render(scene, detail=0.0 if flat else 1.0)
                if (i + 1) % 2000 == 0:
                    print(f"rendered {i + 1}/{count}", flush=True)
            store.flush()
        with written_whole(rows_path) as part, part.open("wb") as file:
            np.save(file, rows)
    # Memory-mapped on purpose: 4 GB that the recipe itself wrote, of which each batch reads a few pictures.
    return np.load(pictures_path, mmap_mode="r"), np.load(rows_path)


def to_model_range(pictures: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in -1..1, channels last in memory."""
    x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2)
    return x.float().div_(127.5).sub_(1.0)


def crops(pictures: np.ndarray, batch: int, size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches [batch, 3, size, size] of random crops; corners are drawn often, so that borders are learned."""
    rng = np.random.default_rng(seed)
    room = pictures.shape[1] - size
    while True:
        picks = rng.integers(len(pictures), size=batch)
        corners = (
            np.clip(rng.integers(-room // 4, room + room // 4 + 1, size=(batch, 2)), 0, room)
            if room
            else np.zeros((batch, 2), int)
        )
        yield to_model_range(
            np.stack([pictures[i, y : y + size, x : x + size] for i, (y, x) in zip(picks, corners, strict=True)])
        )
