"""The program of one decoding step."""

from __future__ import annotations

from xdsl.dialects.builtin import IndexType, StringAttr, SymbolNameConstraint
from xdsl.ir import Block, Region, SSAValue
from xdsl.irdl import IRDLOperation, irdl_op_definition, prop_def, region_def, traits_def
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove, NoTerminator, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from amk.dialects.model.operators import TOKEN


@irdl_op_definition
class ProgramOp(IRDLOperation):
    """One decoding step: from a token at a position to the next token."""

    name = "model.program"
    sym_name = prop_def(SymbolNameConstraint())
    body = region_def("single_block")
    traits = traits_def(IsolatedFromAbove(), SymbolOpInterface(), NoTerminator())

    def __init__(self, name: str, body: Region):
        super().__init__(properties={"sym_name": StringAttr(name)}, regions=[body])

    @staticmethod
    def empty(name: str) -> ProgramOp:
        return ProgramOp(name, Region(Block(arg_types=(TOKEN, IndexType()))))

    @property
    def token(self) -> SSAValue:
        return self.body.block.args[0]

    @property
    def pos(self) -> SSAValue:
        return self.body.block.args[1]

    @classmethod
    def parse(cls, parser: Parser) -> ProgramOp:
        name = parser.parse_symbol_name().data
        args = parser.parse_comma_separated_list(parser.Delimiter.PAREN, parser.parse_argument)
        return cls(name, parser.parse_region(args))

    def print(self, printer: Printer) -> None:
        printer.print_string(f" @{self.sym_name.data}(")
        printer.print_list(self.body.block.args, printer.print_block_argument)
        printer.print_string(") ")
        printer.print_region(self.body, print_entry_block_args=False)

    def verify_(self) -> None:
        from amk.verify.model import verify_model

        for problem in verify_model(self):
            raise VerifyException(problem)
