"""Pictures and masks around an edit: stroke paintings, masks on the latent grid, exact composites."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..images.composite import composite_exact
from ..images.masks import LatentGrid, latent_mask
from ..images.strokes import PAPER_COLORS, PAPER_KERNEL, simulate_strokes
from ..samplers import masks, nested
from ..samplers.mask_frames import ratio_of_vae
from ..samplers.masks import REDUCTIONS, Reduction
from .inputs import choice, number, whole

CATEGORY = "diffusion path/pictures"
MAX_PIXELS = 512

log = logging.getLogger(__name__)


class LatentMaskNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathLatentMask",
            display_name="Mask to Latent",
            category=CATEGORY,
            description="Scales a pixel mask to the latent grid without losing thin strokes, and reports what "
            "changed. 1 = edit, 0 = keep.",
            search_aliases=["set latent noise mask", "inpaint mask", "downscale mask", "grow mask", "feather mask"],
            inputs=[
                io.Mask.Input(
                    "mask", tooltip="1 = edit, 0 = keep, in the picture's proportions. Grey values are soft."
                ),
                io.Latent.Input(
                    "latent",
                    tooltip="The latent to edit: its grid sets the size of the mask. A mask that it already carries "
                    "is replaced.",
                ),
                choice(
                    "reduction",
                    REDUCTIONS,
                    "max",
                    "Value of a latent cell: area = masked share of its pixels; max = edit the cell if any "
                    "of its pixels is masked, so that thin strokes stay; bilinear = what ComfyUI does by "
                    "itself, which skips most pixels.",
                ),
                whole(
                    "grow",
                    0,
                    (-MAX_PIXELS, MAX_PIXELS),
                    "Move the border outwards by this many pixels of the mask; negative values shrink it.",
                ),
                whole(
                    "feather",
                    0,
                    (-MAX_PIXELS, MAX_PIXELS),
                    "Width in pixels of a soft border outside the mask, which leaves the masked part fully "
                    "editable; negative values put it inside.",
                ),
                whole(
                    "patch",
                    1,
                    (1, 16),
                    "Give all cells of a patch one value, for models that see the latent in patches: 2 for "
                    "most diffusion transformers (SD3, Flux, Qwen-Image, Wan), 1 for none.",
                    advanced=True,
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The VAE that made the latent, which knows how many pixels and frames become one cell. "
                    "Without it, this is worked out from the sizes, which is ambiguous only for some videos.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    tooltip="The latent with the mask (1 = edit) as its noise mask, ready for any sampler."
                ),
                io.Mask.Output(
                    tooltip="The mask as the model will see it, cell by cell, at the size of the input mask."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="Edited share before and after, and warnings where a stroke vanishes or coverage drops.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        mask: Tensor,
        latent: dict,
        reduction: Reduction,
        grow: int,
        feather: int,
        patch: int = 1,
        vae: Any = None,
    ) -> io.NodeOutput:
        samples = nested.video(latent["samples"])
        video = not masks.is_still(samples.shape)
        masks.check_count(len(masks.read_mask(mask)), samples.shape)
        block, ratio = (None, None) if vae is None else (masks.block_of_vae(vae), ratio_of_vae(vae))
        frames = samples.shape[2] if video else None
        grid = LatentGrid(masks.grid_size(samples), patch, frames, block, ratio)
        reduced = latent_mask(mask, grid, reduction, grow, feather)
        for warning in reduced.warnings:
            log.warning("Mask to Latent: %s", warning)
        cells = reduced.grid[None, None] if video else reduced.grid[:, None]  # [1, 1, T, h, w], [B, 1, h, w]
        if samples.ndim == 5 and not video:
            cells = cells[:, :, None]
        masked = nested.with_mask(latent, cells)
        return io.NodeOutput(masked, reduced.pixels, reduced.report, ui=ui.PreviewText(reduced.report))


class CompositeExactNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathCompositeExact",
            display_name="Composite Exact",
            category=CATEGORY,
            description="Lays the edited picture over the original inside the mask. Pixels outside the mask are "
            "identical to the original, bit for bit: the trip through the autoencoder changes nothing "
            "there.",
            search_aliases=["exact outside", "paste inpaint", "composite masked", "stitch", "color match"],
            inputs=[
                io.Image.Input(
                    "edited",
                    tooltip="The picture after the edit. One that the autoencoder cropped is put back in its place; "
                    "one of another size is resized. A bypassed node passes this picture.",
                ),
                io.Image.Input(
                    "original", tooltip="The picture before the edit. Its pixels outside the mask are kept exactly."
                ),
                io.Mask.Input("mask", tooltip="1 = edit, 0 = keep. Grey values mix."),
                whole(
                    "border",
                    8,
                    (0, MAX_PIXELS),
                    "Width in pixels over which the edit fades in. The soft border lies inside the mask.",
                ),
                number(
                    "color_match",
                    0.0,
                    (0.0, 1.0),
                    0.05,
                    "How far the edit's colours are shifted to match the original in a ring just outside the mask: "
                    "0 = not at all, 1 = fully. Corrects colour shifts caused by the model and the autoencoder.",
                ),
                whole(
                    "ring",
                    16,
                    (1, MAX_PIXELS),
                    "Width in pixels of the ring around the mask that the colour match uses.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The composite, at the original's size and with its channels."),
                io.Mask.Output(
                    display_name="weight", tooltip="Weight of the edit at each pixel: 0 = the original pixel."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="Share of exact pixels, and what was resized, put back in place or colour-matched.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, edited: Tensor, original: Tensor, mask: Tensor, border: int, color_match: float, ring: int = 16
    ) -> io.NodeOutput:
        result = composite_exact(original, edited, mask, border, color_match, ring)
        log.info("Composite Exact: %s", result.report.replace("\n", " "))
        return io.NodeOutput(result.image, result.weight, result.report, ui=ui.PreviewText(result.report))


class StrokesNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathStrokes",
            display_name="Simulate Strokes",
            category=CATEGORY,
            description="Turns a photo into a flat stroke painting, as in SDEdit's evaluation: a wide median "
            "filter, then a palette of a few colours. A guide to start SDEdit from.",
            search_aliases=[
                "stroke simulation",
                "stroke painting",
                "median filter",
                "posterize",
                "quantize",
                "palette",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The photo. In a batch each picture gets its own palette; alpha is simplified too.",
                ),
                whole(
                    "colors",
                    PAPER_COLORS,
                    (2, 256),
                    "Number of colours in the palette. The paper uses 6, and 3 to 50 in a comparison.",
                ),
                number(
                    "brush",
                    float(PAPER_KERNEL),
                    (0.0, 128.0),
                    1.0,
                    "Width of the median filter in pixels of a 256-pixel picture, scaled with the picture's "
                    "shorter side. The paper uses 23; 0 leaves only the palette.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The stroke painting.")],
        )

    @classmethod
    def execute(cls, image: Tensor, colors: int, brush: float) -> io.NodeOutput:
        return io.NodeOutput(simulate_strokes(image, colors, brush))


NODES: list[type[io.ComfyNode]] = [StrokesNode, LatentMaskNode, CompositeExactNode]
