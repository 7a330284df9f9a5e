"""Inverse problems on landscapes that the model never saw: `./dev bench inverse`.

A grey picture is coloured, one of a quarter of the size enlarged, a blurred one sharpened. Measured are the distance
to the truth (PSNR, SSIM, and a perceptual distance over the activations of the attribute classifier), realism (patch
KID to unrelated renders, and the detail finer than 3 pixels as a share of the truth's), whether season and house are
read rightly, and the disagreement with what is known, RMS in steps of 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import comfy.utils
import torch
import torch.nn.functional as F
from torch import Tensor

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
from ..samplers.sdedit import SDEditSettings, sdedit
from . import published_inverse
from .common import OUTPUT, clock, head, machine, parser, row, unrelated_renders

_STEPS, _CFG, _SIGMA, _BATCH, _SEED = 20, 4.0, 3.0, 10, 70_000
PLAIN_T0 = {"grey": 0.5, "smaller": 0.3, "blurred": 0.3}
"""As much noise as colour, or detail, needs."""
GUIDED_T0 = {"grey": 1.0, "smaller": 0.6, "blurred": 0.6}
CAPTIONS: dict[str, Callable[[Scene], str]] = {"full": full_caption, "empty": lambda _: ""}
"""What the prompt says, by the names on the command line."""
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
        for start in range(0, len(self.truth), _BATCH):
            some = slice(start, start + _BATCH)
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
    body, total = attributes._network().body, torch.zeros(len(images))
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


def run(kind: str, case: Case, methods: dict[str, Row], scenes: list[Scene], real: RealPictures) -> None:
    print(f"\n## {kind}, {len(case.truth)} pictures, {'prompts' if any(case.captions) else 'empty prompts'}\n")
    head("row", "PSNR", "SSIM", "perceptual", "patch KID", "detail", "colours read", "off", "evaluations", "seconds")
    for name, method in methods.items():
        begin = clock()
        results = [method(part) for part in case.parts()]
        made, seconds = torch.cat([each.pictures for each in results]), (clock() - begin) / len(case.truth)
        cost = round(sum(each.evaluations for each in results) / len(results)), seconds
        exact = agreeing(case.known, made, COLOR_SMOOTHING)
        report(name, case, made, real, scenes, cost)
        report(f"{name}, exact", case, exact, real, scenes, cost)
        columns = [torch.cat(list(each[:6]), dim=1) for each in (case.truth, case.known.picture, made, exact)]
        file = f"{kind}-{name}{'' if any(case.captions) else '-empty'}".replace(" ", "-").replace(",", "")
        save_picture(torch.cat(columns), OUTPUT / "inverse" / f"{file}.png")


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__, pictures=50, published=0)
    options.add_argument("--kinds", nargs="+", choices=list(MEASURE), default=list(MEASURE))
    options.add_argument("--prompts", nargs="+", choices=list(CAPTIONS), default=["full"], help="captions, or none")
    for name in ("strength", "end"):
        options.add_argument(f"--{name}", type=float, default=getattr(Guidance, name))
    for name in ("iterations", "every"):
        options.add_argument(f"--{name}", type=int, default=getattr(Guidance, name))
    given = options.parse_args()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    world, count = World(), max(given.pictures, given.published)
    scenes = unseen_scenes(count, _SEED)
    truth, real = rendered(*scenes), RealPictures(unrelated_renders(100, _SEED + 1))
    settings = {name: getattr(given, name) for name in ("strength", "end", "iterations", "every")}
    print(f"{machine()}; {_STEPS} steps, {settings}; patch KID of the truth {real.distance(truth).value:.3f}")
    for kind in given.kinds:
        for prompts in given.prompts:
            texts = [CAPTIONS[prompts](scene) for scene in scenes]
            if given.pictures:
                some = slice(0, given.pictures)
                known = MEASURE[kind](truth[some])
                run(kind, Case(world, texts[some], truth[some], known, 1), rows(kind, settings), scenes[some], real)
            if given.published:
                some = slice(0, given.published)
                known = MEASURE[kind](truth[some])
                methods: dict[str, Row] = {
                    name: partial(published, method=method) for name, method in published_inverse.METHODS.items()
                }
                run(kind, Case(world, texts[some], truth[some], known, 1), methods, scenes[some], real)


if __name__ == "__main__":
    main()
