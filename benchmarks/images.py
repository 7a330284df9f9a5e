"""Speed of the stroke simulation: `./dev bench images`. One thread, a photo-like picture of 1024 x 1024 pixels."""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from ..demo.render import render
from ..demo.scenes import Scene
from ..images.strokes import simulate_strokes, stroke_kernel
from ..images.tensors import from_pil, from_uint8
from .common import machine, paired_times, table

_LIMIT_SECONDS = 1.0


def photo(size: int) -> Tensor:
    """A landscape with the grain of a camera, so that no part of it is flat: an IMAGE [1, size, size, 3]."""
    picture = from_uint8(render(Scene(seed=1), size))[None]
    return (picture + 0.03 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def pillow_strokes(picture: Image.Image, kernel: int) -> Tensor:
    """The paper's evaluation as one would write it with Pillow alone."""
    median = picture.filter(ImageFilter.MedianFilter(kernel))
    return from_pil(median.convert("P", palette=Image.Palette.ADAPTIVE, colors=6).convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(machine())
    for size in (256, 1024):
        image = photo(size)
        picture = Image.fromarray((image[0] * 255).round().to(torch.uint8).numpy())
        # Pillow's filter sorts every window again: at 1024 pixels it takes minutes, so it gets a 64th of the picture.
        part = picture if size == 256 else picture.crop((0, 0, size // 8, size // 8))
        kernel = stroke_kernel(size)
        ours, pillow = f"Simulate Strokes, {size} px", f"Pillow, {part.width} px, kernel {kernel}"
        result = paired_times(
            {
                pillow: lambda part=part, kernel=kernel: pillow_strokes(part, kernel),
                ours: lambda image=image: simulate_strokes(image),
            },
            rounds=rounds,
        )
        print(table(result, pillow))
        if size == 256:
            same = bool(np.array_equal(pillow_strokes(picture, kernel).numpy(), simulate_strokes(image).numpy()))
            print(f"Same picture as Pillow's: {'yes' if same else 'NO'}")
        else:
            print(f"For the whole picture, the ratio is {result.ratio(ours, pillow)[0] / 64:.4f}.")
            begin = time.process_time()  # the core's own time, whatever else runs on the machine
            simulate_strokes(image)
            seconds = time.process_time() - begin
            verdict = "met" if seconds < _LIMIT_SECONDS else "MISSED"
            print(f"Limit of {_LIMIT_SECONDS:.0f} s of one core for a 1024-pixel photo: {verdict} ({seconds:.2f} s)")


if __name__ == "__main__":
    main()
