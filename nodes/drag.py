"""Drag Animation: an animation made by hand, as the guide of SDEdit over a video."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..images import drag
from ..images.poses import EASINGS, EXAMPLE, Easing, along, last_line, poses, read_keys
from ..images.tensors import check_image, match_batch, split_alpha
from ..samplers.masks import on_picture
from ..samplers.strength import strength_map
from .inputs import choice, fraction, whole

CUT_OUT, CAMERA = "cut-out", "camera"
BEHIND = "background"
_MOVES_TIP = (
    "Where it is at each time, one line per time: time: right down, and degrees and a scale if you like. Time 0 is the "
    "first frame and 1 the last; right and down are pixels of the picture, counted from where it is. Example: 0: 0 0; "
    "1: 64 0 15."
)
_LINE_TIP = "A drawing of the Stroke Canvas: its last sketch line is the way, in place of right and down in moves."
_FPS = 12.0


def _t0_inputs(what: str, inside: float, outside: float) -> list[Any]:
    return [
        fraction("t0_inside", inside, f"t0 of {what}: lower follows the animation more closely."),
        fraction("t0_outside", outside, "t0 of everything else, which the model may invent. At least t0_inside."),
    ]


class DragAnimation(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        cut_out = [
            io.Mask.Input("mask", tooltip="1 = the thing that moves, cut out of the (first) picture."),
            choice(
                "hole",
                (*drag.HOLES, BEHIND),
                "blurred",
                "What is behind the cut-out. nearest: each pixel is the nearest one outside. blurred: that, blurred. "
                "background: the picture connected below. The model repaints it.",
            ),
            io.Image.Input(
                "background",
                optional=True,
                tooltip="For the hole background: the picture without the thing, or one for every frame.",
            ),
            *_t0_inputs("the thing that is dragged", 0.86, 0.94),
        ]
        camera = [
            io.Image.Input(
                "depth",
                optional=True,
                tooltip="Light = near, as depth preprocessors draw it: what is near moves by the whole way, what is "
                "black stands still. Without it, everything moves alike.",
            ),
            *_t0_inputs("what the picture shows", 0.90, 0.96),
        ]
        return io.Schema(
            node_id="DPathDrag",
            display_name="Drag Animation",
            category="diffusion path/sdedit",
            description="Drags a cut-out over a picture, or moves a camera before it: a crude animation, with the "
            "strength map that SDEdit needs to make a film of it (Time-to-Move).",
            search_aliases=["time-to-move", "cut and drag", "crude animation", "motion control", "camera move", "pan"],
            inputs=[
                io.Image.Input("image", tooltip="The first frame."),
                whole(
                    "frames",
                    81,
                    (2, 1000),
                    "Length of the animation. Video models take 4n + 1 frames (LTX: 8n + 1).",
                ),
                io.String.Input("moves", default=EXAMPLE.replace("; ", "\n"), multiline=True, tooltip=_MOVES_TIP),
                choice(
                    "easing",
                    EASINGS,
                    "smooth",
                    "smooth: it starts and stops gently, and passes through the positions between. linear: straight, "
                    "at constant speed from one to the next.",
                ),
                io.DynamicCombo.Input(
                    "kind",
                    options=[io.DynamicCombo.Option(CUT_OUT, cut_out), io.DynamicCombo.Option(CAMERA, camera)],
                    tooltip="cut-out: a part of the picture moves. camera: the whole picture moves, with parallax "
                    "where a depth is connected.",
                ),
                io.String.Input("drawing", optional=True, force_input=True, tooltip=_LINE_TIP),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The animation. The first frame is the picture."),
                io.Mask.Output(display_name="mask", tooltip="One per frame: 1 where what was moved is seen."),
                io.Mask.Output(
                    display_name="strength",
                    tooltip="One per frame: t0 of each pixel, as a fraction of the largest. Bring it to the latent "
                    "with Mask to Latent, and set SDEdit's mask mode to threshold.",
                ),
                io.Float.Output(display_name="t0", tooltip="The largest t0, for SDEdit or SDEdit Sigmas."),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, frames: int, moves: str, easing: Easing, kind: dict[str, Any], drawing: str | None = None
    ) -> io.NodeOutput:
        picture = split_alpha(check_image(image, "image"))[0][0]
        height, width = picture.shape[:2]
        ways = poses(read_keys(moves), frames, easing)
        if drawing is not None:
            ways = along(last_line(drawing, width, height), ways, easing)
        if kind["kind"] == CAMERA:
            made = drag.camera(picture, ways, _nearness(kind.get("depth"), height, width))
        else:
            mask = on_picture(kind["mask"], height, width, "the image")[0]
            made = drag.drag(picture, mask, ways, _behind(picture, mask, frames, kind))
        strength, t0 = strength_map([(made.mask, kind["t0_inside"])], kind["t0_outside"])
        return io.NodeOutput(made.frames, made.mask, strength, t0, ui=_animated(made.frames, cls))


def _behind(picture: Tensor, mask: Tensor, frames: int, kind: dict[str, Any]) -> Tensor:
    """What is behind the cut-out, [1 or N, H, W, 3]."""
    given = kind.get("background")
    if kind["hole"] != BEHIND:
        return drag.without(picture, mask, kind["hole"])[None]
    if given is None:
        raise ValueError("The hole is background, but no background is connected: connect one, or choose nearest.")
    behind = split_alpha(check_image(given, "background"))[0]
    if behind.shape[1:3] != picture.shape[:2]:
        raise ValueError(
            f"The background is {behind.shape[2]} x {behind.shape[1]}, but the image is {picture.shape[1]} x "
            f"{picture.shape[0]}: resize one of them."
        )
    return behind if len(behind) == 1 else match_batch(behind, frames, "background", "the animation")


def _nearness(depth: Tensor | None, height: int, width: int) -> Tensor | None:
    """0 = far to 1 = near, [H, W]."""
    if depth is None:
        return None
    grey = split_alpha(check_image(depth, "depth"))[0][:1].mean(dim=-1)
    return on_picture(grey.clamp(0, 1), height, width, "the image", "depth")[0]


def _animated(frames: Tensor, cls: type[io.ComfyNode]) -> ui.SavedImages:
    """The animation as a preview on the node."""
    saved = ui.ImageSaveHelper.save_animated_webp(
        frames.clamp(0, 1), "dpath_drag", io.FolderType.temp, cls, _FPS, lossless=False, quality=80, method=0
    )
    return ui.SavedImages([saved], is_animated=True)


NODES: list[type[io.ComfyNode]] = [DragAnimation]
