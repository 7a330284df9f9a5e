"""Negative-prompt inversion (Miyake et al. 2023): the source prompt as the negative one, so that guidance cancels.

With the source prompt on both sides, D_u + w (D_c - D_u) = D_c for every w: sampling follows the Euler path of cfg 1 at
any cfg without optimising anything. Its error is that of Euler inversion, none where the replay is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    def __call__(self, run: Run) -> Fields:
        conds = run.guider.conds
        source = single_part(conds.get("positive"), "positive", "Negative-prompt inversion")
        return {**Euler(exact=self.exact)(run), "null": stored_tensors(source, conds.get("negative") or [])}
