"""IR as text: one context, one way to read a module, one way to spell a pipeline, one line per
error.

Nothing here imports torch, so that tools that only handle IR start in a fraction of a second.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import NoReturn

from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.ir import IRNode
from xdsl.parser import Parser
from xdsl.passes import ModulePass
from xdsl.printer import Printer
from xdsl.utils.arg_spec import ArgSpec, parse_pipeline
from xdsl.utils.diagnostic import Diagnostic
from xdsl.utils.exceptions import ArgSpecParseError, DiagnosticException, ParseError
from xdsl.utils.mlir_lexer import MLIRLexer

from amk.errors import AmkError
from amk.files import reason
from amk.pipelines import PIPELINES
from amk.universe import DIALECTS, PASSES

TOO_DEEP = "input is nested too deeply"

# xDSL's own expression takes time exponential in the rest of the line behind a quote that nothing
# closes. This one matches the same texts, and gives nothing back.
STRING = re.compile(r'"(?:[^"\\\n\v\f]++|\\(?:["nt\\]|[0-9A-Fa-f]{2}))*+"')
setattr(MLIRLexer, "_unescaped_characters_regex", STRING)  # noqa: B010


class MalformedError(AmkError):
    """The text is no IR of amk: unreadable, or an op in it contradicts its own definition."""


class PipelineError(AmkError):
    """A pipeline names a pass or option that does not exist, or gives an option a wrong value."""


def make_context() -> Context:
    """A context that knows `builtin` and the dialects of amk, each loaded when it is first used."""
    ctx = Context()
    ctx.register_dialect("builtin", lambda: Builtin)
    for name, factory in DIALECTS.items():
        ctx.register_dialect(name, factory)
    return ctx


def read_text(path: str | Path) -> str:
    """The text of a file, `-` for standard input. Raises MalformedError."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
    except OSError as error:
        raise MalformedError(f"{path}: {reason(error)}") from error
    return decode(data, str(path))


def decode(data: bytes, name: str) -> str:
    """The text of a file that is called `name`. Raises MalformedError."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"{name}: not UTF-8 text at byte {error.start}") from error
    if not text.strip():
        raise MalformedError(f"{name}: empty file")
    return text


def parse_module(ctx: Context, text: str, name: str) -> ModuleOp:
    """The module that `text` spells, not yet verified; `name` is its file in messages. Raises
    MalformedError.
    """
    try:
        return Parser(ctx, text, name).parse_module()
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        # Constructors of ops and attributes raise what they like on nonsense; all of it is bad
        # input.
        raise MalformedError(one_line(error, name)) from error


def load_module(ctx: Context, path: str | Path) -> ModuleOp:
    """The module in a file, not yet verified. Raises MalformedError."""
    return parse_module(ctx, read_text(path), str(path))


def print_module(module: ModuleOp) -> str:
    """The module in custom syntax, with a final newline."""
    out = StringIO()
    Printer(stream=out).print_op(module)
    return out.getvalue() + "\n"


def build_passes(pipeline: str) -> tuple[ModulePass, ...]:
    """The passes that `pipeline` names: `pass{option=1},other`, where a name may be that of a named
    pipeline.

    Options of a named pipeline go to those of its passes that have them. Raises PipelineError.
    """
    try:
        return tuple(_build(spec) for spec in _expand(_specs(pipeline)))
    except ArgSpecParseError as error:
        raise PipelineError(one_line(error)) from error


def run_passes(pipeline: str, module: ModuleOp) -> ModuleOp:
    """Applies the passes of `pipeline` to a module, which it returns."""
    ctx = make_context()
    for p in build_passes(pipeline):
        p.apply(ctx, module)
    return module


def expand_names(pipeline: str) -> tuple[str, ...]:
    """The names of the passes that `pipeline` stands for."""
    return tuple(spec.name for spec in _expand(_specs(pipeline)))


def _specs(pipeline: str) -> list[ArgSpec]:
    return [spec.normalize_parameter_names() for spec in parse_pipeline(pipeline)]


def _expand(specs: list[ArgSpec]) -> Iterator[ArgSpec]:
    for spec in specs:
        if spec.name not in PIPELINES:
            yield spec
            continue
        given, unused = spec.parameters, set(spec.parameters)
        for inner in _expand(_specs(PIPELINES[spec.name])):
            options = _options(inner.name) & set(given)
            unused -= options
            yield ArgSpec(inner.name, inner.parameters | {name: given[name] for name in options})
        for name in sorted(unused):
            raise PipelineError(f"pipeline '{spec.name}' has no option '{name.replace('_', '-')}'")


def _options(name: str) -> set[str]:
    return {field.name for field in fields(_pass_class(name)) if field.init}


def _pass_class(name: str) -> type[ModulePass]:
    if name not in PASSES:
        near = get_close_matches(name, [*PASSES, *PIPELINES], 1)
        hint = f", did you mean '{near[0]}'" if near else ""
        raise PipelineError(f"unknown pass or pipeline '{name}'{hint}")
    return PASSES[name]()


def _build(spec: ArgSpec) -> ModulePass:
    cls = _pass_class(spec.name)
    types = {field.name: str(field.type) for field in fields(cls) if field.init}
    for name, values in spec.parameters.items():
        option = name.replace("_", "-")
        if name not in types:
            known = ", ".join(sorted(types)).replace("_", "-") or "none"
            raise PipelineError(f"pass '{spec.name}' has no option '{option}' (options: {known})")
        try:
            cls.from_pass_spec(ArgSpec(spec.name, {name: values}))
        except ValueError as error:
            given = ",".join(map(str, values))
            kind = re.sub(r"^Literal\[(.*)\]$", r"one of \1", types[name])
            message = f"option '{option}' of pass '{spec.name}' is {kind}, got '{given}'"
            raise PipelineError(message) from error
    return cls.from_pass_spec(spec)


def one_line(error: BaseException, name: str = "") -> str:
    """What went wrong, on one line, starting in lower case; `name` is the file it concerns."""
    if isinstance(error, ParseError):
        return f"{error.span.get_location()}: {_first_line(error.msg)}"
    if isinstance(error, ArgSpecParseError):
        # The message is a heading, the text of the pipeline, and a line of carets with the reason.
        return f"pipeline: {_tidy(str(error).strip().splitlines()[-1].strip(' ^'))}"
    deep = isinstance(error, RecursionError)
    text = TOO_DEEP if deep else _first_line(str(error)) or type(error).__name__
    return f"{name}: {text}" if name and name not in text else text


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return _tidy(lines[0]) if lines else ""


def _tidy(text: str) -> str:
    text = text.removesuffix(".")
    return text[0].lower() + text[1:] if len(text) > 1 and not text[1].isupper() else text


def report_only_the_cause() -> None:
    """Keep xDSL from printing the whole module into every verifier error, for seconds."""

    def raise_cause(self: Diagnostic, ir: IRNode, underlying_error: Exception) -> NoReturn:
        raise underlying_error

    Diagnostic.raise_exception = raise_cause


def verify_module(module: ModuleOp, name: str) -> None:
    """Run every op's verifier; `name` is the file in the message. Raises MalformedError with the
    first problem.
    """
    try:
        module.verify()
    except DiagnosticException as error:
        raise MalformedError(f"{name}: {one_line(error)}") from error
