"""Map predictors on disk: our own safetensors with metadata, and published checkpoints with their conventions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..samplers.files import written_whole
from ..samplers.tensor_file import DamagedFileError, is_newer, read_tensors
from .families import renewed
from .maps import EDGES
from .pickle_check import TooLargeError, UnsafePickleError, check_pickles
from .predictor import MapPredictor, PredictorNetwork, build_network
from .predictor_check import BadPredictorError
from .public import BatchNormPixelNetwork, ReadoutNetwork, USketchNetwork, fold_batch_norm

FORMAT = "diffusion-path-map-predictor"
VERSION = 1
SUFFIXES = (".safetensors", ".pt", ".pth")
_PLAIN_SETTINGS = 8  # settings that have no tensor of their own: out_channels, encodings, depth, ...

_SD15 = {"network": "UNetModel", "latent_format": "SD15", "latent_channels": 4, "prediction": "EPS", "context": 768}
_SDXL = {"network": "UNetModel", "latent_format": "SDXL", "latent_channels": 4, "prediction": "EPS", "context": 2048}

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


def save_predictor(predictor: MapPredictor, path: Path) -> None:
    """Write a predictor as safetensors with metadata; after an error `path` holds what it held before."""
    with written_whole(path) as unfinished:
        write_predictor(predictor, unfinished)


def write_predictor(predictor: MapPredictor, path: Path) -> None:
    """Write a predictor, without protecting what `path` held before."""
    spec = {
        "kind": predictor.kind,
        "taps": predictor.taps,
        "channels": predictor.channels,
        "model": predictor.model,
        "map": predictor.map,
        "target": predictor.target,
        "palette": predictor.palette,
        "line_width": predictor.line_width,
        "branch": predictor.branch,
        "noise_range": predictor.noise_range,
        "binarise": predictor.binarise,
        "settings": predictor.settings,
        "record": predictor.record,
    }
    metadata = {"format": FORMAT, "version": str(VERSION), "spec": json.dumps(spec)}
    state = {key: _compact(value) for key, value in predictor.network.state_dict().items()}
    save_file(state, path, metadata)


def _compact(weights: Tensor) -> Tensor:
    """Weights for a file: float16 if it can hold them. Vectors stay as they are: small, and often out of its range."""
    exact = weights.detach().cpu().contiguous()
    half = exact.half() if exact.ndim > 1 else exact
    return half if torch.isfinite(half).all() else exact


def load_predictor(path: Path) -> MapPredictor:
    """Read a predictor of our own (.safetensors) or a published one (.pt, weights only: code in it is never run).

    Raises ValueError, in one sentence, for a file that is missing, damaged, foreign or unsafe.
    """
    if not path.is_file():
        raise ValueError(f"There is no map predictor {path.name}: choose a file from models/map_predictors.")
    with torch.inference_mode(False):
        return _load_own(path) if path.suffix.lower() == ".safetensors" else _load_public(path)


def _load_own(path: Path) -> MapPredictor:
    try:
        state, metadata = read_tensors(path)
    except DamagedFileError as error:
        raise ValueError(f"{path.name} is damaged and cannot be read ({error}): download or train it again.") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path.name} is not a map predictor: choose a file that Save Map Predictor wrote.")
    if is_newer(metadata.get("version"), VERSION):
        raise ValueError(f"{path.name} was written by a newer version of Diffusion Path: update the pack to use it.")
    if metadata.get("version") != str(VERSION):
        raise ValueError(f"{path.name} does not say which version of the format it has: train or save it again.")
    try:
        return _predictor(json.loads(metadata["spec"]), state)
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError, AttributeError) as error:
        reason = f" ({error.reason})" if isinstance(error, BadPredictorError) else ""
        raise ValueError(
            f"{path.name} does not hold what its description says{reason}: train or save it again."
        ) from error


def _predictor(spec: dict[str, Any], state: dict[str, Tensor]) -> MapPredictor:
    """The predictor of a description and its weights; raises an error of any kind if they do not fit together."""
    weights = sum(tensor.numel() for tensor in state.values())
    sizes = [*spec["channels"], *_numbers(spec["settings"])]
    too_large = not sizes or max(sizes) > weights or len(sizes) > len(state) + _PLAIN_SETTINGS
    if too_large or spec["settings"].get("depth", 0) > len(state):
        raise ValueError("no network of that size fits into this file")
    fields = ("kind", "model", "map", "target", "line_width", "branch", "binarise", "settings", "record")
    values: dict[str, Any] = {name: spec[name] for name in fields}
    values |= {name: tuple(spec[name]) for name in ("taps", "channels", "noise_range")}
    values["palette"] = tuple(map(tuple, spec["palette"]))
    if isinstance(values["model"], dict):
        values["model"] = renewed(values["model"])
    return MapPredictor(network=_filled(spec["kind"], spec["channels"], spec["settings"], state), **values)


def _numbers(value: Any) -> list[float]:
    """All numbers in a JSON value."""
    if isinstance(value, dict | list):
        return [found for part in (value.values() if isinstance(value, dict) else value) for found in _numbers(part)]
    return [value] if isinstance(value, int | float) else []


def _load_public(path: Path) -> MapPredictor:
    try:
        check_pickles(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except UnsafePickleError as error:
        raise ValueError(
            f"{path.name} holds more than plain weights ({error}) and was not opened, because such files can run code: "
            "get a .safetensors version, or one that holds weights alone."
        ) from error
    except TooLargeError as error:
        raise ValueError(f"{path.name} {error}.") from error
    except Exception as error:  # a damaged pickle fails in many ways
        raise ValueError(f"{path.name} is damaged and cannot be read: download it again.") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path.name} holds no weights by name, so it is not a map predictor: choose another file.")
    try:
        return _recognise(loaded, path)
    except BadPredictorError as error:
        raise ValueError(f"{path.name} cannot be used ({error.reason}): download it again.") from error
    except (KeyError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{path.name} looks like a published map predictor, but parts of it are missing or have the wrong sizes: "
            "download it again."
        ) from error


def _recognise(loaded: dict[str, Any], path: Path) -> MapPredictor:
    """Which of the published layouts the weights have. Raises ValueError if no layout fits."""
    inner = "aggregation_network" if "aggregation_network" in loaded else "model_state_dict"
    state: dict[str, Tensor] = loaded.get(inner, loaded)
    weights = [each for each in state.values() if isinstance(each, Tensor)]
    # One tensor may stand under many names.
    if sum(each.numel() * each.element_size() for each in weights) > 2 * path.stat().st_size:
        raise ValueError(f"{path.name} claims to hold more weights than fit into it: download it again.")
    if "aggregation_network" in loaded:
        return _readout(state, path.stem.lower())
    if "layers.0.weight" in state:
        return _pixel_network(state, path.name)
    if "e1.conv.conv1.weight" in state:
        return _u_sketch(state, path.name)
    raise ValueError(
        f"{path.name} is not a map predictor that this pack knows: it reads its own .safetensors, latent guidance "
        "predictors with 7080, 9320 or 9324 inputs, U-Sketch and Readout Guidance's heads for edges, depth and pose."
    )


def _pixel_network(state: dict[str, Tensor], name: str) -> MapPredictor:
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
        f"{name} is a latent edge predictor with {inputs} inputs, which is not one of the known layouts "
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


def _u_sketch(state: dict[str, Tensor], name: str) -> MapPredictor:
    inputs = int(state["e1.conv.conv1.weight"].shape[1])
    if inputs != _LEP_INPUTS:
        raise ValueError(f"{name} is a U-Sketch network with {inputs} inputs, and only {_LEP_INPUTS} are known.")
    return _published("u-sketch", _LEP_TAPS, _LEP_CHANNELS, {"encodings": 9}, state, _SD15, binarise=True)


def _readout(given: dict[str, Tensor], name: str) -> MapPredictor:
    """A spatial head; what it was trained on only shows in the published file's name."""
    state = {key: value for key, value in given.items() if key != "logit_scale"}
    count = len(state["mixing_weights"])
    channels = tuple(int(state[f"bottleneck_layers.{i}.conv1.weight"].shape[1]) for i in range(count))
    if channels not in _READOUT or state["output_head.4.weight"].shape[0] != 3:
        raise ValueError(
            f"This Readout Guidance head reads blocks of {channels} channels, which is neither SD1.5's nor SDXL's "
            "spatial head: use readout_sdv15_spatial_edge.pt, readout_sdxl_spatial_edge.pt, or those for depth or pose."
        )
    settings = {
        "width": int(state["bottleneck_layers.0.conv3.weight"].shape[0]),
        "embedding": int(state["bottleneck_layers.0.emb_layers.weight"].shape[1]),
    }
    taps = tuple(f"output_blocks.{i}.0.out_layers" for i in range(count))
    shown = "depth" if "depth" in name else "other" if "pose" in name else EDGES
    return _published("readout", taps, channels, settings, state, _READOUT[channels], map=shown, target="pixels")


