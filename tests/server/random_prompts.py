"""Random prompts on a real server: 500 valid, 500 broken and 500 hostile ones, and what became of them.

    ./dev bench fuzz [--valid N] [--broken N] [--hostile N] [--seed N]

The prompts are made from what the server says about its nodes. Valid ones keep every rule that `/object_info` states;
broken ones break one of them; hostile ones link a value that nothing should make (NaN, empty tensors, 10 MB of text, a
model that fails) to one of our nodes. Any may fail, but only in a sentence. Ends with status 1 if the server ended, was
silent for long, or said something that is no clear sentence.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion_path.benchmarks.common import parser
from diffusion_path.devtools.client import Client, Prompt, PromptError
from diffusion_path.devtools.console import say
from diffusion_path.devtools.inprocess import comfyui_folder
from diffusion_path.devtools.runtime import Runtime
from diffusion_path.devtools.server import Server
from diffusion_path.devtools.settings import PACK_FOLDER
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

Info = dict[str, dict[str, Any]]
Draw = Callable[[st.SearchStrategy[Any]], Any]

# Where the parts of a prompt come from: a few nodes of core, all of ours besides.
SOURCES: dict[str, tuple[tuple[str, int], ...]] = {
    "MODEL": (("DPathDemoModel", 0),), "CLIP": (("DPathDemoModel", 1),), "VAE": (("DPathDemoModel", 2),),
    "CONDITIONING": (("CLIPTextEncode", 0),),
    "LATENT": (("VAEEncode", 0), ("SetLatentNoiseMask", 0), ("EmptyLatentImage", 0)),
    "IMAGE": (("DPathDemoScene", 0),), "MASK": (("DPathDemoScene", 1), ("SolidMask", 0)),
    "NOISE": (("RandomNoise", 0), ("DisableNoise", 0)), "SIGMAS": (("BasicScheduler", 0),),
    "SAMPLER": (("KSamplerSelect", 0),), "GUIDER": (("CFGGuider", 0),), "CLIP_VISION": (),
    "MAP_PREDICTOR": (("DPathLoadMapPredictor", 0),), "SWEEP_CELLS": (("DPathSweep", 4),),
}  # fmt: skip
ONCE = ("MODEL", "CLIP", "VAE")  # one embedded model serves the whole prompt
PREFIX, DEPTH, DYNAMIC, GROWING = "DPath", 2, "COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3"

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
    "../../etc/passwd", "/etc/passwd", "..\\..\\windows", "a\0b", "x" * 3000, "\n", "\N{PILE OF POO}", "nan", "{}",
)  # fmt: skip
NASTY_VALUES = (math.nan, math.inf, -math.inf, 1e308, -1e308, -1, 2**70, True, None, [], {}, "text", [1, 2, 3])
HOSTILE_ERRORS = ("RuntimeError", "MemoryError", "KeyError")


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
    """Builds one prompt, from its last node up to the sources."""

    def __init__(self, draw: Draw, info: Info) -> None:
        self.draw, self.info = draw, info
        self.prompt: Prompt = {}
        self.made: dict[str, list[list[Any]]] = {}
        self.size = self.pick(SIZES)
        self.sources = {kind: list(found) for kind, found in SOURCES.items()}
        for name in ours(info):
            for slot, kind in enumerate(info[name]["output"]):
                if kind not in ONCE[1:] and isinstance(kind, str):
                    self.sources.setdefault(kind, []).append((name, slot))

    def pick(self, values: Any) -> Any:
        return self.draw(st.sampled_from(list(values)))

    def mostly(self) -> bool:
        return self.draw(st.integers(0, 3)) > 0

    def node(self, name: str, depth: int = DEPTH) -> str:
        """Adds a node with everything it needs; returns its number."""
        inputs: dict[str, Any] = {}
        groups = self.info[name]["input"]
        for key, spec in groups.get("required", {}).items():
            usual = USUAL.get((name, key))
            if usual and (not name.startswith(PREFIX) or self.mostly()):
                chosen = self.pick(usual)
                inputs[key] = chosen if is_widget(spec) else [self.node(chosen, depth - 1), 0]
            else:
                inputs |= self.entry(key, spec, depth)
        for key, spec in groups.get("optional", {}).items():
            reachable = is_widget(spec) or any(self.sources.get(kind) for kind in str(spec[0]).split(","))
            if reachable and self.draw(st.booleans()):
                inputs |= self.entry(key, spec, depth)
        number = str(len(self.prompt) + 1)
        self.prompt[number] = titled(name, inputs)
        for slot, kind in enumerate(self.info[name]["output"]):
            self.made.setdefault(str(kind), []).append([number, slot])
        return number

    def entry(self, key: str, spec: list[Any], depth: int) -> dict[str, Any]:
        """One input by its name; a dynamic one comes with the inputs of its choice, a growing one with a few."""
        if spec[0] == DYNAMIC:
            option = self.pick(spec[1]["options"])
            found = {key: option["key"]}
            for name, part in option["inputs"].get("required", {}).items():
                found |= self.entry(f"{key}.{name}", part, depth)
            return found
        if spec[0] == GROWING:
            template = spec[1]["template"]
            ((part, (kind, *_)),) = template["input"]["required"].items()
            return {f"{key}.{part}{number}": self.link(kind, depth) for number in range(self.pick((1, 2)))}
        return {key: self.widget(key, spec) if is_widget(spec) else self.link(str(spec[0]), depth)}

    def link(self, kind: str, depth: int) -> list[Any]:
        """A link to an output of this kind, of a node that the prompt has already or of a new one."""
        kind = self.pick(kind.split(","))
        known = self.made.get(kind, [])
        if known and ((kind in ONCE and depth == 0) or kind in ONCE[1:] or self.mostly()):
            return list(self.pick(known))
        choices = self.sources.get(kind, [])
        if depth <= 0 or (kind in ONCE and not known):
            choices = choices[: max(1, len(SOURCES.get(kind, ())))]
        if not choices:
            raise LookupError(f"nothing makes a {kind}")
        name, slot = self.pick(choices)
        return [self.node(name, depth - 1), slot]

    def widget(self, key: str, spec: list[Any]) -> Any:
        options = spec[1] if len(spec) > 1 else {}
        kind, name = options.get("widgetType", spec[0]), key.rpartition(".")[2]
        if isinstance(kind, list) or kind == "COMBO":
            choices = kind if isinstance(kind, list) else options["options"]
            return self.pick(SAMPLERS if name == "sampler_name" else choices or [""])
        if kind == "BOOLEAN":
            return self.draw(st.booleans())
        if kind == "STRING":
            return self.pick([*WORDS, *[options.get("default", "")] * len(WORDS)])
        if name in ("width", "height", "size"):
            return self.pick((self.size, self.size, self.size, *SIZES))
        low, high = options.get("min") or 0, options.get("max") or 1
        if kind == "INT":
            high = min(high, SMALL.get(name) or high)
        default = min(max(options.get("default", low), low), high)
        anything = st.integers(low, high) if kind == "INT" else st.floats(low, high)
        return self.draw(st.one_of(st.just(default), st.sampled_from([default, low, high]), anything))


def ours(info: Info) -> list[str]:
    return [name for name in sorted(info) if name.startswith(PREFIX)]


def titled(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"class_type": name, "inputs": inputs, "_meta": {"title": name}}


def is_widget(spec: list[Any]) -> bool:
    kind = spec[1].get("widgetType", spec[0]) if len(spec) > 1 else spec[0]
    return isinstance(kind, list) or kind in ("COMBO", "INT", "FLOAT", "STRING", "BOOLEAN", DYNAMIC)


@st.composite
def valid_prompts(draw: Draw, info: Info) -> Prompt:
    """A prompt around one of our nodes, whose outputs are looked at."""
    composer = Composer(draw, info)
    composer.node("DPathDemoModel")
    name = draw(st.sampled_from(ours(info)))
    number = composer.node(name)
    for slot in range(len(info[name]["output"])):
        composer.prompt[f"{number}0{slot}"] = titled("PreviewAny", {"source": [number, slot]})
    return composer.prompt


@st.composite
def broken_prompts(draw: Draw, info: Info) -> Prompt:
    """A valid prompt with one thing wrong."""
    prompt = draw(valid_prompts(info))
    numbers = [number for number, node in sorted(prompt.items()) if node["inputs"]]
    mine = [number for number in numbers if prompt[number]["class_type"].startswith(PREFIX)]
    number = draw(st.sampled_from([*mine, *mine, *numbers]))
    inputs = prompt[number]["inputs"]
    # Core looks for a link behind a choice with inputs of its own only when it runs, and its worker ends with it.
    groups = info[prompt[number]["class_type"]]["input"].values()
    choices = {name for group in groups for name, spec in group.items() if spec[0] == DYNAMIC}
    key = draw(st.sampled_from(sorted(inputs)))
    others = sorted(prompt)
    ways: dict[str, Callable[[], Any]] = {
        "slot": lambda: [draw(st.sampled_from(others)), draw(st.sampled_from((-1, 7, 1000, "0", None, 0.5)))],
        "nowhere": lambda: ["999", 0],
        "other": lambda: [draw(st.sampled_from(others)), 0],
        "cycle": lambda: [number, 0],
        "value": lambda: draw(st.sampled_from(NASTY_VALUES)),
        "text": lambda: draw(st.sampled_from(NASTY_TEXT)),
    }
    usable = ["missing", "unknown", *([] if key in choices else ["slot", "nowhere", "other", "cycle"])]
    if not isinstance(inputs[key], list):
        # Not for sockets: core takes any constant there, for its own nodes too, and no page sends one.
        usable += ["value", "value", "text"]
    way = draw(st.sampled_from(usable))
    if way == "missing":
        del inputs[key]
    elif way == "unknown":
        inputs[draw(st.sampled_from(("no_such_input", "model.t0", "")))] = draw(st.sampled_from(NASTY_VALUES))
    else:
        inputs[key] = ways[way]()
    return prompt


@st.composite
def hostile_prompts(draw: Draw, info: Info) -> Prompt:
    """A valid prompt with one link of ours to a value that nothing should make (the nodes in tests/server/hostile)."""
    prompt = draw(valid_prompts(info))
    places = [(number, key, kind) for number in sorted(prompt) for key, kind in hostile_places(info, prompt[number])]
    number, key, kind = draw(st.sampled_from(places or [("", "", "")]))
    if number:
        link = prompt[number]["inputs"][key]
        if kind == "MODEL" and isinstance(link, list) and draw(st.booleans()):
            inputs = {"model": link, "error": draw(st.sampled_from(HOSTILE_ERRORS)), "at": draw(st.integers(1, 6))}
            prompt["hostile"] = titled("HostileFailingModel", inputs)
        else:
            values = info[f"Hostile{kind}"]["input"]["required"]["value"][0]
            prompt["hostile"] = titled(f"Hostile{kind}", {"value": draw(st.sampled_from(values))})
        prompt[number]["inputs"][key] = ["hostile", 0]
    return prompt


def hostile_places(info: Info, node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The inputs of a node of ours that a hostile value can be linked to, with their types."""
    if node["class_type"].startswith(PREFIX):
        groups = info[node["class_type"]]["input"]
        specs = {key: spec for group in groups.values() for key, spec in group.items()}
        for key in sorted(node["inputs"].keys() & specs.keys()):
            kind = str(specs[key][0]).split(",")[0]
            if f"Hostile{kind}" in info:
                yield key, kind


