"""`amk-translate`: between the IR and what is not IR.

amk-translate -t model config.json      the model IR of a Hugging Face configuration
amk-translate -t cuda 30-vm.mlir        the CUDA source of a vm program
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from xdsl.utils.exceptions import VerifyException

from amk.files import write_whole
from amk.mlir import MalformedError, load_module, make_context, print_module, verify_module
from amk.tools.driver import UsageError, run_tool
from amk.universe import TARGET_NAMES


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that reports a wrong command line as every tool of amk does."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def to_model(args: argparse.Namespace) -> str:
    """The model IR of the `config.json` that was named."""
    from amk.compiler import ELEMENTS, context_length
    from amk.frontends.hf.build import build_model
    from amk.frontends.hf.config import parse_config, read_json

    config = parse_config(read_json(Path(args.file)))
    rows = context_length(config, args.max_context)
    return print_module(build_model(config, ELEMENTS[args.dtype], rows))


def to_cuda(args: argparse.Namespace) -> str:
    """The CUDA source of the vm program in the file that was named."""
    from amk.backends.cuda.emit import emit
    from amk.backends.cuda.target import target_of
    from amk.dialects.vm import program_of

    module = load_module(make_context(), args.file)
    verify_module(module, args.file)
    try:
        program = program_of(module)
    except VerifyException as error:
        raise MalformedError(f"{args.file}: {error}") from error
    return emit(program, target=target_of(args.arch)).source


TARGETS: dict[str, Callable[[argparse.Namespace], str]] = {"model": to_model, "cuda": to_cuda}


def main() -> None:
    def body() -> None:
        parser = OneLineParser(
            "amk-translate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
        )
        parser.add_argument("file", help="config.json for -t model, else a vm program")
        parser.add_argument(
            "-t", "--target", required=True, choices=("model", *TARGET_NAMES), help="what to make"
        )
        parser.add_argument(
            "-o", "--output-file", type=Path, help="write there instead of standard output"
        )
        parser.add_argument(
            "--dtype",
            choices=("bf16", "fp32"),
            default="bf16",
            help="for -t model: type of weights and activations, default bf16",
        )
        parser.add_argument(
            "--max-context",
            type=int,
            metavar="N",
            help="for -t model: rows of the KV cache, default the model's, at most 4096",
        )
        parser.add_argument(
            "--arch",
            default="sm_90a",
            help="for -t cuda: sm_80, sm_90a, sm_100a or sm_120a, default sm_90a",
        )
        args = parser.parse_args()
        text = TARGETS[args.target](args)
        if args.output_file:
            write_whole(args.output_file, text)
        else:
            sys.stdout.write(text)

    run_tool(body)


if __name__ == "__main__":
    main()
