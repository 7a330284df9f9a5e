"""Numbers for edits: how faithful, how realistic."""

from __future__ import annotations

import json
import math

import comfy.utils
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..common.texts import quoted
from ..images.distribution import kernel_distance
from ..images.metrics import REGIONS, as_json_values, edit_metrics, table
from ..images.perceptual import lpips_map, lpips_missing
from ..images.tensors import check_image, split_alpha

CATEGORY = "diffusion path/metrics"
CLIP_FEATURES, DEMO_FEATURES = "CLIP vision", "landscape demo"
_CHUNK = 16


class EditMetricsNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathEditMetrics",
            display_name="Edit Metrics",
            category=CATEGORY,
            description="How far an edit is from its reference: L2, PSNR, SSIM and the distance of their edges, "
            "for the whole picture, inside and outside the mask.",
            search_aliases=["compare images", "psnr", "ssim", "l2", "lpips", "faithfulness", "structure distance"],
            inputs=[
                io.Image.Input("reference", tooltip="The picture to compare with: the guide or the original."),
                io.Image.Input(
                    "edited",
                    tooltip="The edited picture, of the same size. A single reference serves a batch of edits.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="1 = edit, 0 = keep. Splits the numbers: inside is where the mask is above 0, outside "
                    "where it is 0.",
                ),
                io.Combo.Input(
                    "region",
                    options=list(REGIONS),
                    default="whole",
                    tooltip="Region of the number outputs. Table and JSON always hold all regions; inside and "
                    "outside need a mask.",
                ),
                io.Boolean.Input(
                    "lpips",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Add LPIPS, a learned perceptual distance, where the optional lpips package and its "
                    "AlexNet weights are installed. Nothing is downloaded.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="l2",
                    tooltip="L2: square root of the squared differences summed over pixels and colours in 0..1, as "
                    "in SDEdit's paper; mean over the batch. 0 = identical.",
                ),
                io.Float.Output(
                    display_name="psnr",
                    tooltip="Peak signal-to-noise ratio in dB, higher is closer; infinite for identical pictures.",
                ),
                io.Float.Output(display_name="ssim", tooltip="Structural similarity: 1 = identical."),
                io.Float.Output(
                    display_name="edge_distance",
                    tooltip="1 - correlation of the blurred edges: 0 = the same structure, 1 = unrelated.",
                ),
                io.String.Output(display_name="table", tooltip="All numbers as a readable table."),
                io.String.Output(
                    display_name="json", tooltip="All numbers, with a value per picture of the batch, as JSON."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, reference: Tensor, edited: Tensor, region: str, mask: Tensor | None = None, lpips: bool = False
    ) -> io.NodeOutput:
        if region not in REGIONS or (mask is None and region != "whole"):
            raise ValueError(f"The numbers for the region {quoted(region)} need a mask: connect one, or choose whole.")
        note = lpips_missing() if lpips else ""
        metrics = edit_metrics(reference, edited, mask, lpips_map() if lpips and not note else None)
        text = "\n".join(filter(None, (table(metrics), note)))
        values = {"regions": as_json_values(metrics), **({"note": note} if note else {})}
        numbers = (metrics.mean(region, name) for name in ("l2", "psnr", "ssim", "edges"))
        return io.NodeOutput(*numbers, text, json.dumps(values, allow_nan=False), ui=ui.PreviewText(text))


class DistributionDistanceNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathDistributionDistance",
            display_name="Distribution Distance",
            category=CATEGORY,
            description="How far a batch of pictures is, as a whole, from a batch of real ones: the kernel "
            "distance KID with its standard error. Measures realism where no picture has a "
            "counterpart.",
            search_aliases=["kid", "kernel inception distance", "mmd", "fid", "realism"],
            inputs=[
                io.Image.Input("images", tooltip="The pictures to judge: 2 or more, better 50."),
                io.Image.Input(
                    "reference",
                    tooltip="Pictures of the distribution aimed for: 2 or more, better 50. The sizes may differ.",
                ),
                io.Combo.Input(
                    "features",
                    options=[CLIP_FEATURES, DEMO_FEATURES],
                    default=CLIP_FEATURES,
                    tooltip="What pictures are compared by: the embeddings of a CLIP vision model, or the attribute "
                    "network of the landscape demo (for its landscapes only).",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="From Load CLIP Vision. Compare only numbers that come from the same model.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="kid",
                    tooltip="Unbiased squared distance with the polynomial kernel of degree 3: about 0 for equal "
                    "distributions, and as often below as above.",
                ),
                io.Float.Output(
                    display_name="standard_error",
                    tooltip="Standard error of the distance (jackknife over the pictures); not a number below 3 "
                    "pictures on a side.",
                ),
                io.String.Output(display_name="report", tooltip="The distance in a sentence."),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, reference: Tensor, features: str, clip_vision=None) -> io.NodeOutput:
        sets = [
            split_alpha(check_image(batch, name))[0] for batch, name in ((images, "images"), (reference, "reference"))
        ]
        if features == CLIP_FEATURES and clip_vision is None:
            raise ValueError(
                f"Features by {CLIP_FEATURES!r} need a CLIP vision model: connect Load CLIP Vision, or choose "
                f"{DEMO_FEATURES!r} for pictures of the landscape demo."
            )
        if min(len(batch) for batch in sets) < 2:
            raise ValueError(
                f"A distance between distributions needs at least 2 pictures on each side, got {len(sets[0])} and "
                f"{len(sets[1])}: batch more pictures (50 or more for a small standard error)."
            )
        progress = comfy.utils.ProgressBar(sum(len(batch) for batch in sets))
        rows = [_features(batch, clip_vision if features == CLIP_FEATURES else None, progress) for batch in sets]
        distance = kernel_distance(*rows)
        error = "unknown" if math.isnan(distance.standard_error) else f"{distance.standard_error:.4g}"
        report = (
            f"KID {distance.value:.4g}, standard error {error}: {len(sets[0])} pictures against {len(sets[1])}, "
            f"{rows[0].shape[1]} features by {features}."
        )
        return io.NodeOutput(distance.value, distance.standard_error, report, ui=ui.PreviewText(report))


def _features(images: Tensor, clip_vision, progress: comfy.utils.ProgressBar) -> Tensor:
    """One row of features per picture, in chunks that show progress and can be interrupted."""
    rows = []
    for chunk in images.split(_CHUNK):
        if clip_vision is not None:
            rows.append(clip_vision.encode_image(chunk)["image_embeds"].float().cpu())
        else:
            from ..demo.attributes import features

            rows.append(features(chunk).float().cpu())
        progress.update(len(chunk))
    return torch.cat(rows)


NODES: list[type[io.ComfyNode]] = [EditMetricsNode, DistributionDistanceNode]
