"""Drag Animation: where things are in each frame, and what the frames show of them."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from diffusion_path.devtools.direct import call
from diffusion_path.images.drag import camera, drag, fill_hole, without
from diffusion_path.images.poses import Key, Pose, along, last_line, poses, read_keys

PICTURE = torch.rand(24, 40, 3, generator=torch.Generator().manual_seed(0))
SQUARE = torch.zeros(24, 40)
SQUARE[8:13, 10:15] = 1
BEHIND = torch.rand(1, 24, 40, 3, generator=torch.Generator().manual_seed(1))


def test_keys_are_read_from_lines_and_semicolons() -> None:
    assert read_keys("0: 0 0; 0.5: 40, -10 15\n1 : 64 0 30 1.5\n") == [
        Key(0.0, Pose()),
        Key(0.5, Pose(40, -10, 15)),
        Key(1.0, Pose(64, 0, 30, 1.5)),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "are empty"),
        ("0 0 0", "cannot be read at '0 0 0'"),
        ("0: 1", "cannot be read at '0: 1'"),
        ("0: 1 2 3 4 5", "cannot be read"),
        ("0: a b", "cannot be read at '0: a b'"),
        ("0: nan 0", "cannot be read"),
        ("1: 0 0; 0: 1 1", "the time 0 at '0: 1 1'"),
        ("0: 0 0; 0: 1 1", "the time 0"),
        ("2: 0 0", "the time 2"),
        ("0: 0 0 0 0", "the scale 0 at"),
        ("0: 1e9 0", "go too far"),
        ("0: 0 0;" * 100_000, "has 700000 characters"),
    ],
)
def test_moves_that_are_none_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_keys(text)


def test_poses_pass_through_the_keys_and_start_and_stop_gently() -> None:
    keys = read_keys("0: 0 0; 0.5: 10 4 90 4; 1: 40 0")
    straight = poses(keys, 9, "linear")
    assert dataclasses.astuple(straight[2]) == pytest.approx((5, 2, 45, 2))
    smooth = poses(keys, 101)
    for key, index in zip(keys, (0, 50, 100), strict=True):
        assert dataclasses.astuple(smooth[index]) == pytest.approx(dataclasses.astuple(key.pose))
    assert abs(smooth[1].right) < 0.1 * abs(smooth[30].right - smooth[29].right)
    assert poses(read_keys("0.5: 3 4"), 3) == [Pose(3, 4)] * 3
    # One movement is 3 t^2 - 2 t^3.
    assert poses(read_keys("0: 0 0; 1: 1 0"), 5)[1].right == pytest.approx(3 / 16 - 2 / 64)


def test_a_line_gives_positions_at_constant_speed() -> None:
    corner = [(5.0, 5.0), (5.0, 9.0), (9.0, 9.0)]
    moved = along(corner, poses(read_keys("0: 99 99; 1: 99 99 20"), 5, "linear"), "linear")
    assert [pose.right for pose in moved] == pytest.approx([0, 0, 0, 2, 4])
    assert [pose.down for pose in moved] == pytest.approx([0, 2, 4, 4, 4])
    assert [pose.turn for pose in moved] == pytest.approx([0, 5, 10, 15, 20])
    assert along([(1.0, 1.0)], [Pose(3, 3)] * 2) == [Pose()] * 2


def test_the_last_sketch_line_of_a_drawing_is_the_way() -> None:
    strokes = [
        {"layer": "sketch", "points": [0, 0, 1, 1]},
        {"layer": "sketch", "points": [2, 3, 4, 6]},
        {"points": [9, 9]},
    ]
    text = json.dumps({"width": 20, "height": 12, "strokes": strokes})
    assert last_line(text, 40, 24) == [(4.0, 6.0), (8.0, 12.0)]
    with pytest.raises(ValueError, match="has no sketch line"):
        last_line(json.dumps({"strokes": strokes[2:]}), 40, 24)


def test_a_cut_out_moves_by_whole_pixels_exactly() -> None:
    made = drag(PICTURE, SQUARE, [Pose(), Pose(7, -3)], BEHIND)
    assert torch.equal(made.frames[0], PICTURE)
    assert torch.equal(made.mask[0], SQUARE)
    assert made.mask[1] == pytest.approx(SQUARE.roll((-3, 7), (0, 1)), abs=1e-5)
    wanted = BEHIND[0].clone()
    wanted[5:10, 17:22] = PICTURE[8:13, 10:15]
    assert made.frames[1] == pytest.approx(wanted, abs=1e-5)


def test_what_stands_still_stands_before_a_film() -> None:
    film = torch.stack([torch.full((24, 40, 3), value) for value in (0.0, 0.5)])
    made = drag(PICTURE, SQUARE, [Pose(), Pose()], film)
    for frame, ground in zip(made.frames, film, strict=True):
        assert frame == pytest.approx(torch.where(SQUARE[..., None] > 0, PICTURE, ground), abs=1e-5)


def test_a_cut_out_turns_and_grows_about_its_middle() -> None:
    made = drag(PICTURE, SQUARE, [Pose(turn=90), Pose(scale=2)], BEHIND)
    quarter = PICTURE[8:13, 10:15].rot90(-1)  # clockwise
    assert made.frames[0][8:13, 10:15] == pytest.approx(quarter, abs=1e-4)
    assert made.mask[1].sum() == pytest.approx(4 * 25, rel=0.05)
    rows, columns = (made.mask[1] > 0.5).nonzero().unbind(dim=1)
    assert (rows.float().mean(), columns.float().mean()) == (10, 12)


def test_a_camera_pans_and_says_what_it_does_not_see() -> None:
    made = camera(PICTURE, [Pose(), Pose(right=6)])
    assert torch.equal(made.frames[0], PICTURE)
    assert made.frames[1][:, 6:] == pytest.approx(PICTURE[:, :-6], abs=1e-5)
    assert made.mask[0].min() == 1
    assert torch.equal(made.mask[1], (torch.arange(40) >= 6).float().expand(24, 40))
    assert made.frames[1][:, :6] == pytest.approx(PICTURE[:, :1].expand(24, 6, 3), abs=1e-5)


def test_what_is_near_moves_further_and_hides_what_is_far() -> None:
    near = SQUARE.clone()
    made = camera(PICTURE, [Pose(right=6)], near)
    assert made.frames[0][8:13, 16:21] == pytest.approx(PICTURE[8:13, 10:15], abs=1e-4)
    assert made.frames[0][:6] == pytest.approx(PICTURE[:6], abs=1e-4)  # what is far stands still
    assert made.mask[0][8:13, 11:15].max() == 0  # where the square was, nothing is known
    assert made.mask[0][8:13, 16:21].min() == 1


@pytest.mark.parametrize("how", ["nearest", "blurred"])
def test_a_hole_is_filled_from_around_it(how: str) -> None:
    two = torch.zeros(24, 40, 3)
    two[:, 12:] = 1
    two[8:13, 10:15] = 7
    filled = without(two, SQUARE, how)  # type: ignore[arg-type]
    assert filled.max() <= 1
    assert torch.equal(filled[:6], two[:6])
    whole = torch.ones(24, 40, dtype=torch.bool)
    assert fill_hole(two, whole, how) is two  # type: ignore[arg-type]


def node(kind: dict[str, object], **more: object) -> tuple[torch.Tensor, ...]:
    given = {"image": PICTURE[None], "frames": 3, "moves": "0: 0 0; 1: 8 0", "easing": "linear", "kind": kind, **more}
    return tuple(call("DPathDrag", **given))


CUT_OUT = {"kind": "cut-out", "mask": SQUARE[None], "hole": "nearest", "t0_inside": 0.43, "t0_outside": 0.86}


def test_the_node_gives_frames_masks_and_strength() -> None:
    frames, mask, strength, t0 = node(CUT_OUT)
    assert frames.shape == (3, 24, 40, 3)
    assert t0 == 0.86
    assert strength == pytest.approx(1 - mask / 2, abs=1e-6)
    assert mask[2] == pytest.approx(SQUARE.roll(8, 1), abs=1e-5)
    drawing = json.dumps({"width": 40, "height": 24, "strokes": [{"layer": "sketch", "points": [0, 0, 0, 4]}]})
    assert node(CUT_OUT, drawing=drawing)[1][2] == pytest.approx(SQUARE.roll(4, 0), abs=1e-5)
    behind = torch.stack([torch.full((24, 40, 3), value) for value in (0.0, 0.5, 1.0)])
    assert node({**CUT_OUT, "hole": "background", "background": behind})[0][1:, 0, 0, 0].tolist() == [0.5, 1.0]
    panned = node({"kind": "camera", "t0_inside": 0.9, "t0_outside": 0.96, "depth": torch.ones(1, 12, 20, 3)})
    assert panned[1][2].sum() == 24 * 32


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({**CUT_OUT, "mask": torch.zeros(1, 24, 40)}, "The mask is empty"),
        ({**CUT_OUT, "hole": "background"}, "no background is connected"),
        (
            {**CUT_OUT, "hole": "background", "background": torch.zeros(1, 8, 8, 3)},
            "is 8 x 8, but the image is 40 x 24",
        ),
        ({**CUT_OUT, "hole": "background", "background": torch.zeros(2, 24, 40, 3)}, "has a batch of 2"),
        ({**CUT_OUT, "mask": torch.eye(24)[None]}, "mask"),
    ],
)
def test_what_cannot_be_dragged_is_one_sentence(kind: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        node(kind)
