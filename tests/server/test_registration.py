"""A real server knows every node of the pack, and serves its texts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

from diffusion_path.devtools.client import Client
from diffusion_path.devtools.server import Server
from diffusion_path.nodes import DiffusionPathExtension

PACK = "ComfyUI-DiffusionPath"


def is_served(client: Client, path: str) -> bool:
    try:
        return bool(client.get(path))
    except HTTPError:
        return False


def test_the_pack_loads_without_complaints(server: Server) -> None:
    assert server.complaints() == []


def test_every_node_is_registered(pack_info: dict[str, dict[str, Any]]) -> None:
    nodes = asyncio.run(DiffusionPathExtension().get_node_list())
    assert set(pack_info) == {node.GET_SCHEMA().node_id for node in nodes}
    for name, info in pack_info.items():
        assert name.startswith("DPath")
        assert info["display_name"] != name
        assert info["category"].startswith("diffusion path/")
        assert info["description"]


def test_the_page_gets_a_tooltip_for_every_input_and_output(pack_info: dict[str, dict[str, Any]]) -> None:
    silent = [
        f"{name}.{key}"
        for name, info in pack_info.items()
        for group in ("required", "optional")
        for key, spec in info["input"].get(group, {}).items()
        if not spec[1].get("tooltip")
    ]
    for name, info in pack_info.items():
        tooltips = info.get("output_tooltips") or []
        silent += [
            f"{name} output {index}"
            for index in range(len(info["output"]))
            if index >= len(tooltips) or not tooltips[index]
        ]
    assert not silent


def test_help_pages_and_texts_are_served(client: Client, pack_info: dict[str, dict[str, Any]]) -> None:
    texts = client.get_json("/i18n")["en"]["nodeDefs"]
    shown = {name: texts.get(name, {}).get("display_name") for name in pack_info}
    assert shown == {name: info["display_name"] for name, info in pack_info.items()}
    assert [name for name in pack_info if not is_served(client, f"/extensions/{PACK}/docs/{name}.md")] == []


def test_example_workflows_are_offered_as_templates(client: Client, pack_root: Path) -> None:
    names = {path.stem for path in (pack_root / "example_workflows").glob("*.json")}
    offered = client.get_json("/api/workflow_templates").get(PACK, [])
    assert set(offered) == names
    for name in names:
        assert json.loads(client.get(f"/api/workflow_templates/{PACK}/{quote(name)}.json"))["nodes"]
    pictures = {name: f"/api/workflow_templates/{PACK}/{quote(name)}.jpg" for name in names}
    assert [name for name, path in pictures.items() if not is_served(client, path)] == []
