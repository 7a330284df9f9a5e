"""Texts of a workflow: read in linear time, refused beyond a stated length, and quoted in part only."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable

import pytest
from diffusion_path.common import limits
from diffusion_path.common.texts import quoted, read_number, read_numbers, shortened, words_of
from diffusion_path.images.strokes_document import read_drawing
from diffusion_path.samplers.mdp import tokens
from diffusion_path.samplers.mdp.sweep import parse_numbers
from diffusion_path.samplers.schedule import parse_curve
from diffusion_path.samplers.sweep import parse_values


def prompt(*words: str) -> tokens.Prompt:
    return tokens.Prompt(tuple(f"{word}</w>" for word in words), (False,) * len(words))


def reweighted(text: str) -> object:
    return tokens.token_map(prompt("snow"), prompt("snow"), "refine", text)


READERS: dict[str, Callable[[str], object]] = {
    "curve": parse_curve,
    "values": lambda text: parse_values("t0", text),
    "seeds": lambda text: parse_values("seed", text),
    "axis": lambda text: parse_numbers(text, "weights"),
    "reweight": reweighted,
    "drawing": read_drawing,
}
# Texts that grow, of the kinds at which regular expressions and recursion fail.
GROWING: dict[str, Callable[[int], str]] = {
    "digits": lambda n: "9" * n,
    "digits and an end": lambda n: "1:" + "9" * n + "x",
    "spaces": lambda n: "1" + " " * n + "x",
    "colons": lambda n: ":" * n,
    "signs": lambda n: "+-" * (n // 2),
    "commas": lambda n: "," * n + "x",
    "numbers": lambda n: "0.5 " * (n // 4),
    "pairs": lambda n: "0.5:0.5," * (n // 8),
    "brackets": lambda n: "[" * n,
    "braces": lambda n: '{"strokes":' * (n // 11),
    "a cut drawing": lambda n: '{"strokes":[' + '{"points":[1,2]},' * (n // 17),
    "a long number": lambda n: '[{"points":[' + "1" * n + ",1]}]",
    "spaces in a drawing": lambda n: '{"strokes"' + " " * n + ":[" + " " * n + "x",
}


def seconds(reader: Callable[[str], object], text: str) -> float:
    """What this thread worked for it, whatever else the machine does; the best of two."""

    def once() -> float:
        start = time.thread_time()
        with contextlib.suppress(ValueError):
            reader(text)
        return time.thread_time() - start

    return min(once(), once())


@pytest.mark.parametrize("kind", GROWING)
@pytest.mark.parametrize("name", READERS)
def test_ten_times_the_text_takes_about_ten_times_as_long(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At lengths beyond the limits too, which are lifted here; a quadratic reader would take a hundred times."""
    monkeypatch.setattr("diffusion_path.common.texts.check_length.__defaults__", (10**9,))
    short, long = GROWING[kind](30_000), GROWING[kind](300_000)
    assert seconds(READERS[name], long) < 40 * seconds(READERS[name], short) + 0.02


@pytest.mark.parametrize("kind", GROWING)
@pytest.mark.parametrize("name", [name for name in READERS if name != "drawing"])
def test_a_text_beyond_its_limit_is_refused_at_once(name: str, kind: str) -> None:
    text = GROWING[kind](10_000_000)
    with pytest.raises(ValueError, match=rf"has \d+ characters: give at most {limits.TEXT}\.$"):
        READERS[name](text)
    assert seconds(READERS[name], text) < 0.05


def test_a_drawing_beyond_its_limit_is_cut() -> None:
    stroke = json.dumps({"points": [1.5, 2.5] * 50}) + ","
    text = '{"strokes":[' + stroke * (12_000_000 // len(stroke))
    start = time.thread_time()
    drawing = read_drawing(text)
    assert time.thread_time() - start < 5
    assert sum(len(stroke.paths[0]) for stroke in drawing.strokes) == limits.POINTS
    assert any("only its beginning is used" in complaint for complaint in drawing.complaints)


@pytest.mark.parametrize(
    ("word", "value"),
    [("1", 1.0), ("-.5", -0.5), ("+2.", 2.0), ("1e-3", 0.001), ("-0", 0.0)]
    + [(word, None) for word in ("", "nan", "inf", "1e999", "1_0", "0x1", "١", "1:1", "e", ".", "9" * 65)],
)
def test_numbers_are_plain_decimals(word: str, value: float | None) -> None:
    assert read_number(word) == value


def test_lists_are_read_with_commas_semicolons_and_spaces() -> None:
    assert words_of(" 1,2;;3\n4\t") == ["1", "2", "3", "4"]
    assert read_numbers("0.2, 0.4;0.6 8", "weights", 4) == [0.2, 0.4, 0.6, 8.0]
    with pytest.raises(ValueError, match="The weights are 5 numbers: give at most 4"):
        read_numbers("1 2 3 4 5", "weights", 4)
    with pytest.raises(ValueError, match="The weights cannot be read at 'x'"):
        read_numbers("1 x", "weights", 4)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("1:1, 0.5 : 0.8; 0:0", {0.0: 1.0, 0.5: 0.8, 1.0: 0.0, 0.25: 0.9}),
        ("1 :1 0: -1", {0.0: 1.0, 0.5: 0.0, 1.0: -1.0}),
        (".5:.5", {0.0: 0.5, 1.0: 0.5}),
    ],
)
def test_curves_mean_what_they_did(text: str, points: dict[float, float]) -> None:
    curve = parse_curve(text)
    assert {u: curve(u) for u in points} == pytest.approx(points)


@pytest.mark.parametrize("text", ["1", "1:", ":1", "1:1:1", "1:1 2", "a:1", "1:nan", "1:inf", "1:1 0x0:1", "1 1:1"])
def test_curves_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be read at .* write pairs"):
        parse_curve(text)


def test_words_are_reweighted_as_before() -> None:
    two = tokens.token_map(prompt("a", "red", "house"), prompt("a", "red", "house"), "refine", "house : 2; red:.5,")
    assert two.scale.tolist() == [1.0, 0.5, 2.0]
    for text in ("house", "house:", ":2", "red house:2", "house:two", "house:2:"):
        with pytest.raises(ValueError, match="cannot be read"):
            reweighted(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ab", "'ab'"),
        ("x" * 100, "'" + "x" * 60 + "...' (100 characters)"),
        ("a\nb", r"'a\nb'"),
        (0.5, "0.5"),
        (None, "None"),
        ([1, 2], "[1, 2]"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, ...] (100 items)"),
        ({}, "dict"),
    ],
)
def test_what_is_quoted_is_short(value: object, text: str) -> None:
    assert quoted(value) == text


def test_endless_numbers_are_counted_not_written() -> None:
    assert quoted(10**5000) == "a whole number of 5001 digits"


def test_words_of_others_are_one_short_line() -> None:
    assert shortened("a\n b") == "a b"
    assert len(shortened("word " * 10**6)) <= 210
