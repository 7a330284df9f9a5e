"""``docs/compatibility.md``: written by ``./dev compatibility``, read by the tests that check it."""

from __future__ import annotations

from pathlib import Path

import comfy.utils
from diffusion_path.tests.unit import neighbours
from diffusion_path.tests.unit.compatibility import CASES, outcome, short_name, world
from diffusion_path.tests.unit.families import FAMILIES
from diffusion_path.tests.unit.neighbours import NEIGHBOURS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
_NAMES = {f"{short_name(label)} `{label.split(':')[0]}`": label for label in CASES}

_TOP = """# What works with what

Written by `./dev compatibility`, and checked by the tests: every node that works on a model is run on every family.
The models are of the real classes, with random weights; those of SD1.5, SD2.1, SD3, Flux and Wan are files of the real
format that core's own loader has read. Weights in fp16, bf16 and fp8, and batches taken apart, are tested on them too.

- **exact**: at its neutral setting the result is core's, bit for bit. Of paths and inversions, and of FlowEdit with
  equal prompts: the picture comes back.
- **works**: it runs and gives a result; there is no neutral setting to compare.
- **refused**: it ends with a sentence that says why and what to do; the sentences are below.

"""
_NEIGHBOURS = """
## Beside other features

The same runs with another feature at work on the model or the prompts: what was exact without it is exact with it,
except where the table says otherwise. Nothing of ComfyUI is changed by the pack: a test compares all of its modules
before and after an import and after these runs.

| feature | on | what changes |
|---|---|---|
"""
_BOTTOM = """
- **skipped**: Sketch Guidance reads activations of the whole picture; where the network sees it only in parts, or is
  skipped, the run is not guided and the log says so.
- Inversion, reconstruction, FlowEdit and the edge predictor leave EasyCache and LazyCache out: guessed evaluations
  would make them wrong.
- With torch.compile nothing changes; while a gradient is taken (null text, Sketch Guidance, training) the network runs
  as it is.
- CFG Override changes the guidance of FlowEdit's target, not of its source.
- Latents of several parts (video with audio) are refused with a sentence by all nodes that take a latent: separate them
  first.
"""


def families_in(text: str) -> dict[str, dict[str, str]]:
    """The page's cells, by case and family."""
    rows = {}
    for name, *cells in _rows(text, len(FAMILIES) + 1):
        if name in _NAMES:
            rows[_NAMES[name]] = dict(zip(FAMILIES, cells, strict=True))
    return rows


def neighbours_in(text: str) -> dict[str, str]:
    """What the page says that changes, by neighbour."""
    return {name: change for name, _, change in _rows(text, 3) if name in NEIGHBOURS}


def _rows(text: str, width: int) -> list[list[str]]:
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in lines if len(cells) == width]


def usual(page: dict[str, dict[str, str]], name: str) -> dict[str, str]:
    """What comes out without a neighbour, on the family that it is tried on."""
    family = NEIGHBOURS[name][0].name
    return {label: cells[neighbours.LIKE.get(family, family)] for label, cells in page.items()}


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def write() -> None:
    """Run everything, and write the page."""
    cells: dict[str, dict[str, str]] = {}
    refusals: dict[str, list[str]] = {}
    for label in CASES:
        for family in FAMILIES:
            found, sentence = outcome(label, world(family))
            cells.setdefault(label, {})[family] = found
            _say(f"{short_name(label)}, {family}: {found}")
            if sentence:
                refusals.setdefault(label, []).append(f"{family}: {sentence}")
    lines = ["| node | " + " | ".join(FAMILIES) + " |", "|---|" + "---|" * len(FAMILIES)]
    lines += [f"| {name} | " + " | ".join(cells[label].values()) + " |" for name, label in _NAMES.items()]
    lines += ["", "## Refusals", ""]
    lines += [f"- {short_name(label)}. " + " ".join(said) for label, said in refusals.items()]
    beside = []
    for name, (family, _) in NEIGHBOURS.items():
        beside.append(f"| {name} | {family.name} | {neighbours.changes(name, usual(cells, name))} |")
        _say(f"{name}: done")
    PAGE.write_text(_TOP + "\n".join(lines) + "\n" + _NEIGHBOURS + "\n".join(beside) + "\n" + _BOTTOM, encoding="utf-8")


if __name__ == "__main__":
    comfy.utils.PROGRESS_BAR_ENABLED = False
    write()
