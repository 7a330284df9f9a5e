"""Our example workflows beside other packs: what changes, and which functions that we call those packs have replaced.

Two servers run the same workflows, one with this pack alone and one with the others too, in base folders of their own:
nothing is written to the packs' folders but what Python caches there, and nothing is installed for them. The second one
also runs the mixed graphs of `recipes.py` for the packs that it has.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .client import Client, Prompt, PromptError
from .console import say
from .demo import find_workflows
from .recipes import Recipe, prompt_of, recipes, shown
from .runtime import Runtime
from .server import Server, prepare_base
from .settings import PACK_FOLDER, ROOT, DevError
from .workflow import shortened, to_prompt, without_files

USUAL = ("stroke-to-picture", "masked-edit", "soft-masks", "record-and-replay", "invert-and-reconstruct",
         "mdp-manipulations-compared", "mdp-real-picture", "flowedit", "sketch-to-picture", "t0-sweep")  # fmt: skip
_WITNESS, _WITNESS_NODE = "zz-diffusion-path-witness", "DiffusionPathWitness"
_FAILED = ("IMPORT FAILED", "Cannot import")


@dataclass
class Trial:
    """What a server gave: the pictures of each workflow as pixels or the reason why it failed; what was replaced.

    failed: packs that could not be loaded, as the log says it. mixed: what came of each recipe, "" for what should.
    """

    pictures: dict[str, Any] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    mixed: dict[str, str] = field(default_factory=dict)


def found_packs(folders: Sequence[Path]) -> list[Path]:
    """The packs among these folders, each a pack itself or a folder of packs such as custom_nodes; never this one.

    Raises DevError for a folder without a pack.
    """
    packs: dict[str, Path] = {}
    for folder in folders:
        inside = [folder] if _is_pack(folder) else sorted(filter(_is_pack, folder.iterdir() if folder.is_dir() else ()))
        if not inside:
            raise DevError(f"There is no pack in {folder}: give the folder of a pack, or a custom_nodes folder.")
        packs |= {each.name: each.resolve() for each in inside if each.resolve() != ROOT and each.name != PACK_FOLDER}
    return list(packs.values())


def _is_pack(folder: Path) -> bool:
    return (folder / "__init__.py").is_file() and not folder.name.startswith((".", "__"))


def run_neighbours(runtime: Runtime, folders: Sequence[Path], names: Sequence[str]) -> int:
    """Say what changes beside the packs; returns the number of workflows and mixed graphs that are not as they should
    be.
    """
    packs = found_packs(folders)
    workflows = [path for name in names or USUAL for path in find_workflows(name)]
    alone, beside = (trial(runtime, others, workflows) for others in ((), packs))
    say(f"{len(packs)} packs: {', '.join(pack.name for pack in packs)}")
    lines, changed = report(alone, beside)
    say("\n".join(lines))
    return changed


def trial(runtime: Runtime, packs: Sequence[Path], workflows: Sequence[Path]) -> Trial:
    """Run the workflows beside these packs."""
    result = Trial()
    names = [PACK_FOLDER, _WITNESS, *(pack.name for pack in packs)]
    server = Server(runtime, 0, None, "--cache-none", "--whitelist-custom-nodes", *names)
    prepare_base(server.base)
    for name, pack in ((_WITNESS, ROOT / "devtools" / "witness"), *((pack.name, pack) for pack in packs)):
        (server.base / "custom_nodes" / name).symlink_to(pack, target_is_directory=True)
    say(f"Starting ComfyUI with {len(packs)} other packs")
    with server:
        result.failed = [line for line in server.lines() if any(sign in line for sign in _FAILED)]
        info = server.client.object_info()
        for path in workflows:
            say(f"  {path.stem}")
            try:
                result.pictures[path.stem] = _pictures(server.client, shortened(_prompt(path, info)))
            except (PromptError, ValueError) as error:
                result.pictures[path.stem] = f"fails: {error}"
        for recipe in recipes() if packs else ():
            if recipe.known_by in info:
                say(f"  {recipe.pack}: {recipe.name}")
                result.mixed[f"{recipe.pack}: {recipe.name}"] = _mixed(server.client, recipe, info)
        result.replaced = _replaced(server.client)
    return result


def _mixed(client: Client, recipe: Recipe, info: dict[str, Any]) -> str:
    """What is wrong with the pictures of a mixed graph, "" for nothing."""
    try:
        found = shown(recipe, client.run(prompt_of(recipe, info)).outputs)
        first, *others = [_read(client, images) for images in found]
    except (PromptError, ValueError) as error:
        return f"fails: {error}"
    return next((text for each in others if (text := _difference(first, each))), "") if recipe.alike else ""


def _prompt(path: Path, info: dict[str, Any]) -> Prompt:
    return without_files(to_prompt(json.loads(path.read_text(encoding="utf-8")), info))


def _pictures(client: Client, prompt: Prompt) -> list[Any]:
    return _read(client, [image for _, image in client.run(prompt).images()])


def _read(client: Client, images: Sequence[dict[str, str]]) -> list[Any]:
    import numpy as np
    from PIL import Image

    files = [client.picture(image) for image in images]
    return [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int) for file in files]


def _replaced(client: Client) -> dict[str, str]:
    """The functions of tests/core_api.txt that do not come from ComfyUI's files."""
    lines = (ROOT / "tests" / "core_api.txt").read_text(encoding="utf-8").splitlines()[2:]
    names = [line.partition("(")[0] for line in lines if "(" in line and not line.startswith(" ")]
    prompt: Prompt = {"1": {"class_type": _WITNESS_NODE, "inputs": {"names": json.dumps(names), "turn": 0}}}
    return json.loads(client.run(prompt).outputs["1"]["text"][0])


def report(alone: Trial, beside: Trial) -> tuple[list[str], int]:
    """What to say of two trials, and how many workflows changed and mixed graphs went wrong."""
    lines, changed = [f"could not be loaded: {line}" for line in beside.failed if line not in alone.failed], 0
    for name, file in beside.replaced.items():
        if alone.replaced.get(name) != file:
            lines.append(f"replaced: {name}, by {file}")
    for name, before in alone.pictures.items():
        difference = _difference(before, beside.pictures[name])
        changed += bool(difference)
        lines.append(f"{name}: {difference or 'the same pictures'}")
    for name, wrong in beside.mixed.items():
        changed += bool(wrong)
        lines.append(f"{name}: {wrong or 'as it should be'}")
    return lines, changed


def _difference(before: Any, after: Any) -> str:
    """How the pictures of a workflow differ, "" where they do not."""
    if isinstance(before, str) or isinstance(after, str):
        return "" if before == after else f"{after if isinstance(after, str) else 'works'} (alone: {_short(before)})"
    if [each.shape for each in before] != [each.shape for each in after]:
        return "pictures of other sizes, or another number of them"
    most = max((int(abs(a - b).max()) for a, b in zip(before, after, strict=True)), default=0)
    return f"other pictures, by up to {most} of 255" if most else ""


def _short(result: Any) -> str:
    return result if isinstance(result, str) else "works"
