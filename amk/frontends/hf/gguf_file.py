"""Reading GGUF: metadata to a config, tensor names and row order back to Hugging Face's.

Strict like the configs: a metadata field of the architecture that is neither consumed nor known to
be irrelevant is refused by name. Quantized tensors are dequantized to float32.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from amk.errors import AmkError
from amk.frontends.hf.checkpoint import F32, Piece, TensorInfo, check_finite, check_known
from amk.frontends.hf.fields import Fields

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""Architectures of GGUF that are read. llama.cpp calls Mistral llama: the same decoder."""

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of tensors, of whole models or inside `blk.N.`, and Hugging Face's."""

FREQUENCIES = "rope_freqs.weight"
"""A tensor of divisors of the rotary frequencies."""

NAME = re.compile(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)")


def hf_name(name: str) -> str:
    """Hugging Face's name of a GGUF tensor, or the name itself where there is none."""
    m = NAME.fullmatch(name)
    if not m or m[2] not in NAMES:
        return name
    layer = f"model.layers.{m[1]}." if m[1] else ""
    return f"{layer}{NAMES[m[2]]}.{m[3]}"


def unpermute(x: F32, heads: int) -> F32:
    """Rows of q or k from llama.cpp's order (rotary pairs as neighbors) to Hugging Face's (halves).

    x: [heads * head_dim, ...].
    """
    pairs = x.reshape(heads, -1, 2, *x.shape[1:])
    return pairs.swapaxes(1, 2).reshape(x.shape)


def yarn(f: Fields) -> dict[str, object]:
    """YaRN as a config.json says it. llama.cpp computes what transformers does where its own
    factors (of the interpolation, of cos and sin) are the usual ones; another is refused."""
    f.only(
        {
            "rope.scaling.attn_factor": (None, 1.0),
            "rope.scaling.yarn_attn_factor": (None, 1.0),
            "rope.scaling.yarn_ext_factor": (None, 1.0),
            "rope.scaling.finetuned": (None, False, True),  # nothing is computed of it
        }
    )
    found: dict[str, object] = {"rope_type": "yarn", "factor": f.number("rope.scaling.factor")}
    for theirs, ours in (("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")):
        if f.given(f"rope.scaling.{theirs}") is not None:
            found[ours] = f.number(f"rope.scaling.{theirs}")
    context = f.size("rope.scaling.original_context_length", f.size("context_length"))
    return found | {"original_max_position_embeddings": context}


