"""Map predictors on disk: round trip, published layouts, and files that are damaged, foreign or dangerous."""

from __future__ import annotations

import errno
import itertools
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion_path.lep import checkpoint
from diffusion_path.lep.checkpoint import load_predictor, save_predictor
from diffusion_path.lep.predictor import MapPredictor, build_network
from diffusion_path.lep.public import ReadoutNetwork, USketchNetwork
from safetensors.torch import save_file
from torch import Tensor


def own(kind: str = "mlp", channels: tuple[int, ...] = (8, 6)) -> MapPredictor:
    torch.manual_seed(1)
    settings = {"out_channels": 4}
    network = build_network(kind, channels, **settings)
    taps = tuple(f"input_blocks.{i}" for i in range(len(channels)))
    record = {"steps": 7, "loss": 0.25}
    return MapPredictor(
        network,
        kind,
        taps,
        channels,
        {"network": "UNetModel"},
        noise_range=(0.1, 0.9),
        settings=settings,
        record=record,
    )


def mlp_state(inputs: int) -> dict[str, Tensor]:
    widths = [inputs, 512, 256, 128, 64, 4]
    state: dict[str, Tensor] = {}
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        state[f"layers.{3 * i}.weight"], state[f"layers.{3 * i}.bias"] = torch.randn(b, a) * 0.01, torch.zeros(b)
        if i < 4:
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"layers.{3 * i + 2}.{part}"] = torch.ones(b)
            state[f"layers.{3 * i + 2}.num_batches_tracked"] = torch.tensor(1)
    return state


@pytest.mark.parametrize("kind", ["mlp", "unet"])
def test_round_trip(kind: str, tmp_path: Path) -> None:
    predictor = own(kind)
    path = tmp_path / "deep" / "mine.safetensors"
    save_predictor(predictor, path)
    loaded = load_predictor(path)
    for name in ("kind", "taps", "channels", "model", "target", "branch", "noise_range", "settings", "record"):
        assert getattr(loaded, name) == getattr(predictor, name)
    features = [torch.randn(1, 8, 4, 4), torch.randn(1, 6, 2, 2)]
    level = torch.tensor([0.4])
    wanted = predictor.network(features, level, (4, 4))
    torch.testing.assert_close(loaded.network(features, level, (4, 4)), wanted, rtol=1e-2, atol=1e-2)
    assert not any(p.is_inference() for p in loaded.network.parameters())
    assert [p.name for p in path.parent.iterdir()] == ["mine.safetensors"]


def test_statistics_beyond_half_precision_survive(tmp_path: Path) -> None:
    predictor = own()
    first: Any = predictor.network.first
    first.set_statistics(0, torch.full((8,), 3e5), torch.full((8,), 1e9))
    save_predictor(predictor, tmp_path / "mine.safetensors")
    loaded: Any = load_predictor(tmp_path / "mine.safetensors").network
    assert torch.equal(loaded.first.mean_0, first.mean_0)
    assert torch.equal(loaded.first.scale_0, first.scale_0)


def test_loading_in_inference_mode_gives_normal_tensors(tmp_path: Path) -> None:
    save_predictor(own(), tmp_path / "mine.safetensors")
    with torch.inference_mode():
        loaded = load_predictor(tmp_path / "mine.safetensors")
        copy = loaded.network_on(torch.device("cpu"))
    for network in (loaded.network, copy):
        assert not any(t.is_inference() for t in network.state_dict().values())
    assert not any(p.requires_grad for p in copy.parameters())
    assert copy is not loaded.network


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.safetensors"
    save_predictor(own(), path)
    before = path.read_bytes()

    def broken(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", broken)
    with pytest.raises(ValueError, match="is full, nothing was saved"):
        save_predictor(own("unet"), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mine.safetensors"]


@pytest.mark.parametrize(
    ("inputs", "wrapped", "branch", "taps", "binarise"),
    [(7080, True, "negative", 8, False), (9320, False, "positive", 9, True), (9324, False, "positive", 9, True)],
)
def test_published_pixel_networks(
    inputs: int, wrapped: bool, branch: str, taps: int, binarise: bool, tmp_path: Path
) -> None:
    state = mlp_state(inputs)
    content: Any = state
    if wrapped:
        loss = torch.tensor(0.5, requires_grad=True)
        optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]).state_dict()
        content = {"model_state_dict": state, "optimizer_state_dict": optimiser, "loss": loss}
    torch.save(content, tmp_path / "published.pt")
    predictor = load_predictor(tmp_path / "published.pt")
    assert (predictor.branch, len(predictor.taps), predictor.binarise) == (branch, taps, binarise)
    assert predictor.target == "latent"
    assert predictor.model["context"] == 768
    assert predictor.network.noise == "map"
    assert sum(predictor.channels) + 4 * (1 + predictor.settings["encodings"]) == inputs
    save_predictor(predictor, tmp_path / "converted.safetensors")
    assert load_predictor(tmp_path / "converted.safetensors").taps == predictor.taps


