"""Further versions of training pictures: pictures and maps stay aligned, whatever the map means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusion_path.lep import dataset, training, versions
from diffusion_path.lep.maps import MAPS
from diffusion_path.lep.training import Plan, train_predictor
from diffusion_path.lep.versions import VERSIONS, Version, turned, version
from diffusion_path.nodes.lep_training import TrainMapPredictor
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.test_lep_nodes import settings
from diffusion_path.tests.unit.test_lep_sketch import PoolVae
from torch import Tensor

LEFT = Version(0.75, 0.5, 0.0, True)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Version:
    """Every further version is the left three quarters of a picture, mirrored unless the map forbids it."""
    monkeypatch.setattr(dataset, "version", lambda *given: Version(0.75, 0.5, 0.0, given[3]))
    return LEFT


def drawn(count: int = 5) -> Tensor:
    """Pictures whose three colours tell every place from every other: across, down, and a bar left of the middle."""
    ramp = torch.linspace(0.0, 1.0, 64)
    picture = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)], dim=-1)
    picture[:, 16:24, 2] = 1.0
    return torch.stack([picture * (1.0 - 0.1 * i) for i in range(count)])


def gathered(kind: str, **given: Any) -> dataset.Dataset:
    data: dict[str, Any] = {"latents": [], "images": [drawn()], "conds": [tiny.cond(i) for i in range(5)], **given}
    data.setdefault("maps", {"edges": [], "segmentation": [drawn().round()]}.get(kind, [drawn()]))
    with torch.inference_mode():
        return dataset.gather(tiny.unet(), PoolVae(), wanted=dataset.Wanted(kind, versions=2), **data)


def test_a_version_is_a_part_of_the_picture_at_its_size() -> None:
    whole = drawn(1)
    seen = LEFT.of(whole)
    assert seen.shape == whole.shape
    across, bar = seen[0, 32, :, 0], seen[0, 32, :, 2]
    assert across[0] == pytest.approx(47 / 63, abs=0.02), "the right end is the middle of the picture's right half"
    assert across[-1] == pytest.approx(0.0, abs=0.02)
    middle = float((bar * torch.arange(64)).sum() / bar.sum())
    assert middle == pytest.approx(63 - (19.5 + 0.5) / 0.75 + 0.5, abs=0.3)
    assert torch.equal(Version(1.0, 0.3, 0.7, False).of(whole), whole)
    assert set(LEFT.of(whole.round(), flat=True).unique().tolist()) == {0.0, 1.0}


def test_versions_differ_and_repeat() -> None:
    found = [version(7, picture, number) for picture in range(20) for number in range(1, VERSIONS)]
    assert found == [version(7, picture, number) for picture in range(20) for number in range(1, VERSIONS)]
    assert len(set(found)) == len(found)
    assert len({version(seed, 0, 1).top for seed in range(9)}) == 9
    assert all(versions.LEAST <= each.share <= 1.0 and 0.0 <= each.top <= 1.0 and 0.0 <= each.left <= 1.0
               for each in found)  # fmt: skip
    assert [each.mirrored for each in found[:3]] == [True, False, True]
    assert not any(version(7, 0, number, mirrors=False).mirrored for number in range(1, 9))


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_changes_as_its_picture_does(kind: str, chosen: Version) -> None:
    """Pictures first, then versions, each with its picture's text; the map is the map of what the version shows."""
    data = gathered(kind)
    assert [each.version_of for each in data.examples] == [None] * 5 + list(range(5))
    model, vae, mirrored = tiny.unet(), PoolVae(), Version(0.75, 0.5, 0.0, MAPS[kind].mirror != "unknown")
    for index, example in enumerate(data.examples[5:]):
        assert example.cond is data.examples[index].cond
        picture = mirrored.of(drawn()[index : index + 1])
        code = model.get_model_object("process_latent_in")(vae.encode(picture))
        torch.testing.assert_close(example.latent, code)
        if kind == "segmentation":
            wanted = mirrored.of(drawn()[index : index + 1].round(), flat=True)
        else:
            wanted = turned(picture) if kind == "normals" else picture
        if kind != "edges":
            torch.testing.assert_close(example.target, data.encoding.encode(model, vae, wanted, (8, 8)))
    alone = gathered("edges", images=[torch.cat([chosen.of(each[None]) for each in drawn()])])
    if kind == "edges":
        for version_, example in zip(data.examples[5:], alone.examples[:5], strict=True):
            torch.testing.assert_close(version_.target, example.target)


def test_normals_of_a_mirrored_surface_point_the_other_way() -> None:
    right = torch.tensor([1.0, 0.5, 0.5])
    assert turned(right.expand(1, 2, 2, 3))[0, 0, 0].tolist() == [0.0, 0.5, 0.5]
    level = torch.tensor([0.5, 0.5, 1.0])
    assert turned(level.expand(1, 2, 2, 3))[0, 0, 0].tolist() == [0.5, 0.5, 1.0]


