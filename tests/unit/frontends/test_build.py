"""Model IR of a config: what is in it, and that its text is the same program."""

from __future__ import annotations

from collections import Counter

import pytest
from xdsl.dialects.builtin import ModuleOp

from amk.dialects import model
from amk.dialects.attributes import tensor_of
from amk.errors import AmkError
from amk.frontends.hf.build import build_model
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.decoder import tensor_shapes
from amk.frontends.hf.presets import preset
from amk.mlir import make_context, parse_module, print_module
from amk.verify.model import verify_model


def build(dtype: str = "bf16", context: int = 64, **changes: object) -> ModuleOp:
    return build_model(parse_config(preset("tiny") | changes), dtype, context)


def program(module: ModuleOp) -> model.ProgramOp:
    found = module.body.block.first_op
    assert isinstance(found, model.ProgramOp)
    return found


def count(module: ModuleOp) -> Counter[str]:
    return Counter(op.name.removeprefix("model.") for op in program(module).body.block.ops)


def test_operators_of_a_layer() -> None:
    ops = count(build())
    assert ops == {
        "weight": 20, "cache": 2, "rope_table": 1, "embed": 1, "rms_norm": 5, "linear": 15,
        "rope": 4, "kv_append": 2, "attention": 2, "add": 4, "glu": 2, "argmax": 1,
        "return": 1,
    }  # fmt: skip


def test_weights_are_the_checkpoints() -> None:
    changes = {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}
    config = parse_config(preset("tiny") | changes)
    weights = [
        op.plain()
        for op in program(build("fp32", **changes)).body.block.ops
        if isinstance(op, model.WeightOp)
    ]
    assert {w.name: w.shape for w in weights} == tensor_shapes(config)
    assert {w.dtype for w in weights} == {"f32"}


def test_every_bias_is_used() -> None:
    ops = program(build(attention_bias=True, mlp_bias=True)).body.block.ops
    used = {op.bias.string_value() for op in ops if isinstance(op, model.LinearOp) and op.bias}
    assert len(used) == 2 * 7


def test_a_tied_head_reads_the_embedding() -> None:
    for tied, name in ((True, "model.embed_tokens.weight"), (False, "lm_head.weight")):
        linears = [
            op
            for op in program(build(tie_word_embeddings=tied)).body.block.ops
            if isinstance(op, model.LinearOp)
        ]
        assert linears[-1].weight.string_value() == name


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_rounding_is_in_the_types(dtype: str) -> None:
    """What other SMs read has the type asked for; the residual stream is f32 in any case."""
    element = {"bf16": "bf16", "fp32": "f32"}[dtype]
    for op in program(build(dtype)).body.block.ops:
        match op:
            case model.AttentionOp() | model.GluOp() | model.RopeOp():
                assert tensor_of(op.out.type)[1] == element
            case model.AddOp() | model.EmbedOp() | model.LinearOp():
                wanted = element if op.out.name_hint in ("l0.v", "l1.v") else "f32"
                assert tensor_of(op.out.type)[1] == wanted
            case model.CacheOp():
                assert op.plain().dtype == element
            case _:
                pass


@pytest.mark.parametrize("name", ["tiny", "qwen2.5-0.5b", "llama-3.2-1b", "mistral-7b"])
def test_text_reads_back_as_the_same_program(name: str) -> None:
    """Every float of the text is the float of the config: eps, frequencies, scale."""
    config = parse_config(preset(name) | {"rms_norm_eps": 9.999999747378752e-06})
    text = print_module(build_model(config, "bf16", 128))
    again = parse_module(make_context(), text, "text")
    again.verify()
    assert print_module(again) == text
    ops = list(program(again).body.block.ops)
    tables = [op.plain() for op in ops if isinstance(op, model.RopeTableOp)]
    assert tables[0].inv_freq == config.inv_freq
    norms = [op.eps.value.data for op in ops if isinstance(op, model.RmsNormOp)]
    assert set(norms) == {config.eps}
    scales = [op.scale.value.data for op in ops if isinstance(op, model.AttentionOp)]
    assert set(scales) == {config.head_dim**-0.5}


def test_size_grows_with_layers_only() -> None:
    big = build_model(parse_config(preset("llama-3-70b")), "bf16", 8192)
    assert verify_model(program(big)) == []
    assert sum(count(big).values()) == 80 * (9 + 1 + 16) + 9


@pytest.mark.parametrize(
    ("dtype", "context", "message"),
    [
        ("fp16", 64, "element type 'fp16' is not supported"),
        ("bf16", 513, "context of 513 tokens is outside the model's 1 to 512"),
        ("bf16", 0, "context of 0 tokens is outside the model's 1 to 512"),
    ],
)
def test_refusals(dtype: str, context: int, message: str) -> None:
    with pytest.raises(AmkError, match=message):
        build(dtype, context)
