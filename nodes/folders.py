"""Folders of the pack's own files: one under models/, and one under the output folder for new files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import folder_paths

from ..common.texts import shortened
from ..samplers.files import write_new

EXTENSION = ".safetensors"


def register(category: str) -> None:
    """Make ComfyUI list the category's files; folders of extra_model_paths.yaml stay in front."""
    paths, extensions = folder_paths.folder_names_and_paths.get(category, ([], set()))
    paths = list(paths)
    for folder in (folder_paths.models_dir, folder_paths.get_output_directory()):
        if (path := os.path.join(folder, category)) not in paths:
            paths.append(path)
    folder_paths.folder_names_and_paths[category] = (paths, set(extensions) | {EXTENSION})


def listed(category: str) -> list[str]:
    """The names a user chooses from."""
    return folder_paths.get_filename_list(category)


def resolve(category: str, name: str) -> Path:
    """The file of a name in the list; raises ValueError if the list lacks it."""
    if not name.lower().endswith(EXTENSION):
        raise ValueError(
            f"{shortened(name)} is not a {EXTENSION} file: choose one from the list; nothing else is opened."
        )
    found = folder_paths.get_full_path(category, name)
    if found is None:
        raise ValueError(
            f"There is no file {shortened(name)} in the folders of {category}: press R to refresh the list and choose "
            "again."
        )
    return Path(found)


def save_new(category: str, prefix: str, write: Callable[[Path], object]) -> tuple[Path, str]:
    """Write a file through `write` under a new number in the output folder's part of the category.

    Returns the file and its name in the list. No file is replaced, whoever else saves there at the same time.
    """
    root = os.path.join(folder_paths.get_output_directory(), category)
    try:
        os.makedirs(root, exist_ok=True)
        folder, stem, counter, subfolder, _ = folder_paths.get_save_image_path(prefix.strip() or "path", root)
    except OSError as error:
        raise ValueError(
            f"The file '{shortened(prefix)}' cannot be put in {root} ({error.strerror}): choose another name, or "
            "check the folder."
        ) from error
    except Exception as error:
        raise ValueError(
            f"The file name '{shortened(prefix)}' leads out of the output folder: give a name without '..' "
            "and drive letters."
        ) from error
    numbered = (Path(folder) / f"{stem}_{number:05}_{EXTENSION}" for number in itertools.count(counter))
    file = write_new(numbered, write)
    return file, os.path.join(subfolder, file.name)
