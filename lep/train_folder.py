"""The command line of `folder_training`, which also runs on a machine without a graphics card."""

from __future__ import annotations

from ..common.processes import allow_cpu


def main() -> None:
    allow_cpu()
    from . import folder_training  # which loads ComfyUI

    folder_training.main()


if __name__ == "__main__":
    main()
