"""Nodes for the fuzz server alone: values that no node should make, each behind a link of an honest type.

The server loads this folder as a node pack of its own (see tests/server/random_prompts.py); no user ever sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

NAN, INFINITE = float("nan"), float("inf")
Values = dict[str, Any]


def latents() -> Values:
    zeros, full, one = torch.zeros, torch.full, torch.ones(1, 4, 8, 8)
    tensors = {
        "no batch": zeros(0, 4, 8, 8), "no rows": zeros(1, 4, 0, 8), "one cell": zeros(1, 4, 1, 1),
        "no channels": zeros(1, 0, 8, 8), "three dimensions": zeros(4, 8, 8), "six dimensions": zeros(1, 4, 1, 1, 8, 8),
        "NaN": full((1, 4, 8, 8), NAN), "infinite": full((1, 4, 8, 8), -INFINITE), "1e30": full((1, 4, 8, 8), 1e30),
        "minus zero": full((1, 4, 8, 8), -0.0), "whole numbers": zeros(1, 4, 8, 8, dtype=torch.int64),
        "samples a list": [[0.0]], "None": None,
    }  # fmt: skip
    return {
        **{name: {"samples": samples} for name, samples in tensors.items()},
        "no samples": {},
        "odd mask": {"samples": one, "noise_mask": torch.rand(3, 1, 5, 7)},
        "empty mask": {"samples": one, "noise_mask": zeros(0, 8, 8)},
        "mask a number": {"samples": one, "noise_mask": 1.0},
        "batch_index too short": {"samples": torch.ones(2, 4, 8, 8), "batch_index": [0]},
        "batch_index of words": {"samples": one, "batch_index": ["a"]},
    }


def pictures() -> Values:
    zeros, full = torch.zeros, torch.full
    return {
        "no batch": zeros(0, 64, 64, 3), "no rows": zeros(1, 0, 64, 3), "one pixel": zeros(1, 1, 1, 3),
        "one row": zeros(1, 1, 300, 3), "two channels": zeros(1, 64, 64, 2), "flat": zeros(64, 64, 3),
        "NaN": full((1, 64, 64, 3), NAN), "infinite": full((1, 64, 64, 3), INFINITE),
        "1e30": full((1, 64, 64, 3), 1e30), "bytes": full((1, 64, 64, 3), 200).byte(),
        "half": torch.rand(1, 64, 64, 3).half(), "list": [[0.5]], "None": None,
    }  # fmt: skip


def masks() -> Values:
    zeros, rand = torch.zeros, torch.rand
    return {
        "no batch": zeros(0, 64, 64), "no rows": zeros(1, 0, 64), "one pixel": torch.ones(1, 1, 1), "line": rand(64),
        "flat": rand(64, 64), "other shape": rand(1, 37, 91), "three": rand(3, 64, 64), "channel": rand(1, 1, 64, 64),
        "five dimensions": rand(1, 1, 1, 64, 64), "NaN": torch.full((1, 64, 64), NAN),
        "bytes": torch.full((1, 64, 64), 255).byte(), "bool": rand(1, 64, 64) > 0.5, "minus": -rand(1, 64, 64),
        "None": None,
    }  # fmt: skip


def sigmas() -> Values:
    levels = {
        "empty": [], "one": [1.0], "rising": [0.0, 1.0, 2.0], "unsorted": [3.0, 1.0, 2.0, 0.0],
        "equal": [1.0, 1.0, 0.0], "NaN": [2.0, NAN, 0.0], "infinite": [INFINITE, 1.0, 0.0], "negative": [1.0, -1.0],
        "zeros": [0.0, 0.0], "above the model": [1e30, 1.0, 0.0], "not to zero": [9.0, 3.0, 1.0], "number": 1.0,
        "whole": [3, 1, 0], "table": [[0.0] * 3] * 2,
    }  # fmt: skip
    made = {name: torch.tensor(each) for name, each in levels.items()}
    return {**made, "a list": [3.0, 1.0, 0.0], "None": None, "1e5 levels": torch.linspace(10.0, 0.0, 100_000)}


def conditionings() -> Values:
    zeros, pooled = torch.zeros, {"pooled_output": torch.zeros(1, 768)}
    return {
        "empty": [], "no extras": [[zeros(1, 77, 64)]], "None": None, "wide": [[zeros(1, 20, 4096), {}]],
        "another model's": [[zeros(1, 77, 768), pooled]], "no tokens": [[zeros(1, 0, 64), {}]],
        "flat": [[zeros(77, 64), {}]], "NaN": [[torch.full((1, 8, 64), NAN), {}]], "a word": "a red house",
        "tokens None": [[None, {}]],
    }  # fmt: skip


def texts() -> Values:
    return {
        "10 MB": "x" * 10_000_000, "digits": "9" * 200_000, "spaces": " " * 1_000_000 + ":", "deep": "[" * 100_000,
        "1e5 numbers": ", ".join(["0.5"] * 100_000), "1e5 pairs": ", ".join(["0.5:0.5"] * 100_000),
        "a stroke of 1e6 numbers": '[{"points":[' + "1," * 1_000_000 + "1]}]", "a number": 5.0, "None": None,
        "long number": '[{"points":[' + "1" * 6_000 + ",1]}]",
    }  # fmt: skip


def numbers() -> Values:
    return {
        "NaN": NAN, "infinite": INFINITE, "minus infinite": -INFINITE, "1e30": 1e30, "-1e30": -1e30,
        "minus zero": -0.0, "2^70": 2**70, "a word": "twelve", "None": None, "list": [1.0], "bool": True,
    }  # fmt: skip


def wrong() -> Values:
    values = {"None": None, "text": "text", "number": 1.5, "list": [], "dict": {}, "object": object()}
    values["tensor"] = torch.zeros(1)
    return {f"wrong: {name}": value for name, value in values.items()}


VALUES: dict[str, Callable[[], Values]] = {
    "LATENT": latents, "IMAGE": pictures, "MASK": masks, "SIGMAS": sigmas, "CONDITIONING": conditionings,
    "STRING": texts, "INT": numbers, "FLOAT": numbers,
    **dict.fromkeys(("MODEL", "CLIP", "VAE", "NOISE", "SAMPLER", "GUIDER"), dict),
    **dict.fromkeys(("DIFFUSION_PATH", "PATH_SCHEDULE", "MAP_PREDICTOR"), dict),
}  # fmt: skip
ERRORS = {
    "RuntimeError": RuntimeError("a kernel that this machine does not have"),
    "MemoryError": MemoryError(),
    "KeyError": KeyError("pooled_output"),
}


def maker(kind: str) -> type:
    """A node whose output is of a type by its name only, fresh in each run."""

    class Maker:
        RETURN_TYPES = (kind,)
        FUNCTION = "make"
        CATEGORY = "hostile"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"value": (sorted(VALUES[kind]() | wrong()),)}}

        def make(self, value: str) -> tuple[Any]:
            return ((VALUES[kind]() | wrong())[value],)

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
                raise ERRORS[error]
            return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key("apply_model", "hostile", fail)
        return (model,)


NODE_CLASS_MAPPINGS = {**{f"Hostile{kind}": maker(kind) for kind in VALUES}, "HostileFailingModel": FailingModel}
