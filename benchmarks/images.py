"""Speed of the stroke simulation: `./dev bench images`. One thread, a photo-like picture of 1024 x 1024 pixels."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from ..demo.render import render
from ..demo.scenes import Scene
from ..images.strokes import simulate_strokes, stroke_kernel
from ..images.tensors import from_pil, from_uint8, to_uint8
from .common import machine, paired_times, parser, table, timed


def photo(size: int) -> Tensor:
    """A landscape with the grain of a camera, so that no part of it is flat: an IMAGE [1, size, size, 3]."""
    picture = from_uint8(render(Scene(seed=1), size))[None]
    return (picture + 0.03 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def pillow_strokes(picture: Image.Image, kernel: int) -> Tensor:
    """The paper's evaluation as one would write it with Pillow alone."""
    median = picture.filter(ImageFilter.MedianFilter(kernel))
    return from_pil(median.convert("P", palette=Image.Palette.ADAPTIVE, colors=6).convert("RGB"))


def measure(size: int, rounds: int) -> None:
    image, kernel = photo(size), stroke_kernel(size)
    picture = Image.fromarray(to_uint8(image[0]))
    # Pillow's filter sorts every window again: at 1024 pixels it takes minutes, so it gets a 64th of the picture.
    part = picture if size == 256 else picture.crop((0, 0, size // 8, size // 8))
    ours, pillow = f"Simulate Strokes, {size} px", f"Pillow, {part.width} px, kernel {kernel}"
    runs = {pillow: lambda: pillow_strokes(part, kernel), ours: lambda: simulate_strokes(image)}
    result = paired_times(runs, rounds)
    print(table(result, pillow))
    if size == 256:
        same = np.array_equal(pillow_strokes(picture, kernel).numpy(), simulate_strokes(image).numpy())
        print(f"Same picture as Pillow's: {'yes' if same else 'NO'}")
        return
    print(f"For the whole picture, the ratio is {result.ratio(ours, pillow)[0] / 64:.4f}.")
    seconds = timed(lambda: simulate_strokes(image))
    verdict = "met" if seconds < 1 else "MISSED"
    print(f"Limit of 1 s of one core for a 1024-pixel photo: {verdict} ({seconds:.2f} s)")


if __name__ == "__main__":
    options = parser(__doc__, rounds=5).parse_args()
    torch.set_num_threads(1)
    print(machine())
    for side in (256, 1024):
        measure(side, options.rounds)
