"""Straightforward implementations of published inversions, to measure against: one evaluation after the other.

They work on ComfyUI's model in the coordinates of the papers' codes (VP), and take their constants from there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor

from ..demo.model import load_demo_model

_ATTENTION = {"optimized_attention_override": lambda _, *args, **kwargs: attention_pytorch(*args, **kwargs)}


@cache
def _landscapes() -> Any:
    return load_demo_model()[0].model.requires_grad_(False)


@dataclass(frozen=True)
class Published:
    """An eps model with normal weights (not loaded in inference mode) and its prompts [1, tokens, width]."""

    base: Any
    positive: Tensor
    negative: Tensor

    @classmethod
    def of(cls, positive: Any, negative: Any) -> Published:
        """On the landscape model; prompts as CONDITIONING."""
        with torch.inference_mode(False):
            return cls(_landscapes(), positive[0][0].clone(), negative[0][0].clone())

    def denoised(self, x: Tensor, sigma: Tensor, *prompts: Tensor) -> Sequence[Tensor]:
        """D(x, sigma) for each prompt, in one call of the model. x: [1, C, H, W]."""
        count = len(prompts)
        out = self.base.apply_model(
            x.expand(count, -1, -1, -1),
            sigma.expand(count),
            c_crossattn=torch.cat(prompts),
            transformer_options=dict(_ATTENTION),
        )
        return out.split(1)

    @torch.no_grad()
    def uni_edit(
        self, picture: Tensor, target: Tensor, sigmas: Tensor, alpha: float = 0.6, omega: float = 5.0
    ) -> Tensor:
        """Uni-Edit (Jiao et al. 2026, published code and constants): Uni-Inv up `alpha` of the steps, then down along
        the difference of both prompts at the same state, stronger where it is larger. picture: [1, C, H, W].
        """
        used = sigmas[-1 - round(alpha * (len(sigmas) - 1)) :]
        x, derivative = picture, torch.zeros_like(picture)
        for sigma, above in itertools.pairwise(used.flip(0)):
            guess = x + (above - sigma) * derivative
            (denoised,) = self.denoised(guess, above, self.positive)
            derivative = (guess - denoised) / above
            x = x + (above - sigma) * derivative
        for sigma, below in itertools.pairwise(used):
            source, wanted = self.denoised(x, sigma, self.positive, target)
            apart = wanted - source
            strength = apart.abs().mean(1, keepdim=True)
            share = (strength - strength.min()) / (strength.max() - strength.min() + 1e-7)
            x = _euler(x, source + (share + omega * (1 + share)) * apart, sigma, below)
        return x

    @torch.no_grad()
    def ddim_inversion(self, picture: Tensor, sigmas: Tensor) -> list[Tensor]:
        """States from the picture up to the noisiest level, in this order; eps at the destination's time."""
        states = [picture]
        for sigma, above in itertools.pairwise(sigmas.flip(0)):
            x = states[-1]
            shown = x * ((1 + above**2) / (1 + sigma**2)).sqrt()
            (denoised,) = self.denoised(shown, above, self.positive)
            states.append(x + (above - sigma) * (shown - denoised) / above)
        return states

    def null_text(self, picture: Tensor, sigmas: Tensor, cfg: float, inner: int = 10) -> tuple[list[Tensor], Tensor]:
        """Null-text inversion (Mokady et al. 2023, published code): Adam, at most `inner` updates per step, lr
        1e-2 (1 - i / 100), a step ends below a squared error of 1e-5 + 2e-5 i; then the guided step is taken.

        Gives the embeddings and the state that they lead to.
        """
        states = self.ddim_inversion(picture, sigmas)[::-1]
        null, x, found = self.negative.clone(), states[0], []
        for i, (sigma, below) in enumerate(itertools.pairwise(sigmas)):
            null = null.clone().detach().requires_grad_(True)
            optimizer = torch.optim.Adam([null], lr=1e-2 * (1 - i / 100))
            target = states[i + 1] / (1 + below**2).sqrt()
            with torch.no_grad():
                (with_prompt,) = self.denoised(x, sigma, self.positive)
            for _ in range(inner):
                (without,) = self.denoised(x, sigma, null)
                reached = _euler(x, without + cfg * (with_prompt - without), sigma, below)
                loss = F.mse_loss(reached / (1 + below**2).sqrt(), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if float(loss.detach()) < 1e-5 + 2e-5 * i:
                    break
            found.append(null.detach())
            with torch.no_grad():
                without, with_prompt = self.denoised(x, sigma, found[-1], self.positive)
                x = _euler(x, without + cfg * (with_prompt - without), sigma, below)
        return found, x

    @torch.no_grad()
    def edit_friendly(
        self, picture: Tensor, sigmas: Tensor, cfg: float, seed: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Edit-friendly inversion (Huberman-Spiegelglas et al. 2024, published code): all steps, also those that an
        edit skips; both prompts one after the other. Gives the states and the normalised residuals.
        """
        alphas, draw = (1 / (1 + sigmas.double() ** 2)).float(), torch.Generator().manual_seed(seed)
        noises = [torch.randn(picture.shape, generator=draw) for _ in alphas[:-1]]
        states = [a.sqrt() * picture + (1 - a).sqrt() * noise for a, noise in zip(alphas, noises, strict=False)]
        states.append(picture.clone())
        residuals = []
        for i, sigma in enumerate(sigmas[:-1]):
            alpha, below = alphas[i], alphas[i + 1]
            x = states[i] / alpha.sqrt()
            (without,), (with_prompt,) = (self.denoised(x, sigma, p) for p in (self.negative, self.positive))
            eps = (x - (without + cfg * (with_prompt - without))) / sigma
            variance = (1 - below) / (1 - alpha) * (1 - alpha / below)
            predicted = (states[i] - (1 - alpha).sqrt() * eps) / alpha.sqrt()
            mean = below.sqrt() * predicted + (1 - below - variance).clamp(min=0).sqrt() * eps
            residual = (states[i + 1] - mean) / variance.sqrt() if variance > 0 else torch.zeros_like(mean)
            residuals.append(residual)
            states[i + 1] = mean + variance.sqrt() * residual
        return states, residuals


def _euler(x: Tensor, denoised: Tensor, sigma: Tensor, below: Tensor) -> Tensor:
    """DDIM's step, eta 0."""
    return denoised + below / sigma * (x - denoised)
