"""The model interpreter: the operators of a model program, one after the other, on whole tensors.

Written from the definitions of the operators and not from the kernels, so that each can be checked
against the other. Arithmetic is float32; a result is rounded to the element type of its tensor.
"""

from __future__ import annotations

import math

import numpy as np
from xdsl.dialects.builtin import SymbolRefAttr
from xdsl.ir import SSAValue

from amk.dialects import model
from amk.dialects.attributes import number, tensor_of
from amk.errors import AmkError
from amk.interpreters.decoder import Decoder, scores
from amk.interpreters.storage import Storage, Weights
from amk.ir.packs import F32, round_to
from amk.ir.program import Declarations

NORMED = model.LinearOp | model.QkvOp | model.GateUpOp | model.LmHeadOp
"""Operators that multiply a matrix with x, all of it."""


def rms_norm(x: F32, weight: F32, eps: float, groups: int = 1) -> F32:
    parts = x.reshape(groups, -1)
    variance = np.mean(np.square(parts), axis=1, keepdims=True, dtype=np.float32)
    deviation = np.sqrt(variance + np.float32(eps), dtype=np.float32)
    return scaled(np.multiply(parts, 1 / deviation, dtype=np.float32), weight)


def layer_norm(x: F32, weight: F32, eps: float, groups: int = 1) -> F32:
    parts = x.reshape(groups, -1)
    parts = parts - np.mean(parts, axis=1, keepdims=True, dtype=np.float32)
    return rms_norm(parts.reshape(-1), weight, eps, groups)


def scaled(parts: F32, weight: F32) -> F32:
    """Normalized groups times the weight, which has an element for each of theirs or of all."""
    if len(weight) == parts.shape[1]:
        return (parts * weight).reshape(-1)
    return parts.reshape(-1) * weight


def sigmoid(x: F32) -> F32:
    return np.multiply(0.5, 1 + np.tanh(np.multiply(0.5, x)), dtype=np.float32)


def activate(kind: model.Activation, x: F32) -> F32:
    match kind:
        case model.Activation.SILU:
            return x * sigmoid(x)
        case model.Activation.GELU:
            erf = np.array([math.erf(v) for v in (x * math.sqrt(0.5)).tolist()], np.float32)
            return x * (1 + erf) * np.float32(0.5)
        case model.Activation.GELU_TANH:
            inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)
            return x * (1 + np.tanh(inner)) * np.float32(0.5)
        case model.Activation.QUICK_GELU:
            return x * sigmoid(np.float32(1.702) * x)
        case model.Activation.RELU:
            return np.maximum(x, 0)
        case model.Activation.RELU2:
            return np.square(np.maximum(x, 0))


def rotate(real: F32, imaginary: F32, table: F32) -> tuple[F32, F32]:
    """Turns complex numbers [heads, head_dim / 2] by the angles whose cos and sin are `table`."""
    turned = (real + 1j * imaginary) * (table[0] + 1j * table[1])
    return turned.real.astype(np.float32), turned.imag.astype(np.float32)


def softcap(x: F32, cap: float) -> F32:
    return np.float32(cap) * np.tanh(x / np.float32(cap))


