"""Runs the example workflows on a real server and stores the pictures they make."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client import Client, Progress, PromptError, Result
from .console import say
from .runtime import Runtime
from .server import Server
from .settings import WORKFLOWS, DevError, made_folder
from .workflow import to_prompt, without_files

if TYPE_CHECKING:
    from PIL import Image  # like tqdm, only imported when it is needed: the Python that runs `./dev` may lack it

_SIDE, _LINE, _NEARLY_SQUARE = 512, 4, 1.2  # of thumbnails


def find_workflows(name: str | None = None, folder: Path = WORKFLOWS) -> list[Path]:
    """All example workflows, or the one called `name`; raises DevError if nothing is called that."""
    found = sorted(folder.glob("*.json"))
    chosen = [path for path in found if name is None or path.stem == name.removesuffix(".json")]
    if not chosen:
        known = ", ".join(path.stem for path in found) or f"none in {folder}"
        raise DevError(f"There is no example workflow '{name or '*'}': there are {known}.")
    return chosen


def run_demo(runtime: Runtime, name: str | None, out: Path, keep_open: bool, thumbnails: bool) -> int:
    """Runs the workflows one after the other; returns the number of those that failed."""
    workflows = find_workflows(name)
    made_folder(out)
    failures = 0
    pictures: list[Path] = []
    say("Starting ComfyUI")
    with Server(runtime) as server:
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
                make_thumbnail(path, saved)
        say("\nPictures:" if pictures else "\nNo pictures were made.")
        for picture in pictures:
            say(f"  {os.path.relpath(picture)}")
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
    from tqdm import tqdm

    whole = to_prompt(json.loads(path.read_text(encoding="utf-8")), object_info)
    prompt, label = without_files(whole), path.stem.ljust(width)
    if len(prompt) < len(whole):
        say(f"{label} wants files of models, so it runs up to where they are needed")
    begin = time.monotonic()
    form = "{desc} [{bar:24}] {percentage:3.0f} %  {elapsed}  {postfix}"
    with tqdm(total=1.0, desc=label, bar_format=form, ascii=" #", leave=False, disable=None) as bar:

        def show(progress: Progress) -> None:
            steps = f" {progress.value:.0f}/{progress.maximum:.0f}" if progress.maximum > 1 else ""
            bar.set_postfix_str(progress.title + steps, refresh=False)
            bar.update(progress.fraction - bar.n)

        result = client.run(prompt, show)
    say(f"{label} {time.monotonic() - begin:6.1f} s")
    for ui in result.outputs.values():
        for text in ui.get("text", []):
            say("\n".join(f"  {line}" for line in str(text).splitlines()))
    return save_pictures(client, path.stem, prompt, result, out)


def save_pictures(
    client: Client, name: str, prompt: dict[str, dict[str, Any]], result: Result, out: Path
) -> list[tuple[str, Path]]:
    """Stores what a prompt made, named by workflow and node; returns (node id, file) of each picture."""
    images = result.images()
    titles = [re.sub(r"[^a-z0-9]+", "-", prompt[node]["_meta"]["title"].lower()).strip("-") for node, _ in images]
    stems = [f"{name}-{title or 'picture'}" if len(images) > 1 else name for title in titles]
    saved: list[tuple[str, Path]] = []
    for index, (node, image) in enumerate(images):
        again = stems[:index].count(stems[index])
        path = out / f"{stems[index]}{f'-{again + 1}' if again else ''}{Path(image['filename']).suffix}"
        path.write_bytes(client.picture(image))
        saved.append((node, path))
    return saved


def make_thumbnail(workflow: Path, saved: Sequence[tuple[str, Path]]) -> None:
    """Writes the workflow's `.jpg` from the nodes its `extra.thumbnail` names, by default the first two."""
    from PIL import Image

    if not saved:
        return
    extra = json.loads(workflow.read_text(encoding="utf-8")).get("extra", {})
    by_node = dict(reversed(saved))  # the first picture of each node
    nodes = [str(node) for node in extra.get("thumbnail", [])] or list(dict.fromkeys(node for node, _ in saved))[:2]
    if unknown := [node for node in nodes if node not in by_node]:
        raise DevError(f"{workflow.name} names node {unknown[0]} for its thumbnail, but that node made no picture.")
    target = workflow.with_suffix(".jpg")
    pictures = [Image.open(by_node[node]) for node in nodes]
    for picture in pictures:
        picture.seek(getattr(picture, "n_frames", 1) - 1)  # the end of a film shows what has changed
    strips(pictures).save(target, quality=88, optimize=True)
    say(f"  {os.path.relpath(target)}")


def strips(pictures: Sequence[Image.Image]) -> Image.Image:
    """A square of vertical strips of the pictures, each cut from where the strip lies, with white lines between them.

    A picture fills the square; a wide one, a grid with labels, is shown whole.
    """
    from PIL import Image, ImageDraw, ImageOps

    squares = []
    for picture in pictures:
        whole = max(picture.size) > _NEARLY_SQUARE * min(picture.size)
        given = picture.convert("RGB"), (_SIDE, _SIDE), Image.Resampling.LANCZOS
        squares.append(ImageOps.pad(*given, color="white") if whole else ImageOps.fit(*given))
    result = squares[0].copy()
    draw = ImageDraw.Draw(result)
    for index, square in enumerate(squares[1:], start=1):
        left = _SIDE * index // len(squares)
        result.paste(square.crop((left, 0, _SIDE, _SIDE)), (left, 0))
        draw.rectangle((left - _LINE // 2, 0, left + _LINE // 2 - 1, _SIDE), fill="white")
    return result
