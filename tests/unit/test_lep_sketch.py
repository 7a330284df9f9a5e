"""From drawings and pictures to targets: sizes, importance, datasets, and every way they can be wrong."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
import torch
from diffusion_path.images.edges import as_picture
from diffusion_path.lep import dataset, sketch
from diffusion_path.lep.maps import encoding
from diffusion_path.lep.sketch import Sketch, by_importance, fit_lines, read_importance, read_sketch
from diffusion_path.lep.targets import binary
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.test_lep_guidance import predictor_for
from torch import Tensor


class PoolVae:
    """A VAE whose code of a picture is known: means of 8 x 8 pixels, in four channels."""

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, pixels: Tensor) -> Tensor:
        pooled = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return torch.cat([pooled, pooled[:, :1]], dim=1)

    def decode(self, latent: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(latent[:, :3], scale_factor=8).movedim(1, -1)


def cross(size: int = 64, grey: float = 1.0) -> Tensor:
    """A light cross on dark [1, H, W], its right half grey."""
    ink = torch.zeros(1, size, size)
    ink[:, size // 2, :] = 1.0
    ink[:, :, size // 4] = 1.0
    ink[:, :, size // 2 :] *= grey
    return ink


def a_sketch(strokes: Tensor, **kw: Any) -> Sketch:
    model = tiny.unet()
    return Sketch(model, PoolVae(), predictor_for(model), strokes, **kw)


def test_target_is_the_code_of_the_strokes() -> None:
    model = tiny.unet()
    drawing = a_sketch(cross())
    target, weight = drawing.at(8, 8)
    code = PoolVae().encode(as_picture(cross()))
    torch.testing.assert_close(target, model.get_model_object("process_latent_in")(code))
    assert weight is not None
    assert torch.equal(weight, torch.ones(1, 1, 8, 8))


class VideoVae(PoolVae):
    """One latent of the first frame, and one of every four after it."""

    def encode(self, pixels: Tensor) -> Tensor:
        return super().encode(pixels)[::4].movedim(0, 1)[None]


def test_frames_of_a_video_sketch_weigh_the_latents_that_hold_them() -> None:
    strokes = torch.cat([cross(grey=0.5), *[cross()] * 4])
    drawing = Sketch(tiny.unet(), VideoVae(), a_sketch(strokes).predictor, strokes)
    target, weight = drawing.at(8, 8)
    assert weight is not None
    assert len(target) == len(weight) == 2
    _, first = Sketch(tiny.unet(), VideoVae(), drawing.predictor, strokes[:1]).at(8, 8)
    assert first is not None
    assert torch.equal(weight[:1], first)
    assert float(first.min()) < 1.0 == float(weight[1].min())


def test_a_vae_of_another_model_is_refused() -> None:
    class Wide(PoolVae):
        def encode(self, pixels: Tensor) -> Tensor:
            return super().encode(pixels).repeat(1, 4, 1, 1)

    drawing = Sketch(tiny.unet(), Wide(), a_sketch(cross()).predictor, cross())
    with pytest.raises(ValueError, match=r"latent of 16 channels.*of the sketch, but the model works on 4 channels"):
        drawing.at(8, 8)


def test_a_large_drawing_is_read_at_once() -> None:
    """The neighbourhood of each stroke is that of a plain maximum, at a cost that does not depend on its size."""
    strokes = torch.rand(1, 60, 40)
    full, weight = by_importance(strokes)
    plain = torch.nn.functional.max_pool2d(strokes[:, None], 3, stride=1, padding=1)[:, 0]
    assert torch.equal(weight, plain)
    torch.testing.assert_close(full, strokes / plain)
    begin = time.process_time()
    by_importance(cross(2048))
    assert time.process_time() - begin < 10, "a plain maximum takes half a minute"


def test_targets_are_normal_tensors_in_inference_mode() -> None:
    with torch.inference_mode():
        target, weight = a_sketch(cross(grey=0.5)).at(8, 8)
        assert not target.is_inference()
        assert weight is not None
        assert not weight.is_inference()


def test_other_sizes_of_the_same_proportions() -> None:
    large, _ = a_sketch(cross(256)).at(8, 8)
    assert large.shape == (1, 4, 8, 8)
    # A line one pixel wide survives a reduction to a quarter in full.
    assert float(fit_lines(cross(256), 64, 64)[0, 10, 16]) == 1.0
    assert a_sketch(cross(32)).at(8, 8)[0].shape == (1, 4, 8, 8)
    with pytest.raises(ValueError, match=r"sketch is 64 x 64, but the picture is 128 x 64"):
        a_sketch(cross()).at(8, 16)


def test_a_crop_is_guided_by_the_whole_sketch_and_the_log_and_the_refusal_say_so(caplog) -> None:
    with caplog.at_level(logging.INFO):
        a_sketch(cross(256)).at(8, 8)
        assert "The whole sketch of 256 x 256 guides a picture of 64 x 64." in caplog.text
        caplog.clear()
        a_sketch(cross(64)).at(8, 8)
        assert "whole sketch" not in caplog.text
    with pytest.raises(ValueError, match="a detailer, crop and stitch.*crop the sketch by the same node"):
        a_sketch(cross()).at(8, 16)


def test_grey_strokes_weigh_less_and_are_drawn_in_full() -> None:
    strokes, weight = by_importance(cross(grey=0.5))
    assert float(strokes[0, 32, 10]) == float(strokes[0, 32, 50]) == 1.0
    assert float(weight[0, 32, 10]) == 1.0
    assert float(weight[0, 32, 50]) == 0.5
    assert float(weight[0, 5, 60]) == 1.0  # the ground keeps its say: no lines here
    _, shaded = a_sketch(cross(grey=0.5), greys="shade").at(8, 8)
    assert shaded is None
    halves, _ = a_sketch(cross(grey=0.5), greys="shade").at(8, 8)
    whole, _ = a_sketch(cross(), greys="shade").at(8, 8)
    torch.testing.assert_close(halves[..., 5:], whole[..., 5:] * 0.5)


def test_importance_mask_scales_the_weight() -> None:
    mask = torch.ones(1, 64, 64)
    mask[:, :, 32:] = 0.25
    _, weight = a_sketch(cross(), importance=mask).at(8, 8)
    assert weight is not None
    assert torch.equal(weight[0, 0, 0], torch.tensor([1.0] * 4 + [0.25] * 4))
    _, weight = a_sketch(cross(), importance=mask, greys="shade").at(8, 8)
    assert weight is not None
    assert torch.equal(weight[0, 0, 0], torch.tensor([1.0] * 4 + [0.25] * 4))


def test_line_width_of_the_predictor() -> None:
    from dataclasses import replace

    drawing = a_sketch(cross())
    wide = replace(drawing, predictor=replace(drawing.predictor, line_width=3))
    thin, thick = (float(d.at(8, 8)[0].mean()) for d in (drawing, wide))
    assert thick == pytest.approx(3 * thin, rel=0.2)


@pytest.mark.parametrize(("value", "look"), [(0.0, "empty"), (1.0, "full")])
def test_sketch_without_lines_is_refused(value: float, look: str) -> None:
    with pytest.raises(ValueError, match=f"batch item 0. is {look}"):
        read_sketch(torch.full((1, 16, 16, 3), value), "light on dark")
    with pytest.raises(ValueError, match="no line on it"):
        read_sketch(torch.full((1, 16, 16, 3), value))


def test_sketch_of_any_polarity() -> None:
    light = as_picture(cross())
    torch.testing.assert_close(read_sketch(1.0 - light), read_sketch(light))


def test_importance_must_fit() -> None:
    with pytest.raises(ValueError, match="importance mask is 32 x 64, but the sketch is 64 x 64"):
        read_importance(torch.ones(1, 64, 32) * torch.linspace(0, 1, 32), cross())
    with pytest.raises(ValueError, match="importance mask is empty"):
        read_importance(torch.zeros(0, 64, 64), cross())
    assert not read_importance(torch.zeros(1, 5, 7), cross()).any()
    three = cross().repeat(3, 1, 1)
    with pytest.raises(ValueError, match="importance mask has a batch of 2, but the sketch has 3: give"):
        read_importance(torch.ones(2, 64, 64), three)
    for masks, strokes in ((1, three), (2, cross()), (3, three)):
        drawing = a_sketch(strokes, importance=read_importance(torch.ones(masks, 64, 64), strokes))
        assert drawing.at(8, 8)[1] is not None


def test_a_vae_of_another_size_is_refused() -> None:
    class Other(PoolVae):
        def encode(self, pixels: Tensor) -> Tensor:
            return super().encode(pixels)[..., ::2, ::2]

    model = tiny.unet()
    with pytest.raises(ValueError, match="connect the VAE that belongs to the model"):
        Sketch(model, Other(), predictor_for(model), cross()).at(8, 8)


def test_edge_pictures_there_and_back() -> None:
    model = tiny.unet()
    picture = as_picture(cross())
    pixels = encoding("pixels").encode(model, PoolVae(), picture, (8, 8))
    assert pixels.shape == (1, 3, 8, 8)
    assert float(pixels.min()) >= -0.5
    back = encoding("pixels").picture(model, PoolVae(), pixels, (64, 64))
    assert back.shape == (1, 64, 64, 3)
    latent = encoding("latent").encode(model, PoolVae(), picture, (8, 8))
    assert encoding("latent").picture(model, PoolVae(), latent, (64, 64)).shape == (1, 64, 64, 3)


@pytest.mark.parametrize("kind", ["latent", "pixels"])
def test_edge_pictures_of_several_videos(kind: str) -> None:
    class VideoVae:
        def decode(self, latent: Tensor) -> Tensor:
            assert latent.shape == (2, 16, 3, 8, 8)
            return latent[:, :3].movedim(1, -1)

    seen = torch.rand(2, 16, 3, 8, 8)
    shown = encoding(kind).picture(tiny.wan(), VideoVae(), seen, (8, 8))
    assert shown.shape == (6, 8, 8, 3)
    one = encoding(kind).picture(tiny.wan(), VideoVae(), seen.flip(0), (8, 8))
    assert torch.equal(one.unflatten(0, (2, 3))[0], shown.unflatten(0, (2, 3))[1])


def pictures(count: int = 5) -> Tensor:
    scenes = torch.zeros(count, 64, 64, 3)
    for i in range(count):
        scenes[i, 16 + i : 48, 16 : 40 + i] = 0.8
    return scenes


def gathered(**kw: Any) -> dataset.Dataset:
    given: dict[str, Any] = {"latents": [], "images": [pictures()], "conds": [tiny.cond(0)], "maps": [], **kw}
    return dataset.gather(tiny.unet(), PoolVae(), **given)


def test_dataset_from_images() -> None:
    data = gathered()
    assert len(data.examples) == 5
    model = tiny.unet()
    one = data.examples[2]
    torch.testing.assert_close(
        one.latent, model.get_model_object("process_latent_in")(PoolVae().encode(pictures()[2:3]))
    )
    assert one.target.shape == (1, 4, 8, 8)
    assert float(data.maps(2).max()) == 1.0


def test_dataset_from_cores_lists() -> None:
    codes = [{"samples": PoolVae().encode(pictures()[i : i + 1])} for i in range(5)]
    conds = [tiny.cond(i) for i in range(5)]
    data = gathered(latents=codes, images=[], conds=conds)
    assert [example.cond for example in data.examples] == conds
    torch.testing.assert_close(data.examples[1].latent, gathered().examples[1].latent)


def test_dataset_with_given_edge_maps() -> None:
    maps = as_picture(cross()).repeat(5, 1, 1, 1)
    for given in ([maps], [1.0 - maps], list(maps.split(1))):
        data = gathered(maps=given)
        assert float(data.maps(0)[0, 31:34, 10, 0].sum()) == 3.0


def test_edge_maps_and_pictures_of_any_channels() -> None:
    wanted = gathered(maps=[as_picture(cross()).repeat(5, 1, 1, 1)])
    grey = cross().unsqueeze(-1).repeat(5, 1, 1, 1)
    layer = torch.cat([torch.zeros(5, 64, 64, 3), grey], dim=-1)
    for maps in (grey, 1.0 - grey, layer):
        data = gathered(images=[pictures()[..., :1]], maps=[maps])
        assert torch.equal(data.maps(4), wanted.maps(4))
        assert torch.equal(data.examples[4].latent, wanted.examples[4].latent)


def test_datasets_that_do_not_match_are_refused() -> None:
    codes = [{"samples": PoolVae().encode(pictures(3))}]
    plain = as_picture(cross())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"images": []}, "nothing to train on"),
        ({"latents": codes}, "5 images for 3 latents"),
        ({"conds": [tiny.cond(0)] * 2}, "2 conditionings for 5 pictures"),
        ({"maps": [plain]}, "1 maps for 5 pictures"),
        ({"maps": [torch.zeros(5, 64, 64, 3)]}, "map of picture 1 .batch item 0. is empty"),
        ({"maps": [torch.cat([plain] * 3 + [plain * 0.0] * 2)]}, "map of picture 4 .batch item 0. is empty"),
        ({"maps": [plain[:, :32].repeat(5, 1, 1, 1)]}, "map is 64 x 32"),
    ]
    for given, message in cases:
        with pytest.raises(ValueError, match=message):
            gathered(**given)


def test_captions() -> None:
    class Clip:
        def tokenize(self, text: str) -> str:
            return text

        def encode_from_tokens_scheduled(self, tokens: str) -> str:
            return tokens.upper()

    assert dataset.captioned(Clip(), "a\n b \n\nc", 3) == ["A", "B", "C"]
    assert dataset.captioned(Clip(), "same", 3) == ["SAME"]
    assert dataset.captioned(Clip(), "", 3) == [""]
    with pytest.raises(ValueError, match="2 captions for 3 pictures"):
        dataset.captioned(Clip(), "a\nb", 3)


def test_binary_and_widths() -> None:
    assert torch.equal(binary(torch.tensor([0.2, 0.5, 0.9])), torch.tensor([0.0, 1.0, 1.0]))
    assert sketch.as_shades(cross())[1] is None