def test_given_lines_move_with_the_picture(chosen: Version) -> None:
    """And keep their width, although the part is enlarged."""
    lines = torch.zeros(5, 64, 64, 3)
    lines[:, :, 14:16] = 1.0
    data = gathered("edges", maps=[lines])
    moved = torch.zeros(5, 64, 64, 3)
    moved[:, :, 43:45] = 1.0  # 64 - 15 / 0.75
    wanted = gathered("edges", maps=[moved])
    for example, other in zip(data.examples[5:], wanted.examples[:5], strict=True):
        torch.testing.assert_close(example.target[..., 1:7, :], other.target[..., 1:7, :], atol=0.15, rtol=0.1)


def test_versions_of_latents_are_made_of_what_they_decode_to(chosen: Version) -> None:
    class Decoding(PoolVae):
        def decode(self, latent: Tensor) -> Tensor:
            return drawn(1).expand(len(latent), -1, -1, -1)

    with torch.inference_mode():
        codes = [{"samples": PoolVae().encode(drawn())}]
        data = dataset.gather(
            tiny.unet(), Decoding(), codes, [], [tiny.cond(0)], [drawn()], dataset.Wanted("depth", versions=2)
        )
    assert len(data.examples) == 10
    torch.testing.assert_close(data.examples[5].latent, gathered("depth").examples[5].latent)


class Film(PoolVae):
    """A VAE of videos: each frame is a latent frame, in the 16 channels of Wan's."""

    def encode(self, pixels: Tensor) -> Tensor:
        return super().encode(pixels).repeat(1, 4, 1, 1).movedim(0, 1)[None]

    def decode(self, latent: Tensor) -> Tensor:
        shown = latent[:, :3].repeat_interleave(8, -1).repeat_interleave(8, -2)
        return shown.movedim(1, -1)


def test_all_frames_of_a_video_change_alike(chosen: Version) -> None:
    frames = torch.cat([drawn(1), drawn(1).flip(1), drawn(1) * 0.5])
    with torch.inference_mode():
        videos = [{"samples": Film().encode(frames)}, {"samples": Film().encode(frames * 0.8)}]
        data = dataset.gather(
            tiny.wan(), Film(), videos, [], [tiny.cond(0)], [frames, frames * 0.8], dataset.Wanted("depth", versions=2)
        )
    for index, example in enumerate(data.examples[2:]):
        assert example.latent.shape == data.examples[index].latent.shape == (1, 16, 3, 8, 8)
        seen = chosen.of(Film().decode(videos[index]["samples"])[0])
        code = tiny.wan().get_model_object("process_latent_in")(Film().encode(seen))
        torch.testing.assert_close(example.latent, code)
        wanted = data.encoding.encode(tiny.wan(), Film(), chosen.of(frames * (0.8 if index else 1.0)), (8, 8))
        torch.testing.assert_close(example.target, wanted)
        assert example.target.shape == (3, 1, 8, 8)


def test_the_node_makes_as_many_versions_as_it_says() -> None:
    """A prompt from before there was the input trains on the pictures alone."""
    with torch.inference_mode():
        given: dict[str, Any] = {
            "model": [tiny.unet()], "vae": [PoolVae()], "images": [drawn()], "conditioning": [tiny.cond(0)],
        }  # fmt: skip
        plain = TrainMapPredictor.execute(**given, **settings())
        three = TrainMapPredictor.execute(**given, **settings(versions=3))
    found = [node.result[0].record for node in (plain, three)]
    plain_report, report = (str(vars(node.ui)) for node in (plain, three))
    assert [(record["pictures"], record["versions"]) for record in found] == [(5, 1), (5, 3)]
    assert "on 5 pictures in 3 versions each" in report
    assert "versions" not in plain_report


def test_versions_of_held_back_pictures_are_held_back_too() -> None:
    """What the predictor is judged by is pictures as they are, of which it has seen no part."""
    model = tiny.unet()
    data = gathered("depth", images=[drawn(8)], maps=[drawn(8)], conds=[tiny.cond(0)])
    plan = Plan(network="mlp", steps=8, batch=4, feature_set="all", validation=0.25)
    read: list[list[int]] = []
    call = training._Session._call

    def listening(session: Any, network: Any, members: list[int], *given: Any) -> Any:
        read.append(members)
        return call(session, network, members, *given)

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(training._Session, "_call", listening)
        trained = train_predictor(model, data.examples, data.planned(plan))
    held = set(trained.held_back)
    assert len(held) == 2
    assert max(held) < 8
    judged = {members[0] for members in read if len(members) == 1}
    learned = {index for members in read if len(members) > 1 for index in members}
    assert judged == held
    assert not {index % 8 for index in learned} & held
    assert max(learned) >= 8
    assert (trained.predictor.record["pictures"], trained.predictor.record["versions"]) == (8, 2)
    alone = train_predictor_on_originals(model, data, plan)
    assert alone.predictor.record["versions"] == 1
    assert alone.held_back == trained.held_back


def train_predictor_on_originals(model: Any, data: dataset.Dataset, plan: Plan) -> Any:
    with torch.inference_mode():
        return train_predictor(model, data.examples[:8], data.planned(plan))
