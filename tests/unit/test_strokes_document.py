"""Drawings as text: what is good is read exactly, and of what is bad all that can be kept is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from diffusion_path.common import limits
from diffusion_path.images.strokes_document import Drawing, Layer, read_drawing
from hypothesis import given
from hypothesis import strategies as st

LINE = {"points": [1, 2, 30.5, 40]}


def read(*strokes: Any, **fields: Any) -> Drawing:
    return read_drawing(json.dumps({"version": 1, "width": 64, "height": 48, "strokes": list(strokes), **fields}))


@pytest.mark.parametrize("text", ["", "  \n", '{"strokes": []}'])
def test_nothing_drawn_is_no_complaint(text: str) -> None:
    assert read_drawing(text) == Drawing()


def test_every_field_is_read() -> None:
    given = {
        "tool": "line",
        "layer": "sketch",
        "points": [1, 2, 3, 4],
        "pressure": [0, 50],
        "color": "#0a0B0c",
        "size": 3.5,
        "opacity": 0.1,
        "hardness": 0.2,
        "t0": 0.3,
        "importance": 0.4,
    }
    drawing = read(given, {"tool": "fill", "rings": [[0, 0, 9, 0, 9, 9]]}, paper="#102030")
    first, second = drawing.strokes
    assert (first.tool, first.layer, first.paths) == ("line", "sketch", (((1, 2), (3, 4)),))
    assert (first.color, first.pressure, first.size) == ((10, 11, 12), (0.0, 0.5), 3.5)
    assert (first.opacity, first.hardness, first.t0, first.importance) == (0.1, 0.2, 0.3, 0.4)
    assert (second.tool, second.paths, second.size, second.t0) == ("fill", (((0, 0), (9, 0), (9, 9)),), 24, 0.6)
    assert (drawing.width, drawing.height, drawing.paper, drawing.complaints) == (64, 48, (16, 32, 48), ())


def test_layers_are_read_and_broken_ones_are_reported() -> None:
    given = [
        {"id": "paint"},
        {"id": "far", "name": "Hills", "opacity": 2, "hidden": True, "locked": True, "t0": 0.3},
        {"id": "lines", "kind": "sketch"},
        {"id": "far"},
        {"id": "x", "kind": "gold"},
        5,
    ]
    drawing = read({**LINE, "layer": "far"}, LINE, {**LINE, "layer": "sketch"}, version=2, layers=given)
    assert drawing.layers == (Layer("paint"), Layer("far", "paint", "Hills", True, 1.0), Layer("lines", "sketch"))
    assert [stroke.layer for stroke in drawing.strokes] == ["far", "paint"]
    words = ("opacity outside", "id of another", "unknown to this version", "not objects with an id", "layer unknown")
    assert all(word in complaint for word, complaint in zip(words, drawing.complaints, strict=True))
    many = read(version=2, layers=[{"id": str(i)} for i in range(limits.LAYERS + 2)])
    assert (len(many.layers), many.complaints) == (32, ("2 of the layers come after the first 32 and are left out.",))


def test_the_layers_of_a_damaged_text_are_kept() -> None:
    text = json.dumps(
        {"version": 2, "layers": [{"id": "far", "opacity": 0.5}], "strokes": [{**LINE, "layer": "far"}] * 2}
    )
    drawing = read_drawing(text[:-20])
    assert (len(drawing.strokes), drawing.layers) == (1, (Layer("far", opacity=0.5),))


def test_a_bare_list_of_strokes_is_a_drawing() -> None:
    assert len(read_drawing(json.dumps([LINE, LINE])).strokes) == 2


@pytest.mark.parametrize(
    ("stroke", "words"),
    [
        (5, "not objects"),
        ({"tool": "spray", "points": [1, 2]}, "unknown to this version"),
        ({"points": [1]}, "broken points"),
        ({"points": [1, None]}, "broken points"),
        ({"points": [1, float("nan")]}, "broken points"),
        ({"points": [1, 10**400]}, "broken points"),
        ({"points": "1 2"}, "broken points"),
        ({"tool": "fill", "rings": [[0, 0, 1, 1]]}, "broken points"),
        ({"tool": "fill", "rings": 7}, "broken points"),
    ],
)
def test_a_broken_stroke_is_left_out_and_told(stroke: Any, words: str) -> None:
    drawing = read(LINE, stroke, LINE)
    assert len(drawing.strokes) == 2
    (complaint,) = drawing.complaints
    assert words in complaint
    assert complaint.endswith(".")


@pytest.mark.parametrize(
    ("field", "value", "kept", "words"),
    [
        ("size", -3, 0.1, "outside"),
        ("size", 1e9, 4096, "outside"),
        ("opacity", 2, 1, "outside"),
        ("t0", "high", 0.6, "not a number"),
        ("hardness", True, 0.8, "not a number"),
        ("importance", float("inf"), 1, "not a number"),
        ("color", "red", (0, 0, 0), "#rrggbb"),
        ("pressure", [50], (), "does not match"),
    ],
)
def test_values_out_of_range_are_repaired_and_told(field: str, value: Any, kept: Any, words: str) -> None:
    drawing = read({**LINE, field: value})
    assert getattr(drawing.strokes[0], field) == kept
    assert words in drawing.complaints[0]


def test_points_too_far_away_are_brought_to_the_nearest_place_that_may_be_stored_and_told() -> None:
    far = read({"points": [-1e300, 3, 5, 40000]}, {"points": [-16384, 3, 5, 32768]})
    assert [stroke.paths for stroke in far.strokes] == [(((-16384, 3), (5, 32768)),)] * 2
    assert far.complaints == ("1 of the strokes have points outside -16384 to 32768 and use the nearest place.",)


def test_endless_numbers_leave_the_other_strokes() -> None:
    assert len(read(LINE, width=10**400).strokes) == 1
    line, endless = json.dumps(LINE), "9" * 5000
    assert len(read_drawing(f'{{"width": {endless}, "strokes": [{line}, {{"points": [1, {endless}').strokes) == 1


def test_many_of_a_kind_are_one_sentence() -> None:
    assert read(*[{"points": []}] * 40, LINE).complaints == ("40 of the strokes have broken points and are left out.",)


def test_the_strokes_before_the_damage_are_saved() -> None:
    text = json.dumps({"version": 1, "width": 64, "height": 48, "strokes": [LINE, LINE, LINE]})
    drawing = read_drawing(text[:-12])
    assert len(drawing.strokes) == 2
    assert (drawing.width, drawing.height) == (64, 48)
    assert "damaged" in drawing.complaints[0]
    assert "2 strokes" in drawing.complaints[0]


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "{",
        '{"strokes": [',
        '{"strokes": [{"points": [1',
        "[" * 100_000,
        '{"strokes": [{"points": [1, ' + "9" * 5000,
    ],
)
def test_a_text_without_anything_to_save_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^The drawing cannot be read \(.*\) and none of its strokes .* clear the canvas"
    ):
        read_drawing(text)


@pytest.mark.parametrize("text", ["5", '"text"', "null", '{"strokes": 5}'])
def test_json_of_another_kind_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="clear the canvas"):
        read_drawing(text)


def test_a_newer_format_is_told_and_what_is_known_is_kept() -> None:
    drawing = read(LINE, {"tool": "airbrush", "nozzle": 3}, version=9)
    assert len(drawing.strokes) == 1
    assert "format 9" in drawing.complaints[0]


def test_huge_drawings_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STROKES", 5)
    monkeypatch.setattr(limits, "POINTS", 8)
    drawing = read(*[LINE] * 9)
    assert len(drawing.strokes) == 4
    assert len(drawing.complaints) == 2
    monkeypatch.setattr(limits, "DRAWING_TEXT", 200)
    assert len(read(*[LINE] * 9).strokes) == 4


def test_far_points_are_brought_near() -> None:
    ((near, far),) = read({"points": [0, 0, 1e300, -1e300]}).strokes[0].paths
    assert near == (0, 0)
    assert max(map(abs, far)) < 1e5


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("#123456"),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["points", "rings", "size"]), inner),
    max_leaves=12,
)
FIELDS = ["tool", "layer", "points", "rings", "color", "size", "opacity", "pressure", "t0"]


ANY_LAYERS = st.lists(st.dictionaries(st.sampled_from(["id", "kind", "name", "hidden", "opacity"]), VALUES)) | VALUES


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES) | VALUES, max_size=5), VALUES, VALUES, ANY_LAYERS)
def test_anything_in_a_drawing_is_read_or_left_out(strokes: list[Any], width: Any, paper: Any, layers: Any) -> None:
    drawing = read(*strokes, width=width, paper=paper, layers=layers)
    assert len(drawing.strokes) <= len(strokes)
    assert all(complaint.endswith(".") for complaint in drawing.complaints)