def test_published_u_sketch(tmp_path: Path) -> None:
    with torch.device("meta"):
        empty = USketchNetwork(checkpoint._LEP_CHANNELS).state_dict()
    state = {key: torch.zeros(value.shape, dtype=torch.float16) for key, value in empty.items()}
    torch.save({"model_state_dict": state}, tmp_path / "u.pt")
    predictor = load_predictor(tmp_path / "u.pt")
    assert predictor.kind == "u-sketch"
    assert predictor.channels == checkpoint._LEP_CHANNELS
    assert predictor.binarise
    torch.save({"e1.conv.conv1.weight": torch.zeros(64, 100, 3, 3)}, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match="100 inputs, and only 9320 are known"):
        load_predictor(tmp_path / "odd.pt")


@pytest.mark.parametrize(("sdxl", "count"), [(False, 12), (True, 9)])
def test_published_readout_heads(sdxl: bool, count: int, tmp_path: Path) -> None:
    channels = ((1280,) * 3 if sdxl else (1280,) * 6) + (640,) * 3 + (320,) * 3
    state = {**ReadoutNetwork(channels).state_dict(), "logit_scale": torch.tensor(2.6)}
    content = {"step": 5000, "config": {"dims": list(channels), "projection_dim": 384}, "aggregation_network": state}
    torch.save(content, tmp_path / "head.pt")
    predictor = load_predictor(tmp_path / "head.pt")
    assert predictor.target == "pixels"
    assert predictor.network.noise == "embedding"
    assert predictor.taps[-1] == f"output_blocks.{count - 1}.0.out_layers"
    assert predictor.model["latent_format"] == ("SDXL" if sdxl else "SD15")
    content["aggregation_network"] = ReadoutNetwork((320, 320)).state_dict()
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match="neither SD1.5's nor SDXL's"):
        load_predictor(tmp_path / "odd.pt")


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("plain", [False, True])
def test_code_in_a_pickle_never_runs(plain: bool, tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "trap.pt"
    content = {"model_state_dict": mlp_state(7080), "extra": Trap(marker)}
    if plain:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match="can run code"):
        load_predictor(path)
    assert not marker.exists()


def bad_files(folder: Path) -> dict[str, str]:
    """File name -> what must be said about it."""
    save_predictor(own(), folder / "whole.safetensors")
    whole = (folder / "whole.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "noise.safetensors").write_bytes(b"\x00" * 100)
    (folder / "empty.pt").write_bytes(b"")
    save_file({"x": torch.zeros(1)}, folder / "foreign.safetensors", {"format": "pt"})
    save_file({"x": torch.zeros(1)}, folder / "newer.safetensors", {"format": checkpoint.FORMAT, "version": "99"})
    save_file({"x": torch.zeros(1)}, folder / "bare.safetensors", {"format": checkpoint.FORMAT, "version": "1"})
    torch.save({"weight": torch.zeros(2)}, folder / "other.pt")
    torch.save([torch.zeros(1)], folder / "list.pt")
    torch.save(mlp_state(1234), folder / "inputs.pt")
    short = mlp_state(7080)
    del short["layers.9.weight"]
    torch.save(short, folder / "short.pt")
    whole_pt = folder / "cut.pt"
    torch.save(mlp_state(7080), whole_pt)
    whole_pt.write_bytes(whole_pt.read_bytes()[:5000])
    return {
        "missing.safetensors": "There is no map predictor",
        "cut.safetensors": "is damaged",
        "noise.safetensors": "is damaged",
        "empty.pt": "is damaged",
        "cut.pt": "is damaged",
        "foreign.safetensors": "is not a map predictor",
        "newer.safetensors": "newer version",
        "bare.safetensors": "does not hold what its description says",
        "other.pt": "not a map predictor that this pack knows",
        "list.pt": "holds no weights by name",
        "inputs.pt": "with 1234 inputs, which is not one of the known layouts",
        "short.pt": "parts of it are missing",
    }


def test_bad_files_get_one_sentence(tmp_path: Path) -> None:
    for name, message in bad_files(tmp_path).items():
        with pytest.raises(ValueError, match=message) as caught:
            load_predictor(tmp_path / name)
        assert str(caught.value).count(". ") == 0, name
