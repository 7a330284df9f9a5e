"""Windows, shapes and curves: the weight of the source over the path."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from dataclasses import replace

import pytest
from diffusion_path.samplers.schedule import SHAPES, PathSchedule, Weights, even_steps, parse_curve, polyline


def test_schedule_vectors_of_the_official_code() -> None:
    """N = 50, t_max = 50, t_m = 25."""
    linear = PathSchedule(1.0, 0.5, "linear").weights(50)
    assert (linear[0], linear[24], linear[25:]) == (1.0, 0.0, (0.0,) * 25)
    exponential = PathSchedule(1.0, 0.5, "exponential").weights(50)
    assert exponential[24] == pytest.approx(math.exp(-5), rel=1e-12)
    cosine = PathSchedule(1.0, 0.5, "cosine").weights(50)
    assert cosine[12] == pytest.approx(math.cos(math.pi / 4), rel=1e-12)
    assert (cosine[0], cosine[24]) == (1.0, 0.0), "the shape begins and ends exactly"
    assert PathSchedule(1.0, 0.5).weights(50) == (1.0,) * 25 + (0.0,) * 25
    for shape in SHAPES[:-1]:
        assert sum(w != 0 for w in PathSchedule(1.0, 0.5, shape).weights(50)) <= 25
    earlier, later = (PathSchedule(start, start - 0.5, "linear").weights(50) for start in (1.0, 0.98))
    assert later == pytest.approx((0.0, *earlier[:-1]), abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 33, 50, 1000])
def test_windows_cover_the_path_without_overlap(steps: int) -> None:
    """t in (t_min, t_max]: neighbouring windows share no step and leave none out."""
    cuts = [1.0, 0.83, 0.5, 0.17, 0.0]
    seen: list[int] = []
    for start, end in itertools.pairwise(cuts):
        with contextlib.suppress(ValueError):  # a window of no step
            seen += PathSchedule(start, end).window(steps)
    assert seen == list(range(steps))


def test_weight_scales_every_shape_and_may_point_away_from_the_source() -> None:
    assert PathSchedule(1.0, 0.0, "linear", -0.5).weights(3) == pytest.approx((-0.5, -0.25, 0.0))
    assert PathSchedule(1.0, 0.0, "constant", 0.25).weights(2) == (0.25, 0.25)
    assert PathSchedule(1.0, 0.0, "linear").weights(1) == (1.0,)


def test_curves_fill_the_window() -> None:
    assert PathSchedule(1.0, 0.5, "curve", curve=parse_curve("1:1 0:0")).weights(50) == pytest.approx(
        PathSchedule(1.0, 0.5, "linear").weights(50)
    )
    jump = parse_curve("1:0, 0.5:0, 0.5:1, 0:1")
    assert PathSchedule(1.0, 0.0, "curve", curve=jump).weights(4) == (0, 0, 1, 1)
    backwards = parse_curve("0 : 1; 0.5:1\n0.5:0 1:0")
    assert [backwards(u) for u in (0, 0.3, 0.5, 1)] == [jump(u) for u in (0, 0.3, 0.5, 1)]
    assert PathSchedule(1.0, 0.0, "curve", 0.5, curve=polyline([(0.5, 1.0)])).weights(3) == (0.5, 0.5, 0.5)
    assert PathSchedule(0.8, 0.4, "curve", curve=jump).with_window(1.0, 1.0).weights(4) == (0, 0, 1, 1)


def test_weights_of_levels_and_of_what_lies_between_them() -> None:
    weights = Weights(PathSchedule(1.0, 0.0, "linear"), [8.0, 4.0, 2.0, 1.0, 0.0], [1.0, 0.75, 0.5, 0.25, 0.0])
    assert [weights.step(sigma) for sigma in (9.0, 8.0, 7.99999, 6.0, 4.0, 1.0, 0.5, 0.0)] == [0, 0, 0, 0, 1, 3, 3, 4]
    assert weights.at(4.0) == pytest.approx(2 / 3)


@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize("window", [(1.0, 0.0), (0.8, 0.15), (0.5, 0.3), (0.34, 0.33)])
def test_parts_of_a_run_have_the_weights_of_the_whole(shape: str, window: tuple[float, float]) -> None:
    """Split after any step, a part outside of the window included; and at the level where two parts meet."""
    starts = even_steps(20)
    places, levels = [*starts, 0.0], [20.0 - i for i in range(21)]
    schedule = PathSchedule(*window, shape)
    if window == (0.34, 0.33):
        with pytest.raises(ValueError, match="holds none of the path's 20 steps"):
            Weights(schedule, levels, places)
        assert Weights(schedule, levels[:9], places[:9]).all_zero
        return
    whole = Weights(schedule, levels, places)
    assert [whole.at(level) for level in levels[:-1]] == list(schedule.weights(20))
    for i in range(1, 20):
        first = Weights(schedule, levels[: i + 1], places[: i + 1])
        second = Weights(schedule, levels[i:], places[i:])
        assert [first.at(level) for level in levels[: i + 1]] == pytest.approx([whole.at(s) for s in levels[: i + 1]])
        assert [second.at(level) for level in levels[i:]] == [whole.at(level) for level in levels[i:]]


def test_a_window_without_a_step_names_the_nearest_one_that_holds_one(caplog: pytest.LogCaptureFixture) -> None:
    """On 4 steps; an error on a whole path, and a line in the log on a part of one, which may lie outside."""
    four, window = even_steps(4), PathSchedule(0.7, 0.55)
    with pytest.raises(ValueError, match="4 steps: .*; the nearest window that holds one is 0.75 to 0.55"):
        window.window(4)
    nearest = [PathSchedule(*edges).nearest_window(four) for edges in ((0.7, 0.55), (0.74, 0.7), (0.65, 0.51))]
    assert [(each.start, each.end) for each in nearest] == [(0.75, 0.55), (0.75, 0.7), (0.65, 0.49)]
    assert all(each.holds_any(four) for each in nearest)
    part = Weights(PathSchedule(1.0, 0.6), [2.0, 1.0, 0.0], [0.5, 0.25, 0.0])
    with caplog.at_level("INFO"):
        part.note_missed("MDP-c")
        Weights(PathSchedule(1.0, 0.4), [2.0, 1.0, 0.0], [0.5, 0.25, 0.0]).note_missed("MDP-c")
        Weights(PathSchedule(1.0, 0.6, weight=0.0), [2.0, 1.0, 0.0], [0.5, 0.25, 0.0]).note_missed("MDP-c")
    (record,) = caplog.records
    assert record.message.endswith("the nearest window that holds one is 1 to 0.49.")


def test_the_shape_is_that_of_the_path_and_not_of_the_number_of_steps() -> None:
    """Uneven steps: the place in the window is in training time; the last step has the shape's end."""
    assert PathSchedule(1.0, 0.2, "linear").weights([1.0, 0.9, 0.8, 0.4, 0.1]) == pytest.approx(
        (1.0, 1 - 0.1 / 0.7, 1 - 0.2 / 0.4, 0.0, 0.0)
    )
    assert PathSchedule(0.9, 0.1).weights([0.90005, 0.5, 0.10005]) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("starts", [[1.0, 0.0003], [1.0, 0.55005], [0.5, 0.25], [1.0, 0.3301, 0.1]])
