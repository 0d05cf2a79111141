import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustly.report.escape import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, näive 服 😀", "plain, näive 服 😀"),
        ("\x1b[31mred", "⟨U+001B⟩[31mred"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("\x00", "⟨U+0000⟩"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("\ud800", "⟨U+D800⟩"),
        ("a\nb", "a⟨U+000A⟩b"),
        ("\ufffe", "⟨U+FFFE⟩"),
    ],
)
def test_what_hides_is_written_out(text, shown):
    assert visible(text) == shown


def test_kept_and_cut():
    assert visible("a\nb", keep="\n") == "a\nb"
    assert visible("x" * 50, most=10) == "x" * 9 + "…"
    assert visible("x" * 10, most=10) == "x" * 10


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_valid_xml_and_shows_all(text):
    shown = visible(text)
    node = ElementTree.Element("a", {"b": shown})
    assert ElementTree.fromstring(ElementTree.tostring(node, encoding="unicode")).get("b") == shown
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
