"""A whole ComfyUI sampling run in float64: CFGGuider without its casts, every wrapper of the model in its place."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.samplers import CFGGuider
from diffusion_path.samplers import process
from diffusion_path.samplers.path import DiffusionPath, model_kind
from torch import Tensor

F64 = torch.float64


class Float64Guider(CFGGuider):
    """CFGGuider as it is, but noise, latent and result keep their dtype."""

    def outer_sample(
        self,
        noise,
        latent_image,
        sampler,
        sigmas,
        denoise_mask=None,
        callback=None,
        disable_pbar=False,
        seed=None,
        latent_shapes=None,
    ):
        prepared = comfy.sampler_helpers.prepare_sampling(
            self.model_patcher, noise.shape, self.conds, self.model_options
        )
        self.inner_model, self.conds, self.loaded_models = prepared
        self.model_patcher.pre_run()
        self.conds = comfy.samplers.process_conds(
            self.inner_model, noise, self.conds, noise.device, latent_image, denoise_mask, seed, latent_shapes
        )
        options = comfy.model_patcher.create_model_options_clone(self.model_options)
        options.setdefault("transformer_options", {})["sample_sigmas"] = sigmas
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(
            sampler.sample,
            sampler,
            comfy.patcher_extension.get_all_wrappers(
                comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, options, is_model_options=True
            ),
        )
        extra = {"model_options": options, "seed": seed}
        return executor.execute(self, sigmas, extra, callback, noise, latent_image, denoise_mask, disable_pbar)


def sample(
    model: Any,
    positive: Any,
    negative: Any,
    cfg: float,
    sigmas: Tensor,
    noise: Tensor,
    latent: Tensor | None = None,
    sampler: Any = None,
    mask: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """One run in the dtype of the noise; Euler unless another SAMPLER is given."""
    guider = Float64Guider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    sampler = comfy.samplers.sampler_object("euler") if sampler is None else sampler
    latent = torch.zeros_like(noise) if latent is None else latent
    with torch.no_grad():
        return guider.sample(noise, latent, sampler, sigmas, mask, None, True, seed)


class _Listener:
    """Keeps the state and the prediction of every call that a solver with one evaluation per step makes."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.states: list[Tensor] = []
        self.predictions: list[Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.states.append(x)
        self.predictions.append(self._model(x, *args, **kwargs))
        return self.predictions[-1]


def record(
    model: Any, positive: Any, negative: Any, cfg: float, sigmas: Tensor, noise: Tensor, sampler: Any = None
) -> DiffusionPath:
    """The path of a run in the dtype of the noise (the pack's own recorder keeps float32), predictions included."""
    inner = comfy.samplers.sampler_object("euler") if sampler is None else sampler
    heard: list[_Listener] = []

    def listening(m: Any, *args: Any, **kwargs: Any) -> Tensor:
        heard.append(_Listener(m))
        return inner.sampler_function(heard[0], *args, **kwargs)

    clone = comfy.samplers.KSAMPLER(listening, inner.extra_options)
    end = sample(model, positive, negative, cfg, sigmas, noise, sampler=clone)
    a, b = process.coefficients(process.model_sampling(model), sigmas)
    return DiffusionPath(
        sigmas=sigmas, states=torch.stack([*heard[0].states, end]), signal=a, noise=b, model=model_kind(model),
        method="recorded", sampler="euler", denoised=torch.stack(heard[0].predictions),
    )  # fmt: skip
