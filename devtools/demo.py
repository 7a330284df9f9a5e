"""Runs the example workflows on a real server and stores the pictures they make."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .client import Client, Progress, PromptError, Result
from .console import StatusLine, say
from .runtime import Runtime
from .server import Server
from .settings import ROOT, WORKFLOWS, DevError, made_folder
from .workflow import to_prompt


def find_workflows(name: str | None = None, folder: Path = WORKFLOWS) -> list[Path]:
    """All example workflows, or the one called `name`; raises DevError if there is no such one."""
    found = sorted(folder.glob("*.json"))
    if name is None:
        if not found:
            raise DevError(f"There is no workflow in {folder}.")
        return found
    chosen = [path for path in found if path.stem == name.removesuffix(".json")]
    if not chosen:
        raise DevError(f"There is no example workflow '{name}': there are {', '.join(path.stem for path in found)}.")
    return chosen


def run_demo(runtime: Runtime, name: str | None, out: Path, keep_open: bool, thumbnails: bool) -> int:
    """Runs the workflows one after the other; returns the number of those that failed."""
    workflows = find_workflows(name)
    made_folder(out)
    failures = 0
    pictures: list[Path] = []
    status = StatusLine()
    status.update("Starting ComfyUI")
    begin = time.monotonic()
    with Server(runtime) as server:
        status.done(f"ComfyUI started in {time.monotonic() - begin:.0f} s")
        object_info = server.client.object_info()
        for path in workflows:
            try:
                saved = _run_one(server.client, path, object_info, out, max(len(each.stem) for each in workflows))
            except (PromptError, ValueError) as error:
                say(f"{path.stem} failed: {error}")
                failures += 1
                continue
            except (ConnectionError, TimeoutError, urllib.error.URLError) as error:
                raise DevError(f"ComfyUI was lost at {path.stem} ({error}): {server.last_words()}") from error
            pictures += [picture for _, picture in saved]
            if thumbnails:
                make_thumbnail(runtime, path, saved)
        say("\nPictures:" if pictures else "\nNo pictures were made.")
        for picture in pictures:
            say(f"  {_short(picture)}")
        if keep_open:
            say(f"\nComfyUI is open at {server.client.url} (Ctrl-C ends it)")
            wait_for_interrupt(server)
    return failures


def wait_for_interrupt(server: Server) -> None:
    """Returns on Ctrl-C; raises DevError if the server ends by itself."""
    assert server.process is not None
    try:
        code = server.process.wait()
    except KeyboardInterrupt:
        say()
        return
    raise DevError(f"ComfyUI ended by itself with exit code {code}.")


def _run_one(client: Client, path: Path, object_info: dict[str, Any], out: Path, width: int) -> list[tuple[str, Path]]:
    """Runs one workflow with a progress bar; returns (node id, file) of each picture."""
    from tqdm import tqdm  # ComfyUI requires it; the Python that runs `./dev` itself may not have it

    workflow = json.loads(path.read_text(encoding="utf-8"))
    prompt = to_prompt(workflow, object_info)
    label = path.stem.ljust(width)
    begin = time.monotonic()
    form = "{desc} [{bar:24}] {percentage:3.0f} %  {elapsed}  {postfix}"
    with tqdm(total=1.0, desc=label, bar_format=form, ascii=" #", leave=False, disable=None) as bar:

        def show(progress: Progress) -> None:
            steps = f" {progress.value:.0f}/{progress.maximum:.0f}" if progress.maximum > 1 else ""
            bar.set_postfix_str(progress.title + steps, refresh=False)
            bar.update(progress.fraction - bar.n)

        result = client.run(prompt, show)
    say(f"{label} {time.monotonic() - begin:6.1f} s")
    for text in _texts(result):
        say(f"  {text}")
    return _save_pictures(client, path.stem, prompt, result, out)


def _texts(result: Result) -> list[str]:
    return [line for ui in result.outputs.values() for text in ui.get("text", []) for line in str(text).splitlines()]


def _save_pictures(
    client: Client, name: str, prompt: dict[str, dict[str, Any]], result: Result, out: Path
) -> list[tuple[str, Path]]:
    images = result.images()
    stems = [f"{name}-{slug(prompt[node]['_meta']['title'])}" if len(images) > 1 else name for node, _ in images]
    saved: list[tuple[str, Path]] = []
    for index, (node, image) in enumerate(images):
        again = stems[:index].count(stems[index])
        unique = stems[index] + (f"-{again + 1}" if again else "")
        path = out / (unique + Path(image["filename"]).suffix)
        path.write_bytes(client.picture(image))
        saved.append((node, path))
    return saved


def slug(title: str) -> str:
    """A node title as a part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "picture"


def make_thumbnail(runtime: Runtime, workflow: Path, saved: Sequence[tuple[str, Path]]) -> None:
    """Writes the workflow's `.jpg` from the nodes its `extra.thumbnail` names, by default the first two."""
    if not saved:
        return
    extra = json.loads(workflow.read_text(encoding="utf-8")).get("extra", {})
    by_node = dict(reversed(saved))  # the first picture of each node
    nodes = [str(node) for node in extra.get("thumbnail", [])] or list(dict.fromkeys(node for node, _ in saved))[:2]
    if unknown := [node for node in nodes if node not in by_node]:
        raise DevError(f"{workflow.name} names node {unknown[0]} for its thumbnail, but that node made no picture.")
    target = workflow.with_suffix(".jpg")
    command = [runtime.python, ROOT / "devtools" / "thumbnail.py", target, *(by_node[node] for node in nodes)]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=runtime.environment())
    if result.returncode != 0:
        raise DevError(f"The thumbnail {target} could not be made: {result.stderr.strip().splitlines()[-1]}.")
    say(f"  {_short(target)}")


def _short(path: Path) -> str:
    """The path as seen from the current folder, if it is below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
