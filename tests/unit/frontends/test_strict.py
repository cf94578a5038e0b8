"""Nothing is silently ignored, in any family: fields of a config, and tensors of a checkpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amk.errors import AmkError
from amk.frontends.hf.checkpoint import TensorInfo, check_tensors
from amk.frontends.hf.config import parse_config
from amk.frontends.hf.decoder import DecoderConfig, tensors
from amk.frontends.hf.families import FAMILIES
from amk.frontends.hf.family import IRRELEVANT
from amk.tools.models import small_config

OTHERS: tuple[object, ...] = (None, True, False, 3, 0.37, 1000, -1, "x", [1], {"x": 1})
"""Values of which some must matter, whatever a field means."""


def saved(name: str) -> dict[str, Any]:
    """What transformers writes for a small model of a family."""
    raw = json.loads(small_config(name).to_json_string(use_diff=False))
    return raw | {"model_type": name, "architectures": [FAMILIES[name].architecture]}


def parsed(raw: dict[str, Any]) -> DecoderConfig | str:
    try:
        return parse_config(raw)
    except AmkError as e:
        assert "\n" not in str(e)
        return str(e)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_field_matters_or_is_known_not_to(name: str) -> None:
    raw = saved(name)
    known = IRRELEVANT.keys() | FAMILIES[name].irrelevant.keys()
    as_saved = parse_config(raw)
    for field in raw.keys() - known:
        changed = [parsed(raw | {field: value}) for value in OTHERS]
        assert any(c != as_saved for c in changed), f"{field} is read and ignored"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_irrelevant_field_has_a_reason_and_no_effect(name: str) -> None:
    raw = saved(name)
    for field, why in {**IRRELEVANT, **FAMILIES[name].irrelevant}.items():
        assert len(why.split()) > 2
        assert all(parsed(raw | {field: value}) == parse_config(raw) for value in OTHERS), field


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("value", [None, False, 0, 1.0, "x", [], {}])
def test_a_new_field_is_refused_by_name_and_value(name: str, value: object) -> None:
    message = parsed(saved(name) | {"brand_new": value})
    shown = json.dumps(value)
    refused = f"config field 'brand_new' = {shown} is not supported by family '{name}'"
    assert message == refused


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("architectures", None, "config field 'architectures' is missing"),
        ("architectures", [], "config field 'architectures' = [] is not supported"),
        ("architectures", ["OtherModel"], "config field 'architectures' = [\"OtherModel\"] is not"),
        ("num_attention_heads", 0, "config field 'num_attention_heads' = 0 must be a positive"),
        ("num_hidden_layers", -1, "config field 'num_hidden_layers' = -1 must be a positive"),
        ("vocab_size", 1.5, "config field 'vocab_size' = 1.5 must be a positive integer"),
        ("quantization_config", {"bits": 4}, "config field 'quantization_config' = {\"bits\": 4}"),
        ("auto_map", {"AutoModel": "m.M"}, "config field 'auto_map' = {\"AutoModel\": \"m.M\"}"),
    ],
)  # fmt: skip
def test_bad_values(name: str, field: str, value: object, message: str) -> None:
    if field in FAMILIES[name].irrelevant:
        return
    found = parsed(saved(name) | {field: value})
    assert isinstance(found, str) and found.startswith(message)


@pytest.mark.parametrize("name", [f for f in FAMILIES if FAMILIES[f].head_dim])
def test_heads_of_no_elements(name: str) -> None:
    found = parsed(saved(name) | {"head_dim": 0})
    assert found == "config field 'head_dim' = 0 must be a positive integer"


@pytest.mark.parametrize("name", [f for f in FAMILIES if FAMILIES[f].kv_heads])
def test_contradictory_heads(name: str) -> None:
    found = parsed(saved(name) | {"num_attention_heads": 4, "num_key_value_heads": 3})
    expected = "config field 'num_key_value_heads' = 3 must divide num_attention_heads 4"
    assert found == expected


@pytest.mark.parametrize("name", [f for f in FAMILIES if FAMILIES[f].window])
@pytest.mark.parametrize("window", [0, -4, "all", 2.5, True])
def test_a_window_of_nothing(name: str, window: object) -> None:
    found = parsed(saved(name) | {"sliding_window": window})
    expected = f"config field 'sliding_window' = {json.dumps(window)} must be a positive integer"
    assert found == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_tensors_are_all_there_and_all_used(name: str) -> None:
    config = parse_config(saved(name))
    there = {n: TensorInfo(spec.shape, "f32") for n, spec in tensors(config).items()}
    check_tensors(config, there, "x")
    for missing in there:
        rest = {n: t for n, t in there.items() if n != missing}
        with pytest.raises(AmkError, match=f"tensor '{missing}' is missing from x"):
            check_tensors(config, rest, "x")
    for more in (f"{config.at(0)}.extra.weight", f"{config.at(config.layers)}.x", "lm_head.extra"):
        with pytest.raises(AmkError, match=f"tensor '{more}' in x is not used by family '{name}'"):
            check_tensors(config, there | {more: TensorInfo((2,), "f32")}, "x")
