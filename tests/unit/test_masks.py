"""What a MASK is and where it lies on the latent grid: one rule, and every node keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.latent_formats
import comfy.sampler_helpers
import comfy.samplers
import comfy.sd
import pytest
import torch
from comfy.model_base import ModelType
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise
from diffusion_path.devtools.direct import call
from diffusion_path.lep.sketch import Sketch
from diffusion_path.samplers import masks
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.analytic import cond, gaussian_model
from diffusion_path.tests.unit.guided import predictor_for
from diffusion_path.tests.unit.test_sweep import FoldingVAE
from torch import Tensor

ODD_SIZES = [(203, 141), (141, 203), (1000, 667), (511, 767), (512, 512)]
ONE = PathSchedule(1.0, 0.2, weight=0.5)


def encoded(plane: Tensor, block: int) -> Tensor:
    """What core's own VAE encoding leaves of a picture [B, H, W], before the network sees it."""
    vae = comfy.sd.VAE.__new__(comfy.sd.VAE)
    vae.crop_input, vae.downscale_ratio, vae.output_channels = True, block, 1
    return vae.vae_encode_crop_pixels(plane[..., None])[..., 0]


def grid_of(size: tuple[int, int], block: int) -> tuple[int, int]:
    return size[0] // block, size[1] // block


@pytest.mark.parametrize("block", [4, 8, 16, 32])
@pytest.mark.parametrize("size", ODD_SIZES)
def test_the_crop_is_that_of_cores_vae_whether_the_block_is_known_or_found(size: tuple[int, int], block: int) -> None:
    plane = torch.arange(size[0] * size[1]).reshape(1, *size)
    for known in (block, None):
        crop = masks.find_crop(size, grid_of(size, block), known)
        assert crop is not None
        assert crop.block == block
        kept = crop.of(plane, grid_of(size, block))
        assert torch.equal(kept, encoded(plane, block))
        back = crop.back(kept, size)
        assert torch.equal(back[back > 0], kept[kept > 0])
        assert torch.equal(crop.of(back, grid_of(size, block)), kept)


