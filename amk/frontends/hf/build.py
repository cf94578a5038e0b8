"""Unfused model IR of a decoder: `build_model(config, dtype, max_context) -> ModuleOp`.

One operator per operator of Hugging Face's modeling code, so that the two can be read side by
side; fusion is the passes' work. Types say where a value is rounded: what becomes a buffer in the
fused form has element type `dtype`, the residual stream and what fusion keeps in registers is f32.
Checkpoint tensors keep their names; KV caches are `layers.N.kv`, the rotary table is `rope`.
Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.builder import Builder
from xdsl.dialects.builtin import Attribute, ModuleOp, SymbolRefAttr, TensorType, UnitAttr
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import InsertPoint

from amk.dialects import model
from amk.dialects.model import ELEMENTS, real, size
from amk.errors import AmkError
from amk.frontends.hf.config import DecoderConfig, Experts, tensor_shapes
from amk.ir.program import Pack

ROPE = "rope"
EXPERT_PACK = "layers.{}.experts.gate_up"
TYPES = {"bf16": "bf16", "fp32": "f32", "f32": "f32"}


def build_model(config: DecoderConfig, dtype: str, max_context: int) -> ModuleOp:
    """A module with one `model.program @decode`.

    Weights and KV caches have element type `dtype` (`bf16`, or `fp32`, which MLIR spells `f32`);
    caches have `max_context` rows. Raises AmkError for another type, and where the model has fewer
    positions.
    """
    if dtype not in TYPES:
        raise AmkError(f"element type '{dtype}' is not supported (supported: {', '.join(TYPES)})")
    if not 1 <= max_context <= config.max_context:
        raise AmkError(
            f"context of {max_context} tokens is outside the model's 1 to {config.max_context}"
        )
    program = model.ProgramOp.empty("decode")
    _Decoder(config, TYPES[dtype], max_context, program).build()
    return ModuleOp([program])


class _Decoder:
    def __init__(self, config: DecoderConfig, dtype: str, rows: int, program: model.ProgramOp):
        self.config, self.dtype, self.rows, self.program = config, dtype, rows, program
        self.insert = Builder(InsertPoint.at_end(program.body.block)).insert
        self.pos = program.pos

    def build(self) -> None:
        c = self.config
        element = ELEMENTS[self.dtype]
        for name, shape in tensor_shapes(c).items():
            self.insert(model.WeightOp(name, TensorType(element, shape)))
        for i in range(c.layers if c.experts else 0):
            self.expert_pack(i)
        for i in range(c.layers):
            cache = f"layers.{i}.kv"
            self.insert(model.CacheOp(cache, self.rows, c.kv_heads, c.head_dim, element))
        self.insert(model.RopeTableOp(ROPE, c.inv_freq, c.rope_scale))

        table = {"table": SymbolRefAttr("model.embed_tokens.weight")}
        h = self.op(model.EmbedOp, "embed", [self.program.token], table, c.hidden, "f32")
        for i in range(c.layers):
            h = self.layer(f"model.layers.{i}", i, h)
        h = self.norm("model.norm.weight", "norm", h)
        logits = self.linear("", "logits", h, c.vocab, "f32", weight=c.head_weight)
        token = self.insert(
            model.ArgmaxOp.create(operands=[logits], result_types=[model.TOKEN])
        ).results[0]
        token.name_hint = "next"
        self.insert(model.ReturnOp.create(operands=[token]))

    def layer(self, at: str, i: int, h: SSAValue) -> SSAValue:
        """Both halves of layer i, from residual stream to residual stream."""
        c, dtype = self.config, self.dtype
        x = self.norm(f"{at}.input_layernorm.weight", f"l{i}.x", h)
        attn = f"{at}.self_attn"
        q = self.linear(f"{attn}.q_proj", f"l{i}.q_proj", x, c.q_size, "f32", c.qkv_bias)
        k = self.linear(f"{attn}.k_proj", f"l{i}.k_proj", x, c.kv_size, "f32", c.qkv_bias)
        v = self.linear(f"{attn}.v_proj", f"l{i}.v", x, c.kv_size, dtype, c.qkv_bias)
        q, k = self.rope(f"l{i}.q", q), self.rope(f"l{i}.k", k)
        cache = SymbolRefAttr(f"layers.{i}.kv")
        self.insert(model.KvAppendOp.create(operands=[k, v, self.pos], properties={"cache": cache}))
        y = self.insert(
            model.AttentionOp.build(
                operands=[q, [], [], self.pos],
                properties={
                    "cache": cache,
                    "heads": size(c.heads),
                    "kv_heads": size(c.kv_heads),
                    "head_dim": size(c.head_dim),
                    "scale": real(c.attention_scale),
                },
                result_types=[self.type(c.q_size, dtype)],
            )
        ).results[0]
        y.name_hint = f"l{i}.attention"
        o = self.linear(f"{attn}.o_proj", f"l{i}.o", y, c.hidden, "f32", c.o_bias)
        h = self.op(model.AddOp, f"l{i}.mid", [h, o], {}, c.hidden, "f32")

        x = self.norm(f"{at}.post_attention_layernorm.weight", f"l{i}.z", h)
        if c.experts:
            return self.mixture(f"{at}.mlp", i, h, x, c.experts)
        up_down = (c.intermediate, "f32", c.mlp_bias)
        gate = self.linear(f"{at}.mlp.gate_proj", f"l{i}.gate", x, *up_down)
        up = self.linear(f"{at}.mlp.up_proj", f"l{i}.up", x, *up_down)
        silu = {"kind": model.ActivationAttr(model.Activation.SILU)}
        y = self.op(model.GluOp, f"l{i}.act", [gate, up], silu, c.intermediate, dtype)
        down = self.linear(f"{at}.mlp.down_proj", f"l{i}.down", y, c.hidden, "f32", c.mlp_bias)
        return self.op(model.AddOp, f"l{i}.out", [h, down], {}, c.hidden, "f32")

    def expert_pack(self, i: int) -> None:
        """Gate and up of all experts of layer i in one matrix, row by row."""
        name, at = EXPERT_PACK.format(i), f"model.layers.{i}.mlp.experts"
        halves = (f"{at}.gate_proj.weight", f"{at}.up_proj.weight")
        shapes = tensor_shapes(self.config)
        shape = (2 * shapes[halves[0]][0], shapes[halves[0]][1])
        pack = Pack(name, shape, self.dtype, "interleave", halves, ("rows", "rows"))
        self.insert(model.PackOp(pack, TensorType(ELEMENTS[self.dtype], shape)))

    def mixture(self, at: str, i: int, h: SSAValue, x: SSAValue, experts: Experts) -> SSAValue:
        """Router, chosen experts and their sum: the MLP `at` of layer i, on x, added to h."""
        c, e = self.config, experts
        scores = self.linear(f"{at}.gate", f"l{i}.scores", x, e.count, "f32")
        choice = {"choices": size(e.choices)}
        ids, weights = self.insert(
            model.TopkOp.create(
                operands=[scores],
                properties=choice | ({"normalize": UnitAttr()} if e.normalize else {}),
                result_types=[TensorType(ELEMENTS[t], [e.choices]) for t in ("i32", "f32")],
            )
        ).results
        ids.name_hint, weights.name_hint = f"l{i}.experts", f"l{i}.shares"
        count = {"experts": size(e.count)}
        properties = count | {"weight": SymbolRefAttr(EXPERT_PACK.format(i))}
        y = self.op(
            model.MoeGateUpOp, f"l{i}.act", [x, ids], properties, e.choices * e.width, self.dtype
        )
        down = count | {"weight": SymbolRefAttr(f"{at}.experts.down_proj.weight")}
        y = self.op(model.MoeDownOp, f"l{i}.down", [y, ids, weights], down, c.hidden, "f32")
        return self.op(model.AddOp, f"l{i}.out", [h, y], {}, c.hidden, "f32")

    def type(self, n: int, dtype: str) -> TensorType[Attribute]:
        return TensorType(ELEMENTS[dtype], [n])

    def op(
        self,
        kind: type[Operation],
        hint: str,
        operands: list[SSAValue],
        properties: Mapping[str, Attribute],
        n: int,
        dtype: str,
    ) -> SSAValue:
        """Append an operator whose one result has n elements."""
        made = kind.create(
            operands=operands, properties=properties, result_types=[self.type(n, dtype)]
        )
        result = self.insert(made).results[0]
        result.name_hint = hint
        return result

    def norm(self, weight: str, hint: str, x: SSAValue) -> SSAValue:
        properties = {"weight": SymbolRefAttr(weight), "eps": real(self.config.eps)}
        return self.op(model.RmsNormOp, hint, [x], properties, self.config.hidden, "f32")

    def linear(
        self,
        name: str,
        hint: str,
        x: SSAValue,
        n: int,
        dtype: str,
        bias: bool = False,
        weight: str = "",
    ) -> SSAValue:
        properties: dict[str, Attribute] = {"weight": SymbolRefAttr(weight or f"{name}.weight")}
        if bias:
            properties["bias"] = SymbolRefAttr(f"{name}.bias")
        return self.op(model.LinearOp, hint, [x], properties, n, dtype)

    def rope(self, hint: str, x: SSAValue) -> SSAValue:
        properties = {
            "table": SymbolRefAttr(ROPE),
            "head_dim": size(self.config.head_dim),
        }
        n = model.extent(x)
        return self.op(model.RopeOp, hint, [x, self.pos], properties, n, self.dtype)
