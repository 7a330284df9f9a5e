"""Prompts nobody would write, made from what the server says about its nodes, and what becomes of them.

Valid prompts keep every rule that `/object_info` states; broken ones break one of them. Either may fail, but only in a
sentence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from .client import Client, Prompt, PromptError
from .settings import PACK_FOLDER

Info = dict[str, dict[str, Any]]

# Where the parts of a prompt come from: a few nodes of core, all of ours besides.
SOURCES: dict[str, tuple[tuple[str, int], ...]] = {
    "MODEL": (("DPathDemoModel", 0),),
    "CLIP": (("DPathDemoModel", 1),),
    "VAE": (("DPathDemoModel", 2),),
    "CONDITIONING": (("CLIPTextEncode", 0),),
    "LATENT": (("VAEEncode", 0), ("SetLatentNoiseMask", 0), ("EmptyLatentImage", 0)),
    "IMAGE": (("DPathDemoScene", 0),),
    "MASK": (("DPathDemoScene", 1), ("SolidMask", 0)),
    "NOISE": (("RandomNoise", 0), ("DisableNoise", 0)),
    "SIGMAS": (("BasicScheduler", 0),),
    "SAMPLER": (("KSamplerSelect", 0),),
    "GUIDER": (("CFGGuider", 0),),
    "CLIP_VISION": (),
    "EDGE_PREDICTOR": (("DPathLoadEdgePredictor", 0),),
}
ONCE = ("MODEL", "CLIP", "VAE")  # one embedded model serves the whole prompt
PREFIX = "DPath"
DEPTH = 2

# Widgets that only cost time are kept small; all others take their whole range.
SMALL = {
    "steps": 3, "batch_size": 2, "iterations": 2, "inner_steps": 2, "repeats": 2, "count": 4, "limit": 4, "rank": 2,
    "reuse": 4, "every": 4, "n_avg": 2,
}  # fmt: skip
SIZES = (64, 128)
# What most prompts need in order to get any further.
USUAL: dict[tuple[str, str], tuple[Any, ...]] = {
    ("DPathSchedule", "start"): (1.0,),
    ("DPathSchedule", "end"): (0.0, 0.4),
    ("DPathSchedule", "shape"): ("constant", "linear"),
    ("DPathInvert", "t0"): (0.6, 1.0),
    ("DPathInvert", "latent"): ("VAEEncode",),
    ("DPathDemoScene", "batch_size"): (2,),
    ("BasicScheduler", "denoise"): (1.0, 0.5),  # core makes steps / denoise of them, however many these are
}
SAMPLERS = ("euler", "heun", "euler_ancestral", "dpmpp_2m", "ddim")
WORDS = ("", "a red house by a lake", "snow, night", "0:1, 1:0", "0.2, 0.5", "1:1, 0.5:0.8, 0:0", "nonsense ((")
NASTY_TEXT = (
    "../../etc/passwd",
    "/etc/passwd",
    "..\\..\\windows",
    "a\0b",
    "x" * 3000,
    "\n",
    "\N{PILE OF POO}",
    "nan",
    "{}",
)
NASTY_VALUES = (math.nan, math.inf, -math.inf, 1e308, -1e308, -1, 2**70, True, None, [], {}, "text", [1, 2, 3])

HOSTILE = "diffusion-path-hostile"
HOSTILE_ERRORS = ("RuntimeError", "MemoryError", "KeyError")
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"


@dataclass(frozen=True)
class Outcome:
    """kind: done, refused (before it ran), failed (while it ran) or lost (no answer in time)."""

    kind: str
    node: str = ""
    error: str = ""
    message: str = ""
    injected: bool = False  # by a model that fails on purpose: such an error should pass as it is

    @property
    def clear(self) -> bool:
        """Whether a user can understand it: what our nodes say is a ValueError of one sentence."""
        if self.kind != "failed" or not self.node.startswith(PREFIX):
            return self.kind != "lost"
        if self.injected and self.error in HOSTILE_ERRORS:
            return True
        return self.error == "ValueError" and "\n" not in self.message.strip() and len(self.message) < 500


class Composer:
    """Builds one prompt, from the node that is asked for upwards to its sources."""

    def __init__(self, draw: Callable[..., Any], info: Info) -> None:
        self.draw, self.info = draw, info
        self.prompt: Prompt = {}
        self.made: dict[str, list[list[Any]]] = {}
        self.size = self.pick(SIZES)
        self.sources = {kind: list(found) for kind, found in SOURCES.items()}
        for name in sorted(info):
            for slot, kind in enumerate(info[name]["output"]):
                if name.startswith(PREFIX) and kind not in ONCE[1:] and isinstance(kind, str):
                    self.sources.setdefault(kind, []).append((name, slot))

    def pick(self, values: Any) -> Any:
        return self.draw(st.sampled_from(list(values)))

    def node(self, name: str, depth: int = DEPTH) -> str:
        """Adds a node with everything it needs; returns its number."""
        inputs: dict[str, Any] = {}
        groups = self.info[name]["input"]
        for key, spec in groups.get("required", {}).items():
            usual = USUAL.get((name, key))
            if usual and (not name.startswith(PREFIX) or self.draw(st.integers(0, 3)) > 0):
                chosen = self.pick(usual)
                inputs[key] = chosen if is_widget(spec) else [self.node(chosen, depth - 1), 0]
            else:
                inputs |= self.entry(key, spec, depth)
        for key, spec in groups.get("optional", {}).items():
            if self.reachable(spec) and self.draw(st.booleans()):
                inputs |= self.entry(key, spec, depth)
        number = str(len(self.prompt) + 1)
        self.prompt[number] = {"class_type": name, "inputs": inputs, "_meta": {"title": name}}
        for slot, kind in enumerate(self.info[name]["output"]):
            self.made.setdefault(str(kind), []).append([number, slot])
        return number

    def reachable(self, spec: list[Any]) -> bool:
        kinds = str(spec[0]).split(",")
        return (
            (len(spec) > 1 and "widgetType" in spec[1])
            or is_widget(spec)
            or any(self.sources.get(kind) for kind in kinds)
        )

    def entry(self, key: str, spec: list[Any], depth: int) -> dict[str, Any]:
        """One input by its name; a dynamic one comes with the inputs of its choice."""
        if spec[0] == DYNAMIC:
            option = self.pick(spec[1]["options"])
            inner = {f"{key}.{name}": found for name, found in option["inputs"].get("required", {}).items()}
            found = {key: option["key"]}
            for name, part in inner.items():
                found |= self.entry(name, part, depth)
            return found
        return {key: self.widget(key, spec) if is_widget(spec) else self.link(str(spec[0]), depth)}

    def link(self, kind: str, depth: int) -> list[Any]:
        """A link to an output of this kind, of a node that is there already or of a new one."""
        kind = self.pick(kind.split(","))
        there = self.made.get(kind, [])
        if there and ((kind in ONCE and depth == 0) or kind in ONCE[1:] or self.draw(st.integers(0, 3)) > 0):
            return list(self.pick(there))
        choices = self.sources.get(kind, [])
        if depth <= 0 or (kind in ONCE and not there):
            choices = choices[: max(1, len(SOURCES.get(kind, ())))]
        if not choices:
            raise LookupError(f"nothing makes a {kind}")
        name, slot = self.pick(choices)
        return [self.node(name, depth - 1), slot]

    def widget(self, key: str, spec: list[Any]) -> Any:
        options = spec[1] if len(spec) > 1 else {}
        kind = options.get("widgetType", spec[0])
        name = key.rpartition(".")[2]
        if isinstance(kind, list) or kind == "COMBO":
            choices = kind if isinstance(kind, list) else options["options"]
            return self.pick(SAMPLERS if name == "sampler_name" else choices or [""])
        if kind == "BOOLEAN":
            return self.draw(st.booleans())
        if kind == "STRING":
            return self.pick([*WORDS, *[options.get("default", "")] * len(WORDS)])
        low, high = options.get("min") or 0, options.get("max") or 1
        if name in ("width", "height", "size"):
            return self.pick((self.size, self.size, self.size, *SIZES))
        if kind == "INT":
            high = min(high, SMALL.get(name) or high)
        default = min(max(options.get("default", low), low), high)
        anything = st.integers(low, high) if kind == "INT" else st.floats(low, high)
        return self.draw(st.one_of(st.just(default), st.sampled_from([default, low, high]), anything))


def is_widget(spec: list[Any]) -> bool:
    kind = spec[1].get("widgetType", spec[0]) if len(spec) > 1 else spec[0]
    return isinstance(kind, list) or kind in ("COMBO", "INT", "FLOAT", "STRING", "BOOLEAN", DYNAMIC)


def valid_prompts(info: Info) -> st.SearchStrategy[Prompt]:
    """A prompt around one of our nodes, whose outputs are looked at."""

    @st.composite
    def prompts(draw: Callable[..., Any]) -> Prompt:
        composer = Composer(draw, info)
        composer.node("DPathDemoModel")
        name = draw(st.sampled_from([name for name in sorted(info) if name.startswith(PREFIX)]))
        number = composer.node(name)
        for slot in range(len(info[name]["output"])):
            looked_at = {"class_type": "PreviewAny", "inputs": {"source": [number, slot]}}
            composer.prompt[f"{number}0{slot}"] = {**looked_at, "_meta": {"title": "PreviewAny"}}
        return composer.prompt

    return prompts()


def broken_prompts(info: Info) -> st.SearchStrategy[Prompt]:
    """A valid prompt with one thing wrong."""

    @st.composite
    def prompts(draw: Callable[..., Any]) -> Prompt:
        prompt = draw(valid_prompts(info))
        numbers = [number for number, node in sorted(prompt.items()) if node["inputs"]]
        ours = [number for number in numbers if prompt[number]["class_type"].startswith(PREFIX)]
        number = draw(st.sampled_from([*ours, *ours, *numbers]))
        inputs = prompt[number]["inputs"]
        # Core looks for a link behind a choice with inputs of its own only when it runs, and its worker ends with it.
        groups = info[prompt[number]["class_type"]]["input"].values()
        choices = {name for group in groups for name, spec in group.items() if spec[0] == DYNAMIC}
        key = draw(st.sampled_from(sorted(inputs)))
        damage(draw, prompt, inputs, key, number, links=key not in choices)
        return prompt

    return prompts()


def hostile_prompts(info: Info) -> st.SearchStrategy[Prompt]:
    """A valid prompt with one link of ours to a value that nothing should make (devtools/hostile)."""

    @st.composite
    def prompts(draw: Callable[..., Any]) -> Prompt:
        prompt = draw(valid_prompts(info))
        places = [
            (number, key, kind) for number in sorted(prompt) for key, kind in hostile_places(info, prompt[number])
        ]
        number, key, kind = draw(st.sampled_from(places or [("", "", "")]))
        if number:
            link = prompt[number]["inputs"][key]
            if kind == "MODEL" and isinstance(link, list) and draw(st.booleans()):
                made = {"model": link, "error": draw(st.sampled_from(HOSTILE_ERRORS)), "at": draw(st.integers(1, 6))}
                name = "HostileFailingModel"
            else:
                name = f"Hostile{kind}"
                made = {"value": draw(st.sampled_from(info[name]["input"]["required"]["value"][0]))}
            prompt["hostile"] = {"class_type": name, "inputs": made, "_meta": {"title": name}}
            prompt[number]["inputs"][key] = ["hostile", 0]
        return prompt

    return prompts()


def hostile_places(info: Info, node: dict[str, Any]) -> list[tuple[str, str]]:
    """The inputs of a node of ours that a hostile value can be linked to, with their types."""
    if not node["class_type"].startswith(PREFIX):
        return []
    groups = info[node["class_type"]]["input"]
    specs = {key: spec for group in groups.values() for key, spec in group.items()}
    kinds = {key: str(specs[key][0]).split(",")[0] for key in sorted(node["inputs"]) if key in specs}
    return [(key, kind) for key, kind in kinds.items() if f"Hostile{kind}" in info]


def link_hostile(base: Path) -> tuple[str, ...]:
    """Puts the nodes of devtools/hostile into a server's folder; the options that make it load them."""
    folder = base / "custom_nodes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HOSTILE).symlink_to(Path(__file__).parent / "hostile", target_is_directory=True)
    return ("--whitelist-custom-nodes", PACK_FOLDER, HOSTILE)