class ModelInterpreter(Decoder):
    """Runs a `model.program` step by step."""

    def __init__(self, program: model.ProgramOp, weights: Weights) -> None:
        from amk.dialects.task import add_declaration

        declared = Declarations(program.sym_name.data)
        for op in model.declarations(program):
            add_declaration(declared, op)
        self.program = program
        self.ops = [op for op in program.body.block.ops if isinstance(op, model.ModelOp)]
        self.storage = Storage(declared, weights, 1)
        self.values: dict[SSAValue, F32] = {}
        self.scores: F32 | None = None
        self.pos = 0

    def launch(self, token: int, pos: int, steps: int) -> list[int]:
        made: list[int] = []
        for at in range(pos, pos + steps):
            given = made[-1] if made else token
            self.storage.check_step(given, at, 1)
            self.pos = at
            self.values = {self.program.token: np.array([given], np.float32)}
            for op in self.ops:
                if isinstance(op, model.ReturnOp):
                    made.append(int(self.values[op.token][0]))
                else:
                    self.operator(op)
        return made

    def last_logits(self) -> F32 | None:
        return self.scores

    def operator(self, op: model.ModelOp) -> None:
        match op:
            case model.EmbedOp():
                table = self.weight(op.table)
                token = int(self.values[op.token][0])
                if not 0 <= token < len(table):
                    raise AmkError(f"token {token} is outside of the vocabulary of {len(table)}")
                multiplier = np.float32(number(op.multiplier, 1.0))
                self.define(op.out, table[token] * multiplier)
            case model.RmsNormOp() | model.LayerNormOp():
                self.normalize(op)
            case model.LinearOp():
                y = self.product(op) * np.float32(number(op.scale, 1.0))
                if op.kind is not None:
                    y = activate(op.kind.data, y)
                self.define(op.out, y + self.values[op.residual] if op.residual else y)
            case model.RopeOp():
                self.rope(op)
            case model.KvAppendOp():
                self.append(op.cache.string_value(), self.values[op.k], self.values[op.v])
            case model.AttentionOp():
                self.attention(op)
            case model.GluOp():
                gate, up = self.values[op.gate], self.values[op.up]
                self.define(op.out, activate(op.kind.data, gate) * up)
            case model.ActivationOp():
                self.define(op.out, activate(op.kind.data, self.values[op.x]))
            case model.ScaleOp():
                self.define(op.out, self.values[op.x] * np.float32(op.factor.value.data))
            case model.SoftcapOp():
                self.define(op.out, softcap(self.values[op.x], op.cap.value.data))
            case model.AddOp():
                self.define(op.out, self.values[op.a] + self.values[op.b])
            case model.ArgmaxOp():
                self.scores = self.values[op.x]
                self.define(op.out, np.array([scores(self.scores).argmax()], np.float32))
            case model.QkvOp():
                self.qkv(op)
            case model.GateUpOp():
                gate, up = self.product(op).reshape(-1, 2).T
                kind = op.kind.data if op.kind is not None else model.Activation.SILU
                self.define(op.out, activate(kind, gate) * up)
            case model.LmHeadOp():
                self.scores = self.product(op) * np.float32(number(op.scale, 1.0))
                if op.softcap is not None:
                    self.scores = softcap(self.scores, op.softcap.value.data)
                self.define(op.out, np.array([scores(self.scores).argmax()], np.float32))
            case model.TopkOp():
                self.topk(op)
            case model.MoeGateUpOp():
                self.moe_gate_up(op)
            case model.MoeDownOp():
                self.moe_down(op)
            case _:
                raise AmkError(f"{op.name} has no interpreter")

    def define(self, result: SSAValue, value: F32) -> None:
        _, dtype = tensor_of(result.type)
        self.values[result] = round_to(np.asarray(value, np.float32), dtype)

    def weight(self, symbol: SymbolRefAttr) -> F32:
        return self.storage.immutable[symbol.string_value()]

    def normalize(self, op: model.RmsNormOp | model.LayerNormOp) -> None:
        groups = op.groups.value.data if op.groups is not None else 1
        norm = rms_norm if isinstance(op, model.RmsNormOp) else layer_norm
        y = norm(self.values[op.x], self.weight(op.weight), op.eps.value.data, groups)
        if isinstance(op, model.LayerNormOp) and op.bias is not None:
            bias = self.weight(op.bias)
            y = (y.reshape(-1, len(bias)) + bias).reshape(-1)
        self.define(op.out, y + self.values[op.residual] if op.residual else y)

    def rope(self, op: model.RopeOp) -> None:
        x = self.heads(op.x, op.head_dim.value.data)
        self.define(op.out, self.turned(x, op.table, op.interleaved is not None).reshape(-1))

    def turned(self, x: F32, table: SymbolRefAttr, neighbors: bool) -> F32:
        """Heads [n, head_dim], rotated in pairs of halves or of neighbors."""
        x, angles = x.copy(), self.weight(table)[self.pos]
        half = angles.shape[1]
        first, second = slice(0, half), slice(half, 2 * half)
        if neighbors:
            first, second = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
        x[:, first], x[:, second] = rotate(x[:, first], x[:, second], angles)
        return x

    def normed(self, op: NORMED | model.MoeGateUpOp) -> F32:
        """x, normalized if the operator says so."""
        x = self.values[op.x]
        if op.norm is not None and op.eps is not None:
            x = rms_norm(x, self.weight(op.norm), op.eps.value.data)
        return x

    def product(self, op: NORMED) -> F32:
        """W x + bias, x normalized before if the operator says so."""
        x = self.normed(op)
        y = self.weight(op.weight) @ x
        return y + self.weight(op.bias) if op.bias is not None else y

    def heads(self, value: SSAValue, head_dim: int) -> F32:
        return self.values[value].reshape(-1, head_dim)

    def qkv(self, op: model.QkvOp) -> None:
        """Rotary pairs are neighbors in the packed rows of q and k."""
        heads, kv_heads = op.heads.value.data, op.kv_heads.value.data
        y = self.product(op).reshape(-1, op.head_dim.value.data)
        turned = y[: heads + kv_heads]
        if op.table is not None:
            turned = self.turned(turned, op.table, neighbors=True)
        self.define(op.q, turned[:heads].reshape(-1))
        self.define(op.k, turned[heads:].reshape(-1))
        self.define(op.v, y[heads + kv_heads :].reshape(-1))

    def topk(self, op: model.TopkOp) -> None:
        x = self.values[op.x]
        falling = sorted(range(len(x)), key=lambda i: (-float(x[i]), i))
        ids = np.array(falling[: op.choices.value.data])
        shares = np.exp(x - x.max())
        shares /= shares[ids].sum() if op.normalize else shares.sum()
        self.define(op.ids, ids.astype(np.float32))
        self.define(op.weights, shares[ids])

    def experts(self, op: model.MoeGateUpOp | model.MoeDownOp) -> list[tuple[F32, F32]]:
        """Matrices and biases of the chosen experts."""
        count, whole = op.experts.value.data, self.weight(op.weight)
        matrices = whole.reshape(count, -1, whole.shape[1])
        biases = np.zeros(matrices.shape[:2], np.float32)
        if op.bias is not None:
            biases = self.weight(op.bias).reshape(biases.shape)
        return [(matrices[int(i)], biases[int(i)]) for i in self.values[op.ids]]

    def moe_gate_up(self, op: model.MoeGateUpOp) -> None:
        x = self.normed(op)
        made: list[F32] = []
        for matrix, bias in self.experts(op):
            gate, up = (matrix @ x + bias).reshape(-1, 2).T
            if op.alpha is not None and op.limit is not None:
                alpha, limit = op.alpha.value.data, op.limit.value.data
                gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
                y = gate * sigmoid(np.float32(alpha) * gate) * (up + 1)
            else:
                y = gate * sigmoid(gate) * up
            made.append(np.asarray(y, np.float32))
        self.define(op.out, np.concatenate(made))

    def moe_down(self, op: model.MoeDownOp) -> None:
        experts = self.experts(op)
        parts = self.values[op.x].reshape(len(experts), -1)
        made = [w @ x + bias for (w, bias), x in zip(experts, parts, strict=True)]
        y = np.asarray(self.values[op.weights] @ np.stack(made), np.float32)
        self.define(op.out, y + self.values[op.residual] if op.residual else y)

    def append(self, cache: str, k: F32, v: F32) -> None:
        shape = self.storage.keys[cache][:, 0].shape
        dtype = self.storage.program.caches[cache].dtype
        self.storage.keys[cache][:, self.pos] = round_to(k.reshape(shape), dtype)
        self.storage.values[cache][:, self.pos] = round_to(v.reshape(shape), dtype)

    def prepared(self, op: model.AttentionOp, x: F32, norm: SymbolRefAttr | None) -> F32:
        """Heads of q or k [n, head_dim], in the order of a head, normalized and rotated."""
        if op.halves is not None and op.table is not None:
            pairs = self.weight(op.table).shape[2]
            low, high = x[:, 0 : 2 * pairs : 2], x[:, 1 : 2 * pairs : 2]
            x = np.concatenate([low, high, x[:, 2 * pairs :]], axis=1)
        if norm is not None and op.eps is not None:
            shape, eps = x.shape, op.eps.value.data
            x = rms_norm(x.reshape(-1), self.weight(norm), eps, len(x)).reshape(shape)
        if op.table is not None:
            x = self.turned(x, op.table, neighbors=op.halves is None)
        return x

    def attention(self, op: model.AttentionOp) -> None:
        cache = op.cache.string_value()
        if op.k is not None and op.v is not None:
            k = self.prepared(op, self.heads(op.k, op.head_dim.value.data), op.k_norm)
            self.append(cache, k, self.values[op.v])
        q = self.prepared(op, self.heads(op.q, op.head_dim.value.data), op.q_norm)
        first = max(0, self.pos + 1 - op.window.value.data) if op.window is not None else 0
        keys = self.storage.keys[cache][:, first : self.pos + 1]
        values = self.storage.values[cache][:, first : self.pos + 1]
        q = q.reshape(keys.shape[0], -1, q.shape[1])
        scores = np.einsum("ghd,grd->ghr", q, keys) * np.float32(op.scale.value.data)
        if op.softcap is not None:
            scores = softcap(scores, op.softcap.value.data)
        if op.sinks is not None:
            sinks = self.weight(op.sinks).reshape(*scores.shape[:2], 1)
            scores = np.concatenate([scores, sinks], axis=-1)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        weights = weights[:, :, : keys.shape[1]]
        self.define(op.out, np.einsum("ghr,grd->ghd", weights, values).reshape(-1))
