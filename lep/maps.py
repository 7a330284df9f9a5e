"""The kinds of map that a predictor can be trained to read, in one table: "any spatial map from another domain"
(Voynov et al. 2022), of which edges are one."""

from __future__ import annotations

from dataclasses import dataclass

from ..images.palette import Palette
from .targets import Classes, Encoding, LatentCode, Levels

TARGETS = ("latent", "pixels", "classes")


@dataclass(frozen=True)
class MapKind:
    """target: how maps of this kind are encoded, of `TARGETS`. channels: of "pixels".

    grey: whether light and dark may be exchanged. source: where training maps come from; "" where they are computed.
    mirror: what becomes of a map where its picture is mirrored: "places" move, "normals" also turn around, and of
    "unknown" maps it cannot be said.
    """

    target: str
    source: str = ""
    channels: int = 3
    grey: bool = False
    mirror: str = "places"


EDGES = "edges"
MAPS: dict[str, MapKind] = {
    EDGES: MapKind("latent"),
    "depth": MapKind("pixels", "a depth preprocessor", channels=1, grey=True),
    "segmentation": MapKind("classes", "a segmentation preprocessor"),
    "normals": MapKind("pixels", "a normal map preprocessor", mirror="normals"),
    "saliency": MapKind("pixels", "a saliency preprocessor", channels=1, grey=True),
    "other": MapKind("pixels", "any node that makes a picture of each picture", mirror="unknown"),
}


def encoding(target: str, channels: int = 3, palette: Palette = ()) -> Encoding:
    """The encoding of a predictor's `target`. channels: of "pixels"; palette: of "classes"."""
    if target == "latent":
        return LatentCode()
    return Classes(palette) if target == "classes" else Levels(channels)


def encoding_of_kind(map_kind: str, palette: Palette = ()) -> Encoding:
    """The encoding of maps of a kind, of `MAPS`."""
    kind = MAPS[map_kind]
    return encoding(kind.target, kind.channels, palette)
