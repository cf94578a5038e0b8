"""What bad input is answered with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amk.errors import AmkError


def refusal(act: Callable[[], object]) -> str:
    """The message of the AmkError that `act` raises: one line, no full stop."""
    with pytest.raises(AmkError) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text and not text.endswith(".") and not text.startswith("error")
    return text
