"""The rows of the edit benchmark: methods and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import comfy.samplers
import torch
from torch import Tensor

from ...demo.scenes import full_caption
from ...samplers import process
from ...samplers.counting import Counter
from ...samplers.flowedit import FlowEditSettings as FlowEdit
from ...samplers.flowedit import flowedit
from ...samplers.inversion.invert import invert
from ...samplers.inversion.residual import Residual
from ...samplers.mdp import edit as mdp
from ...samplers.mdp.attention import control_attention
from ...samplers.mdp.tokens import token_map, tokenized
from ...samplers.replay import replay_sampler, start
from ...samplers.schedule import PathSchedule
from ...samplers.sdedit import SDEditSettings as SDEdit
from ...samplers.sdedit import sdedit
from ...samplers.sigmas import sdedit_sigmas
from .cases import CFG, STEPS, Group


@dataclass(frozen=True)
class Made:
    """Edited latents, evaluations per picture, and where it was edited (MASK, 1 = edit) for rows that know."""

    latents: Tensor
    evaluations: int
    mask: Tensor | None = None


Row = Callable[[Group], Made]


def autoencoder(group: Group) -> Made:
    """No edit at all: what encoding and decoding alone leave of a picture."""
    return Made(group.latent["samples"], 0)


def sdedit_at(t0: float) -> Row:
    def row(group: Group) -> Made:
        world, settings = group.world, SDEdit(t0=t0, steps=STEPS, cfg=CFG)
        made = sdedit(world.model, group.target, world.negative, group.latent, group.seed, settings)
        return Made(made.latent["samples"], 2 * made.evaluations)

    return row


def manipulation(settings: mdp.MDPSettings) -> Row:
    """One of the manipulations that MDP Edit has; the source's path is shared, and counted."""

    def row(group: Group) -> Made:
        world, source = group.world, group.path
        region = mdp.find_region(world.model, group.target, source, settings)
        made = mdp.edit(world.model, group.target, world.negative, source, settings, region.mask)
        found = source.evaluations if source.origin == "inverted" else 0
        return Made(made.latent["samples"], found + region.evaluations + made.evaluations, region.mask)

    return row


def plain(settings: mdp.MDPSettings) -> mdp.MDPSettings:
    """Settings of a manipulation without a region."""
    return replace(settings, steps=STEPS, cfg=CFG, region=None)


def attention(cross: PathSchedule, within: PathSchedule) -> Row:
    """Prompt-to-Prompt on the source's path. Its words are aligned prompt by prompt, so pictures are edited singly."""

    def row(group: Group) -> Made:
        world, path, edited, evaluations = group.world, group.path.path, [], 0
        for i, case in enumerate(group.cases):
            texts = [full_caption(scene) for scene in (case.scene, case.target)]
            before, after = (tokenized(world.clip, text) for text in texts)
            tokens = token_map(before, after, "refine")
            source, target = (world.encoded([text]) for text in texts)
            own = path.replaced(states=path.states[:, i : i + 1], batch_index=None)
            counter = Counter(world.model, 1)
            model = control_attention(counter.model, own, source, tokens, cross, within)
            bare = mdp.MDPSettings(schedule=PathSchedule(1.0, 0.0, weight=0.0), cfg=CFG, region=None)
            made = mdp.edit(model, target, world.negative, mdp.Source(own, source), bare)
            edited.append(made.latent["samples"])
            evaluations += counter.evaluations
        found = group.path.evaluations if group.path.origin == "inverted" else 0
        return Made(torch.cat(edited), found + round(evaluations / len(edited)))

    return row


def flowedit_with(settings: FlowEdit) -> Row:
    def row(group: Group) -> Made:
        world = group.world
        made, _, evaluations = flowedit(
            world.model, group.source, group.target, world.negative, group.latent, group.seed, settings
        )
        return Made(made["samples"], evaluations)

    return row


def residuals(t0: float, steps: int) -> Row:
    """Edit-friendly inversion from t0, then the target prompt with the residuals."""

    def row(group: Group) -> Made:
        world, counter = group.world, Counter(group.world.model, len(group.cases))
        sigmas = sdedit_sigmas(process.model_sampling(world.model), t0, steps, "normal")
        path = invert(counter.model, group.source, world.negative, group.latent, sigmas, Residual(), CFG, group.seed)
        noise, latent = start(counter.model, path)
        guider = comfy.samplers.CFGGuider(counter.model)
        guider.set_conds(group.target, world.negative)
        guider.set_cfg(CFG)
        edited = guider.sample(
            noise.generate_noise(latent), latent["samples"], replay_sampler(path), sigmas, disable_pbar=True, seed=1
        )
        return Made(edited, counter.evaluations)

    return row
