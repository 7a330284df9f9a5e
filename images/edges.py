"""Edge maps of pictures and clean sketches from drawings: always light lines on a dark background, values in 0..1."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..common.interrupts import answering, interruptible
from ..common.texts import quoted
from .metrics import LUMA
from .tensors import check_image, split_alpha

METHODS = ("canny", "sobel", "difference of gaussians", "adaptive threshold")
LINES = ("auto", "light on dark", "dark on light")

Method = Literal["canny", "sobel", "difference of gaussians", "adaptive threshold"]
Lines = Literal["auto", "light on dark", "dark on light"]

DETAIL, SCALE = 0.25, 3.0  # outlines as people sketch them, no textures
FAINT = 0.05  # of full ink: anything fainter is background

_REFERENCE = 256  # lengths are given in pixels of a picture of this shorter side
_ADAPTIVE_WINDOW = 25
_LEAST_CONTRAST = 0.4
_STROKE = 1.0 / 3.0
_PAPER = 0.3  # of full ink: a darker background is not paper


def edge_map(image: Tensor, method: Method = "canny", detail: float = DETAIL, scale: float = SCALE) -> Tensor:
    """The edges of an IMAGE batch [B, H, W, C] as MASK-like [B, H, W].

    detail: how weak an edge may be and still be drawn, 0 (only the strongest) to 1 (all). scale: size of the features
    in pixels at a picture size of 256; smaller ones are smoothed away. "canny": one-pixel lines (Canny 1986),
    hysteresis between two quantiles of the gradient; "sobel": strength of the gradient, grey; "difference of
    gaussians": soft pencil lines (Winnemoeller et al. 2012); "adaptive threshold": dark strokes on a lighter
    background, for scans. Raises ValueError for another method.
    """
    colour = split_alpha(check_image(image, "image"))[0].numpy().astype(np.float64)
    luma = np.stack([_stretched(grey) for grey in colour @ np.array(LUMA)])
    blur = scale * min(luma.shape[1:]) / _REFERENCE
    draw = _DRAW[_known(method)]
    drawn = [answering(draw, picture, min(max(detail, 0.0), 1.0), blur) for picture in interruptible(luma)]
    return torch.from_numpy(np.stack(drawn)).float()


def clean_sketch(
    image: Tensor, lines: Lines = "auto", threshold: float = 0.5, thin: bool = False, specks: int = 8, width: int = 1
) -> Tensor:
    """A drawing [B, H, W, C] as clean light lines on dark [B, H, W].

    lines: polarity of the drawing; "auto" treats the rarer of light and dark as the lines. threshold: how dark a stroke
    must be, from the background (0) to the drawing's dark strokes (1), to be kept; 0 keeps the drawing's greys, for
    strokes of different importance. thin: reduce strokes to their centre line. specks: remove marks with fewer pixels.
    width: thicken lines to this many pixels.
    Transparent areas count as paper.
    """
    cleaned = [answering(_clean, amount, threshold, thin, specks, width) for amount in interruptible(ink(image, lines))]
    return torch.from_numpy(np.stack(cleaned)).float()


def ink(image: Tensor, lines: Lines = "auto", name: str = "sketch") -> np.ndarray:
    """The amount of ink in each pixel of drawings [B, H, W, C], as [B, H, W]: 1 = a line, 0 = the background.

    The background is the most common level near white (or black), because paper is never quite white.
    """
    colour, alpha = split_alpha(check_image(image, name))
    luma = (colour @ torch.tensor(LUMA)).numpy()
    opaque = np.ones_like(luma) if alpha is None else alpha[..., 0].numpy()
    return np.stack([_ink(grey, a, lines) for grey, a in interruptible(zip(luma, opaque, strict=True))])


def _ink(grey: np.ndarray, opaque: np.ndarray, lines: Lines) -> np.ndarray:
    if lines == "auto":
        if opaque.min() < 0.5:
            return opaque  # strokes on a transparent layer: whatever is painted is ink
        lines = "dark on light" if grey.mean() > 0.5 else "light on dark"
    amount = (1.0 - grey if lines == "dark on light" else grey) * opaque
    ground = float(np.median(amount))
    return np.clip((amount - ground) / (1.0 - ground), 0.0, 1.0) if ground < _PAPER else amount


def of_width(lines: Tensor, width: int) -> Tensor:
    """Redraw strokes [B, H, W] as lines of `width` pixels along their centre lines, keeping their brightness.

    Anything brighter than one third is a stroke. Width 0 changes nothing.
    """
    from skimage import morphology

    if width <= 0:
        return lines
    brush = _brush(width)
    redrawn = []
    for drawing in interruptible(lines.numpy()):
        middle = np.where(answering(morphology.skeletonize, drawing > _STROKE), drawing, 0.0)
        redrawn.append(answering(morphology.dilation, middle, brush))
    return torch.from_numpy(np.stack(redrawn)).float()


def as_picture(edges: Tensor) -> Tensor:
    """[B, H, W] to a grey IMAGE [B, H, W, 3]."""
    return edges.unsqueeze(-1).expand(*edges.shape, 3).contiguous()


def _stretched(luma: np.ndarray) -> np.ndarray:
    """Raise the contrast of dull and dark pictures, up to a limit, so that their outlines are found."""
    low, high = np.quantile(luma, (0.01, 0.99))
    return (luma - low) / np.clip(high - low, _LEAST_CONTRAST, 1.0)


def _known(method: str) -> str:
    if method not in _DRAW:
        raise ValueError(f"There is no edge method {quoted(method)}: choose one of {', '.join(METHODS)}.")
    return method


def _canny(luma: np.ndarray, detail: float, blur: float) -> np.ndarray:
    from skimage.feature import canny

    # Absolute thresholds: a flat sky must stay empty, but quantiles of its own gradient would fill it.
    high = 0.02 + 0.28 * (1.0 - detail) ** 2
    return canny(luma, sigma=blur, low_threshold=0.4 * high, high_threshold=high, mode="nearest").astype(np.float64)


def _sobel(luma: np.ndarray, detail: float, blur: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter, sobel

    smooth = gaussian_filter(luma, blur, mode="nearest")
    strength = np.hypot(sobel(smooth, axis=0, mode="nearest"), sobel(smooth, axis=1, mode="nearest"))
    return np.clip(strength / (4.0 * (0.05 + 0.45 * (1.0 - detail))), 0.0, 1.0)


def _difference_of_gaussians(luma: np.ndarray, detail: float, blur: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    wide = gaussian_filter(luma, 1.6 * max(blur, 0.3), mode="nearest")
    narrow = gaussian_filter(luma, max(blur, 0.3), mode="nearest")
    return np.clip((wide - narrow) / (0.01 + 0.09 * (1.0 - detail)), 0.0, 1.0)


def _adaptive_threshold(luma: np.ndarray, detail: float, blur: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter
    from skimage.filters import threshold_local

    smooth = gaussian_filter(luma, blur / 2, mode="nearest")
    window = 2 * round(_ADAPTIVE_WINDOW * min(luma.shape) / _REFERENCE / 2) + 1
    ground = threshold_local(smooth, max(3, window), method="gaussian", mode="nearest")
    return (smooth < ground - 0.01 - 0.14 * (1.0 - detail)).astype(np.float64)


_DRAW = {
    "canny": _canny,
    "sobel": _sobel,
    "difference of gaussians": _difference_of_gaussians,
    "adaptive threshold": _adaptive_threshold,
}


def _clean(amount: np.ndarray, threshold: float, thin: bool, specks: int, width: int) -> np.ndarray:
    from skimage import measure, morphology

    strokes = amount[amount > FAINT]
    dark = float(np.quantile(strokes, 0.95)) if strokes.size else 1.0
    lines = amount > (max(FAINT, threshold * dark) if threshold > 0 else 1e-3)
    if specks > 1:
        marks = np.asarray(measure.label(lines, connectivity=2))
        lines &= (np.bincount(marks.ravel()) >= specks)[marks]
    if thin:
        lines = morphology.skeletonize(lines)
    if threshold > 0:
        drawn = lines.astype(np.float64)
    else:
        drawn = np.where(lines, amount, 0.0)
    if width > 1:
        drawn = morphology.dilation(drawn, _brush(width))
    return drawn


def _brush(width: int) -> np.ndarray:
    from skimage import morphology

    return np.ones((width, width)) if width < 4 else np.asarray(morphology.disk((width - 1) // 2))