@contextmanager
def hostile_server(*options: str) -> Iterator[Server]:
    """A server that has the nodes of tests/server/hostile too."""
    server = Server(Runtime(Path(sys.executable), comfyui_folder()), 0, None, *options)
    folder, name = server.base / "custom_nodes", "diffusion-path-hostile"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(Path(__file__).parent / "hostile", target_is_directory=True)
    server.options = (*options, "--whitelist-custom-nodes", PACK_FOLDER, name)
    with server:
        yield server


def save_a_path(client: Client, info: Info) -> None:
    """Gives Load Path something to load."""
    nodes: dict[str, dict[str, Any]] = {
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
    for number, (name, inputs) in enumerate(nodes.items(), start=1):
        required = info[name]["input"].get("required", {})
        defaults = {key: spec[1].get("default") for key, spec in required.items() if is_widget(spec) and len(spec) > 1}
        prompt[str(number)] = titled(name, defaults | inputs)
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
            text = data["exception_message"].strip()
            return Outcome("failed", data["node_type"], data["exception_type"], text, injected)
    return Outcome("done" if entry["status"]["completed"] else "failed")


def outcomes(
    client: Client, prompts: st.SearchStrategy[Prompt], count: int, number: int | None = None
) -> Counter[Outcome]:
    """What became of `count` prompts; unclear ones are printed. number: a seed, by default always the same."""
    found: Counter[Outcome] = Counter()
    chosen = settings(
        max_examples=count, deadline=None, database=None, derandomize=number is None, phases=[Phase.generate],
        print_blob=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def one(prompt: Prompt) -> None:
        result = outcome(client, prompt)
        found[result] += 1
        if not result.clear:
            say(f"\n{result}\n{json.dumps(prompt)}")
        if found.total() % 50 == 0:
            say(f"{found.total()} of {count}")

    test = chosen(given(prompts)(one))
    (test if number is None else seed(number)(test))()
    return found


def main() -> int:
    options = parser(__doc__, valid=500, broken=500, hostile=500, seed=0)
    options.add_argument("--sentences", action="store_true", help="print what users would read")
    chosen = options.parse_args()
    unclear = 0
    with hostile_server() as server:
        save_a_path(server.client, server.client.object_info())
        info = server.client.object_info()
        for title, strategy in (("valid", valid_prompts), ("broken", broken_prompts), ("hostile", hostile_prompts)):
            if not (count := getattr(chosen, title)):
                continue
            found = outcomes(server.client, strategy(info), count, chosen.seed)
            kinds = Counter(result.kind for result in found.elements())
            missed = sum(not result.clear for result in found.elements())
            unclear += missed
            counts = ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds))
            say(f"{title}: {found.total()} prompts: {counts}; {missed} unclear")
            if chosen.sentences:
                say("\n".join(sorted({f"  {one.kind} {one.node}: {one.message[:300]}" for one in found})))
        assert server.process is not None
        ended = server.process.poll() is not None
        say("THE SERVER ENDED" if ended else "the server goes on")
    return int(unclear > 0 or ended)


if __name__ == "__main__":
    sys.exit(main())
