"""Words as values."""

import pytest

from robustly.cli import values
from robustly.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60", 60), ("60s", 60), ("5m", 300), ("1.5h", 5400), ("2 min", 120), (".5s", 0.5), (None, None)],
)
def test_durations(text, seconds):
    assert values.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5s", "5d", "1h30", "inf", "nan", "1e3s"])
def test_other_durations_are_refused(text):
    with pytest.raises(UsageError, match="1h"):
        values.duration(text)


def test_sizes_and_ranges_read_fractions():
    assert values.sizes("0,0.05, 8/255") == (0, 0.05, 8 / 255)
    assert values.sizes("1e-3") == (0.001,)
    assert values.interval("-1,1") == (-1, 1)
    for text in ("1/0", "a", "", "1,5;2", "inf"):
        with pytest.raises(UsageError):
            values.sizes(text)


def test_a_decimal_comma_is_two_numbers_and_so_is_refused_as_a_range():
    with pytest.raises(UsageError, match="two numbers"):
        values.interval("0,5,1")


def test_settings_are_toml_values_fractions_or_words():
    found = values.settings(
        ["steps=20", "size=8/255", "loss=margin", 'inner={attack="pgd", steps=5}', "on=true", 's="a b"']
    )
    assert found == {
        "steps": 20, "size": 8 / 255, "loss": "margin", "inner": {"attack": "pgd", "steps": 5}, "on": True, "s": "a b",
    }  # fmt: skip
    with pytest.raises(UsageError, match="twice"):
        values.settings(["steps=1", "steps=2"])


def test_what_cannot_be_written_is_known_before(tmp_path):
    assert values.writable(str(tmp_path / "new" / "x.xml"), "--junit") == tmp_path / "new" / "x.xml"
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path, tmp_path / "file" / "x"):
        with pytest.raises(UsageError, match="--junit"):
            values.writable(str(wrong), "--junit")
