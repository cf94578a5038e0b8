"""Small checkpoints on disk, written by transformers itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from amk.frontends.hf.presets import preset

SaveModel = Callable[..., Path]


def hf_model(raw: dict[str, Any]) -> Any:
    """A transformers model of a config dict: every parameter random, norms and biases too."""
    import torch
    import transformers

    rest = deepcopy(raw)
    config: Any = transformers.AutoConfig.for_model(rest.pop("model_type"), **rest)
    model: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            scale, offset = (0.2, 1.0) if "norm" in name else (p.shape[-1] ** -0.5, 0.0)
            p.copy_(torch.randn(p.shape, generator=generator) * scale + offset)
    return model.eval()


@pytest.fixture
def save_model(tmp_path: Path) -> SaveModel:
    """save_model(shards, dtype, drop, **changes): a folder with a model like the preset `tiny`,
    less the config fields `drop`, with `changes`."""

    def save(
        shards: bool = False,
        dtype: str = "float32",
        drop: tuple[str, ...] = (),
        **changes: object,
    ) -> Path:
        import torch

        raw = {k: v for k, v in preset("tiny").items() if k not in drop}
        model = hf_model(raw | changes)
        folder = tmp_path / "tiny"
        options = {"max_shard_size": "100KB"} if shards else {}
        model.to(getattr(torch, dtype)).save_pretrained(folder, **options)
        return folder

    return save


@pytest.fixture
def edit_config() -> Callable[..., None]:
    """edit_config(folder, **changes): change fields of a folder's config.json."""

    def edit(folder: Path, **changes: object) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit
