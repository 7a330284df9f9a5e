"""Keep regions: part of the picture held still while the rest runs the reverse process."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..samplers import masks
from ..samplers.langevin import STEPS
from ..samplers.masked import MaskedSampler, Original
from ..samplers.strength import strength_map
from . import validate
from .inputs import REPEATS_TIP, fraction, langevin_input, mask_mode_inputs, whole
from .sdedit import CATEGORY

_AREAS = 4


class MaskedReverseSDE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMaskedSampler",
            display_name="Masked Reverse SDE",
            category=CATEGORY,
            description="Gives any sampler a keep region: the latent's noise mask (1 = edit, 0 = keep) is honoured "
            "in one of four ways, also in the second part of a split run. With the defaults, identical "
            "to ComfyUI's own masking.",
            search_aliases=[
                "inpaint sampler",
                "differential diffusion",
                "soft mask",
                "noise mask",
                "split sigmas mask",
            ],
            inputs=[
                io.Sampler.Input("sampler", tooltip="The sampler that does the work."),
                *mask_mode_inputs(),
                whole("repeats", 1, (1, 5), REPEATS_TIP),
                io.Latent.Input(
                    "original",
                    optional=True,
                    tooltip="For split runs, on both samplers: the untouched latent that supplies the kept pixels.",
                ),
                whole(
                    "seed",
                    0,
                    (0, 0xFFFFFFFFFFFFFFFF),
                    "For split runs: the seed of the first sampler's noise. Used only with an original.",
                    optional=True,
                    advanced=True,
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="For split runs: all noise levels before the split, so that each part knows where the "
                    "run starts.",
                ),
                langevin_input(),
            ],
            outputs=[io.Sampler.Output(tooltip="The same sampler with a keep region.")],
        )

    @classmethod
    def execute(
        cls,
        sampler: Any,
        mask_mode: str,
        keep_noise: str,
        repeats: int,
        original: dict[str, Any] | None = None,
        seed: int = 0,
        sigmas: torch.Tensor | None = None,
        langevin_steps: int = STEPS,
    ) -> io.NodeOutput:
        if original is not None:
            validate.check_finite(original["samples"], "original")
            if original.get("noise_mask") is not None:
                masks.check_noise_mask(original["noise_mask"], original["samples"], name="mask of the original")
        given = Original(original, seed, sigmas)
        return io.NodeOutput(
            MaskedSampler(sampler, mask_mode, keep_noise, repeats, given, langevin_steps=langevin_steps),
        )


class StrengthMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        areas = []
        for number in range(1, _AREAS + 1):
            more = number > 1
            tip = "Another area." if more else "Grey values scale this mask's t0 at each pixel."
            t0 = 0.4 if more else 0.6
            areas.append(io.Mask.Input(f"mask_{number}", optional=more, tooltip=tip))
            areas.append(fraction(f"t0_{number}", t0, f"t0 where mask_{number} is 1.", optional=more))
        return io.Schema(
            node_id="DPathStrengthMap",
            display_name="Strength Map",
            category=CATEGORY,
            description="A t0 for every pixel, from a grey mask or from up to four masks with a t0 each. Set it as "
            "the guide's noise mask, connect its t0 to SDEdit, and set the mask mode to threshold.",
            search_aliases=["per-pixel strength", "differential diffusion map", "change map", "denoise map"],
            inputs=[
                *areas,
                fraction("t0_elsewhere", 0.0, "t0 of pixels that no mask covers: 0 keeps them.", optional=True),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="strength", tooltip="t0 of each pixel, as a fraction of the largest: a noise mask."
                ),
                io.Float.Output(display_name="t0", tooltip="The largest t0, for SDEdit or SDEdit Sigmas."),
            ],
        )

    @classmethod
    def execute(cls, t0_elsewhere: float = 0.0, **areas: Any) -> io.NodeOutput:
        chosen = {}
        for number in range(1, _AREAS + 1):
            mask, t0 = areas.get(f"mask_{number}"), areas.get(f"t0_{number}", 0.4)
            if mask is not None:
                chosen[f"mask_{number}"] = (mask, t0)
        return io.NodeOutput(*strength_map([*chosen.values()], t0_elsewhere, [*chosen]))


NODES: list[type[io.ComfyNode]] = [MaskedReverseSDE, StrengthMap]
