"""What a family of models is, and how a tiny one with random weights is built, loaded and prompted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.nested_tensor
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import safetensors.torch
import torch
from diffusion_path.tests.unit import tiny
from torch import Tensor

POOLED = 8
Make = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class Family:
    """One architecture, as small as its classes allow.

    name: as users know it. config: core's description of it, None where this core has none. unet: the sizes.
    width, pooled: of the text embeddings. prefix: of the keys in a file; None where core tells the family by its full
    size only, so that its classes are built directly. grid: height and width of the latent. frames: 0 for pictures.
    extra: what its CONDITIONING holds besides tokens and pooled text; functions make tensors, see `normal`.
    stored: weights of a file that core's description reads. change: done to the model before it gets its weights.
    masked: what they must hold besides for core to sample with a mask; the pack needs no such help.
    parts: shapes of a latent of several parts. film: items of a batch that are the frames of one video.
    empty: the latent of its VAE has another shape than the network's, and core samples it from zeros alone.
    x0: the network predicts the picture itself; with random weights no state of the path leads to a given picture.
    ready: makes the MODEL that users sample with of the one that core loads.
    """

    name: str
    config: Any
    unet: dict[str, Any] = field(hash=False)
    width: int = tiny.WIDTH
    pooled: int = POOLED
    prefix: str | None = None
    grid: int = 8
    frames: int = 0
    extra: dict[str, Any] = field(default_factory=dict, hash=False)
    masked: dict[str, Any] = field(default_factory=dict, hash=False)
    stored: dict[str, Tensor] = field(default_factory=dict, hash=False)
    change: Callable[[Any], None] | None = None
    parts: tuple[tuple[int, ...], ...] = ()
    film: int = 1
    empty: bool = False
    x0: bool = False
    ready: Callable[[Any], Any] | None = None

    @property
    def scale(self) -> int:
        """Pixels on a side of the latent's."""
        return int(getattr(self.config.latent_format(), "spacial_downscale_ratio", 8))


def of(name: str, core_class: str, unet: dict[str, Any], *, sizes: dict[str, Any] | None = None, **more: Any) -> Family:
    """A family by the name of its class in core. sizes: unet_extra_config, where core's own would fix full sizes."""
    config = getattr(comfy.supported_models, core_class, None)
    if config is not None and sizes is not None:
        config = type(config.__name__, (config,), {"unet_extra_config": sizes})
    return Family(name, config, unet, **more)


def normal(*shape: int) -> Make:
    """Makes random numbers of the shape, for `Family.extra`."""
    return lambda generator: torch.randn(shape, generator=generator)


# Random weights are chaotic, unlike trained ones, unless the last layer is small.
_LAST = (
    "out.2.", "final_layer.linear.", "head.head.", "proj_out.", "final_linear.", "head.", "last.linear.",
    "final_layer2.linear.", "out_layer.out_layer.", "norm_out.linear_2.", "nerf_final_layer_conv.conv.",
    "dec_net.final_layer.linear.", "final_layer.video_out.", "final_layer.audio_out.", "clf.1.", "patch_unembed.",
    "vid_out.",
)  # fmt: skip


def fresh(family: Family, dtype: torch.dtype = torch.float32) -> Any:
    """Core's model with the family's weights, the same ones each time."""
    config = family.config(dict(family.unet))
    config.set_inference_dtype(dtype, None)
    with tiny.with_weights():
        base = config.get_model(dict(family.stored), "", device=None)
    if family.change:
        family.change(base)
    tiny.fill(base.diffusion_model)
    for key, weight in base.diffusion_model.named_parameters():
        if key.startswith(_LAST):
            weight.mul_(0.1)
    return base.train(False)


