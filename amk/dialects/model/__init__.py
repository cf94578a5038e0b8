"""The `model` dialect: what one decoding step computes, as operators on tensors.

Level 1. A `model.program` holds declarations (weights, packs, KV caches, RoPE tables), which every
later level carries along unchanged, and a straight line of operators in SSA form. Order and
dependence are SSA, except for the KV cache, which is memory: `kv_append` and `attention` on one
cache keep their order.
"""

from __future__ import annotations

from xdsl.ir import Dialect

from amk.dialects.model.declarations import (
    CacheOp,
    Declaration,
    PackOp,
    Plain,
    RopeTableOp,
    WeightOp,
    declarations,
    range_text,
)
from amk.dialects.model.experts import MoeDownOp, MoeGateUpOp, TopkOp
from amk.dialects.model.fused import GateUpOp, LmHeadOp, QkvOp
from amk.dialects.model.operators import (
    TOKEN,
    Activation,
    ActivationAttr,
    ActivationOp,
    AddOp,
    ArgmaxOp,
    AttentionOp,
    EmbedOp,
    GluOp,
    KvAppendOp,
    LayerNormOp,
    LinearOp,
    ModelOp,
    ReturnOp,
    RmsNormOp,
    RopeOp,
    ScaleOp,
    SoftcapOp,
)
from amk.dialects.model.program import ProgramOp

MODEL = Dialect(
    "model",
    [
        ProgramOp, WeightOp, PackOp, CacheOp, RopeTableOp, EmbedOp, RmsNormOp, LayerNormOp,
        LinearOp, RopeOp, KvAppendOp, AttentionOp, GluOp, ActivationOp, ScaleOp, SoftcapOp, AddOp,
        ArgmaxOp, QkvOp, GateUpOp, LmHeadOp, TopkOp, MoeGateUpOp, MoeDownOp,
        ReturnOp,
    ],
    [ActivationAttr],
)  # fmt: skip

__all__ = [
    "MODEL", "Activation", "ActivationAttr", "ActivationOp", "AddOp", "ArgmaxOp", "AttentionOp",
    "CacheOp", "Declaration", "EmbedOp", "GateUpOp", "GluOp", "KvAppendOp", "LayerNormOp",
    "LinearOp", "LmHeadOp", "ModelOp", "MoeDownOp", "MoeGateUpOp", "PackOp", "Plain",
    "ProgramOp", "QkvOp", "ReturnOp", "RmsNormOp", "RopeOp", "RopeTableOp", "ScaleOp",
    "SoftcapOp", "TOKEN", "TopkOp", "WeightOp", "declarations", "range_text",
]  # fmt: skip
