"""The generated reference is complete and current."""

from __future__ import annotations

from pathlib import Path

import pytest

from amk.pipelines import PIPELINES
from amk.tools.docs import PAGES, passes_page
from amk.universe import PASSES

DOCS = Path(__file__).parents[3] / "docs" / "generated"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_make_docs_writes(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


def test_every_pass_and_pipeline_is_there() -> None:
    page = passes_page()
    for name in PASSES:
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert len(section.split()) > 20, f"pass {name} needs a module docstring"
    for name in PIPELINES:
        assert f"| `{name}` |" in page
