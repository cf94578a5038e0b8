"""`amk-opt`: read IR, run passes, print IR.

xDSL's driver with only the dialects, passes and pipelines of amk. A name in `-p` is a pass or a
named pipeline.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import IO, NoReturn

from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser
from xdsl.passes import PassPipeline
from xdsl.targets.mlir import MLIRTarget
from xdsl.utils.exceptions import ParseError
from xdsl.xdsl_opt_main import xDSLOptMain

from amk.files import write_whole
from amk.mlir import MalformedError, build_passes, decode, make_context, one_line
from amk.pipelines import PIPELINES
from amk.tools.driver import UsageError, run_tool
from amk.universe import PASSES

EPILOG = f"""named pipelines for -p: {", ".join(PIPELINES)}
examples:
  amk-opt program.mlir                            parse, verify, print
  amk-opt -p 'lower{{num-sms=8}}' model.mlir        model IR to the instructions of 8 SMs
  amk-opt -p 'fuse,to-task{{sync=counters}}' < model.mlir
Without a file, standard input is read. docs/generated/passes.md has the options of every pass."""


class KeptOutput(StringIO):
    """Output that can still be read after the driver has closed it."""

    def close(self) -> None:
        self.flush()


class AmkOptMain(xDSLOptMain):
    """xDSL's `opt` driver over the universe of amk."""

    version_format = f"amk-opt {version('amk')}, xDSL {{xdsl_version}}"

    def __init__(self, args: Sequence[str] | None = None):
        self.kept = KeptOutput()
        super().__init__("Read IR of amk, run passes, print IR.", args)

    def register_all_dialects(self) -> None:
        self.ctx = make_context()

    def register_all_frontends(self) -> None:
        self.available_frontends["mlir"] = self.parse

    def parse(self, io: IO[bytes]) -> ModuleOp:
        text = decode(io.read(), self.get_input_name())
        try:
            parser = Parser(self.ctx, text, self.get_input_name())
            return parser.parse_module(not self.args.no_implicit_module)
        except ParseError:
            raise
        except Exception as error:
            # Constructors of ops and attributes raise what they like on nonsense.
            raise MalformedError(one_line(error, self.get_input_name())) from error

    def register_all_passes(self) -> None:
        self.available_passes.update(PASSES)

    def register_all_targets(self) -> None:
        self.available_targets["mlir"] = lambda: MLIRTarget

    def register_all_arguments(self, arg_parser: argparse.ArgumentParser) -> None:
        def raise_usage_error(message: str) -> NoReturn:
            raise UsageError(message)

        super().register_all_arguments(arg_parser)
        arg_parser.prog = "amk-opt"
        arg_parser.error = raise_usage_error
        arg_parser.formatter_class = argparse.RawDescriptionHelpFormatter
        arg_parser.epilog = EPILOG

    def setup_pipeline(self) -> None:
        passes = build_passes(self.args.passes)
        self.args.passes = ""
        super().setup_pipeline()
        self.pipeline = PassPipeline(passes, self.pipeline.callback)

    def get_input_stream(self) -> tuple[IO[bytes], str]:
        # Whatever a file is called, it is MLIR.
        return super().get_input_stream()[0], "mlir"

    def output_resulting_program(self, prog: ModuleOp) -> str:
        # As every dump of amk: one newline at the end.
        return super().output_resulting_program(prog).rstrip("\n") + "\n"

    def prepare_output(self) -> IO[str]:
        # A file is written when everything has gone well, and not before.
        return sys.stdout if self.args.output_file is None else self.kept

    def run(self) -> None:
        super().run()
        if self.args.output_file is not None:
            write_whole(Path(self.args.output_file), self.kept.getvalue())


def main() -> None:
    run_tool(lambda: AmkOptMain().run())


if __name__ == "__main__":
    main()