def _published(
    kind: str, taps: Sequence[str], channels: Sequence[int], settings: dict[str, Any], state: dict[str, Tensor],
    model: dict[str, Any], **conventions: Any,
) -> MapPredictor:  # fmt: skip
    network = _filled(kind, channels, settings, state)
    return MapPredictor(network, kind, tuple(taps), tuple(channels), dict(model), settings=settings, **conventions)


def _filled(kind: str, channels: Sequence[int], settings: dict[str, Any], state: dict[str, Tensor]) -> PredictorNetwork:
    """A network with these weights, in float32; raises RuntimeError where they do not fit."""
    try:
        with torch.device("meta"):
            network = _BUILDERS[kind](channels, settings)
    except ValueError as error:  # layers of impossible sizes
        raise RuntimeError(str(error)) from error
    exact = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    network.load_state_dict(exact, assign=True)
    return network.train(False).requires_grad_(False)


_BUILDERS: dict[str, Callable[[Sequence[int], dict[str, Any]], PredictorNetwork]] = {
    "mlp": lambda channels, settings: build_network("mlp", channels, **settings),
    "unet": lambda channels, settings: build_network("unet", channels, **settings),
    "lgp": lambda channels, settings: BatchNormPixelNetwork(channels, **settings),
    "u-sketch": lambda channels, settings: USketchNetwork(channels, **settings),
    "readout": lambda channels, settings: ReadoutNetwork(channels, **settings),
}
