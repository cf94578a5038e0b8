"""docs/MODELS.md is current, and the sweep does not let a wrong model pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from amk.frontends.hf.families import FAMILIES
from amk.tools import models
from amk.tools.models import Row, matrix, sweep

TEXT = (Path(__file__).parents[3] / "docs" / "MODELS.md").read_text(encoding="utf-8")


def test_the_feature_matrix_is_what_make_models_writes() -> None:
    assert matrix() in TEXT, "run `make models`"


def test_every_family_was_swept_and_is_equal() -> None:
    table = TEXT.split("| error |")[1].split("\n\n")[0]
    found = dict(re.findall(r"^\| `(\w+)` \| \w+ \| (\S+) \|$", table, re.M))
    assert set(found) == set(FAMILIES)
    assert all(float(error) < models.LIMIT for error in found.values())


def test_a_different_model_is_an_error_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong() -> Iterator[Row]:
        yield Row("llama", "LlamaForCausalLM", "equal", "1.0e-06")
        yield Row("mistral", "MistralForCausalLM", "different", "3.0e-01")

    monkeypatch.setattr(models, "sweep", wrong)
    monkeypatch.setattr("sys.argv", ["models", str(tmp_path / "MODELS.md")])
    assert models.main() == 1
    assert "error: model type 'mistral' is different" in capsys.readouterr().err
    assert not (tmp_path / "MODELS.md").exists()


@pytest.mark.slow
def test_no_architecture_is_accepted_and_different() -> None:
    rows = list(sweep())
    assert len(rows) > 100
    assert [row for row in rows if row.verdict == "different"] == []
    assert {row.model_type for row in rows if row.verdict == "equal"} == set(FAMILIES)