class GgufFile:
    """One GGUF file. Raises AmkError, one line that names the file, where it is not well formed."""

    def __init__(self, path: Path):
        import gguf

        self.path, self.where = path, f"'{path}'"
        self.gguf: Any = gguf
        try:
            with path.open("rb") as f:
                magic = f.read(4)
        except FileNotFoundError:
            raise AmkError(f"file '{path}' does not exist") from None
        except OSError as e:
            raise AmkError(f"file '{path}' cannot be read: {e.strerror}") from None
        if magic != b"GGUF":
            raise AmkError(f"file '{path}' is no GGUF file: it does not start with GGUF")
        try:
            with np.errstate(all="ignore"):
                self.reader: Any = gguf.GGUFReader(path)
                self.fields = self.metadata()
        except (ValueError, KeyError, IndexError, TypeError, OverflowError, OSError):
            raise AmkError(f"file '{path}' is truncated or corrupt") from None
        self.config = self.make_config()
        self.raw: dict[str, Any] = {}
        self.tensors: dict[str, TensorInfo] = {}
        for t in self.reader.tensors:
            name = hf_name(t.name)
            if name == FREQUENCIES:
                continue
            self.raw[name] = t
            shape = tuple(int(n) for n in reversed(t.shape.tolist()))
            self.tensors[name] = TensorInfo(shape, str(t.tensor_type.name).lower())

    def metadata(self) -> dict[str, object]:
        """Scalar and short fields; the tokenizer's lists are left to the tokenizer."""
        fields: dict[str, object] = {}
        for name, field in self.reader.fields.items():
            if not (name.startswith("tokenizer.") and len(field.data) > 1):
                fields[name] = field.contents()
        return fields

    def make_config(self) -> dict[str, object]:
        """The metadata as a config.json, with the values that transformers reads from it."""
        arch = self.fields.get("general.architecture")
        if not isinstance(arch, str) or arch not in ARCHITECTURES:
            raise AmkError(
                f"architecture '{arch}' of {self.where} is not supported "
                f"(supported: {', '.join(ARCHITECTURES)})"
            )
        prefix = f"{arch}."
        own = {k[len(prefix) :]: v for k, v in self.fields.items() if k.startswith(prefix)}
        f = Fields(own, arch, prefix)
        heads, hidden = f.size("attention.head_count"), f.size("embedding_length")
        head_dim = f.size(
            "attention.key_length", f.values.get("rope.dimension_count") or hidden // heads
        )
        f.only(
            {
                "rope.dimension_count": (None, head_dim),
                "attention.value_length": (None, head_dim),
                "rope.scaling.type": (None, "none", "linear", "yarn"),
                "attention.sliding_window": (None, 0),
                "expert_count": (None, 0),
                "expert_used_count": (None, 0),
                "tensor_data_layout": (None, "Meta AI original pth"),
            }
        )
        tokens = self.reader.fields.get("tokenizer.ggml.tokens")
        names = {t.name for t in self.reader.tensors}
        config: dict[str, object] = {
            "architectures": [ARCHITECTURES[arch]],
            "model_type": arch,
            "num_hidden_layers": f.size("block_count"),
            "max_position_embeddings": f.size("context_length"),
            "hidden_size": hidden,
            "intermediate_size": f.size("feed_forward_length"),
            "num_attention_heads": heads,
            "num_key_value_heads": f.size("attention.head_count_kv", heads),
            "head_dim": head_dim,
            "rms_norm_eps": f.number("attention.layer_norm_rms_epsilon"),
            "rope_theta": f.number("rope.freq_base", 10000.0),
            "vocab_size": f.size("vocab_size", len(tokens.data) if tokens else None),
            "tie_word_embeddings": "output.weight" not in names,
            "bos_token_id": self.fields.get("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.fields.get("tokenizer.ggml.eos_token_id"),
            "rope_scaling": self.rope_scaling(f),
        }
        f.finish()
        return config

    def rope_scaling(self, f: Fields) -> dict[str, object] | None:
        """How the rotation is scaled, as a config.json says it: by one factor for all frequencies,
        by YaRN, or by one factor for each, which is what converters make of Llama 3."""
        kind = f.given("rope.scaling.type")
        each = next((t for t in self.reader.tensors if t.name == FREQUENCIES), None)
        if each is not None and kind not in (None, "none"):
            raise f.refuse("rope.scaling.type", f"contradicts tensor '{FREQUENCIES}'")
        if kind == "linear":
            return {"rope_type": "linear", "factor": f.number("rope.scaling.factor")}
        if kind == "yarn":
            return yarn(f)
        if each is None:
            return None
        factors = np.asarray(self.gguf.dequantize(each.data, each.tensor_type), np.float32)
        listed = [float(v) for v in check_finite(FREQUENCIES, factors, self.where).reshape(-1)]
        return {
            "rope_type": "longrope",
            "short_factor": listed,
            "long_factor": listed,
            "factor": 1.0,
            "original_max_position_embeddings": f.size("context_length"),
        }

    def pieces(self, name: str) -> list[Piece]:
        return []

    def read(self, name: str) -> F32:
        """A tensor as float32, C-contiguous, rows in Hugging Face's order."""
        check_known(name, self.tensors, self.where)
        t = self.raw[name]
        try:
            values = self.gguf.dequantize(t.data, t.tensor_type)
        except NotImplementedError:
            raise AmkError(
                f"tensor '{name}' in {self.where} has type {t.tensor_type.name}, which is not read"
            ) from None
        values = np.ascontiguousarray(values, np.float32).reshape(self.tensors[name].shape)
        check_finite(name, values, self.where)
        if self.config["model_type"] == "llama" and (".q_proj." in name or ".k_proj." in name):
            which = "num_attention_heads" if ".q_proj." in name else "num_key_value_heads"
            heads = self.config[which]
            assert isinstance(heads, int)
            values = unpermute(values, heads)
        return values
