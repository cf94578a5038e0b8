"""The operators that models are written in, one for each of Hugging Face's."""

from __future__ import annotations

from enum import auto

from xdsl.dialects.builtin import FlatSymbolRefAttrConstr, IndexType, TensorType, UnitAttr, i32
from xdsl.dialects.utils import EnumAttribute
from xdsl.irdl import (
    AttrSizedOperandSegments,
    IRDLOperation,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import IsTerminator
from xdsl.utils.str_enum import StrEnum

from amk.dialects.attributes import Real, Size

TOKEN = TensorType(i32, [1])


class Activation(StrEnum):
    """Functions between the matrices of an MLP; their formulas are in docs/IR_SPEC.md."""

    SILU = auto()
    GELU = auto()
    GELU_TANH = auto()
    QUICK_GELU = auto()
    RELU = auto()
    RELU2 = auto()


@irdl_attr_definition
class ActivationAttr(EnumAttribute[Activation]):
    """One of the activation functions, by its name."""

    name = "model.activation_kind"


class ModelOp(IRDLOperation):
    """An operator of a model program."""


@irdl_op_definition
class EmbedOp(ModelOp):
    """Row `token` of the embedding table, times `multiplier`."""

    name = "model.embed"
    token = operand_def(TOKEN)
    table = prop_def(FlatSymbolRefAttrConstr)
    multiplier = opt_prop_def(Real)
    out = result_def(TensorType)
    assembly_format = "$token `,` $table (`multiplier` $multiplier^)? attr-dict `:` type($out)"


@irdl_op_definition
class RmsNormOp(ModelOp):
    """x * weight / sqrt(mean(x^2) + eps); with `groups`, for each of so many equal parts of x by
    itself; plus `residual`."""

    name = "model.rms_norm"
    x = operand_def(TensorType)
    residual = opt_operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    eps = prop_def(Real)
    groups = opt_prop_def(Size)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $weight `eps` $eps (`groups` $groups^)? "
        "(`residual` $residual^ `:` type($residual))? attr-dict `:` type($x) `->` type($out)"
    )


@irdl_op_definition
class LayerNormOp(ModelOp):
    """(x - mean(x)) * weight / sqrt(variance(x) + eps) + bias; with `groups`, for each of so many
    equal parts of x by itself; plus `residual`."""

    name = "model.layer_norm"
    x = operand_def(TensorType)
    residual = opt_operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = prop_def(Real)
    groups = opt_prop_def(Size)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $weight (`bias` $bias^)? `eps` $eps (`groups` $groups^)? "
        "(`residual` $residual^ `:` type($residual))? attr-dict "
        "`:` type($x) `->` type($out)"
    )


@irdl_op_definition
class LinearOp(ModelOp):
    """scale * (W x + bias) + residual, where x is first normalized if `norm` is given; or, without
    residual, kind(scale * (W x + bias))."""

    name = "model.linear"
    x = operand_def(TensorType)
    residual = opt_operand_def(TensorType)
    weight = prop_def(FlatSymbolRefAttrConstr)
    bias = opt_prop_def(FlatSymbolRefAttrConstr)
    norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    scale = opt_prop_def(Real)
    kind = opt_prop_def(ActivationAttr)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $weight (`bias` $bias^)? (`norm` $norm^ `eps` $eps)? (`scale` $scale^)? "
        "(`kind` $kind^)? (`residual` $residual^ `:` type($residual))? attr-dict "
        "`:` type($x) `->` type($out)"
    )


@irdl_op_definition
class RopeOp(ModelOp):
    """Rotary embedding of the first `rotary` elements of each head (default: all of it) at position
    pos: pairs (i, i + rotary / 2), or with `interleaved` (2i, 2i + 1)."""

    name = "model.rope"
    x = operand_def(TensorType)
    pos = operand_def(IndexType)
    table = prop_def(FlatSymbolRefAttrConstr)
    head_dim = prop_def(Size)
    rotary = opt_prop_def(Size)
    interleaved = opt_prop_def(UnitAttr)
    out = result_def(TensorType)
    assembly_format = (
        "$x `,` $table `at` $pos `head_dim` $head_dim (`rotary` $rotary^)? "
        "(`interleaved` $interleaved^)? attr-dict `:` type($x) `->` type($out)"
    )

    @property
    def full(self) -> bool:
        """Whether whole heads rotate, in halves."""
        return self.rotary in (None, self.head_dim) and self.interleaved is None


@irdl_op_definition
class KvAppendOp(ModelOp):
    """Row pos of the cache becomes (k, v)."""

    name = "model.kv_append"
    k = operand_def(TensorType)
    v = operand_def(TensorType)
    pos = operand_def(IndexType)
    cache = prop_def(FlatSymbolRefAttrConstr)
    assembly_format = "$k `,` $v `,` $cache `at` $pos attr-dict `:` type($k) `,` type($v)"


