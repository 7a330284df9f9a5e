"""What a landscape of the embedded world contains: its attributes, their sampling and their captions."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "time": ("day", "sunset", "night"),
    "season": ("summer", "autumn", "winter"),
    "peak": ("hills", "rocky", "snowy"),
    "lake": ("meadow", "lake"),
    "trees": ("no trees", "pines", "broadleaf"),
    "house": ("no house", "red", "white", "blue"),
    "clouds": ("clear", "cloudy"),
}

# Houses and trees are small and hard to learn, so training sees them more often than a uniform draw would.
_WEIGHTS: dict[str, tuple[float, ...]] = {
    "trees": (0.26, 0.37, 0.37),
    "house": (0.28, 0.24, 0.24, 0.24),
}


@dataclass(frozen=True)
class Scene:
    """One landscape: a value for each attribute in `ATTRIBUTES`, and the seed for everything else.

    Geometry depends only on the seed, one random stream per element, so `with_(season="winter")` keeps the layout.
    """

    time: str = "day"
    season: str = "summer"
    peak: str = "snowy"
    lake: str = "lake"
    trees: str = "pines"
    house: str = "red"
    clouds: str = "clear"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, values in ATTRIBUTES.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name}={getattr(self, name)!r} is not a landscape attribute; use one of {values}.")

    def with_(self, **changes: str | int) -> Scene:
        """The same scene with other attribute values (or another seed)."""
        return replace(self, **changes)  # pyright: ignore[reportArgumentType]

    def labels(self) -> np.ndarray:
        """Class indices in the order of `ATTRIBUTES`, int64 [7]."""
        return np.array([values.index(getattr(self, name)) for name, values in ATTRIBUTES.items()], dtype=np.int64)


assert [f.name for f in fields(Scene)][:-1] == list(ATTRIBUTES)


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene with independent attributes and a fresh layout seed."""
    picks = {name: str(rng.choice(values, p=_WEIGHTS.get(name))) for name, values in ATTRIBUTES.items()}
    return Scene(**picks, seed=int(rng.integers(0, 2**31)))  # pyright: ignore[reportArgumentType]


_TIME_WORDS = {
    "day": ("day", "daytime", "in daylight", "on a bright day"),
    "sunset": ("sunset", "at sunset", "in the evening", "at dusk"),
    "night": ("night", "at night", "by moonlight"),
}
_SEASON_WORDS = {
    "summer": ("summer", "in summer", "green summer"),
    "autumn": ("autumn", "in autumn", "in fall"),
    "winter": ("winter", "in winter", "snow covered winter"),
}
_PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "peak": {
        "hills": ("hills", "rolling hills"),
        "rocky": ("a rocky mountain", "rocky mountains", "bare mountains"),
        "snowy": ("a snowy mountain", "snowy mountains", "snow capped mountains"),
    },
    "lake": {"meadow": ("a meadow", "fields", "no lake"), "lake": ("a lake", "a calm lake", "water")},
    "trees": {
        "no trees": ("no trees", "without trees"),
        "pines": ("pine trees", "pines", "fir trees"),
        "broadleaf": ("broadleaf trees", "round trees", "leafy trees"),
    },
    "house": {
        "no house": ("no house", "without a house"),
        "red": ("a red house", "a small red house", "a red cabin"),
        "white": ("a white house", "a small white house", "a white cabin"),
        "blue": ("a blue house", "a small blue house", "a blue cabin"),
    },
    "clouds": {"clear": ("clear sky", "a cloudless sky"), "cloudy": ("clouds", "a cloudy sky", "clouds in the sky")},
}
_OPENINGS = ("a landscape", "a picture", "a painting of a landscape", "landscape", "")
# Captions seldom mention what is absent.
_DROP = {"time": 0.04, "season": 0.04, "peak": 0.05, "lake": 0.08, "trees": 0.06, "house": 0.06, "clouds": 0.10}
_DROP_ABSENT = 0.55


def full_caption(scene: Scene) -> str:
    """The plain caption that names every attribute, in a fixed order and using the first synonym."""
    parts = [f"{_TIME_WORDS[scene.time][0]}", f"{_SEASON_WORDS[scene.season][0]}"]
    parts += [_PHRASES[name][getattr(scene, name)][0] for name in ("peak", "lake", "trees", "house", "clouds")]
    return "a landscape, " + ", ".join(parts)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A random caption: synonyms, shuffled order, some attributes left out."""
    parts: list[str] = []
    for name in ATTRIBUTES:
        value = getattr(scene, name)
        absent = value in ("meadow", "no trees", "no house", "clear")
        if rng.random() < (_DROP_ABSENT if absent else _DROP[name]):
            continue
        words = {"time": _TIME_WORDS, "season": _SEASON_WORDS}.get(name) or _PHRASES[name]
        options = words[value]
        parts.append(options[int(len(options) * rng.random() ** 1.5)])
    rng.shuffle(parts)
    opening = _OPENINGS[int(rng.integers(len(_OPENINGS)))]
    return ", ".join(p for p in (opening, *parts) if p)


def vocabulary() -> list[str]:
    """Every word that a caption can contain, sorted."""
    phrases = [*_OPENINGS]
    for table in (_TIME_WORDS, _SEASON_WORDS, *_PHRASES.values()):
        phrases += [p for options in table.values() for p in options]
    return sorted({word for phrase in phrases for word in phrase.split()} | {","})
