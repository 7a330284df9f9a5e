"""Negative-prompt inversion (Miyake et al. 2023): the source prompt as the negative one, so that guidance cancels.

With the source prompt on both sides, D_u + w (D_c - D_u) = D_c for every w: sampling follows the Euler path of cfg 1 at
any cfg without optimising anything. Its error is that of Euler inversion, none where the replay is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..conditioning import single_part, stored_tensors
from .euler import Euler
from .run import Fields, Method, Run


@dataclass(frozen=True)
class NegativePrompt(Method):
    """Stores the source prompt's model inputs, to replace those of the negative prompt at every step.

    exact: as for `Euler`, and for the source prompt at any cfg.
    """

    name = "negative prompt"

    exact: bool = True

    def prepared(self, model: Any, cfg: float, steps: int, batch: int) -> Any:
        refuse_without_null_branch(model, self.name)
        return model

    def __call__(self, run: Run) -> Fields:
        null = stored_tensors(single_part(run.guider.conds.get("positive"), "positive", "Negative-prompt inversion"))
        return {**Euler(exact=self.exact)(run), "null": null}


def refuse_without_null_branch(model: Any, method: str) -> None:
    """Raises ValueError for a guidance-distilled MODEL, which never sees a negative prompt."""
    config = getattr(model.model.model_config, "unet_config", {})
    if config.get("guidance_embed"):
        raise ValueError(
            f"This model has its guidance distilled in and no negative branch, so {method} inversion has nothing to "
            "work on: choose residual, fixed point or controlled."
        )
