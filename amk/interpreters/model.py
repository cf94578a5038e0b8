"""The model interpreter: the operators of a model program, one after the other, on whole tensors.

Written from the definitions of the operators and not from the kernels, so that each can be checked
against the other. Arithmetic is float32; a result is rounded to the element type of its tensor.
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import SymbolRefAttr
from xdsl.ir import SSAValue

from amk.dialects import model
from amk.errors import AmkError
from amk.interpreters.decoder import Decoder
from amk.interpreters.storage import Storage, Weights
from amk.ir.packs import F32, round_to
from amk.ir.program import Declarations

NORMED = model.LinearOp | model.QkvOp | model.GateUpOp | model.LmHeadOp


def rms_norm(x: F32, weight: F32, eps: float) -> F32:
    variance = np.mean(np.square(x), dtype=np.float32)
    return x * (np.float32(1) / np.sqrt(variance + np.float32(eps))) * weight


def sigmoid(x: F32) -> F32:
    return np.multiply(0.5, 1 + np.tanh(np.multiply(0.5, x)), dtype=np.float32)


def rotate(real: F32, imaginary: F32, table: F32) -> tuple[F32, F32]:
    """Turns complex numbers [heads, head_dim / 2] by the angles whose cos and sin are `table`."""
    turned = (real + 1j * imaginary) * (table[0] + 1j * table[1])
    return turned.real.astype(np.float32), turned.imag.astype(np.float32)


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
                self.define(op.out, table[token])
            case model.RmsNormOp():
                weight, eps = self.weight(op.weight), op.eps.value.data
                self.define(op.out, rms_norm(self.values[op.x], weight, eps))
            case model.LinearOp():
                y = self.product(op)
                self.define(op.out, y + self.values[op.residual] if op.residual else y)
            case model.RopeOp():
                x = self.heads(op.x, op.head_dim.value.data)
                half = x.shape[1] // 2
                turned = rotate(x[:, :half], x[:, half:], self.weight(op.table)[self.pos])
                self.define(op.out, np.concatenate(turned, axis=1).reshape(-1))
            case model.KvAppendOp():
                self.append(op.cache.string_value(), op.k, op.v)
            case model.AttentionOp():
                self.attention(op)
            case model.SiluMulOp():
                gate, up = self.values[op.gate], self.values[op.up]
                self.define(op.out, gate * sigmoid(gate) * up)
            case model.AddOp():
                self.define(op.out, self.values[op.a] + self.values[op.b])
            case model.ArgmaxOp():
                self.scores = self.values[op.x]
                self.define(op.out, np.array([self.scores.argmax()], np.float32))
            case model.QkvOp():
                self.qkv(op)
            case model.GateUpOp():
                gate, up = self.product(op).reshape(-1, 2).T
                self.define(op.out, gate * sigmoid(gate) * up)
            case model.LmHeadOp():
                self.scores = self.product(op)
                self.define(op.out, np.array([self.scores.argmax()], np.float32))
            case _:
                raise AmkError(f"{op.name} has no interpreter")

    def define(self, result: SSAValue, value: F32) -> None:
        _, dtype = model.tensor_of(result.type)
        self.values[result] = round_to(np.asarray(value, np.float32), dtype)

    def weight(self, symbol: SymbolRefAttr) -> F32:
        return self.storage.immutable[symbol.string_value()]

    def product(self, op: NORMED) -> F32:
        """W x + bias, x normalized before if the operator says so."""
        x = self.values[op.x]
        if op.norm is not None and op.eps is not None:
            x = rms_norm(x, self.weight(op.norm), op.eps.value.data)
        y = self.weight(op.weight) @ x
        return y + self.weight(op.bias) if op.bias is not None else y

    def heads(self, value: SSAValue, head_dim: int) -> F32:
        return self.values[value].reshape(-1, head_dim)

    def qkv(self, op: model.QkvOp) -> None:
        """Rotary pairs are neighbors in the packed rows of q and k."""
        heads, kv_heads = op.heads.value.data, op.kv_heads.value.data
        y = self.product(op).reshape(-1, op.head_dim.value.data)
        turning = y[: heads + kv_heads]
        table = self.weight(op.table)[self.pos]
        turned = np.stack(rotate(turning[:, 0::2], turning[:, 1::2], table), axis=2)
        turned = turned.reshape(turning.shape)
        self.define(op.q, turned[:heads].reshape(-1))
        self.define(op.k, turned[heads:].reshape(-1))
        self.define(op.v, y[heads + kv_heads :].reshape(-1))

    def append(self, cache: str, k: SSAValue, v: SSAValue) -> None:
        shape = self.storage.keys[cache][:, 0].shape
        dtype = self.storage.program.caches[cache].dtype
        self.storage.keys[cache][:, self.pos] = round_to(self.values[k].reshape(shape), dtype)
        self.storage.values[cache][:, self.pos] = round_to(self.values[v].reshape(shape), dtype)

    def attention(self, op: model.AttentionOp) -> None:
        cache = op.cache.string_value()
        if op.k is not None and op.v is not None:
            self.append(cache, op.k, op.v)
        q = self.heads(op.q, op.head_dim.value.data)
        keys = self.storage.keys[cache][:, : self.pos + 1]
        values = self.storage.values[cache][:, : self.pos + 1]
        q = q.reshape(keys.shape[0], -1, q.shape[1])
        scores = np.einsum("ghd,grd->ghr", q, keys) * np.float32(op.scale.value.data)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        self.define(op.out, np.einsum("ghr,grd->ghd", weights, values).reshape(-1))
