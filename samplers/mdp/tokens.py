"""Which token of a source prompt stands for which token of a target prompt (Hertz et al. 2022, Prompt-to-Prompt)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...common import limits
from ...common.texts import check_length, quoted, read_number, shortened

MODES = ("replace", "refine")


@dataclass(frozen=True)
class Prompt:
    """A tokenized prompt: `texts` names each position; `special` positions (start, end, padding) are not words."""

    texts: tuple[str, ...]
    special: tuple[bool, ...]

    def words(self) -> list[tuple[str, list[int]]]:
        """The words with their positions; a word of several tokens has several."""
        whole = not any(text.endswith("</w>") for text in self.texts)
        found: list[tuple[str, list[int]]] = []
        open_word = False
        for position, text in enumerate(self.texts):
            if self.special[position]:
                open_word = False
                continue
            if not open_word:
                found.append(("", []))
            word, positions = found[-1]
            found[-1] = (word + text.removesuffix("</w>"), [*positions, position])
            open_word = not (whole or text.endswith("</w>"))
        return found


def tokenized(clip: Any, text: str) -> Prompt:
    """The tokens that a CLIP makes of a text; the chunks of a long prompt follow each other, as their embeddings do."""
    check_length(text, "prompt")
    chunks = next(iter(clip.tokenize(text, return_word_ids=True).values()))
    if (count := sum(map(len, chunks))) > limits.PROMPT_TOKENS:
        raise ValueError(f"The prompt has {count} tokens: attention control compares at most {limits.PROMPT_TOKENS}.")
    texts: list[str] = []
    special: list[bool] = []
    for chunk in chunks:
        for token, _, word in chunk:
            special.append(word == 0)
            if isinstance(token, int):
                texts.append(str(clip.tokenizer.untokenize([(token, 1.0)])[0][1]))
            else:
                texts.append(f"embedding {len(texts)}</w>")
    return Prompt(tuple(texts), tuple(special))


@dataclass(frozen=True)
class TokenMap:
    """M* = ((M_A mapper) kept + M_B (1 - kept)) scale. mapper [S, T]; kept, scale [T]; float32 on the CPU."""

    mapper: Tensor
    kept: Tensor
    scale: Tensor


def token_map(source: Prompt, target: Prompt, mode: str, reweight: str = "") -> TokenMap:
    """How the maps of the source's tokens become those of the target's.

    replace: word for word, for prompts of the same number of words; refine: words that both have, in order, keep the
    source's maps and new words keep their own. reweight: "word:factor, ..." scales the maps of words of the target.
    Raises ValueError for an unknown mode, prompts that do not fit it, or words that the target does not have.
    """
    if mode not in MODES:
        raise ValueError(f"There is no attention control {quoted(mode)}: choose one of {', '.join(MODES)}.")
    mapper = torch.zeros(len(source.texts), len(target.texts))
    pairs = _replaced(source, target) if mode == "replace" else _common(source, target)
    specials = [[i for i, special in enumerate(each.special) if special] for each in (source, target)]
    for a, b in [*pairs, *(([i], [j]) for i, j in zip(*specials, strict=False))]:
        # A word of more or fewer tokens shares out the source's attention.
        mapper[torch.tensor(a)[:, None], torch.tensor(b)[None]] = torch.eye(len(a)) if len(a) == len(b) else 1 / len(b)
    return TokenMap(mapper, (mapper.sum(0) > 0).float(), _scale(target, reweight))


def _replaced(source: Prompt, target: Prompt) -> list[tuple[list[int], list[int]]]:
    old, new = source.words(), target.words()
    if len(old) != len(new):
        raise ValueError(
            f"'replace' swaps words one for one, but the source prompt has {len(old)} words and the target {len(new)}: "
            "use 'refine', or prompts of the same number of words."
        )
    return [(a, b) for (_, a), (_, b) in zip(old, new, strict=True)]


def _common(source: Prompt, target: Prompt) -> list[tuple[list[int], list[int]]]:
    """The longest common subsequence of two prompts' tokens: the alignment of Prompt-to-Prompt's refinement."""
    a = [i for i, special in enumerate(source.special) if not special]
    b = [i for i, special in enumerate(target.special) if not special]
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in reversed(range(len(a))):
        for j in reversed(range(len(b))):
            same = source.texts[a[i]] == target.texts[b[j]]
            best[i][j] = best[i + 1][j + 1] + 1 if same else max(best[i + 1][j], best[i][j + 1])
    pairs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(a) and j < len(b):
        if source.texts[a[i]] == target.texts[b[j]]:
            pairs.append(([a[i]], [b[j]]))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _scale(target: Prompt, reweight: str) -> Tensor:
    scale = torch.ones(len(target.texts))
    words = target.words()
    check_length(reweight, "list of weights")
    for part in filter(None, map(str.strip, reweight.replace(";", ",").replace("\n", ",").split(","))):
        word, _, number = (piece.strip() for piece in part.rpartition(":"))
        factor = read_number(number)
        if not word or len(word.split()) > 1 or factor is None:
            raise ValueError(
                f"The weight {quoted(part)} cannot be read: write pairs word:factor such as 'snow:2, red:0.5'."
            )
        positions = _positions(words, word.lower())
        if not positions:
            known = shortened(", ".join(name for name, _ in words))
            raise ValueError(f"The target prompt has no word {quoted(word)} to reweight: it has {known}.")
        scale[positions] = factor
    return scale


def _positions(words: Sequence[tuple[str, list[int]]], wanted: str) -> list[int]:
    return [position for word, positions in words if word.lower() == wanted for position in positions]
