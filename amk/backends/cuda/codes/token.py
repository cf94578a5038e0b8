"""Codes of what leads from a token to its vector, and from logits to the next token."""

from __future__ import annotations

from amk.backends.cuda.codes.coder import Code, Coder, boolean, number
from amk.backends.cuda.layout import weight
from amk.errors import AmkError
from amk.ir.kernels import Argmax, Embed, Sample

SAMPLE_STAGE = 2 * 2048 * 4 + 16
"""Bytes of the histogram of `sample`, and of what is found in it."""


def embed(c: Coder, name: str, k: Embed) -> tuple[Code, list[int]]:
    c.whole_words(name, k, k.out)
    _the_token(c, name, k)
    constants = (
        ("int N", str(k.n)),
        ("int TILE", str(k.tile)),
        ("int VOCABULARY", str(weight(c.program, k.table).shape[0])),
        ("float MULTIPLIER", number(k.multiplier)),
        ("bool RESIDUAL_OUT", boolean(k.res is not None)),
    )
    types = (
        ("Table", c.weight_type(k.table)),
        ("Out", c.operand(k.out)),
        ("Res", c.operand(k.res)),
    )
    record = [*c.place(k.out), *c.place(k.res), c.table(k.table)]
    return Code("Embed", constants, types, 0), record


def sample(c: Coder, name: str, k: Sample) -> tuple[Code, list[int]]:
    c.whole_units(name, k.x, 0)
    types = (("X", c.operand(k.x)), ("Out", c.operand(k.out)))
    code = Code("Sample", (("int N", str(k.n)),), types, SAMPLE_STAGE)
    return code, [*c.place(k.x), *c.place(k.out)]


def argmax(c: Coder, name: str, k: Argmax) -> tuple[Code, list[int]]:
    c.whole_units(name, k.x, 0 if k.pairs or c.buffer(k.x).space != "flagged" else k.n)
    constants = (("int N", str(k.n)), ("bool PAIRS", boolean(bool(k.pairs))))
    types = (("X", c.operand(k.x)), ("Out", c.operand(k.out)))
    return Code("Argmax", constants, types, 0), [*c.place(k.x), *c.place(k.out)]


def _the_token(c: Coder, name: str, k: Embed) -> None:
    """Every SM has the token from the one kernel that chooses it, or from the prompt, by a word of
    its own: a step knows one token, and no other integers are read as one."""
    written = [o.out for o in c.program.kernels.values() if isinstance(o, Argmax | Sample)]
    if written not in ([], [k.token]):
        raise AmkError(
            f"kernel @{name} reads its token from {k.token}, and tokens are left in "
            f"{', '.join(map(str, written))}: one argmax or sample must leave it there"
        )
