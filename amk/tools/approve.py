"""What the launcher asks before it launches: the independent checker, about a certificate."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from amk.errors import AmkError
from amk.ir.program import Program
from amk.verify.certificate import certificate_text
from amk.verify.checker import check_certificate


@dataclass(frozen=True)
class Proof:
    """A certificate as text."""

    text: str

    @classmethod
    def of(cls, program: Program) -> Proof:
        """The certificate of a safe program. Raises AmkError for an unsafe one."""
        return cls(certificate_text(program))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def approve(self, program: Program) -> str | None:
        """Why the certificate does not prove `program` safe; None if it does."""
        try:
            check_certificate(program, json.loads(self.text))
        except (AmkError, ValueError) as error:
            return f"its certificate does not check ({error})"
        return None
