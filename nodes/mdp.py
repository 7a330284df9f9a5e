"""MDP's five manipulations of the diffusion path, each a patch of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..samplers.mdp.attention import control_attention
from ..samplers.mdp.conditions import mix_conditioning, mix_guidance
from ..samplers.mdp.states import inject_latent, inject_noise
from ..samplers.mdp.tokens import MODES, token_map, tokenized
from ..samplers.path import DiffusionPath
from ..samplers.schedule import PathSchedule
from .sockets import DiffusionPath as DiffusionPathSocket
from .sockets import PathSchedule as PathScheduleSocket

CATEGORY = "diffusion path/mdp"
PATH_TIP = "The source's path, recorded or inverted. Sample the target on the path's own sigmas, from its start."
SCHEDULE_TIP = "Where on the path the source counts, and how much (Path Schedule)."
MASK_TIP = "1 = edit; where it is 0 the source is kept exactly."
SOFT_MASK_TIP = "1 = edit; where it is 0 the source's prompt rules. To keep a picture exactly there, chain MDP-x."
SOURCE_TIP = "The prompt that describes the source, encoded as the target's."
CHAIN_TIP = "The model with this manipulation. Chain further ones, or sample with it: any sampler, any guider."
EXACT_TIP = " Exact with euler and ddim."


def model_input() -> Any:
    return io.Model.Input("model", tooltip="Any diffusion or flow model, with any other patches.")


def path_inputs() -> list[Any]:
    return [
        model_input(),
        DiffusionPathSocket.Input("path", tooltip=PATH_TIP),
        PathScheduleSocket.Input("schedule", tooltip=SCHEDULE_TIP),
        io.Mask.Input("mask", optional=True, tooltip=MASK_TIP),
    ]


def prompt_inputs() -> list[Any]:
    return [
        model_input(),
        io.Conditioning.Input("source", tooltip=SOURCE_TIP),
        PathScheduleSocket.Input("schedule", tooltip=SCHEDULE_TIP),
        io.Mask.Input("mask", optional=True, tooltip=SOFT_MASK_TIP),
    ]


class MDPNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMDPNoise",
            display_name="MDP-\u03b5 Predicted Noise",
            category=CATEGORY,
            description="Injects or interpolates the predicted noise of a recorded path: inside the window the edit "
            "moves as the source did, which keeps its layout. Where the weight is 1 the model is not even called.",
            search_aliases=["mdp epsilon", "noise injection", "predicted noise", "manipulate diffusion path"],
            inputs=path_inputs(),
            outputs=[io.Model.Output(tooltip=CHAIN_TIP + EXACT_TIP)],
        )

    @classmethod
    def execute(
        cls, model: Any, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None = None
    ) -> io.NodeOutput:
        return io.NodeOutput(inject_noise(model, path, schedule, mask))


class MDPLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMDPLatent",
            display_name="MDP-x Intermediate Latent",
            category=CATEGORY,
            description="Injects or interpolates the states of a recorded path. With weight 0 and a mask it only holds "
            "the source outside of the mask, whatever else edits inside.",
            search_aliases=["mdp latent", "latent injection", "intermediate latent", "keep outside of mask"],
            inputs=path_inputs(),
            outputs=[io.Model.Output(tooltip=CHAIN_TIP + EXACT_TIP)],
        )

    @classmethod
    def execute(
        cls, model: Any, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None = None
    ) -> io.NodeOutput:
        return io.NodeOutput(inject_latent(model, path, schedule, mask))


class MDPConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMDPConditioning",
            display_name="MDP-c Conditioning",
            category=CATEGORY,
            description="Interpolates the prompt of the run with the source's, step by step; pooled vectors too. Costs "
            "nothing.",
            search_aliases=["mdp conditioning", "prompt interpolation", "conditioning average", "prompt mixing"],
            inputs=prompt_inputs(),
            outputs=[io.Model.Output(tooltip=CHAIN_TIP)],
        )

    @classmethod
    def execute(cls, model: Any, source: Any, schedule: PathSchedule, mask: Tensor | None = None) -> io.NodeOutput:
        return io.NodeOutput(mix_conditioning(model, source, schedule, mask))


class MDPGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMDPGuidance",
            display_name="MDP-\u03b2 Guidance",
            category=CATEGORY,
            description="Mixes the guided predictions of the run's prompt and the source's, both at the edited state, "
            "in one batched call. A negative weight leads away from the source.",
            search_aliases=["mdp beta", "guidance mixing", "dual guidance", "prompt blending"],
            inputs=prompt_inputs(),
            outputs=[io.Model.Output(tooltip=CHAIN_TIP)],
        )

    @classmethod
    def execute(cls, model: Any, source: Any, schedule: PathSchedule, mask: Tensor | None = None) -> io.NodeOutput:
        return io.NodeOutput(mix_guidance(model, source, schedule, mask))


class MDPAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMDPAttention",
            display_name="MDP Attention (Prompt-to-Prompt)",
            category=CATEGORY,
            description="Gives the target the source's attention maps: swap words, add words, or weigh them up and "
            "down. For U-Nets (SD 1.x, SD 2.x, SDXL).",
            search_aliases=["prompt to prompt", "p2p", "cross attention control", "attention replace", "reweight"],
            inputs=[
                io.Model.Input("model", tooltip="A U-Net: SD 1.x, SD 2.x, SDXL or their relatives."),
                io.Clip.Input("clip", tooltip="The text encoder of the model: encodes both prompts and aligns them."),
                DiffusionPathSocket.Input("path", tooltip=PATH_TIP),
                PathScheduleSocket.Input(
                    "schedule", tooltip="Where the cross-attention maps are the source's. The paper: 1 to 0.2."
                ),
                io.String.Input(
                    "source_prompt", multiline=True, default="", tooltip="The prompt that the path was made with."
                ),
                io.String.Input(
                    "target_prompt", multiline=True, default="", tooltip="What the picture shall show instead."
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="refine",
                    tooltip="replace: both prompts have as many words, swapped one for one. refine: words that both "
                    "have keep the source's maps, new ones get their own.",
                ),
                io.String.Input(
                    "reweight",
                    default="",
                    tooltip="Factors for words of the target prompt, such as 'snow:2, red:0.5'. Empty: none.",
                ),
                io.Float.Input(
                    "self_attention",
                    default=0.4,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=False,
                    tooltip="The first part of the path, as a fraction, in which the self-attention maps are the "
                    "source's too: more keeps more of its layout. 0 = none.",
                ),
                io.Mask.Input("mask", optional=True, tooltip=MASK_TIP),
            ],
            outputs=[
                io.Model.Output(tooltip="The model with this manipulation, for the positive prompt of this node."),
                io.Conditioning.Output(
                    display_name="positive", tooltip="The target prompt, encoded: the positive prompt of the sampler."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        path: DiffusionPath,
        schedule: PathSchedule,
        source_prompt: str,
        target_prompt: str,
        mode: str,
        reweight: str,
        self_attention: float,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        source, target = (clip.encode_from_tokens_scheduled(clip.tokenize(t)) for t in (source_prompt, target_prompt))
        if schedule.weight == 0.0 and self_attention == 0.0 and mask is None:  # neutral, whatever the prompts
            return io.NodeOutput(model, target)
        tokens = token_map(tokenized(clip, source_prompt), tokenized(clip, target_prompt), mode, reweight)
        within = PathSchedule(1.0, 1.0 - self_attention) if self_attention > 0 else None
        model = control_attention(model, path, source, tokens, schedule, within)
        if mask is not None:
            model = inject_latent(model, path, replace(schedule, weight=0.0), mask)
        return io.NodeOutput(model, target)


NODES: list[type[io.ComfyNode]] = [MDPNoise, MDPLatent, MDPConditioning, MDPGuidance, MDPAttention]
