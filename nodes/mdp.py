"""MDP's manipulations of the diffusion path, each a patch of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..common.texts import quoted
from ..samplers.conditioning import check_conditioning
from ..samplers.mdp.attention import control_attention
from ..samplers.mdp.conditions import mix_conditioning, mix_guidance
from ..samplers.mdp.states import inject_latent, inject_noise
from ..samplers.mdp.token_control import control_tokens
from ..samplers.mdp.tokens import MODES, token_map, tokenized
from ..samplers.path import DiffusionPath
from ..samplers.schedule import PathSchedule
from .inputs import MASK_TIP, choice, fraction, model_input, number, path_input, schedule_input
from .sockets import DiffusionPath as DiffusionPathSocket

CATEGORY = "diffusion path/mdp"
ANY_PATCHED = "Any diffusion or flow model, with any other patches."
PATH_TIP = "The source's path, recorded or inverted. Sample the target on the path's own sigmas, from its start."
SCHEDULE_TIP = "Where on the path the source counts, and how much (Path Schedule)."
SOURCE_TIP = (
    "For noise and latent, the source's path: sample on its own sigmas, from its start. For conditioning and "
    "guidance, the prompt that describes the source."
)
KIND_TIP = (
    "noise (MDP-\u03b5): the predicted noise of the source's path, which keeps its layout; where the weight is 1 "
    "the model is not called at all. latent (MDP-x): the states of that path. conditioning (MDP-c): the source's "
    "prompt, at no extra cost. guidance (MDP-\u03b2): the guided prediction of that prompt; a negative weight leads "
    "away from it."
)

TOKENS = "tokens"
MODE_TIP = (
    "replace and refine are for U-Nets. replace: both prompts have the same number of words, swapped one for one. "
    "refine: words in both prompts keep the source's maps, new words get their own. tokens is for transformers: the "
    "source's queries and keys at the picture's tokens, whatever the prompts."
)

ON_PATHS = ("noise", "latent")
MANIPULATIONS: dict[str, Callable[..., Any]] = {
    "noise": inject_noise,
    "latent": inject_latent,
    "conditioning": mix_conditioning,
    "guidance": mix_guidance,
}


class MDP(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMDP",
            display_name="MDP",
            category=CATEGORY,
            description="Manipulates the diffusion path: inside the window the run uses the predicted noise, "
            "states, prompt or guided prediction of a source. Chain several nodes for several windows "
            "or kinds.",
            search_aliases=[
                "manipulate diffusion path",
                "mdp epsilon",
                "mdp latent",
                "mdp conditioning",
                "mdp beta",
                "noise injection",
                "latent injection",
                "prompt interpolation",
                "guidance mixing",
                "dual guidance",
            ],
            inputs=[
                model_input(ANY_PATCHED),
                choice("kind", MANIPULATIONS, "noise", KIND_TIP),
                io.MultiType.Input("source", types=[DiffusionPathSocket, io.Conditioning], tooltip=SOURCE_TIP),
                schedule_input(SCHEDULE_TIP),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="1 = edit. Where it is 0, noise and latent keep the source exactly; conditioning and "
                    "guidance follow the source's prompt there: chain latent with weight 0 to keep the picture.",
                ),
                number(
                    "amplify",
                    1.0,
                    (0.0, 4.0),
                    0.01,
                    "For noise: multiplies the source's predicted noise where it is injected, as in the paper's code; "
                    "1 injects it unchanged. Unused otherwise.",
                    round=False,
                    optional=True,
                    advanced=True,
                ),
            ],
            outputs=[
                io.Model.Output(
                    tooltip="The model with this manipulation. Chain more of them, or sample with any sampler and "
                    "guider. noise and latent are exact with euler and ddim; noise takes DDIM's eta too (Reverse SDE "
                    "Sampler, ancestral)."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        kind: str,
        source: Any,
        schedule: PathSchedule,
        mask: Tensor | None = None,
        amplify: float = 1.0,
    ) -> io.NodeOutput:
        if kind not in ON_PATHS:
            check_conditioning(source, "source")
        elif not isinstance(source, DiffusionPath):
            raise ValueError(
                f"The kind {kind} takes the source's path, but source is {quoted(source)}: connect a path, or choose "
                "conditioning or guidance."
            )
        gain = {"amplify": amplify} if kind == "noise" else {}
        return io.NodeOutput(MANIPULATIONS[kind](model, source, schedule, mask, **gain))


def _word_inputs() -> list[Any]:
    return [
        io.Clip.Input("clip", tooltip="The model's text encoder: encodes both prompts and aligns them."),
        io.String.Input("source_prompt", multiline=True, default="", tooltip="The prompt that the path was made with."),
        io.String.Input("target_prompt", multiline=True, default="", tooltip="What the picture should show instead."),
        io.String.Input(
            "reweight",
            default="",
            tooltip="Factors for words of the target prompt, such as 'snow:2, red:0.5'. Empty: none.",
        ),
        fraction(
            "self_attention",
            0.4,
            "The first part of the path, as a fraction, in which the self-attention maps are the source's too: higher "
            "values keep more of its layout. 0 = none.",
            step=0.05,
        ),
    ]


def _token_inputs() -> list[Any]:
    return [
        io.Conditioning.Input("positive", tooltip="The target prompt: what the picture should show instead."),
        io.Conditioning.Input("source", tooltip="The source prompt: what the path was made with."),
        fraction(
            "content",
            0.0,
            "The first part of the path, as a fraction, in which the values are the source's too: higher values keep "
            "more of its colours and surfaces. 0 = none.",
            step=0.05,
        ),
        io.String.Input(
            "layers",
            default="",
            tooltip="The network's attention layers to control, counted from 0, such as '0-18, 30'. Empty: all.",
            advanced=True,
        ),
    ]


class MDPAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        options = {**dict.fromkeys(reversed(MODES), _word_inputs), TOKENS: _token_inputs}
        return io.Schema(
            node_id="DPathMDPAttention",
            display_name="MDP Attention",
            category=CATEGORY,
            description="Gives the target the source's attention: by words for U-Nets (Prompt-to-Prompt), or by the "
            "picture's tokens for transformers (Flux, SD3, Qwen-Image, Z-Image, Wan, ...).",
            search_aliases=[
                "prompt to prompt",
                "p2p",
                "cross attention control",
                "attention replace",
                "attention injection",
                "reweight",
                "consistedit",
                "kv injection",
            ],
            inputs=[
                model_input("replace and refine: a U-Net (SD 1.x, SD 2.x, SDXL). tokens: a transformer."),
                path_input(tooltip=PATH_TIP),
                schedule_input(
                    "Where the target attends as the source does: by its cross-attention maps (the paper: 1 to 0.2), "
                    "in tokens by its queries and keys."
                ),
                io.DynamicCombo.Input(
                    "mode",
                    options=[io.DynamicCombo.Option(name, make()) for name, make in options.items()],
                    tooltip=MODE_TIP,
                ),
                io.Mask.Input("mask", optional=True, tooltip=MASK_TIP),
            ],
            outputs=[
                io.Model.Output(tooltip="The model with this manipulation, for the positive prompt of this node."),
                io.Conditioning.Output(
                    display_name="positive", tooltip="The target prompt: the positive prompt of the sampler."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, model: Any, path: DiffusionPath, schedule: PathSchedule, mode: dict[str, Any], mask: Tensor | None = None
    ) -> io.NodeOutput:
        control = (_Tokens if mode["mode"] == TOKENS else _Words)(**mode)
        model, target = control.on(model, path, schedule, mask)
        if mask is not None:
            model = inject_latent(model, path, replace(schedule, weight=0.0), mask)
        return io.NodeOutput(model, target)


@dataclass(frozen=True)
class _Words:
    """What `_word_inputs` give."""

    mode: str
    clip: Any
    source_prompt: str
    target_prompt: str
    reweight: str
    self_attention: float

    def on(self, model: Any, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None) -> tuple[Any, Any]:
        """The MODEL with Prompt-to-Prompt, and the target prompt's CONDITIONING."""
        clip, texts = self.clip, (self.source_prompt, self.target_prompt)
        source, target = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in texts)
        if schedule.weight == 0.0 and self.self_attention == 0.0 and mask is None:  # neutral, whatever the prompts
            return model, target
        first, second = (tokenized(clip, text) for text in texts)
        tokens = token_map(first, second, self.mode, self.reweight)
        return control_attention(model, path, source, tokens, schedule, _first_part(self.self_attention)), target


@dataclass(frozen=True)
class _Tokens:
    """What `_token_inputs` give."""

    mode: str
    positive: Any
    source: Any
    content: float
    layers: str

    def on(self, model: Any, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None) -> tuple[Any, Any]:
        """The MODEL with the source's queries, keys and values, and the target prompt as it came."""
        if schedule.weight == 0.0 and self.content == 0.0 and mask is None:
            return model, self.positive
        content = _first_part(self.content)
        return control_tokens(model, path, self.source, schedule, content, self.layers, mask), self.positive


def _first_part(share: float) -> PathSchedule | None:
    return PathSchedule(1.0, 1.0 - share) if share > 0 else None


NODES: list[type[io.ComfyNode]] = [MDP, MDPAttention]
