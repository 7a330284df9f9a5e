"""Numbers for edits: how faithful, how realistic."""

from __future__ import annotations

import json
import math
from typing import Any

import comfy.utils
import torch
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..common.texts import quoted
from ..images.distribution import Distance, kernel_distance
from ..images.metrics import REGIONS, as_json_values, edit_metrics, table
from ..images.perceptual import lpips_map, lpips_missing
from ..images.tensors import check_image, split_alpha
from .inputs import choice

CATEGORY = "diffusion path/metrics"
PAIRS, SETS = "pairs", "sets"
CLIP_FEATURES, DEMO_FEATURES = "CLIP vision", "landscape demo"
_CHUNK = 16


def _pair_inputs() -> list[Any]:
    """What a comparison of pairs asks for."""
    return [
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="1 = edit, 0 = keep. Splits the numbers: inside is where the mask is above 0, outside "
            "where it is 0.",
        ),
        choice(
            "region",
            REGIONS,
            "whole",
            "Region of the number outputs. Table and JSON always hold all regions; inside and outside need a mask.",
        ),
        io.Boolean.Input(
            "lpips",
            default=False,
            optional=True,
            advanced=True,
            tooltip="Add LPIPS, a learned perceptual distance, where the optional lpips package and its "
            "AlexNet weights are installed. Nothing is downloaded.",
        ),
    ]


def _set_inputs() -> list[Any]:
    """What a comparison of sets asks for."""
    return [
        choice(
            "features",
            [CLIP_FEATURES, DEMO_FEATURES],
            CLIP_FEATURES,
            "What the pictures are compared by: the embeddings of a CLIP vision model, or the attribute network "
            "of the landscape demo (for its landscapes only).",
        ),
        io.ClipVision.Input(
            "clip_vision",
            optional=True,
            tooltip="From Load CLIP Vision. Compare only numbers that come from the same model.",
        ),
    ]


class Metrics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMetrics",
            display_name="Metrics",
            category=CATEGORY,
            description="Measures edits. pairs: how far each edit is from its reference (L2, PSNR, SSIM, edges), "
            "inside and outside a mask. sets: how far a batch as a whole is from real pictures (KID).",
            search_aliases=[
                "edit metrics",
                "compare images",
                "psnr",
                "ssim",
                "l2",
                "lpips",
                "faithfulness",
                "structure distance",
                "distribution distance",
                "kid",
                "kernel inception distance",
                "mmd",
                "fid",
                "realism",
            ],
            inputs=[
                io.Image.Input(
                    "reference",
                    tooltip="pairs: the guide or the original, one for all or one per edit. sets: real pictures of "
                    "the desired kind, at least 2, better 50; the sizes may differ.",
                ),
                io.Image.Input(
                    "edited",
                    tooltip="The edited pictures. pairs: the same size as the reference. sets: at least 2, better 50.",
                ),
                io.DynamicCombo.Input(
                    "compare",
                    options=[
                        io.DynamicCombo.Option(PAIRS, _pair_inputs()),
                        io.DynamicCombo.Option(SETS, _set_inputs()),
                    ],
                    tooltip="pairs: compares each picture with its reference, which measures faithfulness. sets: "
                    "compares the two batches as a whole, which measures realism when pictures have no "
                    "counterparts.",
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
                io.Float.Output(
                    display_name="kid",
                    tooltip="Unbiased squared distance with the polynomial kernel of degree 3: around 0 for equal "
                    "distributions, and as often below as above it.",
                ),
                io.Float.Output(
                    display_name="standard_error",
                    tooltip="Standard error of the distance (jackknife over the pictures); NaN with fewer than 3 "
                    "pictures on either side.",
                ),
                io.String.Output(display_name="report", tooltip="All numbers as text."),
                io.String.Output(
                    display_name="json",
                    tooltip="All numbers as JSON; for pairs, of each region and every picture of the batch.",
                ),
            ],
        )

    @classmethod
    def execute(cls, reference: Tensor, edited: Tensor, compare: dict[str, Any]) -> io.NodeOutput:
        measure = _pairs if compare["compare"] == PAIRS else _sets
        chosen = {name: value for name, value in compare.items() if name != "compare"}
        numbers, text, values = measure(reference, edited, **chosen)
        return io.NodeOutput(*numbers, text, json.dumps(values, allow_nan=False), ui=ui.PreviewText(text))


def _pairs(
    reference: Tensor, edited: Tensor, region: str, mask: Tensor | None = None, lpips: bool = False
) -> tuple[list[Any], str, dict[str, Any]]:
    """All outputs' numbers, the table, and what the JSON holds."""
    if region not in REGIONS or (mask is None and region != "whole"):
        raise ValueError(f"The numbers for the region {quoted(region)} need a mask: connect one, or choose whole.")
    note = lpips_missing() if lpips else ""
    metrics = edit_metrics(reference, edited, mask, lpips_map() if lpips and not note else None)
    text = "\n".join(filter(None, (table(metrics), note)))
    values = {"regions": as_json_values(metrics), **({"note": note} if note else {})}
    numbers = [metrics.mean(region, name) for name in ("l2", "psnr", "ssim", "edges")]
    return [*numbers, _blocked("kid", SETS), _blocked("standard_error", SETS)], text, values


def _sets(
    reference: Tensor, edited: Tensor, features: str, clip_vision: Any = None
) -> tuple[list[Any], str, dict[str, Any]]:
    """All outputs' numbers, the report, and what the JSON holds."""
    batches = [
        split_alpha(check_image(batch, name))[0] for batch, name in ((edited, "edited"), (reference, "reference"))
    ]
    if features == CLIP_FEATURES and clip_vision is None:
        raise ValueError(
            f"Features by {CLIP_FEATURES!r} need a CLIP vision model: connect Load CLIP Vision, or choose "
            f"{DEMO_FEATURES!r} for pictures of the landscape demo."
        )
    distance, width = _distance(batches, clip_vision if features == CLIP_FEATURES else None)
    error = None if math.isnan(distance.standard_error) else distance.standard_error
    counts = [len(batch) for batch in batches]
    report = (
        f"KID {distance.value:.4g}, standard error {'unknown' if error is None else f'{error:.4g}'}: {counts[0]} "
        f"pictures against {counts[1]}, {width} features by {features}."
    )
    values = {"kid": distance.value, "standard_error": error, "pictures": counts, "features": features}
    unused = [_blocked(name, PAIRS) for name in ("l2", "psnr", "ssim", "edge_distance")]
    return [*unused, distance.value, distance.standard_error], report, values


def _blocked(name: str, needed: str) -> ExecutionBlocker:
    return ExecutionBlocker(f"Metrics measures {name} only for {needed}: set compare to {needed}.")


def _distance(batches: list[Tensor], clip_vision: Any) -> tuple[Distance, int]:
    """The distance of two batches, and the number of features it is measured with."""
    if min(len(batch) for batch in batches) < 2:
        raise ValueError(
            f"A distance between distributions needs at least 2 pictures on each side, got {len(batches[0])} and "
            f"{len(batches[1])}: batch more pictures (50 or more for a small standard error)."
        )
    progress = comfy.utils.ProgressBar(sum(len(batch) for batch in batches))
    rows = [_features(batch, clip_vision, progress) for batch in batches]
    return kernel_distance(*rows), rows[0].shape[1]


def _features(images: Tensor, clip_vision: Any, progress: comfy.utils.ProgressBar) -> Tensor:
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


NODES: list[type[io.ComfyNode]] = [Metrics]
