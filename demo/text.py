"""The text side of the embedded model: a word tokenizer and a two-layer text encoder behind ComfyUI's CLIP classes."""

from __future__ import annotations

import re
from typing import Any

import comfy.clip_model
import comfy.sd1_clip
import torch
from torch import Tensor

WIDTH = 128
MAX_TOKENS = 32
PAD, START, END, UNKNOWN = range(4)
VOCABULARY_ROWS = 128

CONFIG: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 2 * WIDTH,
    "hidden_act": "gelu",
    "max_position_embeddings": MAX_TOKENS,
    "eos_token_id": END,
}


class WordTokenizer:
    """Whole words of a fixed vocabulary; punctuation is dropped and unknown words become one token."""

    def __init__(self, words: list[str]) -> None:
        self.ids = {"<pad>": PAD, "<start>": START, "<end>": END, "<unknown>": UNKNOWN}
        self.ids |= {word: 4 + i for i, word in enumerate(words)}
        if len(self.ids) > VOCABULARY_ROWS:
            raise ValueError(f"{len(words)} words do not fit the {VOCABULARY_ROWS - 4} rows of the text encoder.")

    @classmethod
    def from_pretrained(cls, words: list[str], **_: Any) -> WordTokenizer:
        """ComfyUI passes on the tokenizer path it was given: here, the list of words itself."""
        return cls(words)

    def __call__(self, text: str) -> dict[str, list[int]]:
        words = re.findall(r"[a-z]+", text.lower())
        return {"input_ids": [START, *(self.ids.get(w, UNKNOWN) for w in words), END]}

    def get_vocab(self) -> dict[str, int]:
        return dict(self.ids)

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        names = {i: w for w, i in self.ids.items()}
        return " ".join(names.get(int(i), "<unknown>") for i in ids if int(i) > UNKNOWN or not skip_special_tokens)

    def pad(self, text: str) -> list[int]:
        """Token ids of a caption, exactly MAX_TOKENS long (used by training)."""
        ids = self(text)["input_ids"][:MAX_TOKENS]
        ids[-1] = END
        return ids + [PAD] * (MAX_TOKENS - len(ids))


class LandscapeTextModel(comfy.clip_model.CLIPTextModel):
    """ComfyUI's CLIP text transformer with a small vocabulary (its own always has 49408 rows)."""

    def __init__(self, config: dict[str, Any], dtype: Any, device: Any, operations: Any) -> None:
        super().__init__(config, dtype, device, operations)
        self.set_input_embeddings(operations.Embedding(VOCABULARY_ROWS, WIDTH, dtype=dtype, device=device))


class LandscapeClipModel(comfy.sd1_clip.SDClipModel):
    """The encoder as ComfyUI's conditioning model: last hidden state with the final norm, padded to MAX_TOKENS."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None) -> None:
        super().__init__(
            device=device,
            dtype=dtype,
            max_length=MAX_TOKENS,
            textmodel_json_config=dict(CONFIG),
            model_class=LandscapeTextModel,  # pyright: ignore[reportArgumentType]
            special_tokens={"start": START, "end": END, "pad": PAD},
            model_options=model_options or {},
        )


class LandscapeClip(comfy.sd1_clip.SD1ClipModel):
    """One text encoder under the name that CLIPTextEncode and LoRA key maps expect (`clip_l`)."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None) -> None:
        super().__init__(
            device=device,
            dtype=dtype,
            model_options=model_options or {},
            clip_name="l",
            clip_model=LandscapeClipModel,  # pyright: ignore[reportArgumentType]
        )


def tokenizer_class(words: list[str]) -> type[comfy.sd1_clip.SD1Tokenizer]:
    """A tokenizer class for comfy.sd.CLIP, bound to a vocabulary: prompt weights and long prompts come from ComfyUI."""

    class WordSDTokenizer(comfy.sd1_clip.SDTokenizer):
        def __init__(self, embedding_directory: Any = None, tokenizer_data: dict[str, Any] | None = None) -> None:
            super().__init__(
                tokenizer_path=words,  # pyright: ignore[reportArgumentType]
                max_length=MAX_TOKENS,
                pad_with_end=False,
                embedding_directory=embedding_directory,
                embedding_size=WIDTH,
                tokenizer_class=WordTokenizer,  # pyright: ignore[reportArgumentType]
                tokenizer_data=tokenizer_data or {},
            )

    class LandscapeTokenizer(comfy.sd1_clip.SD1Tokenizer):
        def __init__(self, embedding_directory: Any = None, tokenizer_data: dict[str, Any] | None = None) -> None:
            super().__init__(embedding_directory, tokenizer_data or {}, tokenizer=WordSDTokenizer)  # pyright: ignore[reportArgumentType]

    return LandscapeTokenizer


def encode_for_training(model: LandscapeTextModel, tokens: Tensor) -> Tensor:
    """Hidden states [B, MAX_TOKENS, WIDTH] of token ids [B, MAX_TOKENS], differentiable.

    The same computation as ComfyUI's CLIP layers, which add in place and therefore do not support gradients.
    """
    text = model.text_model
    x: Tensor = text.embeddings(tokens)
    count, heads = x.shape[1], CONFIG["num_attention_heads"]
    mask = torch.full((count, count), float("-inf"), dtype=x.dtype, device=x.device).triu_(1)
    layers: Any = text.encoder.layers
    for layer in layers:
        attention, h = layer.self_attn, layer.layer_norm1(x)
        q, k, v = (
            p(h).view(len(x), count, heads, -1).transpose(1, 2)
            for p in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask).softmax(dim=-1)
        x = x + attention.out_proj((weights @ v).transpose(1, 2).reshape(x.shape))
        x = x + layer.mlp(layer.layer_norm2(x))
    return text.final_layer_norm(x)
