"""The rendered world: deterministic pictures, masks that belong to them, captions that fit the text encoder."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_path.demo import textures
from diffusion_path.demo.render import ELEMENTS, SEGMENTS, render, render_with_maps
from diffusion_path.demo.scenes import ATTRIBUTES, Scene, caption, full_caption, random_scene, vocabulary
from diffusion_path.demo.text import MAX_TOKENS, PAD, START, UNKNOWN, WordTokenizer
from diffusion_path.nodes.demo import DemoScene


def test_a_scene_renders_the_same_every_time_and_another_seed_differs() -> None:
    scene = Scene(seed=3)
    assert np.array_equal(render(scene), render(scene))
    assert not np.array_equal(render(scene), render(scene.with_(seed=4)))


@pytest.mark.parametrize("size", [64, 256, 320])
def test_every_size_renders(size: int) -> None:
    picture = render(Scene(seed=1), size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 20


def test_textures_of_a_few_sizes_are_kept_and_pictures_stay_the_same() -> None:
    before = render(Scene(seed=1, clouds="cloudy"), 64)
    for size in (80, 96, 112):
        render(Scene(seed=1, clouds="cloudy"), size)
    info = textures.bank.cache_info()
    assert info.currsize <= (info.maxsize or 0) < 20
    assert np.array_equal(render(Scene(seed=1, clouds="cloudy"), 64), before)


@pytest.mark.parametrize("name", list(ATTRIBUTES))
def test_changing_one_attribute_changes_the_picture_but_keeps_the_layout(name: str) -> None:
    scene = Scene(seed=11, house="white", trees="broadleaf", clouds="cloudy")
    old = render(scene).astype(float)
    for value in ATTRIBUTES[name]:
        new = render(scene.with_(**{name: value})).astype(float)
        if value == getattr(scene, name):
            assert np.array_equal(new, old)
        else:
            assert np.abs(new - old).mean() > 0.5
    if name in ("house", "trees", "lake", "clouds"):  # small things leave most pixels alone
        changed = np.abs(render(scene.with_(**{name: ATTRIBUTES[name][0]})).astype(float) - old).max(axis=2) > 12
        assert changed.mean() < 0.5


def test_masks_cover_the_picture_once_and_absent_elements_are_empty() -> None:
    made = render_with_maps(Scene(seed=5, house="red", trees="pines", lake="lake"))
    picture, masks = made.picture, made.masks
    assert np.array_equal(picture, render(Scene(seed=5, house="red", trees="pines", lake="lake")))
    assert set(masks) == set(ELEMENTS)
    total = np.sum(list(masks.values()), axis=0)
    assert total.min() > 0.9
    assert total.max() < 1.1
    for name in ("house", "trees", "lake", "sky"):
        assert 0.005 < masks[name].mean() < 0.6
    made = render_with_maps(Scene(seed=5, house="no house", trees="no trees", lake="meadow"))
    _, bare = made.picture, made.masks
    assert all(bare[name].max() == 0 for name in ("house", "trees", "lake"))


def test_maps_of_depth_and_elements_are_exact() -> None:
    made = render_with_maps(Scene(seed=5, house="red", trees="no trees", lake="lake", clouds="clear"))
    inside = {name: mask > 0.999 for name, mask in made.masks.items()}
    assert made.depth[inside["sky"]].max() == 0
    assert 0 < made.depth[inside["mountains"]].max() < 0.12
    house = made.depth[inside["house"]]
    assert house.max() - house.min() < 0.01, "it stands upright, as near as its foot"
    rows = np.arange(256) >= 200
    ground = made.depth[rows].mean(axis=1)
    assert np.all(np.diff(ground) > 0)
    assert ground[-1] == pytest.approx(1.0, abs=0.01)
    for name, where in inside.items():
        assert np.all(made.segments[where] == SEGMENTS[name])
    assert made.depth_map.shape == made.segments.shape == made.picture.shape


def test_a_stroke_painting_is_flat_where_the_picture_is_textured() -> None:
    def texture(x: np.ndarray) -> float:
        grey = x.astype(float).mean(axis=2)
        return float(np.median(np.abs(np.diff(grey, axis=0))))

    scene = Scene(seed=2)
    assert texture(render(scene, detail=0.0)) < 0.25 * texture(render(scene))
    assert np.abs(render(scene, detail=0.0).astype(float) - render(scene)).mean() < 30


def test_random_scenes_and_captions_stay_inside_the_vocabulary() -> None:
    rng = np.random.default_rng(0)
    tokenizer = WordTokenizer(vocabulary())
    seen: set[tuple[str, str]] = set()
    for _ in range(400):
        scene = random_scene(rng)
        seen |= {(name, getattr(scene, name)) for name in ATTRIBUTES}
        for text in (caption(scene, rng), full_caption(scene)):
            ids = tokenizer(text)["input_ids"]
            assert UNKNOWN not in ids
            assert len(ids) <= MAX_TOKENS
    assert seen == {(name, value) for name, values in ATTRIBUTES.items() for value in values}


def test_full_captions_of_different_scenes_differ() -> None:
    base = Scene()
    for name, values in ATTRIBUTES.items():
        texts = {full_caption(base.with_(**{name: value})) for value in values}
        assert len(texts) == len(values)


def test_the_tokenizer_survives_anything() -> None:
    tokenizer = WordTokenizer(vocabulary())
    assert tokenizer("")["input_ids"][0] == START
    assert UNKNOWN in tokenizer("a quetzalcoatl, 42 ¿?")["input_ids"]
    padded = tokenizer.pad("a red house " * 50)
    assert len(padded) == MAX_TOKENS
    assert tokenizer.pad("lake")[-1] == PAD


def test_a_wrong_attribute_is_refused() -> None:
    with pytest.raises(ValueError, match="season='monsoon' is not a landscape attribute"):
        Scene(season="monsoon")


def test_the_scene_node_gives_a_batch_with_masks_and_a_caption() -> None:
    """DPathDemoScene: one seed per picture, the same pictures as single runs."""
    values = {name: options[-1] for name, options in ATTRIBUTES.items()}
    run = DemoScene.execute(look="picture", element="house", seed=9, batch_size=3, size=128, **values)
    images, masks, text = run.result
    assert images.shape == (3, 128, 128, 3)
    assert masks.shape == (3, 128, 128)
    assert "blue house" in text
    single, mask, _ = DemoScene.execute(
        look="picture", element="house", seed=11, batch_size=1, size=128, **values
    ).result
    assert (single[0] == images[2]).all()
    assert (mask[0] == masks[2]).all()


def test_any_attribute_differs_from_picture_to_picture_and_the_captions_say_so() -> None:
    values = dict.fromkeys(ATTRIBUTES, "any")
    run = DemoScene.execute(look="picture", element="house", seed=3, batch_size=4, size=64, **values).result
    lines = run[2].splitlines()
    assert len(lines) == 4
    assert len(set(lines)) > 1
    again = DemoScene.execute(look="picture", element="house", seed=4, batch_size=1, size=64, **values).result
    assert (again[0][0] == run[0][1]).all()
    assert again[2] == lines[1]
