"""Nodes for the fuzz server alone: values that no node should make, each behind a link of an honest type.

The server loads this folder as a node pack of its own (see devtools/random_prompts.py); no user ever sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_NAN, _INFINITE = float("nan"), float("inf")


def _latents() -> dict[str, Callable[[], Any]]:
    def plain(*shape: int) -> Callable[[], Any]:
        return lambda: {"samples": torch.zeros(shape)}

    return {
        "no batch": plain(0, 4, 8, 8), "no rows": plain(1, 4, 0, 8), "one cell": plain(1, 4, 1, 1),
        "no channels": plain(1, 0, 8, 8), "three dimensions": plain(4, 8, 8), "six dimensions": plain(1, 4, 1, 1, 8, 8),
        "NaN": lambda: {"samples": torch.full((1, 4, 8, 8), _NAN)},
        "infinite": lambda: {"samples": torch.full((1, 4, 8, 8), -_INFINITE)},
        "1e30": lambda: {"samples": torch.full((1, 4, 8, 8), 1e30)},
        "minus zero": lambda: {"samples": torch.full((1, 4, 8, 8), -0.0)},
        "whole numbers": lambda: {"samples": torch.zeros(1, 4, 8, 8, dtype=torch.int64)},
        "no samples": lambda: {}, "samples a list": lambda: {"samples": [[0.0]]}, "None": lambda: {"samples": None},
        "odd mask": lambda: {"samples": torch.ones(1, 4, 8, 8), "noise_mask": torch.rand(3, 1, 5, 7)},
        "empty mask": lambda: {"samples": torch.ones(1, 4, 8, 8), "noise_mask": torch.zeros(0, 8, 8)},
        "mask a number": lambda: {"samples": torch.ones(1, 4, 8, 8), "noise_mask": 1.0},
        "batch_index too short": lambda: {"samples": torch.ones(2, 4, 8, 8), "batch_index": [0]},
        "batch_index of words": lambda: {"samples": torch.ones(1, 4, 8, 8), "batch_index": ["a"]},
    }  # fmt: skip


def _pictures() -> dict[str, Callable[[], Any]]:
    return {
        "no batch": lambda: torch.zeros(0, 64, 64, 3), "no rows": lambda: torch.zeros(1, 0, 64, 3),
        "one pixel": lambda: torch.zeros(1, 1, 1, 3), "one row": lambda: torch.zeros(1, 1, 300, 3),
        "two channels": lambda: torch.zeros(1, 64, 64, 2), "flat": lambda: torch.zeros(64, 64, 3),
        "NaN": lambda: torch.full((1, 64, 64, 3), _NAN), "infinite": lambda: torch.full((1, 64, 64, 3), _INFINITE),
        "1e30": lambda: torch.full((1, 64, 64, 3), 1e30), "bytes": lambda: torch.full((1, 64, 64, 3), 200).byte(),
        "half": lambda: torch.rand(1, 64, 64, 3).half(), "list": lambda: [[0.5]], "None": lambda: None,
    }  # fmt: skip


def _masks() -> dict[str, Callable[[], Any]]:
    return {
        "no batch": lambda: torch.zeros(0, 64, 64), "no rows": lambda: torch.zeros(1, 0, 64),
        "one pixel": lambda: torch.ones(1, 1, 1), "line": lambda: torch.rand(64), "flat": lambda: torch.rand(64, 64),
        "other shape": lambda: torch.rand(1, 37, 91), "three": lambda: torch.rand(3, 64, 64),
        "channel": lambda: torch.rand(1, 1, 64, 64), "five dimensions": lambda: torch.rand(1, 1, 1, 64, 64),
        "NaN": lambda: torch.full((1, 64, 64), _NAN), "bytes": lambda: torch.full((1, 64, 64), 255).byte(),
        "bool": lambda: torch.rand(1, 64, 64) > 0.5, "minus": lambda: -torch.rand(1, 64, 64), "None": lambda: None,
    }  # fmt: skip


def _sigmas() -> dict[str, Callable[[], Any]]:
    lists = {
        "empty": [], "one": [1.0], "rising": [0.0, 1.0, 2.0], "unsorted": [3.0, 1.0, 2.0, 0.0],
        "equal": [1.0, 1.0, 0.0], "NaN": [2.0, _NAN, 0.0], "infinite": [_INFINITE, 1.0, 0.0], "negative": [1.0, -1.0],
        "zeros": [0.0, 0.0],
        "above the model": [1e30, 1.0, 0.0], "not to zero": [9.0, 3.0, 1.0],
    }  # fmt: skip
    made: dict[str, Callable[[], Any]] = {
        name: (lambda levels=levels: torch.tensor(levels)) for name, levels in lists.items()
    }
    return {
        **made, "a list": lambda: [3.0, 1.0, 0.0], "table": lambda: torch.zeros(2, 3),
        "number": lambda: torch.tensor(1.0), "whole": lambda: torch.tensor([3, 1, 0]), "None": lambda: None,
        "1e5 levels": lambda: torch.linspace(10.0, 0.0, 100_000),
    }  # fmt: skip


def _conditionings() -> dict[str, Callable[[], Any]]:
    def of(*shape: int, pooled: Any = None) -> Callable[[], Any]:
        return lambda: [[torch.zeros(shape), {} if pooled is None else {"pooled_output": pooled}]]

    return {
        "empty": lambda: [], "no extras": lambda: [[torch.zeros(1, 77, 64)]], "None": lambda: None,
        "another model's": of(1, 77, 768, pooled=torch.zeros(1, 768)), "wide": of(1, 20, 4096),
        "no tokens": of(1, 0, 64), "flat": of(77, 64), "NaN": lambda: [[torch.full((1, 8, 64), _NAN), {}]],
        "a word": lambda: "a red house",
        "tokens None": lambda: [[None, {}]],
    }  # fmt: skip


def _texts() -> dict[str, Callable[[], Any]]:
    return {
        "10 MB": lambda: "x" * 10_000_000, "digits": lambda: "9" * 200_000, "spaces": lambda: " " * 1_000_000 + ":",
        "1e5 numbers": lambda: ", ".join(["0.5"] * 100_000), "1e5 pairs": lambda: ", ".join(["0.5:0.5"] * 100_000),
        "deep": lambda: "[" * 100_000, "a stroke of 1e6 numbers": lambda: '[{"points":[' + "1," * 1_000_000 + "1]}]",
        "long number": lambda: '[{"points":[' + "1" * 6_000 + ",1]}]", "a number": lambda: 5.0, "None": lambda: None,
    }  # fmt: skip


def _numbers() -> dict[str, Callable[[], Any]]:
    return {
        "NaN": lambda: _NAN, "infinite": lambda: _INFINITE, "minus infinite": lambda: -_INFINITE, "1e30": lambda: 1e30,
        "-1e30": lambda: -1e30, "minus zero": lambda: -0.0, "2^70": lambda: 2**70, "a word": lambda: "twelve",
        "None": lambda: None, "list": lambda: [1.0], "bool": lambda: True,
    }  # fmt: skip


_OTHER: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "text": lambda: "text", "number": lambda: 1.5, "list": list, "dict": dict,
    "tensor": lambda: torch.zeros(1), "object": object,
}  # fmt: skip
VALUES: dict[str, dict[str, Callable[[], Any]]] = {
    "LATENT": _latents(), "IMAGE": _pictures(), "MASK": _masks(), "SIGMAS": _sigmas(), "CONDITIONING": _conditionings(),
    "STRING": _texts(), "INT": _numbers(), "FLOAT": _numbers(), "MODEL": {}, "CLIP": {}, "VAE": {}, "NOISE": {},
    "SAMPLER": {}, "GUIDER": {}, "DIFFUSION_PATH": {}, "PATH_SCHEDULE": {}, "EDGE_PREDICTOR": {},
}  # fmt: skip
ERRORS: dict[str, Callable[[], BaseException]] = {
    "RuntimeError": lambda: RuntimeError("a kernel that this machine does not have"),
    "MemoryError": lambda: MemoryError(),
    "KeyError": lambda: KeyError("pooled_output"),
}


def _maker(kind: str) -> type:
    makers = {**VALUES[kind], **{f"wrong: {name}": make for name, make in _OTHER.items()}}

    class Maker:
        RETURN_TYPES = (kind,)
        FUNCTION = "make"
        CATEGORY = "hostile"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"value": (sorted(makers),)}}

        def make(self, value: str) -> tuple[Any]:
            return (makers[value](),)

    Maker.__name__ = f"Hostile{kind}"
    return Maker


class FailingModel:
    """A MODEL that raises at one of its calls."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "make"
    CATEGORY = "hostile"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("MODEL",), "error": (list(ERRORS),), "at": ("INT", {"min": 1, "max": 12})}}

    def make(self, model: Any, error: str, at: int) -> tuple[Any]:
        calls = 0

        def fail(executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                raise ERRORS[error]()
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key("apply_model", "hostile", fail)
        return (model,)


NODE_CLASS_MAPPINGS = {**{f"Hostile{kind}": _maker(kind) for kind in VALUES}, "HostileFailingModel": FailingModel}
