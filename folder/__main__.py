"""Inverts or edits all pictures of a folder, on one machine or many, from ComfyUI's folder:

    python -m custom_nodes.ComfyUI-DiffusionPath.folder sdedit CHECKPOINT IN OUT --set t0=0.4
    torchrun --nproc-per-node 8 -m custom_nodes.ComfyUI-DiffusionPath.folder edit CHECKPOINT IN OUT --prompt "..."

invert writes the path of each picture (Invert Picture to Path), edit its MDP Edit, sdedit its SDEdit. A picture's
caption is in a .txt file of its name. What exists in OUT is skipped, so that the same command goes on with a run that
was ended; each process takes every N-th picture. A picture that cannot be used is left out and named at the end.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..common.processes import allow_cpu, this_process
from . import CAPTION, DEMO, KINDS

log = logging.getLogger(__name__)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("checkpoint", help=f"a checkpoint that holds model, CLIP and VAE; {DEMO}: the embedded model")
    parser.add_argument("pictures", metavar="IN", type=Path, help="folder of pictures and captions")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the results")
    parser.add_argument(
        "--prompt", help=f"the target prompt; {CAPTION} in it is the picture's caption, which is also the default"
    )
    parser.add_argument("--targets", type=Path, help="folder of .txt files with a target prompt for each picture")
    parser.add_argument("--negative", default="", help="the negative prompt")
    parser.add_argument("--masks", type=Path, help="folder of masks with the names of the pictures; white = edit")
    parser.add_argument("--size", type=int, help="scale the longer side of each picture to this number of pixels")
    parser.add_argument("--settings", type=Path, help="workflow saved with File > Export (API): settings of its node")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the node")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO)
    allow_cpu()
    from .command import work  # which loads ComfyUI

    process = this_process()
    try:
        outcome = work(options, process)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    shown = f"process {process.rank + 1} of {process.world}: " if process.world > 1 else ""
    log.info("%s%d done, %d skipped, %d left out", shown, outcome.done, outcome.skipped, len(outcome.failed))
    for sentence in outcome.failed:
        log.warning("left out: %s", sentence)
    if outcome.failed and process.world == 1:  # of many, torchrun would end those that still work
        raise SystemExit(1)


if __name__ == "__main__":
    main()
