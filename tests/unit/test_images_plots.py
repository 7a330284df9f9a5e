"""Contact sheets and plots."""

from __future__ import annotations

import math
import time

import pytest
import torch
from diffusion_path.images.grid import labelled_grid
from diffusion_path.images.plot import PALETTE, Axis, Series, Window, line_plot
from diffusion_path.images.typography import text_width, wrap


def find(sheet: torch.Tensor, picture: torch.Tensor) -> tuple[int, int]:
    """Row and column where the picture lies on the sheet, bit for bit."""
    height, width = picture.shape[:2]
    hits = (sheet[0] == picture[0, 0]).all(dim=-1).nonzero().tolist()
    places = [(y, x) for y, x in hits if torch.equal(sheet[0, y : y + height, x : x + width], picture)]
    assert len(places) == 1
    return places[0]


def test_every_picture_lies_on_the_grid_bit_for_bit_in_reading_order() -> None:
    images = torch.rand(7, 24, 32, 3) * 1.5 - 0.2
    sheet = labelled_grid(images, [f"t₀ {i / 10}" for i in range(7)], columns=3, title="Sweep")
    places = [find(sheet, image) for image in images]
    assert places == sorted(places)
    assert len({y for y, _ in places}) == 3
    assert len({x for _, x in places}) == 3


def test_columns_follow_the_labels_or_the_most_even_layout() -> None:
    images = torch.rand(6, 16, 16, 3)
    by_labels = labelled_grid(images, col_labels=["a", "b"], row_labels=["x", "y", "z"])
    assert len({find(by_labels, image)[1] for image in images}) == 2
    assert len({find(labelled_grid(images), image)[1] for image in images}) == 3


def test_alpha_is_kept_and_grey_becomes_rgb() -> None:
    with_alpha = torch.rand(2, 16, 16, 4)
    assert labelled_grid(with_alpha).shape[-1] == 4
    find(labelled_grid(with_alpha), with_alpha[1])
    assert labelled_grid(torch.rand(2, 16, 16, 1)).shape[-1] == 3


def test_wrong_numbers_of_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="2 labels for 3"):
        labelled_grid(torch.rand(3, 8, 8, 3), ["a", "b"])
    with pytest.raises(ValueError, match="3 row labels for 2"):
        labelled_grid(torch.rand(4, 8, 8, 3), columns=2, row_labels=["a", "b", "c"])


def test_labels_wrap_and_end_in_an_ellipsis() -> None:
    lines = wrap("a house in the winter by a lake with snow covered mountains", 14, 120)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert all(text_width(line, 14) <= 120 for line in lines)
    assert wrap("short", 14, 120) == ["short"]


@pytest.mark.parametrize("text", ["t₀ = 0.5", "10⁻⁵", "σ ≤ 3 × 2", "café", "雪山", "🏔", ""])
def test_any_text_can_be_set(text: str) -> None:
    picture = torch.zeros(1, 32, 64, 3)
    sheet = labelled_grid(picture, [text])
    row, column = find(sheet, picture[0])
    sheet[:, row : row + 32, column : column + 64] = sheet[0, 0, 0]
    inked = bool((sheet != sheet[0, 0, 0]).any())
    assert inked == bool(text), "every text leaves ink, and no text none"
    assert (text_width(text, 14) > 0) == bool(text)


def test_a_label_of_any_length_is_cut_where_it_fits_at_once() -> None:
    begin = time.process_time()
    (line,) = wrap("x" * 5000, 20, 300)
    assert time.process_time() - begin < 1.0
    assert text_width(line, 20) <= 300 < text_width("x" + line, 20)


def colored(plot: torch.Tensor, color: tuple[int, int, int]) -> torch.Tensor:
    """Pixels [n, 2] (row, column) of exactly this colour."""
    return ((plot[0] * 255).round() == torch.tensor(color)).all(dim=-1).nonzero()


def test_a_rising_line_rises_and_a_flipped_axis_mirrors_it() -> None:
    rising = Series("", [0, 1, 2, 3], [0, 1, 2, 3], style="line")
    plot = line_plot([rising], Axis("x"), Axis("y"), size=(480, 320))
    assert plot.shape == (1, 320, 480, 3)
    points = colored(plot, PALETTE[0]).double()
    assert torch.corrcoef(points.T)[0, 1] < -0.99
    flipped = colored(line_plot([rising], Axis("x"), Axis("y"), size=(480, 320), flip_x=True), PALETTE[0]).double()
    assert torch.corrcoef(flipped.T)[0, 1] > 0.99


def test_everything_at_once_is_drawn() -> None:
    x = [0.2, 0.4, 0.6]
    series = [
        Series("L2", x, [1, 2, math.nan], errors=[0.1, 0.2, 0.3], x_errors=[0.01] * 3, labels=["a", "b", "c"]),
        Series("KID", x, [3, 2, 1], style="steps", axis="right", dashed=True),
        Series("points", x, [2, 2, 2], style="points"),
    ]
    windows = [Window(0.3, 0.5, "window")]
    plots = [
        line_plot(series, Axis("t₀"), Axis("L2"), title="T", right=Axis("KID"), windows=windows, size=(640, 400))
        for _ in "ab"
    ]
    assert torch.equal(*plots)
    for color in PALETTE[:3]:
        assert len(colored(plots[0], color)) > 20


def test_given_ends_are_the_ends_and_constant_values_are_drawn() -> None:
    flat = Series("", [0.0, 1.0], [5.0, 5.0], style="line")
    rows = [colored(line_plot([flat], Axis("x"), Axis("y", ends), size=(480, 320)), PALETTE[0]) for ends in
            ((0.0, 10.0), (4.0, 6.0), (5.0, 15.0))]  # fmt: skip
    middle, same, low = (float(row[:, 0].double().mean()) for row in rows)
    assert middle == same < low
    assert len(colored(line_plot([flat], Axis("x"), Axis("y"), size=(480, 320)), PALETTE[0])) > 20


def test_the_settings_of_other_packs_do_not_change_a_plot() -> None:
    import matplotlib

    curve = Series("", [0, 1, 2], [0, 1, 4], labels=["a", "b", "c"])
    plain = line_plot([curve], Axis("x"), Axis("y"), title="T", size=(480, 320))
    with matplotlib.rc_context({"font.family": ["serif"], "backend": "svg"}):
        assert torch.equal(line_plot([curve], Axis("x"), Axis("y"), title="T", size=(480, 320)), plain)


def test_nothing_to_plot_and_uneven_series_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to plot"):
        line_plot([Series("a", [1], [math.nan])], Axis("x"), Axis("y"))
    with pytest.raises(ValueError, match="'a' has 2 y for 3 x"):
        Series("a", [1, 2, 3], [1, 2])
