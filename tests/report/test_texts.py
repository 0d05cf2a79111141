import time

from hypothesis import given
from hypothesis import strategies as st
from tests.report.hostile import ALL, assert_inert

from robustly.report.texts import difference, pieces


@given(st.text("abc ", max_size=30), st.text("abc ", max_size=30))
def test_pieces_join_to_both_texts(before, after):
    found = pieces(before, after)
    assert "".join(p.text for p in found if p.kind != "new") == before
    assert "".join(p.text for p in found if p.kind != "gone") == after


def test_edits_are_marked_and_nothing_else():
    assert difference("a good film", "a god film!") == "a go<del>o</del>d film<ins>!</ins>"
    assert difference("a b", "ab") == "a<del>␣</del>b"
    assert difference("same", "same") == "same"


def test_markup_in_a_text_is_text():
    shown = difference(ALL, ALL + "<script>x</script>")
    assert_inert(shown)
    assert "<ins>&lt;script&gt;x&lt;/script&gt;</ins>" in shown


def test_a_million_characters_cost_little():
    text = "word " * 200_000
    begun = time.perf_counter()
    one = difference(text, text[:500_000] + "X" + text[500_001:])
    other = difference(text, "y" * 1_000_000)
    assert time.perf_counter() - begun < 3
    assert len(one) < 500
    assert len(other) < 2000
