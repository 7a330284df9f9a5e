"""Turns a workflow as the page saves it into a prompt as the HTTP API wants it.

The page saves nodes with sockets, links and a bare list of widget values; the API wants named inputs. Which value
belongs to which name follows from the node's definition in `/object_info`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Node = dict[str, Any]
Info = dict[str, Any]

FILE_LOADERS = {"CheckpointLoaderSimple", "CLIPLoader", "LoraLoaderModelOnly", "UNETLoader", "VAELoader"}
_NEVER, _BYPASS = 2, 4
_ON_PAGE_ONLY = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}
_WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
_DYNAMIC_TYPES = {"COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3"}
_MOST = {"steps": 6, "frames": 3}  # enough to pass through every node
_SEED_CONTROLS = ("fixed", "increment", "decrement", "randomize")


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Info]) -> dict[str, dict[str, Any]]:
    """The API prompt of a workflow. Muted nodes and notes are left out, bypassed nodes become wires.

    Raises ValueError if the workflow is not in the page's format, uses subgraphs, or has a node the server lacks.
    """
    if not isinstance(workflow.get("nodes"), list) or not isinstance(workflow.get("links"), list):
        raise ValueError("This is not a workflow as ComfyUI's page saves it: it needs the lists 'nodes' and 'links'.")
    nodes: dict[Any, Node] = {node["id"]: node for node in workflow["nodes"]}
    subgraphs = {graph["id"] for graph in workflow.get("definitions", {}).get("subgraphs", [])}
    links = dict(_links(workflow))
    prompt: dict[str, dict[str, Any]] = {}
    for node in nodes.values():
        kind, mode = node["type"], node.get("mode", 0)
        if kind in _ON_PAGE_ONLY or mode in (_NEVER, _BYPASS):
            continue
        if kind in subgraphs:
            raise ValueError(f"Node {node['id']} is a subgraph, which cannot be converted: unpack it in the workflow.")
        if kind not in object_info:
            raise ValueError(f"Node {node['id']} is of type '{kind}', which this ComfyUI does not have.")
        inputs = _widget_inputs(node, object_info[kind])
        for socket in node.get("inputs", []):
            if found := _origin(socket.get("link"), nodes, links):
                (inputs[socket["name"]],) = found
        title = node.get("title") or object_info[kind].get("display_name") or kind
        prompt[str(node["id"])] = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
    return prompt


def shortened(prompt: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The prompt with few steps and frames everywhere, for runs that only have to pass through every node."""
    for node in prompt.values():
        for name, most in _MOST.items():
            if isinstance(given := node["inputs"].get(name), int):
                node["inputs"][name] = min(given, most)
    return prompt


def without_files(prompt: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The part of a prompt that runs without files of models: without their loaders, all that follows from them, and
    what served these alone.
    """
    kept = prompt
    loaders = {node for node, given in prompt.items() if given["class_type"] in FILE_LOADERS}
    while loaders:
        kept = {node: given for node, given in kept.items() if node not in loaders}
        loaders = {node for node, given in kept.items() if origins(given) & (set(prompt) - set(kept))}
    served = _served(prompt)
    while idle := (served & set(kept)) - _served(kept):
        kept = {node: given for node, given in kept.items() if node not in idle}
    return kept


def _served(prompt: dict[str, dict[str, Any]]) -> set[str]:
    return {origin for given in prompt.values() for origin in origins(given)}


def origins(given: dict[str, Any]) -> set[str]:
    """The nodes that a node of a prompt gets its inputs from."""
    lists = [value for value in given["inputs"].values() if isinstance(value, list) and value]
    return {value[0] for value in lists if isinstance(value[0], str)}


def _links(workflow: dict[str, Any]) -> Iterator[tuple[Any, tuple[Any, int]]]:
    """(link id, (origin node, origin slot)) of both spellings the page has used."""
    for link in workflow["links"]:
        if isinstance(link, dict):
            yield link["id"], (link["origin_id"], link["origin_slot"])
        elif link is not None:
            yield link[0], (link[1], link[2])


def _origin(link: Any, nodes: dict[Any, Node], links: dict[Any, tuple[Any, int]]) -> list[Any]:
    """[what a link brings]: the output that it leads to through reroutes and bypassed nodes, or a primitive's value."""
    while link is not None:
        origin, slot = links[link]
        node = nodes[origin]
        if node.get("mode", 0) == _NEVER:
            return []
        if node["type"] == "PrimitiveNode":
            return [node["widgets_values"][0]]
        if node["type"] == "Reroute":
            link = node["inputs"][0].get("link")
        elif node.get("mode", 0) == _BYPASS:
            link = _bypass_link(node, slot)
        else:
            return [[str(origin), slot]]
    return []


def _bypass_link(node: Node, slot: int) -> Any:
    """The link of the input that a bypassed node passes on: the same slot if the type fits, else the first one."""
    inputs, kind = node.get("inputs", []), node["outputs"][slot]["type"]
    candidates = [*inputs[slot : slot + 1], *inputs]
    return next((socket.get("link") for socket in candidates if socket["type"] == kind), None)


def _widget_inputs(node: Node, info: Info) -> dict[str, Any]:
    """The values of a node's widgets by name."""
    specs = _specs(info)
    values = node.get("widgets_values") or []
    names = [socket["name"] for socket in node.get("inputs", []) if socket.get("widget")]
    # What a dynamic input consists of at the moment stands in the workflow alone.
    if not any(spec[0] in _DYNAMIC_TYPES for spec in specs.values() if isinstance(spec[0], str)):
        names = [name for name, spec in specs.items() if name in names or _is_widget(spec)]
    if isinstance(values, dict):
        return {name: _wrapped(values[name]) for name in names if name in values}
    result, rest = {}, list(values)
    for name in names:
        spec = specs.get(name, ["*", {}])
        if rest:
            result[name] = _wrapped(rest.pop(0))
            if _has_seed_control(name, spec) and rest and rest[0] in _SEED_CONTROLS:
                rest.pop(0)
        elif len(spec) > 1 and "default" in spec[1]:
            result[name] = spec[1]["default"]  # saved before the node got this widget
    return result


def _specs(info: Info) -> dict[str, list[Any]]:
    groups = info["input"]
    order = info.get("input_order") or {group: list(groups[group]) for group in groups}
    return {name: groups[group][name] for group in ("required", "optional") for name in order.get(group, [])}


def _is_widget(spec: list[Any]) -> bool:
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    if options.get("forceInput"):
        return False
    return isinstance(kind, list) or kind in _WIDGET_TYPES or "widgetType" in options


def _has_seed_control(name: str, spec: list[Any]) -> bool:
    options = spec[1] if len(spec) > 1 else {}
    return bool(options.get("control_after_generate")) or (spec[0] == "INT" and name in ("seed", "noise_seed"))


def default(spec: list[Any]) -> Any:
    """The value a widget starts with; None for sockets."""
    options = spec[1] if len(spec) > 1 else {}
    if "default" in options:
        return options["default"]
    choices = spec[0] if isinstance(spec[0], list) else options.get("options") if spec[0] == "COMBO" else None
    return choices[0] if choices else None


def with_defaults(info: Info, inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a node, and the defaults of the widgets that are not given."""
    values = {name: default(spec) for name, spec in _specs(info).items()}
    return {name: value for name, value in values.items() if value is not None} | inputs


def _wrapped(value: Any) -> Any:
    """Lists are wrapped as the page does it, because a bare list in a prompt is a link."""
    return {"__value__": value} if isinstance(value, list) else value
