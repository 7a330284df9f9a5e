"""The stroke canvas: a drawing made on the node, in every form that the methods of this pack start from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io, ui
from torch import Tensor

from ..common import limits
from ..images.edges import as_picture
from ..images.strokes_document import read_drawing
from ..images.strokes_pictures import PictureFolder, file_states
from ..images.strokes_render import edit_masks, over_background, render_drawing
from ..images.tensors import check_image, split_alpha
from .inputs import whole

PICTURES = "diffusion_path"  # folder in the input folder; web/js/canvas/pictures.js uploads into it
log = logging.getLogger(__name__)


class StrokeCanvas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathStrokeCanvas",
            display_name="Stroke Canvas",
            category="diffusion path/sdedit",
            description="Draw on the node: paint, pictures and cut-outs for SDEdit, each with its own t0, and sketch "
            "lines for sketch guidance. Strokes are vectors and live in the workflow.",
            search_aliases=["paint", "draw", "painter", "scribble", "sketch pad", "brush", "canvas", "mask editor"],
            inputs=[
                io.Image.Input(
                    "background", optional=True, tooltip="A picture to paint on. The drawing takes on its size."
                ),
                *(
                    io.Int.Input(
                        name,
                        default=512,
                        min=16,
                        max=limits.SIDE,
                        step=16,
                        tooltip=f"{name.capitalize()} in pixels if no background is connected. Multiples of 32 suit "
                        "every model; from other sizes a VAE may crop the rim.",
                    )
                    for name in ("width", "height")
                ),
                whole(
                    "grow",
                    0,
                    (0, limits.GROW),
                    "Moves the borders of mask and strength outwards by this many pixels, so that an edit can blend "
                    "strokes and pictures into their surroundings.",
                ),
                io.String.Input(
                    "drawing",
                    default="",
                    multiline=True,
                    tooltip="The drawing: JSON with strokes, layers and the places of pictures. It is drawn on the "
                    "node, and can be sent over the API; the help page has its format.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image", tooltip="The background, or paper, with paint and pictures on it."
                ),
                io.Image.Output(display_name="paint", tooltip="Paint, pictures and cut-outs alone, with alpha."),
                io.Mask.Output(
                    display_name="mask", tooltip="1 where there is paint, a picture or a cut-out: what may change."
                ),
                io.Mask.Output(
                    display_name="strength",
                    tooltip="The t0 of each stroke, picture or cut-out relative to the largest: set it as the guide's "
                    "noise mask, and set SDEdit's mask mode to threshold.",
                ),
                io.Float.Output(
                    display_name="t0", tooltip="The largest t0 in the drawing, for SDEdit; 0 if it is empty."
                ),
                io.Image.Output(
                    display_name="sketch",
                    tooltip="The sketch lines, light on dark, grey by importance: for Sketch Guidance.",
                ),
                io.String.Output(
                    display_name="drawing",
                    tooltip="The drawing itself, as text: for Drag Animation, where its last sketch line is the way.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, width: int, height: int, grow: int, drawing: str, background: Tensor | None = None
    ) -> io.NodeOutput:
        read = read_drawing(drawing)
        for complaint in read.complaints:
            log.warning("Stroke Canvas: %s", complaint)
        if background is not None:
            background = check_image(background, "background")
            height, width = background.shape[1:3]
        pictures = PictureFolder(_pictures())
        rendering = render_drawing(read, width, height, pictures)
        for complaint in pictures.complaints:
            log.warning("Stroke Canvas: %s", complaint)
        image = over_background(rendering.strokes, background, read.paper)
        mask, strength, t0 = edit_masks(rendering, grow, on_paper=background is None)
        complaints = [*read.complaints, *pictures.complaints]
        seen: dict[str, Any] = {"complaints": complaints, "width": width, "height": height}
        if background is not None:
            seen["background"] = ui.PreviewImage(split_alpha(background[:1])[0], cls=cls).as_dict()["images"][0]
        outputs = (image, rendering.strokes, mask, strength, t0, as_picture(rendering.sketch), drawing)
        return io.NodeOutput(*outputs, ui={"dpath_canvas": [seen]})

    @classmethod
    def fingerprint_inputs(cls, drawing: str | None = None, **_: Any) -> str:
        """The pictures of the drawing as they are now: one that is missing may be put back."""
        return str(file_states(drawing or "", _pictures()))


def _pictures() -> Path:
    """Where the page puts pictures that are laid on a drawing."""
    return Path(folder_paths.get_input_directory()) / PICTURES


NODES: list[type[io.ComfyNode]] = [StrokeCanvas]
