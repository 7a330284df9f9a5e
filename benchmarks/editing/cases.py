"""What is edited: landscapes with their prompts, and the one attribute that an edit should change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from skimage.morphology import isotropic_dilation
from torch import Tensor

from ...demo.attributes import read_attributes
from ...demo.autoencoder import LATENT_CHANNELS
from ...demo.model import load_demo_model
from ...demo.render import render
from ...demo.scenes import ATTRIBUTES, Scene, full_caption, random_scene
from ...images.tensors import from_uint8
from ...samplers.mdp import edit as mdp

KINDS = ("time", "season", "snow", "colour", "element", "hills")
STEPS, CFG = 20, 4.0
_PATH = mdp.MDPSettings(steps=STEPS, cfg=CFG)
_CHANGED = 0.02  # a pixel of a render counts as changed by the edit from this difference on
_REACH = 6  # pixels around a change that belong to it, as shadows and blurred edges do


@dataclass(frozen=True)
class Case:
    """A scene, the scene it should become, and the attribute in which they differ."""

    scene: Scene
    target: Scene
    attribute: str


def cases(kind: str, count: int, seed: int) -> list[Case]:
    """Edits of one of `KINDS`, on scenes that the judge reads rightly before and after, when they are rendered."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    found: list[Case] = []
    while len(found) < count:
        case = _case(kind, random_scene(rng), rng)
        pictures = torch.stack([rendered(case.scene), rendered(case.target)])
        if read_attributes(pictures) == [attributes(case.scene), attributes(case.target)]:
            found.append(case)
    return found


def _case(kind: str, scene: Scene, rng: np.random.Generator) -> Case:
    def another(name: str, *without: str) -> str:
        return str(rng.choice([v for v in ATTRIBUTES[name] if v not in (getattr(scene, name), *without)]))

    if kind in ("snow", "hills"):
        if scene.peak == "hills":
            scene = scene.with_(peak=str(rng.choice(["rocky", "snowy"])))
        peak = "hills" if kind == "hills" else "snowy" if scene.peak == "rocky" else "rocky"
        return Case(scene, scene.with_(peak=peak), "peak")
    if kind == "colour":
        if scene.house == "no house":
            scene = scene.with_(house="red")
        return Case(scene, scene.with_(house=another("house", "no house")), "house")
    name = kind
    if kind == "element":  # one is added where it is missing, and removed where there is
        name = str(rng.choice(["lake", "house", "trees"]))
        absent = ATTRIBUTES[name][0]
        new = another(name) if getattr(scene, name) == absent else absent
        return Case(scene, scene.with_(**{name: new}), name)
    return Case(scene, scene.with_(**{name: another(name)}), name)


def attributes(scene: Scene) -> dict[str, str]:
    return {name: getattr(scene, name) for name in ATTRIBUTES}


def rendered(scene: Scene) -> Tensor:
    """IMAGE [H, W, 3]."""
    return from_uint8(render(scene))


class World:
    """The demo model, with prompts as batches."""

    def __init__(self) -> None:
        self.model, self.clip, self.vae = load_demo_model()
        self.negative = self.encoded([""])

    def encoded(self, texts: list[str]) -> list[list[Any]]:
        """One CONDITIONING whose batch is the texts."""
        parts = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))[0] for text in texts]
        return [[torch.cat([tokens for tokens, _ in parts]), parts[0][1]]]


class Group:
    """Cases that are edited together, and what the methods share. synthetic: the model makes the pictures itself."""

    def __init__(self, world: World, some: list[Case], seed: int, synthetic: bool = False) -> None:
        self.world, self.cases, self.seed, self.synthetic = world, some, seed, synthetic
        self.source, self.target = self._prompts()
        if synthetic:
            self._generate()
        else:
            self.pictures = torch.stack([rendered(case.scene) for case in some])
            self.latent: dict[str, Any] = {"samples": world.vae.encode(self.pictures)}

    def _generate(self) -> None:
        """Pictures from noise, on record; of those, the ones that show what their prompt says."""
        empty = {
            "samples": torch.zeros(len(self.cases), LATENT_CHANNELS, 32, 32),
            "batch_index": list(range(len(self.cases))),
        }
        made = mdp.find_source(self.world.model, self.source, self.world.negative, empty, self.seed, _PATH)
        pictures = self.world.vae.decode(made.path.to_vae(made.path.picture))
        seen = read_attributes(pictures)
        fit = [i for i, case in enumerate(self.cases) if seen[i] == attributes(case.scene)]
        self.cases, self.pictures = [self.cases[i] for i in fit], pictures[fit]
        self.source, self.target = self._prompts()
        path = made.path.replaced(states=made.path.states[:, fit], batch_index=tuple(fit))
        self.latent = {"samples": path.to_vae(path.picture), "batch_index": fit}
        self.path = replace(made, path=path, conditioning=self.source)

    def _prompts(self) -> tuple[Any, Any]:
        return (
            self.world.encoded([full_caption(case.scene) for case in self.cases]),
            self.world.encoded([full_caption(case.target) for case in self.cases]),
        )

    @cached_property
    def path(self) -> mdp.Source:
        """DDIM inversion of the pictures, or the record of their generation."""
        return mdp.find_source(self.world.model, self.source, self.world.negative, self.latent, self.seed, _PATH)

    @cached_property
    def changed(self) -> Tensor:
        """Where the render of the target differs from that of the source: MASK [B, H, W], 1 = changes."""
        masks = []
        for case in self.cases:
            apart = (rendered(case.target) - rendered(case.scene)).abs().amax(-1) > _CHANGED
            masks.append(torch.from_numpy(isotropic_dilation(apart.numpy(), _REACH)))
        return torch.stack(masks).float()
