"""Edge maps and cleaned drawings: lines where the picture has them, light on dark, whatever was given."""

from __future__ import annotations

import pytest
import torch
from diffusion_path.images import edges
from diffusion_path.nodes.edges import SKETCH, EdgeMap
from torch import Tensor


def square(size: int = 64, contrast: float = 0.5, ground: float = 0.2) -> Tensor:
    """A square on a plain ground."""
    picture = torch.full((1, size, size, 3), ground)
    picture[:, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = ground + contrast
    return picture


def drawing(dark: bool = True) -> Tensor:
    """A thick cross and a speck."""
    ink = torch.zeros(1, 48, 48)
    ink[:, 20:25, 4:44] = 1.0
    ink[:, 4:44, 20:25] = 1.0
    ink[:, 2:4, 2:4] = 1.0
    return edges.as_picture(1.0 - ink if dark else ink)


@pytest.mark.parametrize("method", edges.METHODS)
def test_edges_are_where_the_picture_changes(method: edges.Method) -> None:
    found = edges.edge_map(square(), method, 0.6, 4.0)[0]
    assert found.shape == (64, 64)
    assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0
    rim = torch.zeros(64, 64, dtype=torch.bool)
    rim[12:52, 12:52] = True
    rim[20:44, 20:44] = False
    assert float(found[rim].sum()) > 0.9 * float(found.sum()) > 1.0


@pytest.mark.parametrize("method", edges.METHODS)
def test_a_plain_picture_has_no_edges(method: edges.Method) -> None:
    assert float(edges.edge_map(torch.full((1, 32, 32, 3), 0.4), method, 1.0, 2.0).max()) == 0.0


def test_more_detail_draws_weaker_edges() -> None:
    picture = torch.cat([square(contrast=0.7), square(contrast=0.04)], dim=2)
    few, many = (edges.edge_map(picture, "canny", detail, 2.0)[0] for detail in (0.0, 0.9))
    assert float(few[:, 64:].sum()) == 0.0
    assert float(many[:, 64:].sum()) > 20.0
    assert float(few[:, :64].sum()) > 20.0


def test_dark_pictures_keep_their_outlines() -> None:
    bright, dark = (edges.edge_map(square(contrast=0.3) * light, "canny", 0.4, 4.0) for light in (1.0, 0.2))
    assert float(bright.sum()) > 100.0
    assert float(dark.sum()) == pytest.approx(float(bright.sum()), rel=0.05)


def test_each_picture_of_a_batch_by_itself() -> None:
    pictures = torch.cat([square(), square(contrast=0.1), torch.rand(1, 64, 64, 3)])
    together = edges.edge_map(pictures)
    for i in range(3):
        assert torch.equal(edges.edge_map(pictures[i : i + 1])[0], together[i])


def test_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of canny, sobel"):
        edges.edge_map(square(), "hed")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("dark", [True, False])
def test_polarity_is_found(dark: bool) -> None:
    clean = edges.clean_sketch(drawing(dark), specks=8)[0]
    assert float(clean[22, 10]) == 1.0
    assert float(clean[10, 10]) == 0.0
    assert float(clean[2, 2]) == 0.0  # the speck
    assert float(edges.clean_sketch(drawing(dark), specks=0)[0][2, 2]) == 1.0


def test_given_polarity_counts() -> None:
    clean = edges.clean_sketch(drawing(dark=True), "light on dark", specks=0)[0]
    assert float(clean[22, 10]) == 0.0
    assert float(clean[10, 10]) == 1.0


def test_strokes_on_a_transparent_layer() -> None:
    ink = 1.0 - drawing(dark=True)[..., :1]
    for colour in (0.0, 0.9):
        layer = torch.cat([torch.full((1, 48, 48, 3), colour), ink], dim=-1)
        assert torch.equal(edges.clean_sketch(layer), edges.clean_sketch(drawing(dark=False)))


def test_thin_strokes_and_line_width() -> None:
    thin = edges.clean_sketch(drawing(), thin=True)[0]
    assert float(thin[22, 8:18].sum()) == 10.0
    assert float(thin[:, 10].sum()) == 1.0
    for width in (1, 2, 3, 5):
        wide = edges.of_width(edges.clean_sketch(drawing()), width)[0]
        assert float(wide[:, 10].sum()) == width
    assert torch.equal(edges.of_width(thin[None], 0)[0], thin)


def test_a_pencil_drawing_on_paper_is_cleaned_with_what_the_node_sets() -> None:
    """Its strokes are no darker than two thirds, its paper is not white; what is fainter than half of them goes."""
    ink = drawing(dark=False)[..., :1]
    faint = torch.zeros_like(ink)
    faint[:, 40:43, 5:40] = 0.35
    noise = 0.01 * torch.randn(ink.shape, generator=torch.Generator().manual_seed(0))
    paper = (0.92 - 0.57 * torch.maximum(ink, faint) + noise).clamp(0, 1).expand(-1, -1, -1, 3)
    _, clean = EdgeMap.execute(paper, SKETCH, edges.DETAIL, edges.SCALE).result
    assert torch.equal(clean, edges.clean_sketch(drawing(dark=False)))
    _, more = EdgeMap.execute(paper, SKETCH, 0.6, edges.SCALE).result
    assert bool((more[:, 40:43, 5:40] == 1).all())
    _, most = EdgeMap.execute(paper, SKETCH, 0.95, edges.SCALE).result
    assert torch.equal(most, more), "the grain of the paper is no stroke"
    strongest, _ = EdgeMap.execute(drawing(dark=True), SKETCH, 0.0, edges.SCALE).result
    assert float(strongest.max()) == 1.0


def test_greys_can_be_kept() -> None:
    grey = drawing(dark=False) * 0.4
    kept = edges.clean_sketch(grey, "light on dark", 0.0)
    assert float(kept.max()) == pytest.approx(0.4)
    assert float(edges.of_width(kept, 3).max()) == pytest.approx(0.4)