@pytest.mark.parametrize("window", [(0.8, 0.6), (0.34, 0.3302), (0.2, 0.15), (0.05, 0.01)])
def test_an_empty_window_names_edges_that_hold_a_step(starts: list[float], window: tuple[float, float]) -> None:
    schedule = PathSchedule(*window)
    try:
        schedule.window(starts)
    except ValueError as error:
        edges = re.findall(r"(start|end) to ([\d.]+)(?=,| or)", str(error))
        assert edges
        for name, value in edges:
            assert len(replace(schedule, **{name: float(value)}).window(starts)) > 0


@pytest.mark.parametrize(
    ("problem", "make"),
    [
        ("from 0.5 to 0.5 is empty", lambda: PathSchedule(0.5, 0.5)),
        ("set start above end", lambda: PathSchedule(0.3, 0.6)),
        ("a path goes from 1", lambda: PathSchedule(1.2, 0.5)),
        ("weight of the source is 2", lambda: PathSchedule(weight=2.0)),
        ("no shape 'round'", lambda: PathSchedule(shape="round")),
        ("but none is given", lambda: PathSchedule(shape="curve")),
        ("10 steps: set start to 0.6 or end to 0.49, or", lambda: PathSchedule(0.58, 0.52).weights(10)),
        ("2 steps: set start to 1 or end to 0, or use more", lambda: PathSchedule(0.8, 0.15).window([1.0, 0.0003])),
        ("2 steps: set end to 0.49, or use more", lambda: PathSchedule(0.8, 0.6).window([0.5, 0.25])),
        ("cannot be read at 'nonsense'", lambda: parse_curve("nonsense")),
        ("cannot be read at '1:'", lambda: parse_curve("1:")),
        ("'1.5:0' is out of range", lambda: parse_curve("1.5:0, 0:1")),
        ("The curve is empty", lambda: parse_curve("  ")),
        ("keep it between -1 and 1", lambda: PathSchedule(shape="curve", curve=lambda u: 3.0).weights(4)),
    ],
)
def test_bad_schedules_are_refused_with_a_sentence(problem: str, make) -> None:
    with pytest.raises(ValueError, match=problem):
        make()
