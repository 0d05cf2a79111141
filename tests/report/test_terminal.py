import re

import pytest
from tests.report.hostile import ALL
from tests.report.making import NAMES, record_of, row, rows_of
from tests.report.printing import printed

from robustly.core.errors import UsageError
from robustly.core.points import Pair, pair_bytes, save_pair
from robustly.report.terminal import example_table, summary_table


def test_the_numbers_stand(fashion):
    out = printed(summary_table(fashion)).replace("\u00a0", " ")
    s = fashion.summary
    for value in (s.clean, s.certified, s.attacked, s.population.low, s.population.high):
        assert f"{100 * value:.1f} %" in out
    for stage in fashion.stages:
        assert re.search(rf"{stage.name}\s.*{stage.decided}.*{stage.forward:,}", out)
    for line in fashion.not_tested:
        assert line in out


def test_the_bar_shows_every_verdict():
    out = printed(summary_table(record_of(rows_of("c" * 200 + "u" * 100 + "b" * 99 + "i"))))
    bar = re.search(r"\[([#?x\-!]+)\]", out)[1]
    assert bar.count("#") == 30
    assert bar.count("?") == 15
    assert bar.count("!") == 1


@pytest.mark.parametrize("verdicts", ["", "c", "cubmi" * 50])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_any_terminal_can_show_it(verdicts, encoding):
    record = record_of(rows_of(verdicts), warnings=("näive 服 \u202e",), status="partial", why_partial="time")
    out = printed(summary_table(record), encoding)
    assert "partial" in out
    assert "\u202e" not in out


def test_names_do_not_command_the_terminal():
    record = record_of(rows_of("cub"), warnings=(ALL,), not_tested=(ALL,), threat=ALL)
    out = printed(summary_table(record), width=4000)
    assert "[bold red]markup[/]" in out
    assert "⟨U+001B⟩[31mred" in out
    assert not set(out) & set("\x1b\x07\x00\u202e")


def test_one_example(fashion):
    row = next(r for r in fashion.rows if r.verdict == "broken")
    out = printed(example_table(fashion, row.index))
    assert row.counterexample in out
    assert f"{row.adversarial_label} ({NAMES[row.adversarial_label]})" in out
    with pytest.raises(UsageError, match="no example 999"):
        example_table(fashion, 999)


def test_a_text_example_shows_both_texts_and_the_edits_between_them(tmp_path):
    point = save_pair(tmp_path, pair_bytes(Pair(adversarial="a gxod film", clean="a good film")))
    record = record_of((row(0, "broken", counterexample=point, stage=1, distance=1 / 3),)).with_points(tmp_path)
    record = record.model_copy(update={"data": record.data.model_copy(update={"kind": "text"})}).with_points(tmp_path)
    out = printed(example_table(record, 0))
    assert "a g[-o-]{+x+}od film" in out
    assert "0.3333" in out
    assert "0.33333" not in out
    assert "2 of 2" in out