def state_dict(family: Family, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """What a file of the family holds, with random weights."""
    weights = {**fresh(family).diffusion_model.state_dict(), **family.stored}
    return {f"{family.prefix or ''}{key}": tensor.to(dtype).clone() for key, tensor in weights.items()}


def built(family: Family, dtype: torch.dtype = torch.float32) -> Any:
    """A MODEL made without a file."""
    with torch.inference_mode():
        device = comfy.model_management.get_torch_device()
        return comfy.model_patcher.CoreModelPatcher(fresh(family, dtype), device, torch.device("cpu"))


def made(family: Family, dtype: torch.dtype = torch.float32) -> Any:
    """The MODEL of a family, ready for use: as core's loader gives it, where core tells the family by a small file."""
    model = built(family, dtype) if family.prefix is None else _loaded(family, dtype)
    return family.ready(model) if family.ready else model


def _loaded(family: Family, dtype: torch.dtype) -> Any:
    with torch.inference_mode(), TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        safetensors.torch.save_file(state_dict(family, dtype), file)
        return load(family, file)


def load(family: Family, file: Path, **options: Any) -> Any:
    """A MODEL by core's own loader of checkpoints or of diffusion models."""
    if family.prefix:
        return comfy.sd.load_checkpoint_guess_config(
            str(file), output_vae=False, output_clip=False, model_options=options
        )[0]
    return comfy.sd.load_diffusion_model(str(file), model_options=options)


def cond(family: Family, seed: int = 0, batch: int = 1) -> list[list[Any]]:
    """A CONDITIONING of random text of the family's width, with all that the family needs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        tokens = torch.randn(batch, tiny.TOKENS, family.width, generator=generator)
        pooled = torch.randn(batch, family.pooled, generator=generator)
        extra = {key: _filled(value, generator) for key, value in family.extra.items()}
        return [[tokens, {"pooled_output": pooled, **extra}]]


def _filled(value: Any, generator: torch.Generator) -> Any:
    if isinstance(value, list):
        return [_filled(each, generator) for each in value]
    return value(generator) if callable(value) else value


def latent(family: Family, batch: int = 1, seed: int = 1) -> dict[str, Any]:
    """A LATENT of random numbers."""
    generator = torch.Generator().manual_seed(seed)
    frames = (family.frames,) if family.frames else ()
    channels = family.config.latent_format().latent_channels
    shape = (batch * family.film, channels, *frames, family.grid, family.grid)
    with torch.inference_mode():
        if family.parts:
            parts = [torch.randn(batch, *part, generator=generator) for part in family.parts]
            return {"samples": comfy.nested_tensor.NestedTensor(parts)}
        return {"samples": torch.randn(shape, generator=generator) * (not family.empty)}


class _Decoder(torch.nn.Module):
    """Takes the first three channels of a latent for colours; for `Vae`."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def decode(self, latent: Tensor) -> Tensor:
        return latent[:, :3].repeat_interleave(self.scale, -2).repeat_interleave(self.scale, -1)


class Vae:
    """A VAE whose code is known: means of squares of pixels. For video the batch is the frames, as in core."""

    vae_dtype = torch.float32

    def __init__(self, family: Family) -> None:
        self.scale, self.video = family.scale, family.frames > 0
        self.channels = self.latent_channels = family.config.latent_format().latent_channels
        self.latent_dim = 3 if self.video else 2
        self.first_stage_model, self.device = _Decoder(self.scale), comfy.model_management.get_torch_device()
        self.patcher = comfy.model_patcher.ModelPatcher(self.first_stage_model, self.device, torch.device("cpu"))
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)

    def memory_used_decode(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        return shape[-1] * shape[-2]

    def spacial_compression_encode(self) -> int:
        return self.scale

    def encode(self, pixels: Tensor) -> Tensor:
        pooled = torch.nn.functional.avg_pool2d(pixels[..., :3].movedim(-1, 1), self.scale) * 2 - 1
        code = pooled.repeat(1, -(-self.channels // 3), 1, 1)[:, : self.channels]
        return code.movedim(0, 1).unsqueeze(0) if self.video else code

    def decode(self, latent: Tensor) -> Tensor:
        return (self.first_stage_model.decode(latent).movedim(1, -1) / 2 + 0.5).clamp(0, 1)


class Clip:
    """CLIP's own tokenizer with an encoder of random embeddings of the family's width."""

    def __init__(self, family: Family) -> None:
        self.family, self.tokenizer = family, comfy.sd1_clip.SD1Tokenizer()
        self.tokenize = self.tokenizer.tokenize_with_weights

    def encode_from_tokens_scheduled(self, tokens: dict[str, list[list[tuple[int, float]]]]) -> list[list[Any]]:
        encoded = []
        for token, *_ in tokens["l"][0]:
            generator = torch.Generator().manual_seed(token)
            encoded.append(torch.randn(self.family.width, generator=generator))
        extra = cond(self.family)[0][1]
        if "attention_mask" in extra:
            extra["attention_mask"] = torch.ones(1, len(encoded), dtype=torch.long)
        return [[torch.stack(encoded)[None], extra]]
