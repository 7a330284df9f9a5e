"""Composites an edit into its original: outside the mask (0) every pixel stays the same, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.interrupts import interruptible
from ..samplers.masks import check_proportions, cropped_by_a_vae, on_picture
from .morphology import feather, grow
from .tensors import check_image, match_batch

# A ring with fewer pixels than this gives no reliable colour statistics.
_SMALLEST_RING = 16


@dataclass(frozen=True)
class Composite:
    """A composited picture, the weight of the edit at each pixel, and sentences on what was done."""

    image: Tensor  # [B, H, W, C]
    weight: Tensor  # [B, H, W]
    report: str


def composite_exact(
    original: Tensor, edited: Tensor, mask: Tensor, border: int = 8, color_match: float = 0.0, ring: int = 16
) -> Composite:
    """Lay the edit over the original inside the mask (1 = edit), with a soft border inside it.

    original, edited [B, H, W, C], mask [B, H, W]; batches of one are repeated. Where the mask is 0 the result is the
    original bit for bit. border: width in pixels over which the edit fades in, inside the mask. color_match: 0..1,
    how far the edit's colours are shifted so that, in a ring of `ring` pixels just outside the mask, the mean and
    contrast of the edited picture match the original's. An edit that a VAE has cropped is put back in its place; one
    of another size and the same proportions is resized. If both have alpha, it is mixed like the colours; over an
    original without alpha, the edit's alpha lets the original show through.
    """
    notes: list[str] = []
    base, edit = check_image(original, "original"), check_image(edited, "edited")
    height, width = base.shape[1:3]
    edit, valid = _fit_edit(edit, height, width, notes)
    area = on_picture(mask, height, width, "the original")
    if tuple(mask.shape[-2:]) != (height, width):
        notes.append(f"The mask was resized from {mask.shape[-1]} x {mask.shape[-2]} to {width} x {height}.")
    pictures = max(base.shape[0], edit.shape[0])
    batch = pictures if pictures > 1 else area.shape[0]
    base, edit = match_batch(base, batch, "original", "the rest"), match_batch(edit, batch, "edited", "the rest")
    area = match_batch(area, batch, "mask", "the batch of pictures") * valid

    if base.shape[-1] == 1:
        base = base.expand(*base.shape[:-1], 3)
    if edit.shape[-1] == 1:
        edit = edit.expand(*edit.shape[:-1], 3)
    if color_match > 0.0:
        edit = _match_ring(base, edit, area, valid, color_match, ring, notes)
    weight = feather(area, -border)
    if edit.shape[-1] == 4 and base.shape[-1] == 3:
        weight = weight * edit[..., 3]
        edit = edit[..., :3]
    elif edit.shape[-1] == 3 and base.shape[-1] == 4:
        edit = torch.cat((edit, base[..., 3:]), dim=-1)

    w = weight.unsqueeze(-1)
    mixed = base + w * (edit - base)
    result = torch.where(w <= 0.0, base, torch.where(w >= 1.0, edit, mixed))
    notes.insert(0, f"{100 * (weight <= 0).float().mean().item():.2f} % of the pixels are the original's, bit for bit.")
    return Composite(result.to(device=original.device, dtype=original.dtype), weight, "\n".join(notes))


def _fit_edit(edit: Tensor, height: int, width: int, notes: list[str]) -> tuple[Tensor, Tensor]:
    """The edit at the original's size, and [1, H, W] with 1 where it holds content."""
    h, w = edit.shape[1:3]
    valid = torch.ones(1, height, width)
    if (h, w) == (height, width):
        return edit, valid
    # ComfyUI's VAE encoding crops the centre of a picture whose size is not a multiple of its blocks.
    if cropped_by_a_vae((h, w), (height, width)):
        top, left = (height - h) // 2, (width - w) // 2
        around = (left, width - w - left, top, height - h - top)
        notes.append(
            f"The edit is {w} x {h}, cropped from {width} x {height}: it was put back {left} pixels from the left and "
            f"{top} from the top, and the rim keeps the original."
        )
        padded = F.pad(edit.movedim(-1, 1), around, mode="replicate").movedim(1, -1)
        return padded, F.pad(torch.ones(1, h, w), around)
    check_proportions(w, h, width, height, "edited picture", "the original")
    notes.append(f"The edit was resized from {w} x {h} to {width} x {height}.")
    resized = F.interpolate(edit.movedim(-1, 1), size=(height, width), mode="bicubic", antialias=True)
    return resized.movedim(1, -1).clamp(0.0, 1.0), valid


def _match_ring(
    base: Tensor, edit: Tensor, area: Tensor, valid: Tensor, strength: float, ring: int, notes: list[str]
) -> Tensor:
    """Apply the per-channel gain and offset that make the edit's colours match the original's in the ring."""
    inside = (area > 0).float()
    rings = (grow(inside, max(1, ring)) - inside) * valid > 0
    matched = edit.clone()
    for item in interruptible(range(edit.shape[0])):
        chosen = rings[item]
        if int(chosen.sum()) < _SMALLEST_RING:
            notes.append(f"Item {item}: no colour match, because hardly any picture is left around the mask.")
            continue
        seen, wanted = edit[item, ..., :3][chosen].double(), base[item, ..., :3][chosen].double()
        # In a flat ring the ratio of contrasts is mostly noise, so it is damped and limited to a factor of two.
        gain = ((wanted.std(0) + 0.01) / (seen.std(0) + 0.01)).clamp(0.5, 2.0)
        gain = 1.0 + strength * (gain - 1.0)
        shift = strength * (wanted.mean(0) - seen.mean(0))
        moved = (edit[item, ..., :3].double() - seen.mean(0)) * gain + seen.mean(0) + shift
        matched[item, ..., :3] = moved.clamp(0.0, 1.0).float()
        notes.append(
            f"Item {item}: colours moved by {_triple(shift)} with contrast times {_triple(gain)} (red, green, blue)."
        )
    return matched


def _triple(values: Tensor) -> str:
    return " / ".join(f"{v:.3f}" for v in values.tolist())
