"""The landscape demo: its diffusion model, and pictures of its landscapes."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

import comfy.utils
import numpy as np
import torch
from comfy_api.latest import io

from ..common.interrupts import answering, interruptible
from ..demo.model import KINDS, NOISE, load_demo_model
from ..demo.render import ELEMENTS, Rendered, render_with_maps
from ..demo.scenes import ATTRIBUTES, Scene, full_caption, random_scene
from .inputs import choice, seed_input, whole

CATEGORY = "diffusion path/demo"
LOOKS: dict[str, tuple[float, Callable[[Rendered], np.ndarray]]] = {
    "picture": (1.0, attrgetter("picture")),
    "stroke painting": (0.0, attrgetter("picture")),
    "depth map": (1.0, attrgetter("depth_map")),
    "segmentation": (1.0, attrgetter("segments")),
}
ANY = "any"

_TOOLTIPS = {
    "time": "Time of day: it sets the light and the colours of the sky.",
    "season": "Season: green summer, orange autumn or snow on the ground in winter.",
    "peak": "What stands on the horizon: rolling hills, a rocky mountain or a mountain with snow on it.",
    "lake": "A meadow or a lake in the middle of the picture.",
    "trees": "No trees, pines, or broadleaf trees (bare in winter).",
    "house": "No house, or one cabin of this colour.",
    "clouds": "A clear or a cloudy sky.",
}
_DEFAULTS = {"peak": "snowy", "lake": "lake", "trees": "pines", "house": "red"}


class DemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathDemoModel",
            display_name="Load Landscape Demo Model",
            category=CATEGORY,
            description="Loads the small landscape model that comes with the pack: 256 x 256 pictures in about "
            "a second on a CPU. Swap it for Load Checkpoint to use your own model.",
            search_aliases=["demo checkpoint", "landscape model", "embedded model", "test model"],
            inputs=[
                choice(
                    "kind",
                    KINDS,
                    NOISE,
                    "noise prediction: as Stable Diffusion. flow: the same network as a rectified flow, as Flux and "
                    "SD3; it makes the same pictures along the same path. few steps: with a LoRA that distils it to 4 "
                    "steps at cfg 1 of the scheduler simple, as Lightning and LCM are. film: a batch is the frames of "
                    "a film; they share their noise and look at the first frame.",
                    optional=True,
                )
            ],
            outputs=[
                io.Model.Output(tooltip="A latent diffusion model of landscapes (4 channels, 256 x 256)."),
                io.Clip.Output(
                    tooltip="Its text encoder. It knows words such as day, sunset, night, summer, autumn, winter, "
                    "snowy mountain, lake, pine trees, red house, clouds."
                ),
                io.Vae.Output(tooltip="Its autoencoder: 8 pixels per latent cell, as Stable Diffusion's."),
            ],
        )

    @classmethod
    def execute(cls, kind: str = NOISE) -> io.NodeOutput:
        return io.NodeOutput(*load_demo_model(kind=kind))


class DemoScene(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        attributes = [
            io.Combo.Input(
                name,
                options=[*values, ANY],
                default=_DEFAULTS.get(name, values[0]),
                tooltip=f"{_TOOLTIPS[name]} any: chosen by each picture's seed.",
            )
            for name, values in ATTRIBUTES.items()
        ]
        return io.Schema(
            node_id="DPathDemoScene",
            display_name="Landscape Demo Picture",
            category=CATEGORY,
            description="Paints a landscape of the demo model's world, as a picture, a flat stroke painting, or a map "
            "of depth or elements, with the mask of one element and a caption. No model is needed.",
            search_aliases=["demo image", "stroke painting", "test picture", "render landscape"],
            inputs=[
                *attributes,
                choice(
                    "look",
                    LOOKS,
                    "picture",
                    "picture: with textures. stroke painting: flat areas of paint as a person would block them in, a "
                    "guide for SDEdit. depth map: near is light. segmentation: each element in a colour of its own.",
                ),
                choice(
                    "element",
                    ELEMENTS,
                    "house",
                    "The element whose mask is output: 1 where it is visible, 0 everywhere if the picture lacks it.",
                ),
                seed_input(
                    "Layout of the landscape. The same seed keeps the layout when an attribute changes.", 0xFFFFFFFF
                ),
                whole("batch_size", 1, (1, 64), "Number of landscapes. Each further one uses the next seed."),
                io.Int.Input(
                    "size",
                    default=256,
                    min=64,
                    max=1024,
                    step=64,
                    advanced=True,
                    tooltip="Side of the picture in pixels. The demo model was trained at 256.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The landscapes."),
                io.Mask.Output(tooltip="1 where the chosen element is visible, with soft edges."),
                io.String.Output(
                    display_name="caption",
                    tooltip="A prompt for the demo model that names every attribute; one line per picture where they "
                    "differ.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, look: str, element: str, seed: int, batch_size: int, size: int, **attributes: str
    ) -> io.NodeOutput:
        scenes = [_scene(attributes, seed + i) for i in range(batch_size)]
        detail, shown = LOOKS[look]
        bar, painted = comfy.utils.ProgressBar(batch_size), []
        for scene in interruptible(scenes):
            painted.append(answering(render_with_maps, scene, size, detail))
            bar.update(1)
        images = torch.stack([torch.from_numpy(shown(each).copy()) for each in painted]).float() / 255.0
        masks = torch.stack([torch.from_numpy(each.masks[element].copy()) for each in painted])
        captions = [full_caption(scene) for scene in scenes]
        return io.NodeOutput(images, masks, captions[0] if len(set(captions)) == 1 else "\n".join(captions))


def _scene(attributes: dict[str, str], seed: int) -> Scene:
    free = random_scene(np.random.default_rng(seed))
    return free.with_(**{name: value for name, value in attributes.items() if value != ANY}, seed=seed)


NODES: list[type[io.ComfyNode]] = [DemoModel, DemoScene]
