"""The embedded world as pictures and benchmarks use it: its model, captions, renders, and core's sampler on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from comfy_extras import nodes_custom_sampler as core
from PIL import Image
from torch import Tensor

from ..demo.attributes import features, read_attributes
from ..demo.model import NOISE
from ..demo.scenes import Scene, full_caption
from ..demo.training.style import PAINTED, Style
from ..demo.training.transformer import SAMPLING, load_kind
from ..images.tensors import to_uint8
from ..samplers.noise import item_noise
from ..samplers.path import DiffusionPath
from ..samplers.replay import start

Latent = dict[str, Any]


rendered = PAINTED.rendered
"""Renders of the embedded world."""


def save_picture(picture: Tensor, file: Path, quality: int = 85) -> None:
    """Writes a picture [H, W, 3] as a JPEG, as small as the quality allows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_uint8(picture)).save(file, quality=quality, optimize=True, progressive=True)


class World:
    """MODEL, CLIP and VAE of a kind of the landscape model, or of the transformer, its steps, cfg and scheduler, and
    captions as batches.

    style: of the embedded world, or of another that was trained by the same recipe.
    """

    def __init__(self, kind: str = NOISE, style: Style = PAINTED) -> None:
        self.model, self.clip, self.vae = load_kind(kind, style)
        self.kind, (self.steps, self.cfg, self.scheduler) = kind, SAMPLING[kind]
        self.style = style
        self.negative = self.encoded("")

    def encoded(self, *captions: Scene | str) -> list[list[Any]]:
        """One CONDITIONING whose batch is the captions; a scene stands for its full one."""
        texts = [full_caption(each) if isinstance(each, Scene) else each for each in captions]
        parts = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))[0] for text in texts]
        return [[torch.cat([tokens for tokens, _ in parts]), parts[0][1]]]

    def read(self, pictures: Tensor) -> list[dict[str, str]]:
        """The attributes that are seen in pictures [B, H, W, 3]."""
        return read_attributes(pictures, self.style.attributes)

    def features(self, pictures: Tensor) -> Tensor:
        """Features of pictures [B, H, W, 3] for distribution distances, [B, C]."""
        return features(pictures, self.style.attributes)

    def inputs(self, *captions: Scene | str) -> dict[str, Any]:
        """The first inputs of most nodes."""
        return {"model": self.model, "positive": self.encoded(*captions), "negative": self.negative}

    def latent(self, pictures: Tensor) -> Latent:
        return {"samples": self.vae.encode(pictures)}

    def decoded(self, latent: Latent | Tensor) -> Tensor:
        """An IMAGE, within 0..1 as the VAE leaves it."""
        return self.vae.decode(latent if isinstance(latent, Tensor) else latent["samples"]).cpu()

    def generated(
        self, captions: Sequence[Scene | str], seed: int, first: int = 0, model: Any = None, steps: int = 0
    ) -> Tensor:
        """A picture for each caption, as KSampler makes it; item i has the noise of item `first` + i. steps: 0 for
        those that suit the kind of model.
        """
        noise = torch.stack([item_noise(torch.zeros(4, 32, 32), seed, first + i) for i in range(len(captions))])
        samples = comfy.sample.sample(
            model or self.model, noise, steps or self.steps, self.cfg, "euler_ancestral", self.scheduler,
            self.encoded(*captions), self.negative, torch.zeros_like(noise), disable_pbar=True, seed=seed,
        )  # fmt: skip
        return self.decoded(samples)


def guider(model: Any, positive: Any, negative: Any, cfg: float) -> comfy.samplers.CFGGuider:
    chosen = comfy.samplers.CFGGuider(model)
    chosen.set_conds(positive, negative)
    chosen.set_cfg(cfg)
    return chosen


def sampler_inputs(
    model: Any, positive: Any, negative: Any, cfg: float, sigmas: Tensor, latent: Latent, seed: int = 1
) -> dict[str, Any]:
    """The inputs of SamplerCustomAdvanced and of Record Path, with Euler."""
    noise = core.RandomNoise.execute(seed).args[0]
    euler = comfy.samplers.sampler_object("euler")
    chosen = guider(model, positive, negative, cfg)
    return {"noise": noise, "guider": chosen, "sampler": euler, "sigmas": sigmas, "latent_image": latent}


def sampled_from(
    path: DiffusionPath, model: Any, positive: Any, negative: Any, cfg: float = 4.0, sampler: Any = None
) -> Tensor:
    """Latents that a sampler, by default Euler, reaches from the start of a path."""
    noise, latent = start(model, path)
    sampler, drawn = sampler or comfy.samplers.sampler_object("euler"), noise.generate_noise(latent)
    chosen = guider(model, positive, negative, cfg)
    return chosen.sample(drawn, latent["samples"], sampler, path.sigmas, disable_pbar=True, seed=1)
