"""Inverse problems on landscapes that the model never saw: `./dev bench inverse`.

A grey picture is coloured, one of a quarter of the size enlarged, a blurred one sharpened. Measured are the distance
to the truth (PSNR, SSIM, and a perceptual distance over the activations of the attribute classifier), realism (patch
KID to unrelated renders, and the detail finer than 3 pixels as a share of the truth's), whether season and house are
read rightly, and the disagreement with what is known, RMS in steps of 8 bits. Pictures are kept in the folder `--out`,
ten in a file, and not made again when the command is given again. Processes can share it:

    torchrun --no-python --nproc-per-node 2 ./dev bench inverse
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import comfy.utils
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..common.processes import share, this_process
from ..demo import attributes
from ..demo.scenes import Scene, full_caption
from ..demo.training.evaluate import unseen_scenes
from ..devtools.world import World, rendered, save_picture
from ..images.metrics import LUMA, edit_metrics
from ..images.realism import RealPictures
from ..inverse import kernels, measurement
from ..inverse.colors import COLOR_SMOOTHING
from ..inverse.guidance import Guidance, guide
from ..inverse.measurement import Measurement, agreeing, disagreement
from ..samplers.counting import Counter
from ..samplers.files import written_whole
from ..samplers.sdedit import SDEditSettings, sdedit
from . import published_inverse
from .common import OUTPUT, clock, head, is_one_of_many, machine, parser, row, unrelated_renders

_STEPS, _CFG, _SIGMA, _SEED = 20, 4.0, 3.0, 70_000
BATCH = 10
"""Pictures that are made together, and are kept in one file."""
PLAIN_T0 = {"grey": 0.5, "smaller": 0.3, "blurred": 0.3}
"""As much noise as colour, or detail, needs."""
GUIDED_T0 = {"grey": 1.0, "smaller": 0.6, "blurred": 0.6}
CAPTIONS: dict[str, Callable[[Scene], str]] = {"full": full_caption, "empty": lambda _: ""}
"""What the prompt says, by the names on the command line."""
_SETTINGS: dict[str, type[int] | type[float]] = {"strength": float, "end": float, "iterations": int, "every": int}
"""Of the guidance, by their names on the command line."""
MEASURE: dict[str, Callable[[Tensor], Measurement]] = {
    "grey": measurement.grey,
    "smaller": partial(measurement.smaller, factor=4, measured=False),
    "blurred": partial(measurement.blurred, kernel=kernels.gaussian(_SIGMA), measured=False),
}


@dataclass(frozen=True)
class Case:
    """One problem: the model's world, its prompts, the truth and what is known of it."""

    world: World
    captions: list[str]
    truth: Tensor
    known: Measurement
    seed: int

    def parts(self) -> Iterator[Case]:
        for start in range(0, len(self.truth), BATCH):
            some = slice(start, start + BATCH)
            yield Case(self.world, self.captions[some], self.truth[some], self.known.of(some), self.seed + start)


@dataclass(frozen=True)
class Made:
    """Pictures [N, H, W, 3], and evaluations of the network per picture."""

    pictures: Tensor
    evaluations: int


Row = Callable[[Case], Made]


def untouched(case: Case) -> Made:
    """What is known, as a picture: the grey one, the bicubic enlargement, the blurred one."""
    return Made(case.known.picture, 0)


def reencoded(case: Case) -> Made:
    """The truth through the VAE: the most that a method in its latents can show."""
    return Made(case.world.decoded(case.world.latent(case.truth)), 0)


def edited(case: Case, t0: float, **guidance: float) -> Made:
    """SDEdit from what is known, with guidance if its settings are given."""
    world = case.world
    counter = Counter(world.model, len(case.truth))
    model = guide(counter.model, Guidance(world.vae, case.known, **guidance)) if guidance else counter.model  # pyright: ignore[reportArgumentType]
    settings = SDEditSettings(t0=t0, steps=_STEPS, cfg=_CFG)
    latent = world.latent(case.known.picture)
    made = sdedit(model, world.encoded(*case.captions), world.negative, latent, case.seed, settings)
    return Made(world.decoded(made.latent), counter.evaluations)


