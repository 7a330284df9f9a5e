"""Workflows of the page become prompts of the API."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_path.devtools.workflow import to_prompt, without_files

INFO: dict[str, Any] = {
    "Load": {"input": {"required": {"image": [["a.png", "b.png"], {"image_upload": True}]}}, "display_name": "Load it"},
    "Sample": {
        "input": {
            "required": {
                "model": ["MODEL", {}],
                "seed": ["INT", {"default": 0, "control_after_generate": True}],
                "steps": ["INT", {"default": 20}],
                "cfg": ["FLOAT", {"default": 4.0}],
                "text": ["STRING", {"multiline": True}],
            },
            "optional": {
                "mask": ["MASK", {}],
                "extra": ["FLOAT", {"default": 0.5}],
                "wire": ["INT", {"forceInput": True}],
            },
        },
        "input_order": {"required": ["model", "seed", "steps", "cfg", "text"], "optional": ["mask", "extra", "wire"]},
    },
    "Filter": {"input": {"required": {"image": ["IMAGE", {}], "model": ["MODEL", {}], "strength": ["FLOAT", {}]}}},
    "Dynamic": {
        "input": {"required": {"mode": ["COMFY_DYNAMICCOMBO_V3", {}], "points": ["MY_PAD", {"widgetType": "PAD"}]}}
    },
    "Save": {"input": {"required": {"image": ["IMAGE", {}]}, "optional": {"prefix": ["STRING", {"default": "x"}]}}},
}


def socket(name: str, kind: str, link: int | None = None, widget: bool = False) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link, **({"widget": {"name": name}} if widget else {})}


def node(number: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": number, "type": kind, "mode": 0, "inputs": [], "outputs": [], "widgets_values": [], **fields}


def workflow(*nodes: dict[str, Any], links: list[Any] | None = None) -> dict[str, Any]:
    return {"nodes": list(nodes), "links": links or []}


def test_widget_values_get_their_names_and_seed_controls_are_skipped() -> None:
    sample = node(3, "Sample", widgets_values=[7, "randomize", 12, 3.5, "a lake", 0.25])
    prompt = to_prompt(workflow(sample), INFO)
    assert prompt == {
        "3": {
            "class_type": "Sample",
            "inputs": {"seed": 7, "steps": 12, "cfg": 3.5, "text": "a lake", "extra": 0.25},
            "_meta": {"title": "Sample"},
        }
    }


def test_text_that_looks_like_a_seed_control_stays_a_value() -> None:
    sample = node(1, "Sample", widgets_values=[7, "fixed", 12, 3.5, "fixed", 0.25])
    inputs = to_prompt(workflow(sample), INFO)["1"]["inputs"]
    assert (inputs["text"], inputs["extra"]) == ("fixed", 0.25)


def test_widgets_newer_than_the_workflow_take_their_defaults() -> None:
    inputs = to_prompt(workflow(node(1, "Sample", widgets_values=[7, "fixed", 12, 3.5, "sky"])), INFO)["1"]["inputs"]
    assert inputs["extra"] == 0.5


def test_values_after_the_last_widget_are_ignored() -> None:
    prompt = to_prompt(workflow(node(1, "Load", widgets_values=["b.png", "image"])), INFO)
    assert prompt["1"] == {"class_type": "Load", "inputs": {"image": "b.png"}, "_meta": {"title": "Load it"}}


def test_values_saved_by_name_are_understood() -> None:
    prompt = to_prompt(workflow(node(1, "Save", widgets_values={"prefix": "mine", "videopreview": {}})), INFO)
    assert prompt["1"]["inputs"] == {"prefix": "mine"}


@pytest.mark.parametrize(
    "link", [[9, 1, 0, 2, 0, "MODEL"], {"id": 9, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0}]
)
def test_links_of_both_spellings_join_nodes(link: Any) -> None:
    nodes = node(1, "Load", widgets_values=["a.png"]), node(2, "Sample", inputs=[socket("model", "MODEL", 9)])
    assert to_prompt(workflow(*nodes, links=[link]), INFO)["2"]["inputs"]["model"] == ["1", 0]


def test_a_linked_widget_takes_the_link_and_the_others_keep_their_values() -> None:
    sample = node(
        2,
        "Sample",
        inputs=[socket("seed", "INT", None, widget=True), socket("steps", "INT", 9, widget=True)],
        widgets_values=[7, "fixed", 12, 3.5, "sky", 0.25],
    )
    prompt = to_prompt(workflow(node(1, "Load"), sample, links=[[9, 1, 3, 2, 1, "INT"]]), INFO)
    assert prompt["2"]["inputs"] | {"cfg": None} == {
        "seed": 7,
        "steps": ["1", 3],
        "cfg": None,
        "text": "sky",
        "extra": 0.25,
    }


def test_notes_reroutes_and_primitives_exist_on_the_page_only() -> None:
    nodes = (
        node(1, "Load", widgets_values=["a.png"]),
        node(2, "Reroute", inputs=[socket("", "*", 20)]),
        node(3, "PrimitiveNode", widgets_values=[33, "fixed"]),
        node(4, "Note", widgets_values=["read me"]),
        node(5, "MarkdownNote", widgets_values=["# read me"]),
        node(
            6,
            "Sample",
            inputs=[socket("model", "MODEL", 21), socket("steps", "INT", 22, widget=True)],
            widgets_values=[7, "fixed", 12, 3.5, "sky", 0.25],
        ),
    )
    links = [[20, 1, 0, 2, 0, "*"], [21, 2, 0, 6, 0, "MODEL"], [22, 3, 0, 6, 1, "INT"]]
    prompt = to_prompt(workflow(*nodes, links=links), INFO)
    assert list(prompt) == ["1", "6"]
    assert prompt["6"]["inputs"]["model"] == ["1", 0]
    assert prompt["6"]["inputs"]["steps"] == 33


def test_a_bypassed_node_passes_on_the_input_of_the_same_type() -> None:
    bypassed = node(
        2,
        "Filter",
        mode=4,
        inputs=[socket("image", "IMAGE", 10), socket("model", "MODEL", 11)],
        outputs=[{"name": "model", "type": "MODEL"}],
    )
    nodes = node(1, "Load"), bypassed, node(3, "Sample", inputs=[socket("model", "MODEL", 12)])
    links = [[10, 1, 0, 2, 0, "IMAGE"], [11, 1, 4, 2, 1, "MODEL"], [12, 2, 0, 3, 0, "MODEL"]]
    prompt = to_prompt(workflow(*nodes, links=links), INFO)
    assert "2" not in prompt
    assert prompt["3"]["inputs"]["model"] == ["1", 4]


def test_links_from_muted_nodes_are_dropped() -> None:
    nodes = node(1, "Load", mode=2), node(2, "Sample", inputs=[socket("model", "MODEL", 9)])
    prompt = to_prompt(workflow(*nodes, links=[[9, 1, 0, 2, 0, "MODEL"]]), INFO)
    assert list(prompt) == ["2"]
    assert "model" not in prompt["2"]["inputs"]


def test_dynamic_inputs_are_named_by_the_workflow_and_lists_are_wrapped() -> None:
    dynamic = node(
        1,
        "Dynamic",
        inputs=[
            socket("mode", "COMFY_DYNAMICCOMBO_V3", None, widget=True),
            socket("mode.n", "INT", None, widget=True),
            socket("points", "MY_PAD", None, widget=True),
        ],
        widgets_values=["b", 3, [[0, 1], [2, 3]]],
    )
    assert to_prompt(workflow(dynamic), INFO)["1"]["inputs"] == {
        "mode": "b",
        "mode.n": 3,
        "points": {"__value__": [[0, 1], [2, 3]]},
    }


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"1": {"class_type": "Load"}}, "not a workflow as ComfyUI's page saves it"),
        (workflow(node(4, "Nowhere")), "Node 4 is of type 'Nowhere'"),
        ({**workflow(node(4, "u-u")), "definitions": {"subgraphs": [{"id": "u-u"}]}}, "Node 4 is a subgraph"),
    ],
)
def test_what_cannot_be_converted_is_named(broken: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_prompt(broken, INFO)


def test_what_needs_files_of_models_is_left_out() -> None:
    prompt = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "a.safetensors"}},
        "2": {"class_type": "Load", "inputs": {"image": "a.png"}},
        "3": {"class_type": "Sample", "inputs": {"model": ["1", 0], "points": [1, 2]}},
        "4": {"class_type": "Filter", "inputs": {"image": ["2", 0], "sampled": ["3", 0]}},
        "5": {"class_type": "Save", "inputs": {"image": ["2", 0], "points": [[1, 2]]}},
        "6": {"class_type": "Dynamic", "inputs": {}},
        "7": {"class_type": "Sample", "inputs": {"model": ["1", 0], "mask": ["6", 0]}},
    }
    assert list(without_files(prompt)) == ["2", "5"]
    assert without_files({"2": prompt["2"], "5": prompt["5"]}) == {"2": prompt["2"], "5": prompt["5"]}
