"""Where a model comes from: `open_model(spec) -> Model`.

Opening reads configs and headers, checks that the tensors are what the config asks for, and reads
no weights. Neither torch nor transformers is imported until a tokenizer or the reference is needed.
No code of a checkpoint ever runs: pickles and remote code are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from amk.errors import AmkError
from amk.frontends.hf import fetch
from amk.frontends.hf.checkpoint import (
    F32,
    Checkpoint,
    Piece,
    Renamed,
    TensorInfo,
    check_tensors,
)
from amk.frontends.hf.config import parse_config, read_json
from amk.frontends.hf.decoder import DecoderConfig
from amk.frontends.hf.experts import stacked
from amk.frontends.hf.fields import Fields
from amk.frontends.hf.gguf_file import GgufFile
from amk.frontends.hf.presets import preset
from amk.frontends.hf.random_weights import RandomWeights
from amk.frontends.hf.safetensors_file import SafetensorsFolder

HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""What is fetched of a repository of the hub: configs, weights and the tokenizer, never code."""

HUB_COPIES = ("*/*", "consolidated*")
"""What is left out: subfolders, and the weights once more under their authors' own names."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")


class Model:
    """A checkpoint and its config. `path` is its folder or GGUF file; a random model has none."""

    def __init__(
        self,
        name: str,
        raw: Mapping[str, object],
        checkpoint: Checkpoint,
        path: Path | None = None,
        extra_eos: tuple[int, ...] = (),
    ):
        self.name = name
        self.raw = raw
        """The config as its config.json spells it."""
        self.path = path
        config = parse_config(raw, name)
        self.checkpoint = checkpoint
        old = dict(config.names.renamed)
        if old.keys() & checkpoint.tensors.keys():
            self.checkpoint = Renamed(checkpoint, old)
        if config.experts:
            self.checkpoint = stacked(self.checkpoint, config.experts, self.where)
        eos = (*config.eos, *(t for t in extra_eos if t not in config.eos))
        self.config: DecoderConfig = replace(config, eos=eos)
        check_tensors(self.config, self.checkpoint.tensors, self.where)
        head = f"{self.config.names.head}.weight"
        if self.config.tied and head in self.checkpoint.tensors:
            self.check_tie(head)
        self.references: dict[str, Any] = {}

    @property
    def where(self) -> str:
        return f"'{self.path}'" if self.path else f"'{self.name}'"

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Shape and element type of every tensor of the checkpoint, by its Hugging Face name."""
        return self.checkpoint.tensors

    def weight(self, name: str) -> F32:
        """A tensor in float32, not rounded to any other type, read or made anew at each call.

        Raises AmkError where there is none, its file was damaged, or it holds NaN.
        """
        return self.checkpoint.read(name)

    def pieces(self, name: str) -> list[Piece]:
        """Where the bytes of a tensor of type f32 or bf16 lie; empty where `weight` must make its
        values."""
        return self.checkpoint.pieces(name)

    def check_tie(self, head: str) -> None:
        """A stored head must equal the embedding that the config says it is tied to."""
        if not np.array_equal(self.weight(head), self.weight(self.config.embed_weight)):
            raise AmkError(
                f"tensor '{head}' in {self.where} differs from the embedding, "
                "to which config field 'tie_word_embeddings' = true ties it"
            )

    @cached_property
    def _tokenizer(self) -> Any:
        if self.path is None:
            raise AmkError(f"model '{self.name}' has no tokenizer: give token ids")
        if self.path.is_dir() and not any((self.path / f).exists() for f in TOKENIZER_FILES):
            raise AmkError(f"folder '{self.path}' has no tokenizer: give token ids")
        from amk.frontends.hf.reference import load_tokenizer

        return load_tokenizer(self.path)

    def tokenizer(self) -> Any:
        """The tokenizer, a transformers `PreTrainedTokenizer`, loaded at the first call.

        Raises AmkError where there is none.
        """
        return self._tokenizer

    def reference(self, dtype: str = "f32") -> Any:
        """Hugging Face's own model, loaded at the first call: fp32 arithmetic, eager attention.

        `dtype` is what its weights are rounded to first: `f32` or `bf16`. For folders and GGUF
        files transformers reads the weights itself, so that what it computes is independent of
        this frontend.
        """
        from amk.frontends.hf.reference import load_reference

        if dtype not in self.references:
            self.references[dtype] = load_reference(self, dtype)
        return self.references[dtype]


def open_model(spec: str, progress: fetch.Progress | None = None) -> Model:
    """The model that `spec` names.

    spec      a folder in Hugging Face's layout, a `.gguf` file, an id of the Hugging Face hub,
              `smollm2` (the default model, fetched once), or `random:PRESET[,SEED]`
    progress  hears how a download goes

    Raises AmkError, one line, where there is no such model or amk does not support it.
    """
    if not spec:
        raise AmkError("model name is empty")
    if spec.startswith("random:"):
        return open_random(spec)
    if spec == "smollm2":
        return open_gguf(fetch.smollm2(progress), name="smollm2")
    path = Path(spec).expanduser()
    if path.is_dir():
        return open_folder(path)
    if path.suffix == ".gguf":
        return open_gguf(path)
    if path.exists():
        raise AmkError(f"model '{spec}' is neither a folder nor a .gguf file")
    if HUB_ID.fullmatch(spec):
        return open_hub(spec)
    raise AmkError(
        f"model '{spec}' is no folder, no .gguf file, no hub id, not smollm2 and not random:PRESET"
    )


def open_folder(path: Path, name: str = "") -> Model:
    """A folder with config.json and safetensors."""
    if (path / "adapter_config.json").exists():
        raise AmkError(f"folder '{path}' holds an adapter, not a model: merge it into its base")
    if not (path / "config.json").exists():
        raise AmkError(f"folder '{path}' has no config.json")
    raw = read_json(path / "config.json")
    parse_config(raw)
    eos: tuple[int, ...] = ()
    if (path / "generation_config.json").exists():
        generation = Fields(read_json(path / "generation_config.json"), "", "generation_config.")
        eos = generation.token_ids("eos_token_id")
    return Model(name or path.resolve().name, raw, SafetensorsFolder(path), path, eos)


def open_gguf(path: Path, name: str = "") -> Model:
    file = GgufFile(path)
    return Model(name or path.stem, file.config, file, path)


def open_random(spec: str) -> Model:
    """`random:PRESET[,SEED]`: real shapes, weights that depend on the seed (default 0) alone."""
    which, _, seed = spec.removeprefix("random:").partition(",")
    if seed and not seed.isdecimal():
        raise AmkError(f"seed '{seed}' of model '{spec}' must be a non-negative integer")
    raw = preset(which)
    return Model(spec, raw, RandomWeights(parse_config(raw), int(seed or 0)))


def open_hub(spec: str) -> Model:
    """A model of the hub, from its cache where it is there, else fetched."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            spec, allow_patterns=list(HUB_FILES), ignore_patterns=list(HUB_COPIES)
        )
    except Exception as e:  # the hub's client raises a dozen unrelated types
        why = (str(e).strip().splitlines() or [type(e).__name__])[0].rstrip(".")
        raise AmkError(
            f"model '{spec}' is no local folder and cannot be fetched from the hub: {why}"
        ) from None
    return open_folder(Path(folder), spec)
