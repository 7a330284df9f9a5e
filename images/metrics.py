"""Distances between a picture and its edit: whole, inside and outside the mask (inside: mask > 0, 1 = edit)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..common.interrupts import answering, interruptible
from ..samplers.masks import on_picture
from .tensors import check_image, match_batch, split_alpha

REGIONS = ("whole", "inside", "outside")
METRICS = ("l2", "rms", "psnr", "ssim", "edges", "lpips")
LUMA = (0.299, 0.587, 0.114)
_SSIM_WINDOW = 11


@dataclass(frozen=True)
class EditMetrics:
    """Values per batch item; NaN where a region is empty or a metric is undefined there."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # region -> metric -> per item

    def mean(self, region: str, metric: str) -> float:
        """Mean over the batch items for which the metric is defined (including an infinite PSNR of equal pictures)."""
        defined = [v for v in self.values[region][metric] if not math.isnan(v)]
        return sum(defined) / len(defined) if defined else math.nan


def edit_metrics(
    reference: Tensor,
    edited: Tensor,
    mask: Tensor | None = None,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> EditMetrics:
    """Compare two IMAGE batches of the same size; the regions inside and outside need a mask.

    l2: Euclidean norm of the difference over pixels and channels in 0..1, as SDEdit's paper reports it; rms: the same
    per value, independent of the picture's size; psnr in dB; ssim: Wang et al. 2004 (Gaussian window of 11, sigma 1.5);
    edges: `edge_distance`; lpips: mean of the distance map that `perceptual` gives for two [1, H, W, 3] pictures.
    Alpha is ignored.
    """
    first, second = check_image(reference, "reference"), check_image(edited, "edited")
    if first.shape[1:3] != second.shape[1:3]:
        raise ValueError(
            f"The reference is {first.shape[2]} x {first.shape[1]} and the edited picture {second.shape[2]} x "
            f"{second.shape[1]}, and resizing would change the numbers: crop or resize one of them."
        )
    batch = max(first.shape[0], second.shape[0])
    area = None
    if mask is not None:
        area = on_picture(mask, first.shape[1], first.shape[2], "the reference")
        batch = batch if batch > 1 else area.shape[0]
        area = match_batch(area, batch, "mask", "the batch of pictures").numpy() > 0
    a = match_batch(split_alpha(first)[0], batch, "reference", "the rest").numpy().astype(np.float64)
    b = match_batch(split_alpha(second)[0], batch, "edited", "the rest").numpy().astype(np.float64)

    names = REGIONS if area is not None else REGIONS[:1]
    values: dict[str, dict[str, list[float]]] = {r: {m: [] for m in METRICS} for r in names}
    for item in interruptible(range(batch)):
        everywhere = np.ones(a.shape[1:3], dtype=bool)
        chosen = [everywhere] if area is None else [everywhere, area[item], ~area[item]]
        similarity = answering(ssim_map, a[item], b[item])
        edges = answering(edge_strength, a[item]), answering(edge_strength, b[item])
        distance = perceptual(_single(a[item]), _single(b[item])).numpy() if perceptual else None
        for name, region in zip(names, chosen, strict=True):
            row = values[name]
            squares = (a[item] - b[item])[region] ** 2
            mean = squares.mean() if squares.size else math.nan
            row["l2"].append(float(math.sqrt(squares.sum())) if squares.size else math.nan)
            row["rms"].append(float(math.sqrt(mean)))
            row["psnr"].append(psnr(mean))
            row["ssim"].append(_mean_inside(similarity, region, _SSIM_WINDOW // 2))
            row["edges"].append(edge_distance(*edges, region))
            row["lpips"].append(_mean_inside(distance, region, 0))
    return EditMetrics(values)


def psnr(mean_square: float) -> float:
    """Peak signal-to-noise ratio in dB for values in 0..1; infinite where the pictures are identical."""
    return math.inf if mean_square == 0 else -10.0 * math.log10(mean_square)


def ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Structural similarity at each pixel [H, W], mean over channels; None for pictures smaller than its window."""
    if min(a.shape[:2]) < _SSIM_WINDOW:
        return None
    from skimage.metrics import structural_similarity

    maps = structural_similarity(
        a, b, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return np.asarray(maps[1]).mean(axis=-1)


def edge_strength(picture: np.ndarray) -> np.ndarray:
    """Strength of the edges [H, W]: Sobel gradient of the luma, blurred by 1 % of the shorter side."""
    from scipy.ndimage import gaussian_filter, sobel

    luma = picture @ np.array(LUMA)
    strength = np.hypot(sobel(luma, axis=0, mode="nearest"), sobel(luma, axis=1, mode="nearest"))
    return gaussian_filter(strength, max(1.0, 0.01 * min(luma.shape)), mode="nearest")


def edge_distance(a: np.ndarray, b: np.ndarray, region: np.ndarray) -> float:
    """1 - correlation of two edge maps in a region: 0 for the same structure, 1 for unrelated, up to 2."""
    x, y = a[region], b[region]
    if x.size < 2:
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    flat = (np.abs(x).max() < 1e-9, np.abs(y).max() < 1e-9)
    if any(flat):
        return 0.0 if all(flat) else 1.0
    return float(np.clip(1.0 - (x @ y) / math.sqrt((x @ x) * (y @ y)), 0.0, 2.0))


def _mean_inside(values: np.ndarray | None, region: np.ndarray, rim: int) -> float:
    """Mean over the region without the margin of the picture, where windows would extend beyond its edge."""
    if values is None:
        return math.nan
    inner = (slice(rim, values.shape[0] - rim), slice(rim, values.shape[1] - rim))
    chosen = values[inner][region[inner]]
    return float(chosen.mean()) if chosen.size else math.nan


def _single(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).float().unsqueeze(0)


_HEADINGS = {
    "l2": "L2", "rms": "RMS", "psnr": "PSNR dB", "ssim": "SSIM", "edges": "edge distance", "lpips": "LPIPS"
}  # fmt: skip
_FORMATS = {"l2": "{:.3f}", "rms": "{:.5f}", "psnr": "{:.2f}", "ssim": "{:.4f}", "edges": "{:.4f}", "lpips": "{:.4f}"}


def table(metrics: EditMetrics) -> str:
    """A text table of the means, one row per region."""
    shown = [m for m in METRICS if any(not math.isnan(metrics.mean(r, m)) for r in metrics.values)]
    rows = [["", *(_HEADINGS[m] for m in shown)]]
    rows += [[region, *(_cell(metrics.mean(region, m), _FORMATS[m]) for m in shown)] for region in metrics.values]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(_pad(cell, w, i) for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
                     for row in rows)  # fmt: skip


def as_json_values(metrics: EditMetrics) -> dict[str, dict[str, object]]:
    """Means and per-item values per region, with None where JSON has no number (undefined, or infinite PSNR)."""
    result: dict[str, dict[str, object]] = {}
    for region, rows in metrics.values.items():
        result[region] = {m: {"mean": _finite(metrics.mean(region, m)), "items": [_finite(v) for v in items]}
                          for m, items in rows.items()}  # fmt: skip
        result[region]["identical"] = [v == 0.0 for v in rows["l2"]]
    return result


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(value: float, form: str) -> str:
    return "-" if math.isnan(value) else "identical" if math.isinf(value) else form.format(value)


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)
