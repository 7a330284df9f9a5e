"""Faithful against real over t0, as the SDEdit paper's Figure 3, on simulated strokes: `./dev bench realism`.

Landscapes that training did not see are turned into stroke paintings as in the paper (median filter, six colours),
edited at several t0, and compared with their guides and, as a set, with fresh renders.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..demo.attributes import features, read_attributes
from ..demo.model import load_demo_model
from ..demo.scenes import ATTRIBUTES, Scene, full_caption
from ..demo.training.evaluate import rendered, unseen_scenes
from ..images.distribution import kernel_distance
from ..images.plot import Series, line_plot
from ..images.strokes import simulate_strokes
from ..samplers.sdedit import Settings, sdedit

T0S = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
BATCH = 10
PLOT = Path(__file__).resolve().parents[1] / "docs" / "images" / "realism.png"


class Guides:
    """Stroke paintings [N, 256, 256, 3] of unseen scenes, and the demo model to edit them with their captions."""

    def __init__(self, count: int) -> None:
        self.model, self.clip, self.vae = load_demo_model()
        self.scenes = unseen_scenes(count, seed=77001)
        self.strokes = simulate_strokes(rendered(self.scenes))

    def edited(self, t0: float, steps: int) -> Tensor:
        """All guides after SDEdit at t0, a fresh noise for each."""
        empty = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(""))
        pictures = []
        for start in range(0, len(self.scenes), BATCH):
            texts = [full_caption(scene) for scene in self.scenes[start : start + BATCH]]
            encoded = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text)) for text in texts]
            positive = [[torch.cat([each[0][0] for each in encoded]), dict(encoded[0][0][1])]]
            guide = {"samples": self.vae.encode(self.strokes[start : start + BATCH])}
            made = sdedit(self.model, positive, empty, guide, start, Settings(t0=t0, steps=steps)).latent
            pictures.append(self.vae.decode(made["samples"]).cpu())
        return torch.cat(pictures)


def l2(pictures: Tensor, guides: Tensor) -> tuple[float, float]:
    """Mean squared distance to the guide, summed over a picture as in the paper, and its standard error."""
    each = (pictures - guides).square().sum(dim=(1, 2, 3))
    return float(each.mean()), float(each.std()) / math.sqrt(len(each))


def kept(pictures: Tensor, scenes: list[Scene]) -> tuple[float, float]:
    """Share of attributes that read as the guide's scene has them, and share of pictures with at most one wrong."""
    read = read_attributes(pictures)
    right = np.array([[r[name] == getattr(s, name) for name in ATTRIBUTES] for r, s in zip(read, scenes, strict=True)])
    return float(right.mean()), float((right.sum(axis=1) >= len(ATTRIBUTES) - 1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench realism", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="stroke paintings")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    with torch.inference_mode():
        guides = Guides(options.count)
        real = features(rendered(unseen_scenes(4 * options.count, seed=5)))
        rows: list[tuple[float, ...]] = []
        print("| t0 | L2 to the guide | KID to renders | attributes kept | pictures kept |\n|---|---|---|---|---|")
        for t0 in (0.0, *T0S):
            pictures = guides.strokes if t0 == 0 else guides.edited(t0, options.steps)
            distance, share = kernel_distance(features(pictures), real), kept(pictures, guides.scenes)
            rows.append((t0, *l2(pictures, guides.strokes), distance.value, distance.standard_error, *share))
            print("| {:.1f} | {:.0f} ± {:.0f} | {:.3f} ± {:.3f} | {:.1%} | {:.1%} |".format(*rows[-1]), flush=True)
    names, columns = ("L2 to the guide", "KID to renders"), list(zip(*rows, strict=True))
    series = [
        Series(names[0], columns[0], columns[1], errors=columns[2]),
        Series(names[1], columns[0], columns[3], errors=columns[4], axis="right"),
    ]
    plot = line_plot(series, "t0", names[0], right_label=names[1])
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((plot[0] * 255).round().byte().numpy()).save(PLOT)


if __name__ == "__main__":
    main()
