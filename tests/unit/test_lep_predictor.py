"""The predictors' networks: per pixel, cheap first layer equal to the plain one, batch norm folded; taps."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
import comfy.ops
import pytest
import torch
import torch.nn.functional as F
from diffusion_path.lep import checkpoint, families
from diffusion_path.lep.features import capturing, survey
from diffusion_path.lep.predict import predict_map
from diffusion_path.lep.predictor import PixelNetwork, UNetNetwork, build_network, encode_level
from diffusion_path.lep.public import (
    BatchNormPixelNetwork,
    ReadoutNetwork,
    USketchNetwork,
    encode_noise,
    fold_batch_norm,
)
from diffusion_path.samplers.marking import muted
from diffusion_path.tests.unit import analytic, tiny
from diffusion_path.tests.unit.guided import predictor_for
from torch import Tensor, nn

CHANNELS = (8, 12, 6)
SIZE = (8, 8)

SD15 = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": (1, 2, 4, 4),
    "use_spatial_transformer": True,
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "use_linear_in_transformer": False,
    "legacy": False,
    "num_heads": 8,
    "num_head_channels": -1,
    "adm_in_channels": None,
}


def features(batch: int = 2, seed: int = 0, channels: tuple[int, ...] = CHANNELS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [(8, 8), (4, 4), (2, 2)]
    return [torch.randn(batch, count, *sizes[i % 3], generator=generator) * (i + 1) for i, count in enumerate(channels)]


def up(feature: Tensor) -> Tensor:
    return F.interpolate(feature, size=SIZE, mode="bilinear", align_corners=False)


def test_first_layer_at_native_resolution_is_the_plain_one() -> None:
    """Linear(concat_i up(F_i)) == sum_i up(W_i F_i) + b, with the features standardised."""
    network = PixelNetwork(CHANNELS, 4)
    inputs, angle = features(), torch.tensor([0.3, 0.8])
    for i, feature in enumerate(inputs):
        network.first.set_statistics(i, feature.mean((0, 2, 3)), feature.std((0, 2, 3)))
    shares = [network.project(i, feature) for i, feature in enumerate(inputs)]
    fast = network.first.combine(shares, angle, SIZE)
    standard = [(f - f.mean((0, 2, 3), keepdim=True)) / f.std((0, 2, 3), keepdim=True) for f in inputs]
    wide = torch.cat([up(f) for f in standard], dim=1)
    weight = torch.cat(list(network.first.weights), dim=1)
    plain = F.conv2d(wide, weight[:, :, None, None]) + network.first.level(encode_level(angle))[:, :, None, None]
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


def test_pixel_network_sees_one_pixel_at_a_time() -> None:
    """Permuting the pixels of all features permutes the prediction."""
    network = PixelNetwork(CHANNELS, 4)
    inputs = [torch.randn(1, count, *SIZE) for count in CHANNELS]
    order = torch.randperm(64)

    def permuted(picture: Tensor) -> Tensor:
        return picture.flatten(2)[:, :, order].reshape(picture.shape)

    level = torch.tensor([0.5])
    straight = network(inputs, level, SIZE)
    torch.testing.assert_close(network([permuted(f) for f in inputs], level, SIZE), permuted(straight))


@pytest.mark.parametrize("kind", ["mlp", "unet"])
def test_batch_of_two_is_two_singles(kind: str) -> None:
    network = build_network(kind, CHANNELS, 4)
    inputs, level = features(), torch.tensor([0.2, 0.9])
    both = network(inputs, level, SIZE)
    for i in range(2):
        torch.testing.assert_close(network([f[i : i + 1] for f in inputs], level[i : i + 1], SIZE), both[i : i + 1])


def test_noise_level_matters() -> None:
    network = PixelNetwork(CHANNELS, 4)
    inputs = features(1)
    low, high = (network(inputs, torch.tensor([level]), SIZE) for level in (0.1, 0.9))
    assert not torch.allclose(low, high, atol=1e-3)


def test_unet_takes_any_size() -> None:
    network = UNetNetwork((8,), 4, width=16)
    assert network([torch.randn(1, 8, 5, 7)], torch.tensor([0.5]), (5, 7)).shape == (1, 4, 5, 7)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="choose mlp or unet"):
        build_network("transformer", CHANNELS, 4)


def random_norm(count: int) -> dict[str, Tensor]:
    return {
        "weight": torch.rand(count) + 0.5,
        "bias": torch.randn(count),
        "running_mean": torch.randn(count),
        "running_var": torch.rand(count) + 0.1,
    }


def test_batch_norm_folds_into_the_next_layer() -> None:
    """Before a linear layer and before a convolution."""
    norm, layer = nn.BatchNorm1d(6).train(False), nn.Linear(6, 5)
    values = random_norm(6)
    norm.load_state_dict({**values, "num_batches_tracked": torch.tensor(3)})
    weight, bias = fold_batch_norm(layer.weight, layer.bias, values)
    x = torch.randn(7, 6)
    torch.testing.assert_close(F.linear(x, weight, bias), layer(norm(x)), rtol=1e-5, atol=1e-5)
    conv = nn.Conv2d(6, 5, 3)
    norm2 = nn.BatchNorm2d(6).train(False)
    norm2.load_state_dict(norm.state_dict())
    weight, bias = fold_batch_norm(conv.weight, conv.bias, values)
    picture = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(F.conv2d(picture, weight, bias), conv(norm2(picture)), rtol=1e-5, atol=1e-5)


def published_mlp(inputs: int, seed: int = 0) -> nn.Sequential:
    """The published network as its authors build it: Linear, ReLU, BatchNorm1d."""
    torch.manual_seed(seed)
    widths = [inputs, 512, 256, 128, 64]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        norm = nn.BatchNorm1d(b)
        norm.load_state_dict({**random_norm(b), "num_batches_tracked": torch.tensor(1)})
        layers += [nn.Linear(a, b), nn.ReLU(), norm]
    return nn.Sequential(*layers, nn.Linear(64, 4)).train(False)


@pytest.mark.parametrize("encodings", [9, 10])
def test_published_pixel_network_gives_the_authors_numbers(encodings: int) -> None:
    inputs, noise = features(), torch.randn(2, 4, *SIZE)
    reference = published_mlp(sum(CHANNELS) + 4 * (1 + encodings))
    state = {f"layers.{key}": value for key, value in reference.state_dict().items()}
    network = BatchNormPixelNetwork(CHANNELS, encodings)
    network.load_state_dict(checkpoint.folded(state))
    encoded = [torch.sin(2 * math.pi * noise * 2**-level) for level in range(encodings)]
    wide = torch.cat([*(up(f) for f in inputs), noise, *encoded], dim=1)
    wanted = reference(wide.movedim(1, -1).flatten(0, 2)).reshape(2, *SIZE, 4).movedim(-1, 1)
    torch.testing.assert_close(network(inputs, noise, SIZE), wanted, rtol=1e-4, atol=1e-4)


def test_published_sizes() -> None:
    """7040 + 4 + 36 inputs, 3,800,132 parameters with batch norm."""
    assert sum(checkpoint._LGP_CHANNELS) == 7040
    assert sum(checkpoint._LEP_CHANNELS) == 9280
    assert encode_noise(torch.zeros(1, 4, 2, 2), 9).shape[1] == 40
    assert sum(p.numel() for p in published_mlp(7080).parameters()) == 3_800_132


class PublishedUSketch(nn.Module):
    """U-Sketch's forward pass as published, on a `USketchNetwork`'s weights."""

    def __init__(self, network: USketchNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, wide: Tensor) -> Tensor:
        n = self.network
        skips = [n.e1.conv(wide)]
        for stage in (n.e2, n.e3, n.e4):
            skips.append(stage.conv(F.max_pool2d(skips[-1], 2)))
        hidden = n.b(F.max_pool2d(skips[-1], 2))
        for stage in (n.d1, n.d2, n.d3, n.d4):
            hidden = stage.conv(torch.cat([stage.up(hidden), skips.pop()], dim=1))
        return n.outputs(hidden)


def test_u_sketch_at_native_resolution_is_the_published_network() -> None:
    torch.manual_seed(0)
    network = USketchNetwork(CHANNELS, width=8).train(False)
    size = (16, 16)
    inputs = [torch.randn(2, count, 16 // 2**i, 16 // 2**i) for i, count in enumerate(CHANNELS)]
    noise = torch.randn(2, 4, *size)
    resized = [F.interpolate(f, size=size, mode="bilinear", align_corners=False) for f in inputs]
    wanted = PublishedUSketch(network)(torch.cat([*resized, encode_noise(noise, 9)], dim=1))
    torch.testing.assert_close(network(inputs, noise, size), wanted, rtol=1e-4, atol=1e-4)


def test_readout_head_mixes_its_blocks() -> None:
    torch.manual_seed(0)
    network = ReadoutNetwork((32, 64), width=128, embedding=16).train(False)
    inputs = [torch.randn(2, 32, 4, 4), torch.randn(2, 64, 8, 8)]
    embedding = torch.randn(2, 16)
    seen = network(inputs, embedding, SIZE)
    assert seen.shape == (2, 3, *SIZE)
    assert bool((seen.abs() <= 1.0).all())
    with torch.no_grad():
        network.mixing_weights.copy_(torch.tensor([50.0, 0.0]))
    alone = network.output_head(network.bottleneck_layers[0](up(inputs[0]), embedding))
    torch.testing.assert_close(network(inputs, embedding, SIZE), alone)


@pytest.fixture(scope="module")
def stable_diffusion() -> openaimodel.UNetModel:
    with torch.device("meta"):
        config: dict[str, Any] = dict(SD15)
        return openaimodel.UNetModel(**config, operations=comfy.ops.disable_weight_init)


def test_taps_of_stable_diffusion(stable_diffusion: openaimodel.UNetModel) -> None:
    levels = families.tap_names(stable_diffusion, "levels")
    assert levels == (
        "input_blocks.2", "input_blocks.5", "input_blocks.8", "input_blocks.11", "middle_block",
        "output_blocks.2", "output_blocks.5", "output_blocks.8", "output_blocks.11",
    )  # fmt: skip
    assert len(families.tap_names(stable_diffusion, "all")) == 24
    assert families.tap_names(stable_diffusion, "decoder") == tuple(f"output_blocks.{i}" for i in range(12))
    for taps, channels in (
        (checkpoint._LGP_TAPS, checkpoint._LGP_CHANNELS),
        (checkpoint._LEP_TAPS, checkpoint._LEP_CHANNELS),
        (tuple(f"output_blocks.{i}.0.out_layers" for i in range(12)), (1280,) * 6 + (640,) * 3 + (320,) * 3),
    ):
        found: dict[int, int] = {}

        def keep(index: int, value: Tensor, found: dict[int, int] = found) -> None:
            found[index] = int(value.shape[1])

        silent = {"optimized_attention_override": muted}
        with torch.device("meta"), capturing(stable_diffusion, taps, keep):
            x, time, text = torch.zeros(1, 4, 8, 8), torch.zeros(1), torch.zeros(1, 77, 768)
            stable_diffusion(x, time, text, transformer_options=silent)
        assert tuple(found[index] for index in range(len(taps))) == channels
    with pytest.raises(ValueError, match="choose one of levels, decoder, all"):
        families.tap_names(stable_diffusion, "some")


@pytest.mark.parametrize("name", tiny.MODELS)
def test_signature_and_refusals(name: str) -> None:
    model = tiny.MODELS[name]()
    predictor = predictor_for(model)
    found, taps = predictor.model, predictor.taps
    families.check_fits(model, found, taps)
    families.check_fits(model, {**found, "context": None}, taps)
    with pytest.raises(ValueError, match=r"latent channels 5, and this one has (4|16): load the predictor"):
        families.check_fits(model, {**found, "latent_channels": 5}, taps)
    with pytest.raises(ValueError, match="made for a model with network Other, and this one has"):
        families.check_fits(model, {**found, "network": "Other"}, taps)
    with pytest.raises(ValueError, match="has no such block"):
        families.check_fits(model, {**found, "blocks": None}, ("input_blocks.99",))
    narrow = replace(predictor, channels=(7, *predictor.channels[1:]))
    with pytest.raises(ValueError, match=f"reads 7 channels of {taps[0]}, and this model has {predictor.channels[0]}"):
        predict_map(model, narrow, tiny.latent(model)["samples"], tiny.cond(), [0.5])


def test_prediction_names() -> None:
    from comfy.model_base import ModelType

    kinds = {ModelType.EPS: "EPS", ModelType.V_PREDICTION: "V_PREDICTION", ModelType.FLOW: "CONST"}
    for kind, name in kinds.items():
        assert families.prediction_of(analytic.gaussian_model(kind).get_model_object("model_sampling")) == name


def test_a_network_without_blocks_is_refused() -> None:
    model = analytic.gaussian_model()
    with pytest.raises(ValueError, match="model: it has 0 blocks in lists, and none of them shows the picture"):
        survey(model, torch.zeros(1, 4, 8, 8), analytic.cond(0.0), "levels")


def test_older_files_name_the_architecture_otherwise() -> None:
    assert families.renewed({"family": "SD3", "context": 1}) == {"network": "OpenAISignatureMMDITWrapper", "context": 1}
    assert families.renewed({"family": "Flux"}) == {"network": "Flux"}
