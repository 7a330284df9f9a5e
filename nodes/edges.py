"""Edge maps and sketches: what sketch guidance and the training of its predictors start from."""

from __future__ import annotations

import logging

from comfy_api.latest import io
from torch import Tensor

from ..images.edges import DETAIL, LINES, METHODS, SCALE, Lines, Method, as_picture, clean_sketch, edge_map, of_width
from .inputs import LINES_TIP, choice, number, whole

log = logging.getLogger(__name__)

CATEGORY = "diffusion path/sketch"
SKETCH = "clean up a drawing"
_DARKEST = 0.9  # detail 0: only strokes nearly as dark as the darkest; the default takes those half as dark


class EdgeMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathEdgeMap",
            display_name="Edge Map",
            category=CATEGORY,
            description="Extracts the edges of a picture, or cleans up a drawing: always light lines on a dark "
            "ground. Any other line-art preprocessor can take its place.",
            search_aliases=["canny", "sobel", "line art", "sketch cleanup", "scribble", "edge detection"],
            inputs=[
                io.Image.Input("image", tooltip="A picture to find edges in, or a drawing to clean up."),
                choice(
                    "method",
                    [*METHODS, SKETCH],
                    "canny",
                    "canny: thin lines, as used here to train predictors. sobel: edge strength as grey. difference "
                    "of gaussians: soft pencil lines. adaptive threshold: dark strokes of a scan. clean up a "
                    "drawing: finds no edges, but removes greys, specks and thickness.",
                ),
                number(
                    "detail",
                    DETAIL,
                    (0.0, 1.0),
                    0.05,
                    "How weak an edge may be and still be drawn: 0 = only the strongest, 1 = all. For a drawing: "
                    "how faint a stroke may be compared with the darkest; 1 keeps the greys, for strokes of "
                    "different importance.",
                ),
                number(
                    "scale",
                    SCALE,
                    (0.0, 16.0),
                    0.5,
                    "Size of the smallest features, in pixels of a 256-pixel picture. Larger values leave textures "
                    "out.",
                ),
                choice("lines", LINES, "auto", LINES_TIP + " For drawings only.", advanced=True),
                io.Boolean.Input(
                    "thin", default=False, tooltip="Reduce the strokes of a drawing to their centre line."
                ),
                whole(
                    "specks",
                    8,
                    (0, 10000),
                    "Drop marks of a drawing that are smaller than this many pixels.",
                    advanced=True,
                ),
                whole(
                    "line_width",
                    0,
                    (0, 64),
                    "Redraw all lines this many pixels wide, along their middle; 0 leaves them as they are.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="edges", tooltip="Light lines on dark."),
                io.Mask.Output(display_name="mask", tooltip="The same lines as a mask: 1 on a line."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        method: str,
        detail: float,
        scale: float,
        lines: Lines = "auto",
        thin: bool = False,
        specks: int = 8,
        line_width: int = 0,
    ) -> io.NodeOutput:
        if method == SKETCH:
            edges = clean_sketch(image, lines, _DARKEST * (1.0 - detail) ** 2, thin, specks)
        else:
            chosen: Method = method  # pyright: ignore[reportAssignmentType]
            edges = edge_map(image, chosen, detail, scale)
        for item in (edges.flatten(1).amax(1) == 0).nonzero().flatten().tolist():
            log.warning(
                "Edge Map: nothing is left of picture %d of the batch: raise detail, or lower specks.", item + 1
            )
        edges = of_width(edges, line_width)
        return io.NodeOutput(as_picture(edges), edges)


NODES: list[type[io.ComfyNode]] = [EdgeMap]