def published(case: Case, method: str) -> Made:
    pictures, evaluations = getattr(published_inverse, method)(case.world, case.captions, case.known, _CFG, case.seed)
    return Made(pictures, evaluations)


def perceptual_distance(images: Tensor, truth: Tensor) -> Tensor:
    """LPIPS without its weights, over the attribute classifier's layers at full and at half size. [N]"""
    body, total = attributes._network(attributes.WEIGHTS).body, torch.zeros(len(images))
    for size in (256, 128):
        a, b = (F.interpolate(each.movedim(-1, 1) * 2 - 1, size=(size, size), mode="area") for each in (images, truth))
        for layer in body:
            a, b = layer(a), layer(b)
            if isinstance(layer, torch.nn.SiLU):
                apart = F.normalize(a, dim=1) - F.normalize(b, dim=1)
                total += apart.square().sum(dim=1).mean(dim=(1, 2))
    return total


def detail(images: Tensor) -> Tensor:
    """Mean absolute difference of the luma to its mean over 3 x 3 pixels. [N]"""
    luma = (images @ torch.tensor(LUMA))[:, None]
    return (luma - F.avg_pool2d(luma, 3, 1, 1, count_include_pad=False)).abs().mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class Table:
    """What rows make of a case. name: of its files; the pictures are kept in `folder`."""

    name: str
    case: Case
    scenes: list[Scene]
    rows: dict[str, Row]
    folder: Path

    def file(self, row: str) -> Path:
        return self.folder / f"{self.name}-{row}.png".replace(" ", "-").replace(",", "")

    def work(self) -> Iterator[tuple[Row, Case, Path]]:
        """Each part of each row, and its file."""
        for name, each in self.rows.items():
            yield from ((each, part, self._part_file(name, part)) for part in self.case.parts())

    def made(self, row: str) -> tuple[Tensor, int, float]:
        """The pictures of a row that is done, and what one of them took: evaluations and seconds."""
        parts = [load_file(self._part_file(row, part)) for part in self.case.parts()]
        evaluations, seconds = (sum(float(part[key]) for part in parts) for key in ("evaluations", "seconds"))
        pictures = torch.cat([part["pictures"] for part in parts])
        return pictures, round(evaluations / len(parts)), seconds / len(pictures)

    def _part_file(self, row: str, part: Case) -> Path:
        last = part.seed + len(part.truth) - 1
        return self.file(row).with_name(f"{self.file(row).stem}-{part.seed}-to-{last}.safetensors")


def make(row: Row, part: Case, file: Path) -> None:
    """Make pictures and keep them; nothing if any process has made them."""
    if file.exists():
        return
    begin = clock()
    made = row(part)
    figures = {"evaluations": made.evaluations, "seconds": clock() - begin}
    kept = {name: torch.tensor(value, dtype=torch.float64) for name, value in figures.items()}
    with written_whole(file) as unfinished:
        save_file({"pictures": made.pictures.contiguous(), **kept}, unfinished)
    print(f"{file.stem}: done", flush=True)


def report(
    name: str, case: Case, made: Tensor, real: RealPictures, scenes: list[Scene], cost: tuple[int, float]
) -> None:
    figures, seen = edit_metrics(case.truth, made), attributes.read_attributes(made)
    right = [
        float(read[each] == getattr(scene, each))
        for read, scene in zip(seen, scenes, strict=True)
        for each in ("season", "house")
    ]
    row(
        name, f"{figures.mean('whole', 'psnr'):.2f}", f"{figures.mean('whole', 'ssim'):.3f}",
        f"{float(perceptual_distance(made, case.truth).mean()):.3f}", f"{real.distance(made).value:.3f}",
        f"{float(detail(made).mean() / detail(case.truth).mean()):.0%}", f"{sum(right) / len(right):.0%}",
        f"{float(disagreement(case.known, (made * 255).round() / 255).mean()):.2f}", cost[0], f"{cost[1]:.1f}",
    )  # fmt: skip


