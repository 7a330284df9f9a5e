"""The example workflows for models that are not included: the same graphs, with tiny models in place of the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras import (
    nodes_cfg,
    nodes_custom_sampler,
    nodes_flux,
    nodes_images,
    nodes_model_advanced,
    nodes_qwen,
    nodes_wan,
)
from diffusion_path.devtools.direct import NODES
from diffusion_path.devtools.settings import WORKFLOWS
from diffusion_path.devtools.workflow import to_prompt
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.families import EVERY, Family, Vae, built

import nodes as core

SCALE = 64  # pixels on a side of the latent's, so that a full-size picture is a tiny latent
SHOWS = {"PreviewAny", "PreviewImage", "SaveImage", "CreateVideo", "SaveVideo", "MarkdownNote"}
EXTRAS = (nodes_cfg, nodes_custom_sampler, nodes_flux, nodes_images, nodes_model_advanced, nodes_qwen,
          nodes_wan)  # fmt: skip


def vae(family: Family) -> Vae:
    code = Vae(family)
    code.scale = code.first_stage_model.scale = SCALE
    return code


class Clip:
    """Random embeddings of the family's width, the same ones for the same text."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def tokenize(self, text: str, **_: Any) -> str:
        return text

    def encode_from_tokens_scheduled(self, text: str) -> list[list[Any]]:
        generator = torch.Generator().manual_seed(sum(text.encode()))
        tokens = torch.randn(1, tiny.TOKENS, self.family.width, generator=generator)
        return [[tokens, {"pooled_output": torch.zeros(1, self.family.pooled)}]]


EXAMPLES = {
    "flux2-klein-strokes": EVERY["Flux.2 (klein)"],
    "z-image-turbo-masked-edit": EVERY["Z-Image"],
    "qwen-image-edit-strokes": EVERY["Qwen-Image-Edit"],
    "wan-2-2-strokes-to-video": EVERY["Wan 2.1"],
    "wan-2-2-drag-a-thing": EVERY["Wan 2.1 I2V"],
    "qwen-image-attention-edit": EVERY["Qwen-Image"],
}


@cache
def classes() -> dict[str, Any]:
    """The nodes that the examples use, by their ids."""
    found = {**core.NODE_CLASS_MAPPINGS, **NODES}
    for module in EXTRAS:
        found |= getattr(module, "NODE_CLASS_MAPPINGS", {})
        for each in vars(module).values():
            if isinstance(each, type) and each.__module__ == module.__name__ and hasattr(each, "GET_SCHEMA"):
                found[each.GET_SCHEMA().node_id] = each
    return found


class Graph:
    """A prompt that runs in this process. results: what the nodes gave, by their ids."""

    def __init__(self, name: str, instead: dict[str, Callable[..., tuple[Any, ...]]]) -> None:
        workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
        workflow["nodes"] = [node for node in workflow["nodes"] if node["type"] not in SHOWS]
        info = {node["type"]: {"input": classes()[node["type"]].INPUT_TYPES()} for node in workflow["nodes"]}
        self.prompt, self.instead, self.results = to_prompt(workflow, info), instead, {}

    def run(self) -> None:
        with torch.inference_mode():
            for node in self.prompt:
                self.result(node)

    def result(self, node: str) -> tuple[Any, ...]:
        if node not in self.results:
            kind, given = self.prompt[node]["class_type"], dict(self.prompt[node]["inputs"])
            for name, value in given.items():
                if isinstance(value, list) and len(value) == 2 and value[0] in self.prompt:
                    given[name] = self.result(value[0])[value[1]]
            made = self.instead[kind](**given) if kind in self.instead else self._made(classes()[kind], given)
            self.results[node] = made
        return self.results[node]

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """The results of all nodes of a kind."""
        return [self.results[node] for node, given in self.prompt.items() if given["class_type"] == kind]

    @staticmethod
    def _made(node: Any, given: dict[str, Any]) -> tuple[Any, ...]:
        if hasattr(node, "GET_SCHEMA"):
            return tuple(node.execute(**_nested(given)).args)
        return tuple(getattr(node(), node.FUNCTION)(**given))


