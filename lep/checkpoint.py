"""Edge predictors on disk: our own safetensors with metadata, and published checkpoints with their conventions."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..samplers.files import written_whole
from .predictor import EdgePredictor, PredictorNetwork, build_network
from .public import BatchNormPixelNetwork, ReadoutNetwork, USketchNetwork, fold_batch_norm

FORMAT = "diffusion-path-edge-predictor"
VERSION = 1
SUFFIXES = (".safetensors", ".pt", ".pth")

_SD15 = {"family": "U-Net", "latent_format": "SD15", "latent_channels": 4, "prediction": "EPS", "context": 768}
_SDXL = {"family": "U-Net", "latent_format": "SDXL", "latent_channels": 4, "prediction": "EPS", "context": 2048}

_LGP_TAPS = tuple(f"input_blocks.{i}" for i in (3, 6, 9, 11)) + tuple(f"output_blocks.{i}" for i in (2, 5, 8, 11))
_LGP_CHANNELS = (320, 640, 1280, 1280, 1280, 1280, 640, 320)
_LEP_TAPS = (
    *(f"input_blocks.{i}" for i in (3, 6, 9)),
    *(f"middle_block.{i}" for i in (1, 0, 2)),
    *(f"output_blocks.{i}" for i in (2, 5, 8)),
)
_LEP_CHANNELS = (320, 640, 1280, 1280, 1280, 1280, 1280, 1280, 640)
_READOUT = {  # channels of the decoder's residual blocks -> the model they belong to
    (1280,) * 6 + (640,) * 3 + (320,) * 3: _SD15,
    (1280,) * 3 + (640,) * 3 + (320,) * 3: _SDXL,
}
_LGP_INPUTS, _LEP_INPUTS = sum(_LGP_CHANNELS) + 4 * 10, sum(_LEP_CHANNELS) + 4 * 10


def save_predictor(predictor: EdgePredictor, path: Path) -> None:
    """Write a predictor as safetensors with metadata, completely or not at all."""
    spec = {
        "kind": predictor.kind,
        "taps": predictor.taps,
        "channels": predictor.channels,
        "model": predictor.model,
        "target": predictor.target,
        "line_width": predictor.line_width,
        "branch": predictor.branch,
        "noise_range": predictor.noise_range,
        "binarise": predictor.binarise,
        "settings": predictor.settings,
        "record": predictor.record,
    }
    metadata = {"format": FORMAT, "version": str(VERSION), "spec": json.dumps(spec)}
    state = {
        # Vectors are small, and statistics of activations may not fit into float16.
        key: value.detach().to("cpu", torch.float16 if value.ndim > 1 else value.dtype).contiguous()
        for key, value in predictor.network.state_dict().items()
    }
    with written_whole(path) as unfinished:
        save_file(state, unfinished, metadata)


def load_predictor(path: Path) -> EdgePredictor:
    """Read a predictor of our own (.safetensors) or a published one (.pt, weights only: code in it never runs).

    Raises ValueError, in one sentence, for a file that is missing, damaged, foreign or unsafe.
    """
    if not path.is_file():
        raise ValueError(f"There is no edge predictor {path.name}: choose a file from models/edge_predictors.")
    with torch.inference_mode(False):
        return _load_own(path) if path.suffix.lower() == ".safetensors" else _load_public(path)


def _load_own(path: Path) -> EdgePredictor:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is damaged and cannot be read: download or train it again.") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path.name} is not an edge predictor: choose a file that Save Edge Predictor wrote.")
    version = metadata.get("version", "")
    if version.isdecimal() and int(version) > VERSION:
        raise ValueError(f"{path.name} was written by a newer version of Diffusion Path: update the pack to use it.")
    try:
        return _predictor(json.loads(metadata["spec"]), state)
    except (KeyError, TypeError, ValueError, RuntimeError, LookupError, ArithmeticError, AttributeError) as error:
        raise ValueError(f"{path.name} does not hold what its description says: train or save it again.") from error


def _predictor(spec: dict[str, Any], state: dict[str, Tensor]) -> EdgePredictor:
    """The predictor of a description and its weights; raises some error where they do not belong together."""
    values = sum(tensor.numel() for tensor in state.values())
    sizes = [*spec["channels"], *_numbers(spec["settings"])]
    if not sizes or max(sizes) > values or spec["settings"].get("depth", 0) > len(state):
        raise ValueError("no network of that size fits into this file")
    low, high = spec["noise_range"]
    return EdgePredictor(
        network=_filled(spec["kind"], spec["channels"], spec["settings"], state),
        kind=spec["kind"],
        taps=tuple(str(tap) for tap in spec["taps"]),
        channels=tuple(int(count) for count in spec["channels"]),
        model=dict(spec["model"]),
        target=str(spec["target"]),
        line_width=int(spec["line_width"]),
        branch=str(spec["branch"]),
        noise_range=(float(low), float(high)),
        binarise=bool(spec["binarise"]),
        settings=dict(spec["settings"]),
        record=dict(spec["record"]),
    )


def _numbers(value: Any) -> list[float]:
    """All numbers in a JSON value."""
    if isinstance(value, dict | list):
        return [found for part in (value.values() if isinstance(value, dict) else value) for found in _numbers(part)]
    return [value] if isinstance(value, int | float) else []


def _load_public(path: Path) -> EdgePredictor:
    _check_unpacked_size(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path.name} holds more than plain weights and was not opened, because such files can run code: "
            "get a .safetensors version, or one that holds weights alone."
        ) from error
    except Exception as error:  # a damaged pickle fails in many ways
        raise ValueError(f"{path.name} is damaged and cannot be read: download it again.") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path.name} holds no weights by name, so it is no edge predictor: choose another file.")
    if _tensor_bytes(loaded) > 2 * path.stat().st_size:
        raise ValueError(f"{path.name} claims to hold more weights than fit into it: download it again.")
    try:
        return _recognise(loaded, path.name)
    except (KeyError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{path.name} looks like a published edge predictor, but parts of it are missing or of other sizes: "
            "download it again."
        ) from error


def _check_unpacked_size(path: Path) -> None:
    """Raises ValueError for an archive that would grow when unpacked: those of PyTorch are not compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # PyTorch's older format, or a damaged file
    if unpacked > path.stat().st_size:
        raise ValueError(
            f"{path.name} would grow to {unpacked / 2**20:.0f} MB when unpacked: get an ordinary .pt file."
        )


