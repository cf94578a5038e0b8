"""What fusions make of several operators: one kernel each."""

from __future__ import annotations

from xdsl.dialects.builtin import FlatSymbolRefAttrConstr, IndexType, TensorType
from xdsl.irdl import irdl_op_definition, operand_def, opt_prop_def, prop_def, result_def

from amk.dialects.attributes import Real, Size
from amk.dialects.model.operators import TOKEN, ActivationAttr, ModelOp


@irdl_op_definition
class QkvOp(ModelOp):
    """Query, key and value projections from one packed weight, with norm before and, if there is a
    table, rotary embedding after: of neighbors (2i, 2i + 1) among the first `rotary` elements of
    each head of q and k (default: all of it).
    """

    name = "model.qkv"
    x = operand_def(TensorType)
    pos = operand_def(IndexType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    table = opt_prop_def(FlatSymbolRefAttrConstr)
    rotary = opt_prop_def(Size)
    heads = prop_def(Size)
    kv_heads = prop_def(Size)
    head_dim = prop_def(Size)
    q = result_def(TensorType)
    k = result_def(TensorType)
    v = result_def(TensorType)
    assembly_format = (
        "$x `,` $weight (`bias` $bias^)? (`norm` $norm^ `eps` $eps)? (`rope` $table^)? "
        "(`rotary` $rotary^)? `at` $pos `heads` $heads `kv_heads` $kv_heads `head_dim` $head_dim "
        "attr-dict `:` type($x) `->` type($q) `,` type($k) `,` type($v)"
    )


@irdl_op_definition
class GateUpOp(ModelOp):
    """kind(gate) * up (default: silu), where gate and up are the interleaved rows of one packed
    weight times x."""

    name = "model.gate_up"
    x = operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    kind = opt_prop_def(ActivationAttr)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $weight (`bias` $bias^)? (`norm` $norm^ `eps` $eps)? (`kind` $kind^)? "
        "attr-dict `:` type($x) `->` type($out)"
    )


@irdl_op_definition
class LmHeadOp(ModelOp):
    """Logits, scale * (W x + bias), and their argmax in one operator: the logits are an output of
    the program, the token its result. With `softcap`, a logit l is softcap * tanh(l / softcap)."""

    name = "model.lm_head"
    x = operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    scale = opt_prop_def(Real)
    softcap = opt_prop_def(Real)
    out = result_def(TOKEN)
    assembly_format = (
        "$x `,` $weight (`bias` $bias^)? (`norm` $norm^ `eps` $eps)? (`scale` $scale^)? "
        "(`softcap` $softcap^)? attr-dict `:` type($x)"
    )
