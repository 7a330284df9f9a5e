"""Replays a path: where a sampler starts on it, and what the path's method stored for its steps.

`start` gives core's samplers their inputs; `attach` applies stored embeddings and the pull towards the picture by a
model wrapper, under any sampler and guider; `replay_sampler` gives the solver that the path was made for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.k_diffusion import sampling as k_diffusion
from comfy.patcher_extension import WrappersMP
from comfy.samplers import KSAMPLER
from torch import Tensor

from . import nested, process, reverse_sde
from . import noise as noises
from .caching import without_step_caches
from .conditioning import standing_in
from .exact_replay import KEY as EXACT_KEY
from .exact_replay import ExactReplay
from .inversion.negative_prompt import NegativePrompt
from .path import DiffusionPath
from .path_fit import check_path_fits, latent_psnr
from .record import record
from .reverse_sde import KINDS, Step, ancestral_step
from .solvers import adds_noise, sampler_name, takes_options

WRAPPER = "diffusion_path.replay"
_REVERSE_SDE = ("kind", "eta", "s_noise", "last_noise")


class PathNoise:
    """A NOISE that leads from the path's picture to one of its states exactly."""

    def __init__(self, noise: Any, seed: int) -> None:
        self.noise = noise
        self.seed = seed

    def generate_noise(self, latent: Mapping[str, Any]) -> Any:
        own, given = nested.sizes(self.noise), nested.sizes(latent["samples"])
        if own != given:
            raise ValueError(
                f"This noise belongs to a path of latents {own}, but the latent is {given}: connect the LATENT of the "
                "same Path to Sampling Inputs."
            )
        noises.start_run({**latent}, self.seed)  # patches draw the same as in the path's own run
        return nested.each(Tensor.clone, self.noise)


def start(model: Any, path: DiffusionPath) -> tuple[PathNoise, dict[str, Any]]:
    """NOISE and LATENT from which a sampler on the path's sigmas starts at its first state.

    The LATENT is the picture at the path's end, so that masks keep that; the noise makes up the difference.
    Raises ValueError for a path of another model.
    """
    check_path_fits(path, model)
    sampling = process.model_sampling(model)
    samples = process.latent_out(model, nested.unpack(path.picture, path.latent_shapes))
    # To VAE space and back, as core will see it.
    picture = nested.pack(process.latent_in(model, samples))
    sigma = path.sigmas[0]
    base = process.perturb(sampling, picture, torch.zeros_like(picture), sigma)
    unit = process.perturb(sampling, torch.zeros_like(picture), torch.ones_like(picture), sigma)
    latent: dict[str, Any] = {"samples": samples}
    if path.batch_index is not None:
        latent["batch_index"] = list(path.batch_index)
    return PathNoise(nested.unpack((path.states[0] - base) / unit, path.latent_shapes), path.seed), latent


def attach(model: Any, path: DiffusionPath, whole: DiffusionPath | None = None) -> Any:
    """A clone of the MODEL that applies what the path stores for its steps; if it stores nothing, a plain clone.

    Stored embeddings replace those of the negative prompt; a path with control draws the prediction to its picture;
    Euler steps are exact on the path of an inversion that says what it asked. whole: the path of which this is the end.
    """
    model = model.clone()
    model.remove_wrappers_with_key(WrappersMP.PREDICT_NOISE, WRAPPER)
    for kind in (WrappersMP.OUTER_SAMPLE, WrappersMP.CALC_COND_BATCH):
        model.remove_wrappers_with_key(kind, EXACT_KEY)
    if (whole or path).asked:
        ExactReplay(whole or path).on(model)
    if not path.null and path.control is None:
        return model
    picture, every_input = path.picture, path.method == NegativePrompt.name

    def predict(executor: Any, x: Tensor, sigma: Tensor, model_options: Any = None, seed: int | None = None) -> Tensor:
        step = path.step_at(float(sigma.reshape(-1)[0]))
        weight = 0.0 if path.control is None else float(path.control[step])
        if weight and x.shape != picture.shape:
            raise ValueError(
                f"The path draws the result towards its picture {list(picture.shape)}, but the latent is "
                f"{list(x.shape)}: use the LATENT of the same Path to Sampling Inputs."
            )
        if weight == 1.0:
            return picture.to(x)
        guider = executor.class_obj
        conds = guider.conds
        try:
            if path.null and conds.get("negative"):
                guider.conds = {**conds, "negative": standing_in(conds["negative"], path.null, step, every_input)}
            denoised = executor(x, sigma, model_options or {}, seed)
        finally:
            guider.conds = conds
        return denoised + weight * (picture.to(x) - denoised) if weight else denoised

    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, WRAPPER, predict)
    return model


