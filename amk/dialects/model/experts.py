"""Mixtures of experts: the router, and the two halves of the MLP."""

from __future__ import annotations

from xdsl.dialects.builtin import FlatSymbolRefAttrConstr, TensorType, UnitAttr
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
)

from amk.dialects.attributes import Real, Size
from amk.dialects.model.operators import ModelOp


@irdl_op_definition
class TopkOp(ModelOp):
    """The `choices` largest of x: their indices, and their share of softmax(x), or with `normalize`
    of what the chosen ones add up to."""

    name = "model.topk"
    x = operand_def(TensorType)
    choices = prop_def(Size)
    normalize = opt_prop_def(UnitAttr)
    ids = result_def(TensorType)
    weights = result_def(TensorType)
    assembly_format = (
        "$x `choices` $choices (`normalize` $normalize^)? attr-dict "
        "`:` type($x) `->` type($ids) `,` type($weights)"
    )


@irdl_op_definition
class MoeGateUpOp(ModelOp):
    """silu(gate) * up of each chosen expert, one behind the other; gate and up are the interleaved
    rows of the expert's part of one weight times x, plus its part of `bias`. With `limit` they are
    clamped, and it is gate * sigmoid(alpha * gate) * (up + 1)."""

    name = "model.moe_gate_up"
    x = operand_def(TensorType)
    ids = operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    experts = prop_def(Size)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    alpha = opt_prop_def(Real)
    limit = opt_prop_def(Real)
    norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $ids `,` $weight `experts` $experts (`bias` $bias^)? "
        "(`alpha` $alpha^ `limit` $limit)? (`norm` $norm^ `eps` $eps)? attr-dict "
        "`:` type($x) `,` type($ids) `->` type($out)"
    )


@irdl_op_definition
class MoeDownOp(ModelOp):
    """The sum of what the chosen experts make of their parts of x, with their parts of `bias`,
    weighted, plus `residual`."""

    name = "model.moe_down"
    x = operand_def(TensorType)
    ids = operand_def(TensorType)
    weights = operand_def(TensorType)
    residual = opt_operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    experts = prop_def(Size)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $ids `,` $weights `,` $weight `experts` $experts (`bias` $bias^)? "
        "(`residual` $residual^ `:` type($residual))? attr-dict "
        "`:` type($x) `,` type($ids) `,` type($weights) `->` type($out)"
    )