@pytest.mark.parametrize("block", [8, 16, 32])
@pytest.mark.parametrize("size", [(203, 141), (1000, 667), (511, 767)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_line_of_one_pixel_edits_the_latent_row_that_holds_it(size, block: int, axis: int) -> None:
    """In every row and column that the VAE keeps, by Mask to Latent and by nodes that take a mask themselves."""
    samples = torch.zeros(1, 4, *grid_of(size, block))
    numbers = torch.arange(size[axis]).reshape(1, -1, 1) if axis == 0 else torch.arange(size[axis]).reshape(1, 1, -1)
    kept = encoded(numbers.expand(1, *size), block)
    kept = kept[0, :, 0] if axis == 0 else kept[0, 0]
    for place, line in enumerate(kept.tolist()):
        if place % block not in (0, block - 1):
            continue  # the first and the last row of a cell are where an offset shows
        mask = torch.zeros(1, *size)
        mask.select(1 + axis, line)[:] = 1.0
        expected = torch.zeros(samples.shape[2 + axis])
        expected[place // block] = 1.0
        grids = [masks.on_grid(mask, samples.shape, block)]
        if size[0] < 500:
            grids.append(call("DPathLatentMask", mask=mask, latent={"samples": samples})[0]["noise_mask"])
        for grid in grids:
            assert torch.equal(grid[0, 0].amax(1 - axis), expected)
            assert torch.equal(grid[0, 0].amin(1 - axis), expected)


@pytest.mark.parametrize("block", [8, 16, 32])
@pytest.mark.parametrize("size", ODD_SIZES)
def test_a_mask_on_the_latent_grid_lies_in_the_picture_where_the_vae_took_it_from(
    size: tuple[int, int], block: int
) -> None:
    cells = (torch.rand(2, *grid_of(size, block), generator=torch.Generator().manual_seed(1)) > 0.5).float()
    pixels = masks.on_picture(cells, *size, "the picture")
    assert pixels.shape == (2, *size)
    expected = cells.repeat_interleave(block, 1).repeat_interleave(block, 2)
    assert torch.equal(encoded(pixels, block), expected)
    assert torch.equal(masks.on_grid(pixels, (2, 4, *cells.shape[1:]), block)[:, 0], cells)


def test_a_mask_of_the_grid_and_of_another_resolution_stay_in_place() -> None:
    grid = torch.rand(1, 17, 25)
    assert torch.equal(masks.on_grid(grid, (1, 4, 17, 25)), grid[None])
    half = torch.zeros(1, 68, 100)
    half[:, :, 48:] = 1.0
    assert torch.equal(masks.on_grid(half, (1, 4, 17, 25), 8)[0, 0, 0], (torch.arange(25) >= 12).float())


def test_a_mask_in_the_rim_that_the_vae_crops_is_not_lost_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    mask = torch.zeros(1, 203, 141)
    mask[:, 0] = 1.0  # the VAE keeps rows 1 to 200
    assert not masks.on_grid(mask, (1, 4, 25, 17), 8).any()
    assert "rim that the VAE crops" in caplog.text
    _, pixels, report = call("DPathLatentMask", mask=mask, latent={"samples": torch.zeros(1, 4, 25, 17)})
    assert not pixels.any()
    assert "1 of 1 strokes vanish" in report


def test_blocks_of_every_latent_format_of_core_are_known() -> None:
    formats = [f for f in vars(comfy.latent_formats).values() if isinstance(f, type)]
    sides = {getattr(f, "spacial_downscale_ratio", 1) for f in formats}
    # 42 is Stable Cascade's, whose encoding resizes the picture; 1 has nothing to crop.
    assert sides - {1, 42} <= set(masks.BLOCKS)


@pytest.mark.parametrize("frames", [1, 3, 9, 12, 2])
def test_frames_of_a_video_lie_on_latent_frames_as_causal_vaes_take_them(frames: int, caplog) -> None:
    mask = torch.zeros(frames, 8, 8)
    mask[-1] = 1.0
    if frames == 2:
        with pytest.raises(ValueError, match="batch of 2, but the latent is a video of 3 frames"):
            masks.on_grid(mask, (1, 16, 3, 8, 8))
        return
    grid = masks.on_grid(mask, (1, 16, 3, 8, 8))
    assert grid.shape == (1, 1, 3, 8, 8)
    last = {1: [1.0, 1.0, 1.0], 12: [0.0, 0.0, 0.0]}.get(frames, [0.0, 0.0, 1.0])
    assert grid[0, 0, :, 0, 0].tolist() == last
    assert ("the last 3 are dropped" in caplog.text) == (frames == 12)
    first = torch.zeros(frames, 8, 8)
    first[0] = 1.0
    if frames > 1:
        assert masks.on_grid(first, (1, 16, 3, 8, 8))[0, 0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]


class World:
    """A model of pictures of 96 x 64 pixels, 12 x 8 cells, a batch of two, and every node that takes a mask."""

    shape = (2, 4, 8, 12)

    def __init__(self) -> None:
        self.model = gaussian_model(ModelType.EPS, 0.8)
        generator = torch.Generator().manual_seed(2)
        self.latent: dict[str, Any] = {"samples": torch.randn(self.shape, generator=generator)}
        self.image = torch.rand(2, 64, 96, 3, generator=generator)
        self.prompts = {"positive": cond(-0.5), "negative": cond(0.25)}
        self.path = call(
            "DPathMDPEdit", model=self.model, **self.prompts, source=cond(0.75), latent=self.latent, steps=3, cfg=1.0
        )[1]

    def masked(self, mask: Tensor) -> dict[str, Any]:
        return {**self.latent, "noise_mask": mask}

    def edited(self, model: Any) -> Tensor:
        """A run of a patched model on the path's levels."""
        noise, sigmas, latent, sampler, model, _ = call("DPathToSampling", model=model, path=self.path, t0=1.0)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(self.prompts["positive"], self.prompts["negative"])
        guider.set_cfg(1.0)
        return guider.sample(noise.generate_noise(latent), latent["samples"], sampler, sigmas, disable_pbar=True)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def sdedit(w: World, mask: Tensor) -> Any:
    return call("DPathSDEdit", model=w.model, **w.prompts, guide=w.masked(mask), steps=2, cfg=1.0)[0]["samples"]


def flowedit(w: World, mask: Tensor) -> Any:
    given = {"model": w.model, **w.prompts, "source": cond(0.75), "latent": w.latent, "steps": 2}
    return call("DPathFlowEdit", **given, mask=mask)[0]["samples"]


def flowedit_noise_mask(w: World, mask: Tensor) -> Any:
    given = {"model": w.model, **w.prompts, "source": cond(0.75), "latent": w.masked(mask), "steps": 2}
    return call("DPathFlowEdit", **given)[0]["samples"]


def mdp_edit(w: World, mask: Tensor, method: str = "noise") -> Any:
    given = {"model": w.model, **w.prompts, "source": cond(0.75), "latent": w.latent, "path": w.path, "cfg": 1.0}
    return call("DPathMDPEdit", **given, method=method, mask=mask)[0]["samples"]


def mdp_edit_recommended(w: World, mask: Tensor) -> Any:
    return mdp_edit(w, mask, "recommended")


def mdp_sweep(w: World, mask: Tensor) -> Any:
    given = {"model": w.model, **w.prompts, "source": cond(0.75), "latent": w.latent, "path": w.path, "cfg": 1.0}
    return call("DPathMDPSweep", **given, vae=FoldingVAE(), method="noise", sweep="weights", weights="0.5", mask=mask)[
        1
    ]["samples"]


def manipulation(kind: str, needs: str) -> Callable[[World, Tensor], Any]:
    def run(w: World, mask: Tensor) -> Any:
        given = {"model": w.model, "kind": kind, "source": w.path if needs == "path" else cond(0.75)}
        return w.edited(call("DPathMDP", **given, schedule=ONE, mask=mask)[0])

    return run


def perturb(w: World, mask: Tensor) -> Any:
    return call("DPathPerturb", model=w.model, latent=w.latent, mask=mask)[0]["samples"]


def sweep(w: World, mask: Tensor) -> Any:
    given = {"model": w.model, **w.prompts, "vae": FoldingVAE(), "image": w.image, "steps": 2, "cfg": 1.0}
    return call("DPathSweep", **given, values="0.5", mask=mask)[1]["samples"]


def masked_sampler(w: World, mask: Tensor) -> Any:
    sampler = comfy.samplers.sampler_object("euler")
    part = call("DPathMaskedSampler", sampler=sampler, original=w.masked(mask), seed=1)[0]
    guider = comfy.samplers.CFGGuider(w.model)
    guider.set_conds(w.prompts["positive"], w.prompts["negative"])
    noise, samples = torch.zeros(w.shape), w.latent["samples"]
    return guider.sample(noise, samples, part, torch.tensor([2.0, 1.0, 0.0]), disable_pbar=True)


def record(w: World, mask: Tensor) -> Any:
    guider = comfy.samplers.CFGGuider(w.model)
    guider.set_conds(w.prompts["positive"], w.prompts["negative"])
    noise = Noise_RandomNoise(1)
    sampler, levels = comfy.samplers.sampler_object("euler"), torch.tensor([2.0, 1.0, 0.0])
    given = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": levels}
    return call("DPathRecord", **given, latent_image=w.masked(mask))[1]["samples"]


def latent_mask(w: World, mask: Tensor) -> Any:
    return call("DPathLatentMask", mask=mask, latent=w.latent)[0]["noise_mask"]


def composite(w: World, mask: Tensor) -> Any:
    return call("DPathCompositeExact", edited=1 - w.image, original=w.image, mask=mask)[0]


def metrics(w: World, mask: Tensor) -> Any:
    compare = {"compare": "pairs", "region": "whole", "mask": mask}
    return call("DPathMetrics", reference=w.image, edited=1 - w.image, compare=compare)[-2]


def strength_map(_: World, mask: Tensor) -> Any:
    return call("DPathStrengthMap", mask_1=mask, t0_1=0.5, mask_2=torch.ones(2, 64, 96) * 0.5, t0_2=0.2)[0]


SKETCHED = tiny.unet()
PREDICTOR = predictor_for(SKETCHED)


def sketch_guidance(w: World, mask: Tensor) -> Any:
    drawing = torch.zeros(2, 64, 96, 3)
    drawing[:, 30:34] = 1.0
    given = {"model": SKETCHED, "predictor": PREDICTOR, "vae": FoldingVAE(), "sketch": drawing}
    return call("DPathSketchGuidance", **given, importance=mask)[0]


NODES: dict[str, Callable[[World, Tensor], Any]] = {
    "SDEdit, noise mask": sdedit,
    "FlowEdit": flowedit,
    "FlowEdit, noise mask": flowedit_noise_mask,
    "MDP Edit": mdp_edit,
    "MDP Edit, recommended": mdp_edit_recommended,
    "MDP Sweep": mdp_sweep,
    "MDP-ε": manipulation("noise", "path"),
    "MDP-x": manipulation("latent", "path"),
    "MDP-c": manipulation("conditioning", "source"),
    "MDP-β": manipulation("guidance", "source"),
    "SDE Perturb": perturb,
    "SDEdit Sweep": sweep,
    "Strength Map": strength_map,
    "Masked Reverse SDE, original": masked_sampler,
    "Record Path, noise mask": record,
    "Mask to Latent": latent_mask,
    "Composite Exact": composite,
    "Metrics": metrics,
    "Sketch Guidance": sketch_guidance,
}
every_node = pytest.mark.parametrize("name", NODES)
HALF = (torch.arange(96) >= 48).float().expand(64, 96).contiguous()

ACCEPTED: dict[str, Tensor] = {
    "zeros of Load Image": torch.zeros(1, 64, 64),
    "ones of another size": torch.ones(1, 64, 64),
    "grey of another size": torch.full((1, 5, 70), 0.5),
    "none and all, one for each": torch.stack([torch.zeros(64, 64), torch.ones(64, 64)]),
    "[H, W]": HALF,
    "[1, H, W]": HALF[None],
    "[B, H, W]": torch.stack([HALF, 1 - HALF]),
    "[B, 1, H, W]": torch.stack([HALF, 1 - HALF])[:, None],
    "true and false": HALF[None] > 0.5,
    "whole numbers": HALF[None].to(torch.uint8),
    "half precision": HALF[None].half(),
}
REFUSED: dict[str, tuple[Tensor, str]] = {
    "other proportions": (HALF[None, :, 32:].contiguous(), "64 x 64.*(96 x 64|12 x 8)"),
    "an empty batch": (torch.zeros(0, 64, 96), r"is empty \(\[0, 64, 96\]\)"),
    "no pixels": (torch.zeros(1, 0, 96), "is empty"),
    "three for two": (torch.stack([HALF, HALF, 1 - HALF]), "batch of 3.*2|mask_2 is a batch of 2.*3"),
    "NaN": (torch.full((1, 64, 96), float("nan")), "values that are (NaN|not finite)"),
    "0 to 255": (255 * HALF[None], "from 0 to 255, but it must stay within 0 .keep. and 1 .edit.: divide"),
    "0 to 255, whole": ((255 * HALF[None]).to(torch.uint8), "from 0 to 255"),
    "below 0": (HALF[None] - 0.5, "from -0.5 to 0.5"),
    "channels": (torch.ones(1, 64, 96, 3) * HALF[None, ..., None], r"\[1, 64, 96, 3\]"),
}  # fmt: skip
NO_PICTURE = {"Strength Map"}  # it knows no picture: its masks are compared with each other


@every_node
@pytest.mark.parametrize("case", ACCEPTED)
def test_every_node_accepts_every_mask(world: World, name: str, case: str) -> None:
    mask = ACCEPTED[case]
    before = mask.clone()
    result = NODES[name](world, mask)
    if isinstance(result, Tensor):
        assert bool(torch.isfinite(result).all())
    assert torch.equal(mask, before)


@every_node
@pytest.mark.parametrize("case", REFUSED)
def test_every_node_refuses_what_is_no_mask_of_its_picture_in_one_sentence(world: World, name: str, case: str) -> None:
    mask, words = REFUSED[case]
    if case == "other proportions" and name in NO_PICTURE:
        mask = torch.rand(1, 64, 64)
        with pytest.raises(ValueError, match="the mask_1 is 64 x 64|The mask_2 is 96 x 64|mask_1"):
            call("DPathStrengthMap", mask_1=mask, mask_2=HALF[None])
        return
    with pytest.raises(ValueError, match=words) as caught:
        NODES[name](world, mask)
    assert "mask" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in NODES if name not in ("Sketch Guidance", "Metrics")])
def test_shapes_and_kinds_of_one_mask_give_one_result(world: World, name: str) -> None:
    expected = NODES[name](world, HALF[None])
    for case in ("[H, W]", "true and false", "whole numbers", "half precision"):
        assert torch.equal(NODES[name](world, ACCEPTED[case]), expected), case
    both = NODES[name](world, ACCEPTED["[B, H, W]"])
    assert torch.equal(NODES[name](world, ACCEPTED["[B, 1, H, W]"]), both)
    if len(expected) == 2:  # what a mask says of one picture does not touch the other
        other = NODES[name](world, 1 - HALF[None])
        assert torch.equal(both, torch.stack([expected[0], other[1]]))


@pytest.mark.parametrize(
    "name",
    ["SDEdit, noise mask", "FlowEdit", "FlowEdit, noise mask", "MDP Edit", "MDP Edit, recommended", "SDE Perturb"],
)
def test_a_mask_of_zeros_of_any_size_edits_nothing_and_one_of_ones_is_no_mask(world: World, name: str) -> None:
    picture = world.path.picture if name.startswith("MDP") else world.latent["samples"]
    assert torch.equal(NODES[name](world, torch.zeros(1, 64, 64)), picture)
    whole = NODES[name](world, torch.ones(1, 64, 64))
    assert torch.equal(whole, NODES[name](world, torch.ones(2, 64, 96)))
    assert not torch.equal(whole, picture)


THIN = ["FlowEdit", "MDP Edit", "MDP-ε", "MDP-x", "SDE Perturb", "SDEdit Sweep"]


@pytest.mark.parametrize("name", THIN)
@pytest.mark.parametrize("width", [1, 3, 4])
def test_thin_strokes_are_edited_where_they_lie(world: World, name: str, width: int) -> None:
    mask = torch.zeros(1, 64, 96)
    mask[:, 22 : 22 + width] = 1.0  # of rows 16 to 23 and 24 to 31 of the latent rows 2 and 3
    kept = NODES[name](world, torch.zeros(1, 64, 64))
    changed = (NODES[name](world, mask) != kept).any(dim=1)
    rows = [2] if width == 1 else [2, 3]
    assert changed[:, rows].all()
    changed[:, rows] = False
    assert not changed.any()


def test_reports_count_the_grid_that_is_edited(world: World) -> None:
    mask = torch.zeros(1, 64, 96)
    mask[:, 22] = 1.0
    given = {"model": world.model, **world.prompts, "source": cond(0.75), "latent": world.latent}
    report = call("DPathFlowEdit", **given, steps=2, mask=mask)[1]
    assert "mask: 24 of 192 latent cells (12.5%) edited" in report
    report = call("DPathMDPEdit", **given, steps=3, mask=mask, method="noise")[2]
    assert "region: 12 of 96 latent cells (12.5%)" in report


def test_what_core_loses_of_a_noise_mask_is_said_before_the_work(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Set Latent Noise Mask hands on pixels, of which core takes a few samples to a cell."""
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., 17, :] = 1.0
    mask[..., 40:56, :] = 1.0
    assert masks.losses(mask, world.latent["samples"]).startswith("1 of 2 strokes of the mask vanish")
    report = call("DPathSDEdit", model=world.model, **world.prompts, guide=world.masked(mask), steps=2, cfg=1.0)[2]
    assert "mask: 48 of 192 latent cells (25.0%) edited. 1 of 2 strokes of the mask vanish" in report
    assert "Mask to Latent" in caplog.text
    only = torch.where(mask.bool() & (torch.arange(64) < 30)[:, None], mask, torch.zeros_like(mask))
    report = call("DPathSDEdit", model=world.model, **world.prompts, guide=world.masked(only), steps=2, cfg=1.0)[2]
    assert "the mask is 0 everywhere on the latent grid" in report
    kept = call("DPathLatentMask", mask=mask[0], latent=world.latent)[0]["noise_mask"]
    assert masks.losses(kept, world.latent["samples"]) == ""


def test_an_importance_of_zeros_follows_nothing_and_of_thin_lines_follows_them() -> None:
    guided = sketch_guidance(World.__new__(World), torch.zeros(1, 64, 64))
    assert not any(guided.model_options.get("transformer_options", {}).get("wrappers", {}).values())
    strokes = torch.zeros(1, 64, 96)
    strokes[:, 30:34] = 1.0
    thin = torch.zeros(1, 64, 96)
    thin[:, 33] = 1.0
    _, weight = Sketch(SKETCHED, FoldingVAE(), PREDICTOR, strokes, thin).at(8, 12)
    assert weight is not None
    assert weight[0, 0, :, 0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0]


def test_sketch_and_importance_lie_where_the_vae_crops_the_picture() -> None:
    """A picture of 203 x 141 is encoded from row 1 and column 2 on."""
    strokes = torch.zeros(1, 203, 141)
    strokes[:, 9:17] = 1.0  # the second latent row
    target, weight = Sketch(SKETCHED, FoldingVAE(), PREDICTOR, strokes, strokes, greys="shade").at(25, 17)
    assert weight is not None
    assert weight[0, 0, :, 0].nonzero().flatten().tolist() == [1]
    rows = target[0, 0].mean(1)
    assert rows.argmax() == 1
    assert torch.equal(rows[[0, 2]], rows[[3, 4]])


def test_nested_masks_and_latents_are_named(world: World) -> None:
    with pytest.raises(ValueError, match="noise mask of guide is NestedTensor"):
        sdedit(world, NestedTensor([torch.zeros(1, 1, 8, 8)]))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="mask has height and width, but the latent has neither"):
        masks.on_grid(HALF, (1, 64, 100))
    assert masks.on_grid(torch.zeros(1, 64, 64), (1, 64, 100)).shape == (1, 1, 1)


def test_pictures_of_a_video_model_are_told_apart_from_frames(world: World) -> None:
    """Mask to Latent gives each picture [B, C, 1, h, w] its own, which core would otherwise mix as frames."""
    latent = {"samples": torch.zeros(2, 16, 1, 8, 12)}
    given = call("DPathLatentMask", mask=ACCEPTED["[B, H, W]"], latent=latent)[0]["noise_mask"]
    assert given.shape == (2, 1, 1, 8, 12)
    core = comfy.sampler_helpers.prepare_mask(given, (2, 16, 1, 8, 12), torch.device("cpu"))
    assert torch.equal(core[0, 0, 0], 1 - core[1, 0, 0])