def _tensor_bytes(value: Any, depth: int = 0) -> int:
    """What the tensors in nested dictionaries would take."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    inner = value.values() if isinstance(value, dict) and depth < 8 else ()
    return sum(_tensor_bytes(part, depth + 1) for part in inner)


def _recognise(loaded: dict[str, Any], name: str) -> EdgePredictor:
    """Which of the published layouts the weights have. Raises ValueError for none of them."""
    if "aggregation_network" in loaded:
        return _readout(loaded)
    state: dict[str, Tensor] = loaded.get("model_state_dict", loaded)
    if "layers.0.weight" in state:
        return _pixel_network(state, name)
    if "e1.conv.conv1.weight" in state:
        return _u_sketch(state, name)
    raise ValueError(
        f"{name} is not an edge predictor that this pack knows: it reads its own .safetensors, latent guidance "
        "predictors with 7080, 9320 or 9324 inputs, U-Sketch and Readout Guidance's edge heads."
    )


def _pixel_network(state: dict[str, Tensor], name: str) -> EdgePredictor:
    inputs = int(state["layers.0.weight"].shape[1])
    if inputs == _LGP_INPUTS:
        # Trained on the empty prompt's half of the batch, at training steps 250 to 899, on grey edge maps.
        return _published("lgp", _LGP_TAPS, _LGP_CHANNELS, {"encodings": 9}, folded(state), _SD15,
                          branch="negative", noise_range=(0.25, 0.9))  # fmt: skip
    encodings, remainder = divmod(inputs - sum(_LEP_CHANNELS) - 4, 4)
    if remainder == 0 and encodings in (9, 10):
        return _published(
            "lgp", _LEP_TAPS, _LEP_CHANNELS, {"encodings": encodings}, folded(state), _SD15, binarise=True
        )
    raise ValueError(
        f"{name} is a latent edge predictor with {inputs} inputs, which is none of the known layouts "
        f"({_LGP_INPUTS}, {_LEP_INPUTS} and {_LEP_INPUTS + 4}): use one of those."
    )


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Linear layers 0, 3, 6, 9, 12 with the batch norms before them (2, 5, 8, 11) folded in."""
    folded = {"layers.0.weight": state["layers.0.weight"].float(), "layers.0.bias": state["layers.0.bias"].float()}
    for place, source in enumerate((3, 6, 9, 12), start=1):
        names = ("weight", "bias", "running_mean", "running_var")
        norm = {part: state[f"layers.{source - 1}.{part}"].float() for part in names}
        weight, bias = state[f"layers.{source}.weight"].float(), state[f"layers.{source}.bias"].float()
        folded[f"layers.{place}.weight"], folded[f"layers.{place}.bias"] = fold_batch_norm(weight, bias, norm)
    return folded