def _nested(given: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a choice {"mode": "a", "mode.b": 1} as core gives them: {"mode": {"mode": "a", "b": 1}}."""
    result = {name: value for name, value in given.items() if "." not in name}
    for name, value in given.items():
        group, _, field = name.partition(".")
        if field:
            chosen = result[group] if isinstance(result[group], dict) else {group: result[group]}
            result[group] = {**chosen, field: value}
    return result


def ran(name: str) -> tuple[Graph, list[tuple[str, Any]]]:
    """The example after a short run, and the calls of its networks: their file, and what the state is extended by."""
    family, calls, files = EXAMPLES[name], [], []

    def load_model(unet_name: str, **_: Any) -> tuple[Any]:
        files.append(unet_name)
        model = built(family)
        tiny.fill(model.model.diffusion_model, len(files))

        def note(executor: Any, x: Any, t: Any, c_concat: Any = None, *args: Any, **more: Any) -> Any:
            calls.append((unet_name, c_concat))
            return executor(x, t, c_concat, *args, **more)

        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", note)
        return (model,)

    graph = Graph(name, {
        "UNETLoader": load_model,
        "CLIPLoader": lambda **_: (Clip(family),),
        "VAELoader": lambda **_: (vae(family),),
        "LoraLoaderModelOnly": lambda model, **_: (tiny.add_lora(model),),
        "GetImageSize": lambda image: (image.shape[2], image.shape[1], len(image)),  # core's tells a page
    })  # fmt: skip
    for given in graph.prompt.values():
        for widget, most in (("steps", 8), ("amount", 5), ("frames", 5)):
            if widget in given["inputs"]:
                given["inputs"][widget] = min(given["inputs"][widget], most)
    graph.run()
    return graph, calls


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs_with_a_tiny_model_of_its_family(name: str) -> None:
    graph, calls = ran(name)
    (pictures,), *_ = graph.of("VAEDecode")
    assert bool(torch.isfinite(pictures).all())
    assert float(pictures.std()) > 0.01
    if name == "qwen-image-attention-edit":
        assert pictures.shape == graph.of("FluxKontextImageScale")[0][0].shape
        return
    painted = graph.of("DPathStrokeCanvas")[0]
    assert pictures.shape[1:] == painted[0].shape[1:]
    _, _, report = graph.of("DPathSDEdit")[0]
    assert "note:" not in report, report
    if name == "z-image-turbo-masked-edit":
        (original, *_), (edited, *_) = graph.of("FluxKontextImageScale")[0], graph.of("DPathCompositeExact")[0]
        changed = (edited != original).any(-1)
        assert bool(changed.any())
        assert not bool((changed & (painted[2] == 0)).any())
    if name == "wan-2-2-strokes-to-video":
        assert len({file for file, _ in calls}) == 2
        assert len(pictures) == 5
        assert "high_noise takes steps 1 to 1 of 3" in graph.of("DPathJoinModels")[0][1]
    if name == "wan-2-2-drag-a-thing":
        _check_dragged(graph, calls)


def _check_dragged(graph: Graph, calls: list[tuple[str, Any]]) -> None:
    """A thing that leaves its place, two t0, and two experts that are both shown the first frame."""
    (crude, mask, strength, t0), (film,) = graph.of("DPathDrag")[0], graph.of("VAEDecode")[0]
    assert len(film) == len(crude) == 5
    assert not bool((mask[0] * mask[-1]).any())
    assert (t0, float(strength.min())) == (0.94, pytest.approx(0.86 / 0.94))
    assert "t0 0.94" in graph.of("DPathSDEdit")[0][2]
    high, low = (f"wan2.2_i2v_{noise}_noise_14B_fp8_scaled.safetensors" for noise in ("high", "low"))
    files = [file for file, _ in calls]
    assert files == [high] * files.count(high) + [low] * files.count(low)
    assert 0 < files.count(high) < len(files)
    for _, shown in calls:
        assert (float(shown[:, :4, 0].min()), float(shown[:, :4, 1:].max())) == (1.0, 0.0)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_note_names_every_file_and_the_page_can_offer_it(name: str) -> None:
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    note = next(node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    loaders = {"UNETLoader": "diffusion_models", "CLIPLoader": "text_encoders", "VAELoader": "vae",
               "LoraLoaderModelOnly": "loras"}  # fmt: skip
    wanting = [node for node in workflow["nodes"] if node["type"] in loaders]
    assert len(wanting) >= 3
    for node in wanting:
        file, folder = node["widgets_values"][0], loaders[node["type"]]
        (offered,) = node["properties"]["models"]
        assert (offered["name"], offered["directory"]) == (file, folder)
        assert f"- `models/{folder}/` [{file}]({offered['url']})" in note
