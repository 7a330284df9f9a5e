"""What is done with each picture of a folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from PIL import Image
from torch import Tensor

from ..images.composite import composite_exact
from ..images.files import picture_files, read_caption, read_whole, some_picture_files
from ..images.tensors import to_uint8
from ..nodes import validate
from ..nodes.gate import guarded
from ..nodes.inversion import Invert
from ..nodes.mdp_edit import MDPEdit
from ..nodes.sdedit import SDEdit
from ..samplers.files import written_whole
from ..samplers.path_file import write_path
from ..views.pictures import decoded
from . import CAPTION

log = logging.getLogger(__name__)

NODES = {"invert": guarded(Invert), "edit": guarded(MDPEdit), "sdedit": guarded(SDEdit)}

Write = Callable[[Path], None]


@dataclass(frozen=True)
class Models:
    """MODEL, CLIP and VAE of a checkpoint."""

    model: Any
    clip: Any
    vae: Any

    def encoded(self, text: str) -> Any:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    @property
    def block(self) -> int:
        """Pixels of a picture, across, for one cell of its latent."""
        return int(self.vae.spacial_compression_encode())


@dataclass(frozen=True)
class Task:
    """What to do with each picture. kind: one of `NODES`; settings: the node's widgets.

    prompt: the target prompt, in which CAPTION stands for the picture's caption. targets: a folder of target prompts,
    each under its picture's name. masks: a folder of masks, white = edit. longest: side of the pictures in pixels.
    """

    kind: str
    settings: dict[str, Any]
    prompt: str = CAPTION
    negative: str = ""
    targets: Path | None = None
    masks: Path | None = None
    longest: int | None = None

    @property
    def suffix(self) -> str:
        return ".safetensors" if self.kind == "invert" else ".png"

    @cached_property
    def masks_by_name(self) -> dict[str, Path]:
        return {} if self.masks is None else {path.stem: path for path in picture_files(self.masks)}


@dataclass(frozen=True)
class Job:
    """A picture, and the file that is made from it."""

    picture: Path
    target: Path


@dataclass
class Outcome:
    """How many pictures were done and skipped, and a sentence for each that could not be done."""

    done: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)


def jobs_of(task: Task, folder: Path, out: Path) -> list[Job]:
    """A job for each picture of a folder. Raises ValueError where files would replace one another."""
    pictures = some_picture_files(folder)
    if out.resolve() == folder.resolve():
        raise ValueError(f"{out} is the folder of the pictures: give another one for the results.")
    names: dict[str, Path] = {}
    for path in pictures:
        if path.stem in names:
            raise ValueError(f"{names[path.stem].name} and {path.name} would have the same result: rename one of them.")
        names[path.stem] = path
    return [Job(path, out / f"{path.stem}{task.suffix}") for path in pictures]


def run(task: Task, load: Callable[[], Models], jobs: Sequence[Job]) -> Outcome:
    """Do the jobs whose file does not exist yet; load: gives the models, unless nothing is left to do.

    Each file appears whole or not at all, and a picture that cannot be edited does not end the rest. Raises ValueError
    where a file cannot be written.
    """
    left = [job for job in jobs if not job.target.exists()]
    outcome = Outcome(skipped=len(jobs) - len(left))
    if not left:
        return outcome
    models = load()
    negative = models.encoded(task.negative)
    for job in left:
        try:
            write = made(task, models, job.picture, negative)
        except comfy.model_management.InterruptProcessingException:
            raise
        except Exception as error:  # whatever it is, the other pictures are to be made
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            outcome.failed.append(f"{job.picture.name}: {reason}")
            log.warning("%s", outcome.failed[-1])
            comfy.model_management.soft_empty_cache()
            continue
        with written_whole(job.target) as unfinished:
            write(unfinished)
        outcome.done += 1
        log.info("%s, %d of %d", job.target, outcome.done + len(outcome.failed), len(left))
    return outcome


def made(task: Task, models: Models, picture: Path, negative: Any) -> Write:
    """What writes the result of one picture to a file."""
    image = read_whole(picture, task.longest, models.block)[None]
    caption = read_caption(picture.with_suffix(".txt"))
    target = models.encoded(_target(task, picture, caption))
    mask = _mask(task, picture, models.block, image)
    latent, node = {"samples": models.vae.encode(image)}, NODES[task.kind]
    given = {"model": models.model, "positive": target, "negative": negative, **task.settings}
    if task.kind == "invert":
        path = node.execute(**given, latent=latent).args[0]
        return lambda file: write_path(path, file)
    if task.kind == "sdedit":
        guide = validate.masked_latent(models.model, latent, mask, vae=models.vae)
        result = node.execute(**given, guide=guide).args[0]
    else:
        result = node.execute(**given, source=models.encoded(caption), latent=latent, mask=mask).args[0]
    edited = decoded(models.vae, result["samples"])[:1].cpu()
    if not bool(torch.isfinite(edited).all()):
        raise ValueError("the result holds NaN or infinite values: try the VAE, then the model, in fp32.")
    if mask is not None:
        edited = composite_exact(image, edited, mask).image
    return lambda file: Image.fromarray(to_uint8(edited[0])).save(file, format="PNG")


def _target(task: Task, picture: Path, caption: str) -> str:
    if task.targets is None:
        return task.prompt.replace(CAPTION, caption)
    file = task.targets / f"{picture.stem}.txt"
    if not file.is_file():
        raise ValueError(f"it has no target prompt {file}: add one of its name.")
    return read_caption(file)


def _mask(task: Task, picture: Path, block: int, image: Tensor) -> Tensor | None:
    """The picture's MASK [1, H, W], if masks were given."""
    if task.masks is None:
        return None
    file = task.masks_by_name.get(picture.stem)
    if file is None:
        raise ValueError(f"it has no mask in {task.masks}: add one of its name.")
    mask = read_whole(file, task.longest, block).mean(dim=-1)[None]
    if mask.shape != image.shape[:3]:
        raise ValueError(f"its mask {file.name} has another size: make it as large as the picture.")
    return mask
