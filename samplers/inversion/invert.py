"""One call from a picture to its path, whatever the method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from .. import nested, process
from .. import noise as noises
from ..caching import without_step_caches
from ..conditioning import fingerprint
from ..own_sampler import run_inside
from ..path import DiffusionPath, make_path
from ..path_storage import check_room
from ..sigmas import check_falling_to_zero
from .run import Method, inverting


def invert(
    model: Any,
    prompts: tuple[Any, Any],
    latent: Mapping[str, Any],
    sigmas: Tensor,
    method: Method,
    cfg: float = 1.0,
    seed: int = 0,
    callback: Callable[..., None] | None = None,
) -> DiffusionPath:
    """The path of a LATENT of pictures under a MODEL and its prompts, for edits at cfg.

    prompts: CONDITIONING of the source and of the negative prompt. sigmas: falling to 0, as for sampling. Raises
    ValueError if the method cannot work on these inputs.
    """
    check_falling_to_zero(sigmas)
    process.model_sampling(model)  # refuses models without noise, before any work
    model = without_step_caches(model, "Inversion")
    samples = _picture(model, latent)
    steps = len(sigmas) - 1
    check_room(steps, method.kept_states(steps), nested.pack(samples))
    guider = comfy.samplers.CFGGuider(method.prepared(model, cfg, steps, samples.shape[0]))
    guider.set_conds(*prompts)
    guider.set_cfg(method.run_cfg(cfg))
    noise = noises.start_run({**latent, "samples": samples}, seed)
    found = run_inside(
        guider, noise, samples, sigmas, inverting(method, noises.indices_of(latent), cfg), callback, seed
    )
    fields = {"cfg": method.run_cfg(cfg), **found}
    return make_path(
        model,
        sigmas,
        fields.pop("states"),
        method=method.name,
        sampler="euler",
        seed=seed,
        conditioning=fingerprint(prompts[0]),
        batch_index=tuple(latent["batch_index"]) if latent.get("batch_index") is not None else None,
        latent_shapes=nested.shapes_of(samples),
        **{key: value.cpu().float() if isinstance(value, Tensor) else value for key, value in fields.items()},
    )


def _picture(model: Any, latent: Mapping[str, Any]) -> Any:
    """The LATENT's samples as core would sample them; refuses latents that have no path."""
    samples = latent["samples"]
    process.check_parts(model, samples, "latent")
    if torch.count_nonzero(nested.video(samples)) == 0:
        raise ValueError("The latent is empty, so there is no picture to invert: connect VAE Encode.")
    bad = int((~torch.isfinite(nested.pack(samples))).sum())
    if bad:
        raise ValueError(
            f"The latent holds {bad} values that are NaN or infinite: find the node that produces them, often a "
            "VAE in half precision."
        )
    process.check_layout(model, samples, "latent")
    return comfy.sample.fix_empty_latent_channels(model, samples)
