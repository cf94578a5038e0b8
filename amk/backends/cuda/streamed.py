"""The fp32 reference of a model whose fp32 weights do not fit the GPU beside the program: each
layer has its own while it computes, made of the tensors that the program was loaded from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
import transformers

from amk.backends.cuda.baselines import Reference, Tensors
from amk.errors import AmkError
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.experts import module_state
from amk.ir.packs import F32

LIBRARY: Any = transformers
SPARE = 8e9
"""Bytes that must be left beside fp32 weights: activations, caches and one layer twice."""


def room(size: float) -> bool:
    """Whether `size` bytes of weights fit the free memory of the GPU."""
    torch.cuda.empty_cache()
    return size + SPARE < torch.cuda.mem_get_info()[0]


def empty(layer: Any, *_: object) -> None:
    """Forgets the weights of a layer that has computed."""
    layer.to("meta")


class StreamedReference(Reference):
    """Hugging Face in fp32, or everything in another type: logits after any tokens, each time of
    the whole sequence. It keeps no KV rows, so no baseline can start from it."""

    def __init__(
        self, raw: Mapping[str, object], tensors: Tensors, dtype: torch.dtype = torch.float32
    ) -> None:
        LIBRARY.logging.set_verbosity_error()
        self.device = next(iter(tensors.values())).device
        self.tensors, self.dtype, self.model = tensors, dtype, parse_config(raw)
        config = LIBRARY.AutoConfig.for_model(**deepcopy(dict(raw)))
        with torch.device("meta"):
            self.module = LIBRARY.AutoModelForCausalLM.from_config(config, dtype=dtype)
        for name, part in list(self.module.named_modules()):
            if any(b.is_meta for b in part.buffers(recurse=False)):
                if not name.endswith("rotary_emb"):
                    raise AmkError(f"the reference's buffers of '{name}' cannot be streamed")
                self.module.set_submodule(name, type(part)(config).to(self.device))
        names, prefix = self.model.names, f"{self.model.names.layer}."
        rest = self.state([name for name in tensors if not name.startswith(prefix)], "")
        rest.setdefault(f"{names.head}.weight", rest[self.model.embed_weight])
        self.module.load_state_dict(rest, strict=False, assign=True)
        for i, layer in enumerate(self.module.get_submodule(names.layer)):
            layer.register_forward_pre_hook(self.filler(self.model.at(i) + "."))
            layer.register_forward_hook(empty)
        self.module.eval()
        self.sequence: list[int] = []

    def state(self, names: Sequence[str], prefix: str) -> dict[str, torch.Tensor]:
        """These tensors in that type, as the modules of transformers hold them."""
        held = {name: self.tensors[name].to(self.dtype) for name in names}
        made = module_state(held, self.model.experts, torch.cat)
        return {name.removeprefix(prefix): t for name, t in made.items()}

    def filler(self, prefix: str) -> Any:
        names = [name for name in self.tensors if name.startswith(prefix)]

        def fill(layer: Any, *_: object) -> None:
            layer.load_state_dict(self.state(names, prefix), assign=True)

        return fill

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int], keep: int) -> F32:
        ids = torch.tensor([list(tokens)], device=self.device)
        out = self.module(ids, use_cache=False, logits_to_keep=keep)
        return out.logits[0].float().cpu().numpy()

    def feed(self, prompt: Sequence[int], keep: int = 1) -> F32:
        """As that of `Reference`."""
        self.sequence = list(prompt)
        return self.logits(prompt, keep)

    def follow(self, tokens: Sequence[int]) -> F32:
        """As that of `Reference`."""
        return self.logits([*self.sequence, *tokens], len(tokens))

    def rows(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise AmkError(
            "--baselines: the GPU has too little memory for the fp32 weights that KV rows are made "
            "with, use 'none'"
        )
