"""Help-page pictures of inverse problems: what is known, plain SDEdit, guided, and the truth."""

from __future__ import annotations

from torch import Tensor

from ...benchmarks.inverse import GUIDED_T0, MEASURE, PLAIN_T0, Case, edited
from ...demo.scenes import Scene, full_caption
from ...inverse.colors import COLOR_SMOOTHING
from ...inverse.measurement import agreeing
from ..world import rendered
from .shared import grid, picture, world

_SCENES = {
    "grey": Scene(seed=2_005_180_366, peak="hills", lake="meadow", trees="broadleaf", house="white", clouds="cloudy"),
    "smaller": Scene(seed=12, clouds="cloudy"),
    "blurred": Scene(seed=9, time="sunset", season="winter", lake="meadow", house="blue"),
}


@picture
def measurement_guidance() -> Tensor:
    """A grey, a small and a blurred picture, each with SDEdit alone, and guided and exact."""
    shown = []
    for kind, scene in _SCENES.items():
        truth = rendered(scene)
        known = MEASURE[kind](truth)
        case = Case(world(), [full_caption(scene)], truth, known, 1)
        plain = edited(case, PLAIN_T0[kind]).pictures
        guided = edited(case, GUIDED_T0[kind], strength=1.0).pictures
        shown += [known.picture, plain, agreeing(known, guided, COLOR_SMOOTHING), truth]
    return grid(shown, col_labels=["known", "SDEdit", "guided, exact", "the truth"])
