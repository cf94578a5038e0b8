"""The supported model families: one file each, found by looking into this folder.

To add a family whose parts are all known, write `NAME.py` with a `FAMILY` here, and a file of the
same name under tests/unit/frontends/families that compares it with Hugging Face (CONTRIBUTING.md).
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from amk.frontends.hf.family import Family


def _load() -> dict[str, Family]:
    found: dict[str, Family] = {}
    for module in sorted(iter_modules(__path__), key=lambda m: m.name):
        family: Family = import_module(f"{__name__}.{module.name}").FAMILY
        found[family.model_type] = family
    return found


FAMILIES = _load()
"""By `model_type`."""