@torch.no_grad()
def sample_residuals(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    path: DiffusionPath | None = None,
) -> Tensor:
    """The posterior mean of each step plus the path's residual: x' = m(x) + R (Huberman-Spiegelglas et al. 2024).

    Where a mask keeps the picture the path is followed, so that pixels may be released at any level.
    """
    assert path is not None
    assert path.residuals is not None
    check_path_fits(path, latent=x)
    extra_args = extra_args or {}
    sampling = model.inner_model.inner_model.model_sampling
    s_in = x.new_ones([x.shape[0]])
    for i in range(len(sigmas) - 1):
        step = path.level(float(sigmas[i]))
        if step is None or path.level(float(sigmas[i + 1])) != step + 1:
            raise ValueError(
                f"Residuals belong to the steps they were found for, and {float(sigmas[i]):.4g} to "
                f"{float(sigmas[i + 1]):.4g} is not one of the path's {path.steps}: use its SIGMAS (Path to Sampling "
                "Inputs gives them)."
            )
        denoised = model(x, sigmas[i] * s_in, **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        kernel = Step(sampling, sigmas[i], sigmas[i + 1])
        x = ancestral_step(x, denoised, kernel, path.eta, torch.zeros_like(x)) + path.residuals[step].to(x)
        mask = _mask_at(model, sigmas[i] * s_in, extra_args)
        if mask is not None:
            x = torch.lerp(path.states[step + 1].to(x), x, mask.to(x))
    return x


def _mask_at(model: Any, sigma: Tensor, extra_args: dict[str, Any]) -> Tensor | None:
    """The mask that core applies at this level (Differential Diffusion changes it from level to level)."""
    mask, options = extra_args.get("denoise_mask"), extra_args.get("model_options") or {}
    if mask is None or "denoise_mask_function" not in options:
        return mask
    extra = {"model": model.inner_model, "sigmas": model.sigmas}
    return options["denoise_mask_function"](sigma, mask, extra_options=extra)


def replay_sampler(path: DiffusionPath) -> Any:
    """The SAMPLER that replays the path as it was made: with its residuals, the recorded solver, or Euler."""
    if path.residuals is not None:
        return KSAMPLER(sample_residuals, {"path": path})
    if _is_reverse_sde(path):
        options = {name: path.sampler_options[name] for name in _REVERSE_SDE if name in path.sampler_options}
        return reverse_sde.sampler(**options).for_items(path.batch_index or range(path.shape[0]))
    if stand_in(path):
        return comfy.samplers.sampler_object("euler")
    sampler = comfy.samplers.sampler_object(path.sampler)
    sampler.extra_options = {**sampler.extra_options, **path.sampler_options}
    return sampler


def stand_in(path: DiffusionPath) -> str:
    """A sentence if Euler replaces the path's own solver because that one cannot be found; else empty.

    It is found if core lists a sampler by the recorded name, its own or one that a pack has added, and that sampler
    takes the recorded options.
    """
    if path.residuals is not None or _is_reverse_sde(path):
        return ""
    known = path.sampler in comfy.samplers.SAMPLER_NAMES or hasattr(k_diffusion, f"sample_{path.sampler}")
    if known and takes_options(comfy.samplers.sampler_object(path.sampler).sampler_function, path.sampler_options):
        return ""
    what = "whose options ComfyUI's sampler does not have" if known else "which is not in ComfyUI's list"
    return (
        f"made with the sampler {path.sampler[:60]!r}, {what}, so euler is used instead: for an exact replay connect "
        "the node that gave it as `sampler`, if it adds no noise, or record with one from the list"
    )


def _is_reverse_sde(path: DiffusionPath) -> bool:
    named = path.sampler == sampler_name(reverse_sde.sampler("ode")) and path.sampler_options.get("kind") in KINDS
    options = {name: value for name, value in path.sampler_options.items() if name in _REVERSE_SDE}
    return named and takes_options(reverse_sde.sample_reverse_sde, options)


def replay(
    model: Any,
    positive: Any,
    negative: Any,
    path: DiffusionPath,
    cfg: float,
    sampler: Any = None,
    callback: Callable[..., None] | None = None,
) -> tuple[DiffusionPath, dict[str, Any]]:
    """Replay a path from its start with a MODEL and prompts at cfg; sampler: replaces the path's own.

    Returns the path that was sampled, with its latent PSNR against the given one, and the LATENT it ends in.
    Raises ValueError if the model does not fit, or for a solver that adds noise which the path does not contain.
    """
    if sampler is not None and adds_noise(sampler):
        raise ValueError(
            f"The sampler {sampler_name(sampler)} adds noise of its own at every step, so it cannot replay a path "
            f"found by {path.method}: use euler, or leave the sampler unconnected."
        )
    if sampler is not None and path.residuals is not None:
        raise ValueError(
            "A residual path is replayed by its own sampler, which adds the residuals: leave the sampler unconnected."
        )
    model = without_step_caches(model, "Reconstruction")
    noise, latent = start(model, path)
    guider = comfy.samplers.CFGGuider(attach(model, path))
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    solver, drawn = sampler or replay_sampler(path), noise.generate_noise(latent)
    replayed, out = record(guider, solver, path.sigmas, drawn, latent, callback, True, path.seed)
    ends = (each.visible(each.picture) for each in (path, replayed))
    replayed = replayed.replaced(figures={"latent_psnr": latent_psnr(*ends)})
    return replayed, {**latent, "samples": out.to(comfy.model_management.intermediate_device())}
