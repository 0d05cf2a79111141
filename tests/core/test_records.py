"""Records survive a round trip, hold no NaN token, and refuse what they don't know."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from robustly.core.errors import RunError, UsageError
from robustly.core.points import Pair, pair_bytes, pair_of, read_pair, save_pair
from robustly.core.records import Row, read_record, schema


def test_a_row_round_trips_and_has_no_nan():
    row = Row(index=0, id="a", label=1, verdict="broken", distance=float("inf"), clean_margin=float("nan"), bound=0.25)
    text = row.model_dump_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    again = Row.model_validate_json(text)
    assert again.distance is None
    assert again.bound == 0.25


def test_unknown_fields_and_verdicts_are_refused():
    with pytest.raises(ValidationError):
        Row(index=0, id="a", label=1, verdict="robust")
    with pytest.raises(ValidationError):
        Row(index=0, id="a", label=1, verdict="broken", extra=1)


def test_a_row_is_immutable():
    row = Row(index=0, id="a", label=1, verdict="broken")
    with pytest.raises(ValidationError):
        row.verdict = "certified"


@pytest.mark.parametrize(
    "pair", [Pair(np.ones((1, 2, 2), np.float32), np.zeros((1, 2, 2), np.float32)), Pair("a\u202eb\ud800", "")]
)
def test_pairs_round_trip_through_disk(tmp_path, pair):
    digest = save_pair(tmp_path, pair_bytes(pair))
    for again in (read_pair(tmp_path, digest), pair_of(pair_bytes(pair))):
        assert type(again.adversarial) is type(pair.adversarial)
        assert np.array_equal(again.adversarial, pair.adversarial)
        assert np.array_equal(again.clean, pair.clean)


def test_a_damaged_pair_is_named(tmp_path):
    digest = save_pair(tmp_path, pair_bytes(Pair("a", "b")))
    path = tmp_path / "counterexamples" / f"{digest}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match="damaged"):
        read_pair(tmp_path, digest)
    path.unlink()
    with pytest.raises(RunError, match="cannot read"):
        read_pair(tmp_path, digest)


def test_a_missing_damaged_or_newer_record_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no record"):
        read_record(tmp_path)
    path = tmp_path / "record.json"
    path.write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        read_record(tmp_path)
    path.write_text(json.dumps({"schema_version": 999}))
    with pytest.raises(UsageError, match="update robustly"):
        read_record(tmp_path)


def test_the_schema_describes_the_fields():
    assert schema()["properties"]["not_tested"]["description"]


def test_the_schema_in_the_docs_is_this_one():
    kept = json.loads((Path(__file__).parents[2] / "docs" / "record.schema.json").read_text())
    assert kept == json.loads(json.dumps(schema()))
