"""Folders of pictures with captions, as the command-line tools read them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps
from torch import Tensor

from .tensors import from_pil

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
LONGEST_CAPTION = 20_000  # characters


def picture_files(folder: Path) -> list[Path]:
    """The picture files of a folder by name; pipes, devices and broken links are skipped.

    Raises ValueError for a folder that cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    except OSError as error:
        raise ValueError(
            f"The folder {folder} cannot be read ({error.strerror}): give a folder of pictures."
        ) from error


def some_picture_files(folder: Path) -> list[Path]:
    """The picture files of a folder; raises ValueError where there are none."""
    files = picture_files(folder)
    if not files:
        raise ValueError(f"There are no pictures in {folder}: give a folder of {', '.join(sorted(SUFFIXES))} files.")
    return files


def read_square(path: Path, size: int) -> Tensor:
    """One picture [size, size, 3] in 0..1: its middle, scaled, the right way up."""
    return from_pil(ImageOps.fit(_opened(path), (size, size), Image.Resampling.LANCZOS))[0]


def read_whole(path: Path, longest: int | None = None, block: int = 1) -> Tensor:
    """One picture [H, W, 3] in 0..1, the right way up.

    longest: what its longer side is scaled to, in pixels. block: both sides are cut to a multiple of it, in the middle,
    as ComfyUI cuts what a VAE encodes.
    """
    picture = _opened(path)
    if longest is not None:
        scale = longest / max(picture.size)
        sides = [max(block, round(side * scale)) for side in picture.size]
        picture = picture.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)
    width, height = (side // block * block for side in picture.size)
    if width == 0 or height == 0:
        raise ValueError(f"{path} is {picture.width} x {picture.height} pixels: give sides of {block} or more.")
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return from_pil(picture.crop((left, top, left + width, top + height)))[0]


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # raised by Pillow
        raise ValueError(
            f"{path} cannot be read as a picture ({type(error).__name__}): replace it, or take it out of the folder."
        ) from error


def read_caption(path: Path) -> str:
    """The text of a caption file on one line, "" if there is no file."""
    if not path.is_file():
        return ""
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LONGEST_CAPTION + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text: save the caption as UTF-8, or remove it.") from error
    if len(text) > LONGEST_CAPTION:
        raise ValueError(f"{path} has more than {LONGEST_CAPTION} characters: give a caption of a few sentences.")
    return " ".join(text.split())
