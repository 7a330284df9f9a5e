"""A diffusion model whose denoiser is known exactly: data N(mu, S^2 I), behind ComfyUI's own classes.

`GaussianModel` is a BaseModel with a real model_sampling (EPS, v, EDM, flow): ComfyUI's nodes, guiders and samplers run
on it as on a checkpoint. The mean mu comes from the conditioning (`cond`), so that two prompts are two Gaussians.
`run` drives a SAMPLER in float64 through ComfyUI's KSAMPLER and KSamplerX0Inpaint, without the casts of CFGGuider.
"""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import torch
from comfy.model_base import BaseModel, ModelType
from comfy.samplers import CFGGuider
from diffusion_path.samplers import process
from torch import Tensor

FAMILIES = [ModelType.EPS, ModelType.FLOW]


class _Config(comfy.supported_models_base.BASE):
    """The least that BaseModel asks of a model configuration."""

    unet_extra_config: dict[str, Any] = {}
    latent_format: Any = comfy.latent_formats.LatentFormat


class _Network(torch.nn.Module):
    """Stands where a network would stand: has a dtype and one weight, and is never called."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)


class GaussianModel(BaseModel):
    """The exact denoiser D = mu + k (x - a mu) with k = a S^2 / (a^2 S^2 + b^2)."""

    def __init__(self, kind: ModelType, spread: float, config: _Config) -> None:
        super().__init__(config, model_type=kind)
        self.diffusion_model = _Network()
        self.spread = spread
        self.evaluations = 0

    def denoise(self, x: Tensor, sigma: Tensor, mean: Tensor | float) -> Tensor:
        """x: [B, ...]; sigma: [B]; mean: anything that broadcasts against x. Computed in x's dtype."""
        a, b = (c.reshape(-1, *[1] * (x.ndim - 1)) for c in process.coefficients(self.model_sampling, sigma))
        gain = a * self.spread**2 / (a**2 * self.spread**2 + b**2)
        return mean + gain * (x - a * mean)

    def _apply_model(self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        self.evaluations += 1
        mean = 0.0 if c_crossattn is None else c_crossattn[:, 0, :].to(x)
        if isinstance(mean, Tensor):
            mean = mean.reshape(mean.shape[0], -1, *[1] * (x.ndim - 2))
        return self.denoise(x, t.to(x), mean)


def gaussian_model(
    kind: ModelType = ModelType.EPS,
    spread: float = 1.0,
    latent_format: Any = None,
    channels: int = 4,
    **sampling_settings: Any,
) -> comfy.model_patcher.ModelPatcher:
    """A MODEL for nodes: data N(mu, spread^2) with mu from the conditioning."""
    config = _Config({"disable_unet_model_creation": True})
    config.sampling_settings = sampling_settings
    config.latent_format = latent_format or comfy.latent_formats.LatentFormat()
    config.latent_format.latent_channels = channels if latent_format is None else latent_format.latent_channels
    config.set_inference_dtype(torch.float32, None)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(GaussianModel(kind, spread, config), device, torch.device("cpu"))


def bent_model(kind: ModelType, spread: float) -> Any:
    """An analytic model that no method follows by luck: its predictions are bent."""
    model = gaussian_model(kind, spread)
    straight = model.model.denoise
    model.model.denoise = lambda x, sigma, mean: straight(x, sigma, mean) + 0.1 * torch.sin(3 * x + mean)
    return model


def cond(mean: float | list[float] | Tensor) -> list[list[Any]]:
    """A CONDITIONING that makes `mean` the mean of the data: one number, or one per channel."""
    values = torch.as_tensor(mean, dtype=torch.float32).reshape(1, 1, -1)
    return [[values, {}]]


class _Float64Guider(CFGGuider):
    """A guider already inside a run, as samplers see it, that denoises with a fixed mean and casts nothing."""

    def __init__(self, model: comfy.model_patcher.ModelPatcher, mean: float) -> None:
        super().__init__(model)
        self.inner_model, self.mean = model.model, mean

    def __call__(
        self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None
    ) -> Tensor:
        self.inner_model.evaluations += 1
        return self.inner_model.denoise(x, timestep.to(x), self.mean)


def run(
    model: comfy.model_patcher.ModelPatcher,
    sampler: Any,
    sigmas: Tensor,
    noise: Tensor,
    latent: Tensor,
    mean: float = 0.0,
    mask: Tensor | None = None,
    seed: int = 0,
    callback: Any = None,
) -> Tensor:
    """One run of a ComfyUI SAMPLER in the dtype of its inputs (float64 for proofs). All tensors [B, C, ...]."""
    extra_args = {"model_options": {"transformer_options": {"sample_sigmas": sigmas}}, "seed": seed}
    guider = _Float64Guider(model, mean)
    return sampler.sample(guider, sigmas, extra_args, callback, noise, latent, mask, True)