def damage(
    draw: Callable[..., Any], prompt: Prompt, inputs: dict[str, Any], key: str, number: str, links: bool
) -> None:
    """Makes one input of a node wrong. links: also by a link to the wrong place."""
    ways = ["missing", "unknown", *(["slot", "nowhere", "other", "cycle"] if links else [])]
    if not isinstance(inputs[key], list):
        # Not for sockets: core takes any constant there, for its own nodes too, and no page sends one.
        ways += ["value", "value", "text"]
    way = draw(st.sampled_from(ways))
    if way == "value":
        inputs[key] = draw(st.sampled_from(NASTY_VALUES))
    elif way == "text":
        inputs[key] = draw(st.sampled_from(NASTY_TEXT))
    elif way == "missing":
        del inputs[key]
    elif way == "slot":
        inputs[key] = [draw(st.sampled_from(sorted(prompt))), draw(st.sampled_from((-1, 7, 1000, "0", None, 0.5)))]
    elif way == "nowhere":
        inputs[key] = ["999", 0]
    elif way == "other":
        inputs[key] = [draw(st.sampled_from(sorted(prompt))), 0]
    elif way == "cycle":
        inputs[key] = [number, 0]
    else:
        inputs[draw(st.sampled_from(("no_such_input", "model.t0", "")))] = draw(st.sampled_from(NASTY_VALUES))


