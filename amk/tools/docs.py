"""Write the reference of passes from their docstrings: `python -m amk.tools.docs FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from inspect import cleandoc, getmodule
from pathlib import Path

from xdsl.passes import ModulePass

from amk.mlir import expand_names
from amk.pipelines import PIPELINES
from amk.universe import PASSES

NOTE = "<!-- Written by `make docs` from the docstrings. -->"


def passes_page() -> str:
    """`passes.md`: every named pipeline and every pass with its options."""
    lines = [NOTE, "", "# Passes", "", "## Pipelines", "", "| name | passes |", "|---|---|"]
    for name in PIPELINES:
        passes = ", ".join(f"[{p}](#{p})" for p in expand_names(name))
        lines.append(f"| `{name}` | {passes} |")
    for name, factory in PASSES.items():
        lines += ["", f"## {name}", "", *_describe(factory())]
    return "\n".join(lines) + "\n"


def _describe(cls: type[ModulePass]) -> Iterator[str]:
    module = getmodule(cls)
    yield cleandoc((module and module.__doc__) or "")
    options = [field for field in fields(cls) if field.init]
    if not options:
        return
    yield from ("", cleandoc(cls.__doc__ or ""), "", "| option | type | default |", "|---|---|---|")
    for field in options:
        default = "required" if field.default is MISSING else f"`{field.default}`"
        kind = str(field.type).replace("|", "\\|")
        yield f"| `{field.name.replace('_', '-')}` | `{kind}` | {default} |"


PAGES = {"passes.md": passes_page}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/generated")
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
        print(folder / name)


if __name__ == "__main__":
    main()
