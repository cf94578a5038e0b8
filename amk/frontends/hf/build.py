"""Unfused model IR of a decoder: `build_model(config, dtype, max_context) -> ModuleOp`.

One operator per operator of Hugging Face's modeling code, so that the two can be read side by
side; fusion is the passes' work. Types say where a value is rounded: what becomes a buffer in the
fused form has element type `dtype`, the residual stream and what fusion keeps in registers is f32.
Checkpoint tensors keep their names; what is made of them (rows of one tensor, 1 + weight) is a pack
`layers.N.what`; KV caches are `layers.N.kv`, rotary tables `rope` and `rope.local`. Imports neither
torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from xdsl.builder import Builder
from xdsl.dialects.builtin import Attribute, ModuleOp, SymbolRefAttr, TensorType, UnitAttr
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import InsertPoint

from amk.dialects import model
from amk.dialects.attributes import ELEMENTS, extent, real, size
from amk.errors import AmkError
from amk.frontends.hf.decoder import (
    DecoderConfig,
    Experts,
    Layer,
    Part,
    Shape,
    qk_norm_weights,
    tensor_shapes,
)
from amk.ir.packs import round_to
from amk.ir.program import Pack

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
            f"context of {max_context} tokens is outside the model's 1 to {config.limit}"
        )
    program = model.ProgramOp.empty("decode")
    _Decoder(config, TYPES[dtype], max_context, program).build()
    return ModuleOp([program])


class _Decoder:
    def __init__(self, config: DecoderConfig, dtype: str, rows: int, program: model.ProgramOp):
        self.config, self.dtype, self.rows, self.program = config, dtype, rows, program
        self.insert = Builder(InsertPoint.at_end(program.body.block)).insert
        self.pos = program.pos
        self.shapes = tensor_shapes(config)

    def build(self) -> None:
        c = self.config
        self.declare()
        embed: dict[str, Attribute] = {"table": SymbolRefAttr(c.embed_weight)}
        if c.embedding_multiplier != 1.0:
            factor = np.array([c.embedding_multiplier], np.float32)
            cast = round_to(factor, self.dtype if c.cast_multiplier else "f32")
            embed["multiplier"] = real(float(cast[0]))
        h = self.op(model.EmbedOp, "embed", [self.program.token], embed, c.hidden, "f32")
        for i in range(c.layers):
            h = self.layer(i, h)
        h = self.norm(c.names.norm, "norm", h)
        logits = self.linear(
            "logits", h, c.head_weight, c.vocab, bias=c.head_bias and f"{c.names.head}.bias",
            scale=c.logits_multiplier,
        )  # fmt: skip
        if c.logits_softcap is not None:
            cap: dict[str, Attribute] = {"cap": real(c.logits_softcap)}
            logits = self.op(model.SoftcapOp, "capped", [logits], cap, c.vocab, "f32")
        token = self.insert(
            model.ArgmaxOp.create(operands=[logits], result_types=[model.TOKEN])
        ).results[0]
        token.name_hint = "next"
        self.insert(model.ReturnOp.create(operands=[token]))

    def declare(self) -> None:
        """Weights, packs, caches and rotary tables."""
        c = self.config
        element = ELEMENTS[self.dtype]
        for name, shape in self.shapes.items():
            self.insert(model.WeightOp(name, TensorType(element, shape)))
        for pack in _packs(c, self.shapes, self.dtype):
            self.insert(model.PackOp(pack, TensorType(ELEMENTS[pack.dtype], pack.shape)))
        for i in range(c.layers):
            cache = f"layers.{i}.kv"
            self.insert(model.CacheOp(cache, self.rows, c.kv_heads, c.head_dim, element))
        if c.inv_freq:
            self.insert(model.RopeTableOp("rope", c.inv_freq, c.rope_scale))
        if c.local_inv_freq:
            self.insert(model.RopeTableOp("rope.local", c.local_inv_freq, c.local_rope_scale))

    def layer(self, i: int, h: SSAValue) -> SSAValue:
        """Layer i, from residual stream to residual stream."""
        c, n, at = self.config, self.config.names, self.config.at(i)
        x = self.norm(n.pre_attention and f"{at}.{n.pre_attention}", f"l{i}.x", h)
        o = self.attention(i, x)
        o = self.behind(n.post_attention and f"{at}.{n.post_attention}", f"l{i}.post", o)
        mid = self.op(model.AddOp, f"l{i}.mid", [h, o], {}, c.hidden, "f32")
        if not c.parallel:
            x = self.norm(n.pre_mlp and f"{at}.{n.pre_mlp}", f"l{i}.z", mid)
        elif n.pre_mlp:
            x = self.norm(f"{at}.{n.pre_mlp}", f"l{i}.z", h)
        down = self.mixture(i, x, c.experts) if c.experts else self.mlp(i, x)
        down = self.behind(n.post_mlp and f"{at}.{n.post_mlp}", f"l{i}.after", down)
        return self.op(model.AddOp, f"l{i}.out", [mid, down], {}, c.hidden, "f32")

    def behind(self, norm: str, hint: str, x: SSAValue) -> SSAValue:
        """What a branch adds to the residual stream: normalized, and scaled behind that norm."""
        factor = self.config.residual_multiplier
        if not norm:
            return x
        x = self.norm(norm, hint, x)
        if factor == 1.0:
            return x
        return self.op(
            model.ScaleOp,
            f"{hint}_scaled",
            [x],
            {"factor": real(factor)},
            self.config.hidden,
            "f32",
        )

    def attention(self, i: int, x: SSAValue) -> SSAValue:
        """What attention of layer i adds to the residual stream."""
        c, n, at, layer = self.config, self.config.names, self.config.at(i), self.config.layer(i)
        between = "f32" if c.qk_norm or layer.rope else self.dtype
        matrices, bias = c.qkv(i), c.qkv_bias
        q = self.part(f"layers.{i}.q", f"l{i}.q_proj", x, matrices[0], c.q_size, bias, between)
        k = self.part(f"layers.{i}.k", f"l{i}.k_proj", x, matrices[1], c.kv_size, bias, between)
        v = self.part(f"layers.{i}.v", f"l{i}.v", x, matrices[2], c.kv_size, bias, self.dtype)
        q = self.turned(f"layers.{i}.q", f"l{i}.q", q, f"{at}.{n.q_norm}", c.heads, layer)
        k = self.turned(f"layers.{i}.k", f"l{i}.k", k, f"{at}.{n.k_norm}", c.kv_heads, layer)
        cache = SymbolRefAttr(f"layers.{i}.kv")
        self.insert(model.KvAppendOp.create(operands=[k, v, self.pos], properties={"cache": cache}))
        properties: dict[str, Attribute] = {
            "cache": cache,
            "heads": size(c.heads),
            "kv_heads": size(c.kv_heads),
            "head_dim": size(c.head_dim),
            "scale": real(c.attention_scale),
        }
        if layer.window is not None and layer.window < self.rows:
            properties["window"] = size(layer.window)
        if c.softcap is not None:
            properties["softcap"] = real(c.softcap)
        if c.sinks:
            properties["sinks"] = SymbolRefAttr(f"{at}.{n.sinks}")
        y = self.insert(
            model.AttentionOp.build(
                operands=[q, [], [], self.pos],
                properties=properties,
                result_types=[self.type(c.q_size, self.dtype)],
            )
        ).results[0]
        y.name_hint = f"l{i}.attention"
        return self.linear(
            f"l{i}.o", y, f"{at}.{n.o}.weight", c.hidden, bias=c.o_bias and f"{at}.{n.o}.bias",
            scale=1.0 if n.post_attention else c.residual_multiplier,
        )  # fmt: skip

    def turned(
        self, pack: str, hint: str, x: SSAValue, norm: str, heads: int, layer: Layer
    ) -> SSAValue:
        """Queries or keys, normalized and rotated as the config says."""
        c = self.config
        steps = ["norm"] if c.qk_norm else []
        if layer.rope:
            steps.insert(0 if c.qk_norm_late else len(steps), "rope")
        for step in steps:
            dtype = self.dtype if step == steps[-1] else "f32"
            if step == "rope":
                x = self.rope(hint, x, layer, dtype)
                continue
            weights = qk_norm_weights(c, norm, heads)
            packed = c.plus_one or len(self.shapes[weights[0]]) > 1 or len(weights) > 1
            symbol = f"{pack}_norm" if packed else weights[0]
            groups = 1 if c.qk_norm == "whole" else heads
            x = self.norm_by(symbol, "", f"{hint}_norm", x, dtype, groups)
        return x

    def mlp(self, i: int, x: SSAValue) -> SSAValue:
        """What the MLP of layer i adds to the residual stream."""
        c, n, at = self.config, self.config.names, self.config.at(i)
        kind = {"kind": model.ActivationAttr(model.Activation(c.activation))}
        if c.gated:
            size, bias = c.intermediate, c.mlp_bias
            first, second = c.gate_up(i)
            gate = self.part(f"layers.{i}.gate", f"l{i}.gate", x, first, size, bias)
            up = self.part(f"layers.{i}.up", f"l{i}.up", x, second, size, bias)
            y = self.op(model.GluOp, f"l{i}.act", [gate, up], kind, c.intermediate, self.dtype)
        else:
            up = Part(f"{at}.{n.up}", None)
            y = self.part("", f"l{i}.up", x, up, c.intermediate, c.mlp_bias)
            y = self.op(model.ActivationOp, f"l{i}.act", [y], kind, c.intermediate, self.dtype)
        return self.linear(
            f"l{i}.down", y, f"{at}.{n.down}.weight", c.hidden,
            bias=c.mlp_bias and f"{at}.{n.down}.bias",
            scale=1.0 if n.post_mlp else c.residual_multiplier,
        )  # fmt: skip

    def mixture(self, i: int, x: SSAValue, experts: Experts) -> SSAValue:
        """What router, chosen experts and their sum add to the residual stream."""
        c, e, at = self.config, experts, f"{self.config.at(i)}.{self.config.names.mlp}"
        bias = e.bias and f"{at}.gate.bias"
        scores = self.linear(f"l{i}.scores", x, f"{at}.gate.weight", e.count, bias=bias)
        choice = {"choices": size(e.choices)}
        ids, weights = self.insert(
            model.TopkOp.create(
                operands=[scores],
                properties=choice | ({"normalize": UnitAttr()} if e.normalize else {}),
                result_types=[TensorType(ELEMENTS[t], [e.choices]) for t in ("i32", "f32")],
            )
        ).results
        ids.name_hint, weights.name_hint = f"l{i}.experts", f"l{i}.shares"
        count: dict[str, Attribute] = {"experts": size(e.count)}
        properties = {**count, "weight": SymbolRefAttr(EXPERT_PACK.format(i))}
        down = {**count, "weight": SymbolRefAttr(f"{at}.experts.down_proj.weight")}
        if e.bias:
            properties["bias"] = SymbolRefAttr(EXPERT_PACK.format(i) + "_bias")
            down["bias"] = SymbolRefAttr(f"{at}.experts.down_proj.bias")
        if e.limit:
            properties |= {"alpha": real(e.alpha), "limit": real(e.limit)}
        y = self.op(
            model.MoeGateUpOp, f"l{i}.act", [x, ids], properties, e.choices * e.width, self.dtype
        )
        return self.op(model.MoeDownOp, f"l{i}.down", [y, ids, weights], down, c.hidden, "f32")

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

    def norm(self, name: str, hint: str, x: SSAValue) -> SSAValue:
        """x normalized by the weight `name`; x itself where there is no such norm."""
        if not name:
            return x
        weight = _plus_one_name(name) if self.config.plus_one else f"{name}.weight"
        return self.norm_by(weight, self.config.norm_bias and f"{name}.bias", hint, x, "f32")

    def norm_by(
        self, weight: str, bias: str | bool, hint: str, x: SSAValue, dtype: str, groups: int = 1
    ) -> SSAValue:
        c = self.config
        kind = model.RmsNormOp if c.norm == "rms" else model.LayerNormOp
        properties: dict[str, Attribute] = {"weight": SymbolRefAttr(weight), "eps": real(c.eps)}
        if bias:
            properties["bias"] = SymbolRefAttr(str(bias))
        if groups > 1:
            properties["groups"] = size(groups)
        return self.op(kind, hint, [x], properties, extent(x), dtype)

    def part(
        self,
        pack: str,
        hint: str,
        x: SSAValue,
        part: Part,
        rows: int,
        bias: bool,
        dtype: str = "f32",
    ) -> SSAValue:
        """A product with a tensor of the checkpoint, or with the pack that takes rows of one."""
        if part.rows is None:
            weight, bias_name = f"{part.tensor}.weight", f"{part.tensor}.bias"
        else:
            weight, bias_name = pack, f"{pack}_bias"
        return self.linear(hint, x, weight, rows, dtype, bias and bias_name)

    def linear(
        self,
        hint: str,
        x: SSAValue,
        weight: str,
        n: int,
        dtype: str = "f32",
        bias: str | bool = False,
        scale: float = 1.0,
    ) -> SSAValue:
        properties: dict[str, Attribute] = {"weight": SymbolRefAttr(weight)}
        if bias:
            properties["bias"] = SymbolRefAttr(str(bias))
        if scale != 1.0:
            properties["scale"] = real(scale)
        return self.op(model.LinearOp, hint, [x], properties, n, dtype)

    def rope(self, hint: str, x: SSAValue, layer: Layer, dtype: str) -> SSAValue:
        c = self.config
        assert layer.rope
        rotary = 2 * len(c.inv_freq if layer.rope == "rope" else c.local_inv_freq)
        properties: dict[str, Attribute] = {
            "table": SymbolRefAttr(layer.rope),
            "head_dim": size(c.head_dim),
        }
        if rotary != c.head_dim:
            properties["rotary"] = size(rotary)
        if c.interleaved:
            properties["interleaved"] = UnitAttr()
        return self.op(model.RopeOp, hint, [x, self.pos], properties, extent(x), dtype)


def _plus_one_name(norm: str) -> str:
    """The pack of 1 + weight of a norm: `layers.3.input_layernorm`, or `norm`."""
    return norm.removeprefix("model.")


def _packs(c: DecoderConfig, shapes: Mapping[str, Shape], dtype: str) -> list[Pack]:
    """What is made of the tensors of a checkpoint before anything is fused."""
    made: list[Pack] = []

    def add(name: str, shape: Shape, sources: list[str], layout: str, parts: Part | None) -> None:
        ranges = (parts.rows,) if parts else ()
        kind = "f32" if layout == "plus_one" else dtype
        layouts = (layout,) * len(sources)
        made.append(Pack(name, shape, kind, "concat", tuple(sources), layouts, 0, ranges))

    def rows(name: str, part: Part, biased: bool) -> None:
        if part.rows is None:
            return
        for suffix, attribute in (("", "weight"), ("_bias", "bias"))[: 1 + biased]:
            source = f"{part.tensor}.{attribute}"
            height, *columns = shapes[source]
            shape = (part.rows.count(height), *columns)
            add(f"{name}{suffix}", shape, [source], "rows", part)

    n = c.names
    for i in range(c.layers):
        at = c.at(i)
        for name, part in zip("qkv", c.qkv(i), strict=True):
            rows(f"layers.{i}.{name}", part, c.qkv_bias)
        if c.experts:
            for suffix, what in (("", "weight"), ("_bias", "bias"))[: 1 + c.experts.bias]:
                halves = [f"{at}.{n.mlp}.experts.{name}_proj.{what}" for name in ("gate", "up")]
                height, *columns = shapes[halves[0]]
                made.append(
                    Pack(
                        EXPERT_PACK.format(i) + suffix, (2 * height, *columns), dtype,
                        "interleave", tuple(halves), ("rows", "rows"),
                    )
                )  # fmt: skip
        elif c.gated:
            for name, part in zip(("gate", "up"), c.gate_up(i), strict=True):
                rows(f"layers.{i}.{name}", part, c.mlp_bias)
        for name, norm, heads in (("q", n.q_norm, c.heads), ("k", n.k_norm, c.kv_heads)):
            weights = qk_norm_weights(c, f"{at}.{norm}", heads)
            if not weights:
                continue
            shape = (len(weights) * prod(shapes[weights[0]]),)
            layout = "flat" if c.qk_norm == "heads" else "plus_one" if c.plus_one else "rows"
            if layout != "rows" or len(weights) > 1:
                add(f"layers.{i}.{name}_norm", shape, weights, layout, None)
    if c.plus_one:
        for name in (n.pre_attention, n.post_attention, n.pre_mlp, n.post_mlp):
            for norm in (f"{c.at(i)}.{name}" for i in range(c.layers) if name):
                add(_plus_one_name(norm), (c.hidden,), [f"{norm}.weight"], "plus_one", None)
        add(_plus_one_name(n.norm), (c.hidden,), [f"{n.norm}.weight"], "plus_one", None)
    return made