@irdl_op_definition
class AttentionOp(ModelOp):
    """softmax(scale * q K^T) V over rows [0, pos] of the cache; with k and v, row pos is appended
    first.

    `window` restricts rows to (pos - window, pos], `softcap` makes of each scaled score s the
    score softcap * tanh(s / softcap), and `sinks` names one logit for each query head that counts
    in the denominator of its softmax.

    With `q_norm` and `k_norm` each head of q and of k is normalized first, and with `rope` it is
    rotated next. With `halves`, q and k hold elements i and i + rotary / 2 of a head as neighbors.
    """

    name = "model.attention"
    q = operand_def(TensorType)
    k = opt_operand_def(TensorType)
    v = opt_operand_def(TensorType)
    pos = operand_def(IndexType)
    cache = prop_def(FlatSymbolRefAttrConstr)
    heads = prop_def(Size)
    kv_heads = prop_def(Size)
    head_dim = prop_def(Size)
    scale = prop_def(Real)
    window = opt_prop_def(Size)
    softcap = opt_prop_def(Real)
    sinks = opt_prop_def(FlatSymbolRefAttrConstr)
    q_norm = opt_prop_def(FlatSymbolRefAttrConstr)
    k_norm = opt_prop_def(FlatSymbolRefAttrConstr)
    eps = opt_prop_def(Real)
    table = opt_prop_def(FlatSymbolRefAttrConstr)
    rotary = opt_prop_def(Size)
    halves = opt_prop_def(UnitAttr)
    out = result_def(TensorType)
    irdl_options = (AttrSizedOperandSegments(as_property=True),)
    assembly_format = (
        "$q (`append` $k^ `,` $v `:` type($k) `,` type($v))? `,` $cache `at` $pos `heads` $heads "
        "`kv_heads` $kv_heads `head_dim` $head_dim `scale` $scale (`window` $window^)? "
        "(`softcap` $softcap^)? (`sinks` $sinks^)? "
        "(`q_norm` $q_norm^ `k_norm` $k_norm `eps` $eps)? (`rope` $table^)? (`rotary` $rotary^)? "
        "(`halves` $halves^)? attr-dict `:` type($q) `->` type($out)"
    )


@irdl_op_definition
class GluOp(ModelOp):
    """kind(gate) * up, elementwise: a gated linear unit."""

    name = "model.glu"
    kind = prop_def(ActivationAttr)
    gate = operand_def(TensorType)
    up = operand_def(TensorType)
    out = result_def(TensorType)
    assembly_format = "$kind $gate `,` $up attr-dict `:` type($gate) `,` type($up) `->` type($out)"


@irdl_op_definition
class ActivationOp(ModelOp):
    """kind(x), elementwise."""

    name = "model.activation"
    kind = prop_def(ActivationAttr)
    x = operand_def(TensorType)
    out = result_def(TensorType)
    assembly_format = "$kind $x attr-dict `:` type($x) `->` type($out)"


@irdl_op_definition
class ScaleOp(ModelOp):
    """x * factor, elementwise."""

    name = "model.scale"
    x = operand_def(TensorType)
    factor = prop_def(Real)
    out = result_def(TensorType)
    assembly_format = "$x `by` $factor attr-dict `:` type($x) `->` type($out)"


@irdl_op_definition
class SoftcapOp(ModelOp):
    """cap * tanh(x / cap), elementwise."""

    name = "model.softcap"
    x = operand_def(TensorType)
    cap = prop_def(Real)
    out = result_def(TensorType)
    assembly_format = "$x `cap` $cap attr-dict `:` type($x) `->` type($out)"


@irdl_op_definition
class AddOp(ModelOp):
    """a + b, elementwise."""

    name = "model.add"
    a = operand_def(TensorType)
    b = operand_def(TensorType)
    out = result_def(TensorType)
    assembly_format = "$a `,` $b attr-dict `:` type($a) `,` type($b) `->` type($out)"


@irdl_op_definition
class ArgmaxOp(ModelOp):
    """The index of the largest element, the lowest one on a tie: the next token."""

    name = "model.argmax"
    x = operand_def(TensorType)
    out = result_def(TOKEN)
    assembly_format = "$x attr-dict `:` type($x)"


@irdl_op_definition
class ReturnOp(ModelOp):
    """Ends a program; its operand is the next token."""

    name = "model.return"
    token = operand_def(TOKEN)
    traits = traits_def(IsTerminator())
    assembly_format = "$token attr-dict"