def _u_sketch(state: dict[str, Tensor], name: str) -> EdgePredictor:
    inputs = int(state["e1.conv.conv1.weight"].shape[1])
    if inputs != _LEP_INPUTS:
        raise ValueError(f"{name} is a U-Sketch network with {inputs} inputs, and only {_LEP_INPUTS} are known.")
    return _published("u-sketch", _LEP_TAPS, _LEP_CHANNELS, {"encodings": 9}, state, _SD15, binarise=True)


def _readout(loaded: dict[str, Any]) -> EdgePredictor:
    state = {key: value for key, value in loaded["aggregation_network"].items() if key != "logit_scale"}
    count = len(state["mixing_weights"])
    channels = tuple(int(state[f"bottleneck_layers.{i}.conv1.weight"].shape[1]) for i in range(count))
    if channels not in _READOUT or state["output_head.4.weight"].shape[0] != 3:
        raise ValueError(
            f"This Readout Guidance head reads blocks of {channels} channels, which is neither SD1.5's nor SDXL's "
            "spatial head: use readout_sdv15_spatial_edge.pt or readout_sdxl_spatial_edge.pt."
        )
    settings = {
        "width": int(state["bottleneck_layers.0.conv3.weight"].shape[0]),
        "embedding": int(state["bottleneck_layers.0.emb_layers.weight"].shape[1]),
    }
    taps = tuple(f"output_blocks.{i}.0.out_layers" for i in range(count))
    return _published("readout", taps, channels, settings, state, _READOUT[channels], target="pixels")


def _published(
    kind: str, taps: Sequence[str], channels: Sequence[int], settings: dict[str, Any], state: dict[str, Tensor],
    model: dict[str, Any], **conventions: Any,
) -> EdgePredictor:  # fmt: skip
    network = _filled(kind, channels, settings, state)
    return EdgePredictor(network, kind, tuple(taps), tuple(channels), dict(model), settings=settings, **conventions)


def _filled(kind: str, channels: Sequence[int], settings: dict[str, Any], state: dict[str, Tensor]) -> PredictorNetwork:
    """A network with these weights, in float32; raises RuntimeError where they do not fit."""
    with torch.device("meta"):
        network = _BUILDERS[kind](channels, settings)
    exact = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    network.load_state_dict(exact, assign=True)
    return network.eval().requires_grad_(False)


_BUILDERS: dict[str, Callable[[Sequence[int], dict[str, Any]], PredictorNetwork]] = {
    "mlp": lambda channels, settings: build_network("mlp", channels, **settings),
    "unet": lambda channels, settings: build_network("unet", channels, **settings),
    "lgp": lambda channels, settings: BatchNormPixelNetwork(channels, **settings),
    "u-sketch": lambda channels, settings: USketchNetwork(channels, **settings),
    "readout": lambda channels, settings: ReadoutNetwork(channels, **settings),
}
