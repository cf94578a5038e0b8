"""Lower operators to families of tiles.

Every SSA value becomes a logical buffer, every operator a family with the smallest useful tile;
`choose-tiles` decides their real size. The residual stream is kept twice: in fp32 beside the SM
that owns the rows (`res`, never sent), and in the weights' type for the readers on other SMs. All
buffers are plain here; `insert-sync` orders them.

    %y = model.linear %x, @o residual %r : tensor<64xf32> : tensor<64xbf16> -> tensor<64xf32>
    ->
    task.buffer @l0.o.y : plain<64xbf16>
    task.buffer @l0.o.res : local<64xf32>
    task.family @l0.o gemv n 64 tile 8 k 64 weight @o x @l0.attention.y out @l0.o.y epilogue
    residual ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, SymbolRefAttr
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import PassFailedException

from amk.dialects import model, task
from amk.dialects.attributes import extent, number, symbol, tensor_of
from amk.ir.kernels import (
    Append,
    Argmax,
    Attention,
    Binary,
    Cache,
    Embed,
    Gemv,
    Kernel,
    LayerNorm,
    MoeDown,
    MoeGateUp,
    Ref,
    RmsNorm,
    Rope,
    Sample,
    Topk,
    Unary,
    Weight,
)
from amk.ir.program import SLOT_ROWS, Buffer, TaskProgram
from amk.passes.rewrite import declarations, programs, replace_program

NORMED = (model.LinearOp, model.QkvOp, model.GateUpOp, model.LmHeadOp, model.MoeGateUpOp)
RESIDUAL = (model.LinearOp, model.MoeDownOp, model.RmsNormOp, model.LayerNormOp)
"""Operators that may add a residual, beside the SM that owns its rows."""

SHORT = re.compile(
    r"(?:model\.)?layers\.(\d+)\.(?:self_attn\.|mlp\.)?(.*?)(?:_proj)?(?:\.weight)?$"
)


@dataclass(frozen=True)
class ConvertModelToTaskPass(ModulePass):
    """Lower every model program of the module.

    With `sampling`, the next token is drawn from the logits by the kernel `sample`, whose
    parameters a launch gives, instead of being the likeliest.
    """

    name = "convert-model-to-task"
    sampling: bool = False

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in programs(op, model.ProgramOp):
            lowered = _Lowering(program, self.sampling).run()
            new = task.ProgramOp(lowered.name, declarations(program) + task.task_ops(lowered))
            replace_program(op, program, new)


def family_name(of: str) -> str:
    """A short name after a weight, pack or cache: `model.layers.3.self_attn.o_proj.weight` is
    `l3.o`."""
    found = SHORT.match(of)
    return f"l{found[1]}.{found[2]}" if found else of.removeprefix("model.").removesuffix(".weight")


@dataclass
class _Lowering:
    source: model.ProgramOp
    sampling: bool
    out: TaskProgram = field(init=False)
    refs: dict[SSAValue, Ref] = field(default_factory=dict[SSAValue, Ref])
    residuals: dict[SSAValue, Ref] = field(default_factory=dict[SSAValue, Ref])

    def run(self) -> TaskProgram:
        self.out = TaskProgram(self.source.sym_name.data)
        for decl in model.declarations(self.source):
            task.add_declaration(self.out, decl)
        self.buffer("token", 1, "i32")
        self.refs[self.source.token] = Ref("token")
        for op in self.source.body.block.ops:
            if isinstance(op, model.ModelOp) and not isinstance(op, model.ReturnOp):
                self.operator(op)
        return self.out

    def buffer(self, name: str, length: int, dtype: str, space: str = "plain") -> Ref:
        self.out.buffers[name] = Buffer(name, space, length, dtype)
        return Ref(name)

    def family(self, name: str, kernel: Kernel) -> None:
        self.out.kernels[name] = kernel

    def unique(self, name: str) -> str:
        taken, n = name, 2
        while taken in self.out.kernels:
            taken, n = f"{name}.{n}", n + 1
        return taken

    def result(self, value: SSAValue, name: str) -> Ref:
        """The buffer of a value, in the type its readers take it in."""
        if any(isinstance(use.operation, model.ArgmaxOp) for use in value.uses):
            name = "logits"
        ref = self.buffer(name, extent(value), self.sent_type(value))
        self.refs[value] = ref
        return ref

    def sent_type(self, value: SSAValue) -> str:
        """A value that is only normalized on the way into matrices is sent in the matrices'
        type."""
        readers = [u.operation for u in value.uses if not self.is_residual(u.operation, value)]
        types: set[str] = set()
        for op in readers:
            if isinstance(op, NORMED) and op.norm:
                found = self.out.weight(op.weight.string_value())
                types.add(found.dtype if found else "f32")
            else:
                types.add(tensor_of(value.type)[1])
        return types.pop() if len(types) == 1 else tensor_of(value.type)[1]

    @staticmethod
    def is_residual(op: Operation, value: SSAValue) -> bool:
        return isinstance(op, RESIDUAL) and op.residual is value

    def residual_out(self, value: SSAValue, name: str) -> Ref | None:
        """An fp32 copy of a value beside its SM, if some operator adds to it there."""
        if not any(self.is_residual(u.operation, value) for u in value.uses):
            return None
        ref = self.buffer(f"{name}.res", extent(value), "f32", "local")
        self.residuals[value] = ref
        return ref

    def name_of(self, op: Operation, attr: SymbolRefAttr | None = None) -> str:
        if attr is not None:
            return self.unique(family_name(attr.string_value()))
        base = next(iter(self.out.kernels), "")
        layer = [k for k in self.out.kernels if re.match(r"l\d+\.", k)]
        prefix = layer[-1].split(".")[0] + "." if layer else ""
        return self.unique(prefix + op.name.split(".")[1] if base else op.name.split(".")[1])

    def operator(self, op: model.ModelOp) -> None:
        match op:
            case model.EmbedOp():
                out = self.result(op.out, "embed.y")
                res = self.residual_out(op.out, "embed")
                table = Weight(op.table.string_value())
                n, factor = extent(op.out), number(op.multiplier, 1.0)
                token = self.refs[op.token]
                self.family("embed", Embed(n, SLOT_ROWS, token, table, out, res, factor))
            case model.LinearOp() | model.QkvOp() | model.GateUpOp() | model.LmHeadOp():
                self.matrix(op)
            case model.AttentionOp():
                self.attention(op)
            case model.KvAppendOp():
                cache = Cache(op.cache.string_value())
                c = self.out.caches[cache]
                name = self.unique(f"{family_name(cache).split('.')[0]}.append")
                k, v = self.refs[op.k], self.refs[op.v]
                self.family(name, Append(c.heads, c.head_dim, k, v, cache))
            case model.RmsNormOp() | model.LayerNormOp():
                self.norm(op)
            case model.RopeOp():
                name = self.name_of(op)
                out = self.result(op.out, f"{name}.y")
                dim = op.head_dim.value.data
                heads = extent(op.x) // dim
                table = Weight(op.table.string_value())
                rotary = op.rotary.value.data if op.rotary else 0
                neighbors = int(op.interleaved is not None)
                x = self.refs[op.x]
                self.family(name, Rope(heads, dim, x, table, out, rotary, neighbors))
            case model.GluOp() | model.AddOp():
                name = self.name_of(op)
                out = self.result(op.out, f"{name}.y")
                kind = "add" if isinstance(op, model.AddOp) else f"{op.kind.data}_mul"
                a, b = (self.refs[v] for v in op.operands)
                self.family(name, Binary(extent(op.out), SLOT_ROWS, kind, a, b, out))
            case model.ActivationOp():
                self.unary(op, op.kind.data)
            case model.ScaleOp():
                self.unary(op, "scale", op.factor.value.data)
            case model.SoftcapOp():
                self.unary(op, "softcap", op.cap.value.data)
            case model.ArgmaxOp():
                self.refs[op.out] = Ref("token")
                kernel = Sample if self.sampling else Argmax
                choice = kernel(extent(op.x), self.refs[op.x], Ref("token"))
                self.family(kernel.mnemonic, choice)
            case model.TopkOp():
                name = self.name_of(op)
                ids = self.buffer(f"{name}.ids", extent(op.ids), "i32")
                weights = self.result(op.weights, f"{name}.weights")
                self.refs[op.ids] = ids
                n, choices = extent(op.x), op.choices.value.data
                normalize = int(op.normalize is not None)
                x = self.refs[op.x]
                self.family(name, Topk(n, choices, x, ids, weights, normalize))
            case model.MoeGateUpOp():
                self.moe_gate_up(op)
            case model.MoeDownOp():
                self.moe_down(op)
            case _:
                raise PassFailedException(f"{op.name} has no lowering to the task dialect")

    def norm(self, op: model.RmsNormOp | model.LayerNormOp) -> None:
        name = self.name_of(op, op.weight)
        out, x = self.result(op.out, f"{name}.y"), self.refs[op.x]
        weight, eps, n = Weight(op.weight.string_value()), op.eps.value.data, extent(op.x)
        groups = op.groups.value.data if op.groups else 1
        declared = self.out.weight(weight)
        shared = int(declared is not None and declared.shape != (n,))
        rest = None
        if op.residual:
            rest = self.residuals.get(op.residual, self.refs[op.residual])
        kept = self.residual_out(op.out, name) if op.residual else None
        if isinstance(op, model.RmsNormOp):
            kernel = RmsNorm(n, SLOT_ROWS, x, weight, eps, out, groups, shared, rest, kept)
        else:
            bias = Weight(op.bias.string_value()) if op.bias else None
            kernel = LayerNorm(n, SLOT_ROWS, x, weight, eps, out, groups, shared, rest, kept, bias)
        self.family(name, kernel)

    def unary(
        self,
        op: model.ActivationOp | model.ScaleOp | model.SoftcapOp,
        kind: str,
        value: float = 1.0,
    ) -> None:
        name = self.name_of(op)
        out = self.result(op.out, f"{name}.y")
        x = self.refs[op.x]
        self.family(name, Unary(extent(op.out), SLOT_ROWS, kind, x, out, value))

    def matrix(self, op: model.LinearOp | model.QkvOp | model.GateUpOp | model.LmHeadOp) -> None:
        weight = Weight(op.weight.string_value())
        matrix = self.out.weight(weight)
        if matrix is None:
            raise PassFailedException(f"{op.name} refers to @{weight}, which is not declared")
        n, k = matrix.shape
        name = "lm_head" if isinstance(op, model.LmHeadOp) else self.name_of(op, op.weight)
        fields: dict[str, object] = {}
        norm, bias = symbol(op.norm), symbol(op.bias)
        if norm and op.eps:
            fields |= {"norm": Weight(norm), "eps": op.eps.value.data}
        if bias:
            fields |= {"bias": Weight(bias)}
        match op:
            case model.QkvOp():
                ref = self.buffer(f"{name}.y", n, tensor_of(op.q.type)[1])
                q = extent(op.q)
                self.refs |= {op.q: ref, op.k: Ref(ref.buffer, q)}
                self.refs[op.v] = Ref(ref.buffer, q + extent(op.k))
                if op.table:
                    sizes = ["heads", "kv_heads", "head_dim", *(["rotary"] if op.rotary else [])]
                    fields |= {"epilogue": "rope", "rope": Weight(op.table.string_value())}
                    fields |= {f: getattr(op, f).value.data for f in sizes}
            case model.GateUpOp():
                ref = self.result(op.out, f"{name}.y")
                kind = op.kind.data if op.kind else model.Activation.SILU
                fields |= {"epilogue": "gated", "kind": str(kind)}
            case model.LmHeadOp():
                ref = self.buffer("logits", n, "f32")
                pairs = self.buffer("lm_head.pairs", 2 * -(-n // SLOT_ROWS), "f32")
                fields |= {"epilogue": "logits", "cand": pairs}
                fields |= {"scale": number(op.scale, 1.0)}
                fields |= {"softcap": number(op.softcap, 0.0)}
                self.refs[op.out] = Ref("token")
            case model.LinearOp():
                ref = self.result(op.out, f"{name}.y")
                fields |= {"scale": number(op.scale, 1.0)}
                if op.kind:
                    fields |= {"epilogue": "activation", "kind": str(op.kind.data)}
                if op.residual:
                    res = self.residuals.get(op.residual, self.refs[op.residual])
                    fields |= {"epilogue": "residual", "res_in": res}
                    fields |= {"res_out": self.residual_out(op.out, name)}
        x = self.refs[op.x]
        self.family(name, Gemv(n, SLOT_ROWS, k, weight, x, ref, **fields))  # pyright: ignore[reportArgumentType]
        if isinstance(op, model.LmHeadOp):
            tiles = -(-n // SLOT_ROWS)
            if self.sampling:
                self.family("sample", Sample(n, ref, Ref("token")))
            else:
                self.family("argmax", Argmax(tiles, Ref("lm_head.pairs"), Ref("token"), 1))

    def moe_gate_up(self, op: model.MoeGateUpOp) -> None:
        name = self.name_of(op, op.weight)
        out = self.result(op.out, f"{name}.y")
        norm = Weight(op.norm.string_value()) if op.norm else None
        self.family(
            name,
            MoeGateUp(
                extent(op.out),
                SLOT_ROWS,
                extent(op.x),
                extent(op.ids),
                op.experts.value.data,
                Weight(op.weight.string_value()),
                self.refs[op.ids],
                self.refs[op.x],
                out,
                norm,
                op.eps.value.data if op.eps else 0.0,
                Weight(op.bias.string_value()) if op.bias else None,
                number(op.alpha, 0.0),
                number(op.limit, 0.0),
            ),
        )

    def moe_down(self, op: model.MoeDownOp) -> None:
        name = self.name_of(op, op.weight)
        out = self.result(op.out, f"{name}.y")
        choices = extent(op.ids)
        res_in = None
        if op.residual:
            res_in = self.residuals.get(op.residual, self.refs[op.residual])
        self.family(
            name,
            MoeDown(
                extent(op.out),
                SLOT_ROWS,
                extent(op.x) // choices,
                choices,
                op.experts.value.data,
                Weight(op.weight.string_value()),
                self.refs[op.ids],
                self.refs[op.weights],
                self.refs[op.x],
                out,
                res_in,
                self.residual_out(op.out, name) if op.residual else None,
                Weight(op.bias.string_value()) if op.bias else None,
            ),
        )

    def attention(self, op: model.AttentionOp) -> None:
        cache = Cache(op.cache.string_value())
        name = self.unique(f"{family_name(cache).split('.')[0]}.attention")
        h, g, d = (a.value.data for a in (op.heads, op.kv_heads, op.head_dim))
        out = self.result(op.out, f"{name}.y")
        k = self.refs[op.k] if op.k else None
        v = self.refs[op.v] if op.v else None
        window = op.window.value.data if op.window else 0
        softcap = op.softcap.value.data if op.softcap else 0.0
        sinks = Weight(op.sinks.string_value()) if op.sinks else None
        self.family(
            name,
            Attention(
                h, g, d, self.refs[op.q], out, cache, op.scale.value.data, k, v,
                window=window, softcap=softcap, sinks=sinks,
                q_norm=Weight(op.q_norm.string_value()) if op.q_norm else None,
                k_norm=Weight(op.k_norm.string_value()) if op.k_norm else None,
                eps=number(op.eps, 0.0),
                rope=Weight(op.table.string_value()) if op.table else None,
                rotary=op.rotary.value.data if op.rotary else 0,
                halves=int(op.halves is not None),
            ),
        )  # fmt: skip