def save_a_path(client: Client, info: Info) -> None:
    """Gives Load Path something to load."""
    inputs: dict[str, dict[str, Any]] = {
        "DPathDemoModel": {},
        "DPathDemoScene": {"size": 64},
        "CLIPTextEncode": {"clip": ["1", 1], "text": "a lake"},
        "VAEEncode": {"pixels": ["2", 0], "vae": ["1", 2]},
        "DPathInvert": {
            **{"model": ["1", 0], "positive": ["3", 0], "negative": ["3", 0], "latent": ["4", 0]},
            **{"steps": 3, "method": "euler", "method.noise_label": "destination"},
        },
        "DPathSave": {"path": ["5", 0]},
    }
    prompt: Prompt = {}
    for number, (name, given) in enumerate(inputs.items(), start=1):
        widgets = {
            key: (spec[1].get("default") if len(spec) > 1 else None)
            for key, spec in info[name]["input"].get("required", {}).items()
            if is_widget(spec)
        }
        prompt[str(number)] = {"class_type": name, "inputs": widgets | given, "_meta": {"title": name}}
    client.run(prompt)


def outcome(client: Client, prompt: Prompt, patience: float = 300.0) -> Outcome:
    """Runs a prompt to its end; one that is not done in time is interrupted and lost."""
    try:
        prompt_id = client.queue(prompt)
    except PromptError as refusal:
        return Outcome("refused", message=str(refusal))
    end = time.monotonic() + patience
    while not (entry := client.history(prompt_id)):
        if time.monotonic() > end:
            client.interrupt()
            return Outcome("lost", message=f"no answer after {patience:.0f} s")
        time.sleep(0.02)
    injected = any(node["class_type"] == "HostileFailingModel" for node in prompt.values())
    for kind, data in entry["status"]["messages"]:
        if kind == "execution_error":
            return Outcome(
                "failed", data["node_type"], data["exception_type"], data["exception_message"].strip(), injected
            )
    return Outcome("done" if entry["status"]["completed"] else "failed")