def rows(kind: str, settings: dict[str, float]) -> dict[str, Row]:
    """By name; each is reported as it is, and brought to agree."""
    name = {"grey": "grey", "smaller": "bicubic", "blurred": "blurred"}[kind]
    return {
        name: untouched,
        "truth, encoded": reencoded,
        f"SDEdit, t0 {PLAIN_T0[kind]:g}": partial(edited, t0=PLAIN_T0[kind]),
        "guided": partial(edited, t0=GUIDED_T0[kind], **settings),
    }


def print_table(table: Table, real: RealPictures) -> None:
    case = table.case
    prompts = "prompts" if any(case.captions) else "empty prompts"
    print(f"\n## {case.known.kind}, {len(case.truth)} pictures, {prompts}\n")
    head("row", "PSNR", "SSIM", "perceptual", "patch KID", "detail", "colours read", "off", "evaluations", "seconds")
    for name in table.rows:
        made, evaluations, seconds = table.made(name)
        cost = evaluations, seconds
        exact = agreeing(case.known, made, COLOR_SMOOTHING)
        report(name, case, made, real, table.scenes, cost)
        report(f"{name}, exact", case, exact, real, table.scenes, cost)
        columns = [torch.cat(list(each[:6]), dim=1) for each in (case.truth, case.known.picture, made, exact)]
        save_picture(torch.cat(columns), table.file(name))


def tables(given: argparse.Namespace, scenes: list[Scene], truth: Tensor) -> list[Table]:
    """One for each kind, choice of prompts, and group of methods."""
    world, found = World(), []
    settings = {name: getattr(given, name) for name in _SETTINGS}
    changed = "".join(f"-{name}-{value:g}" for name, value in settings.items() if value != getattr(Guidance, name))
    folder = given.out or OUTPUT / f"inverse{changed}"
    methods: dict[str, Row] = {
        name: partial(published, method=method) for name, method in published_inverse.METHODS.items()
    }
    for kind, prompts in itertools.product(given.kinds, given.prompts):
        texts = [CAPTIONS[prompts](scene) for scene in scenes]
        name = kind if prompts == "full" else f"{kind}-{prompts}"
        for count, chosen in ((given.pictures, rows(kind, settings)), (given.published, methods)):
            if count:
                case = Case(world, texts[:count], truth[:count], MEASURE[kind](truth[:count]), 1)
                found.append(Table(name, case, scenes[:count], chosen, folder))
    return found


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__, pictures=50, published=0)
    options.add_argument("--kinds", nargs="+", choices=list(MEASURE), default=list(MEASURE))
    options.add_argument("--prompts", nargs="+", choices=list(CAPTIONS), default=["full"], help="captions, or none")
    for name, kind in _SETTINGS.items():
        options.add_argument(f"--{name}", type=kind, default=getattr(Guidance, name))
    options.add_argument("--out", type=Path, help="folder for the pictures, by default one for each choice of settings")
    given = options.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    worker = this_process()
    scenes = unseen_scenes(max(given.pictures, given.published), _SEED)
    truth = rendered(*scenes)
    found = tables(given, scenes, truth)
    for each in share([part for table in found for part in table.work()], worker):
        make(*each)
    if is_one_of_many(worker):
        return
    real = RealPictures(unrelated_renders(100, _SEED + 1))
    settings = {name: getattr(given, name) for name in _SETTINGS}
    print(f"{machine()}; {_STEPS} steps, {settings}; patch KID of the truth {real.distance(truth).value:.3f}")
    for table in found:
        print_table(table, real)


if __name__ == "__main__":
    main()
