from xml.etree import ElementTree

from tests.report.hostile import ALL
from tests.report.making import record_of, row, rows_of

from robustly.report.junit import junit_xml


def test_one_case_an_example():
    root = ElementTree.fromstring(junit_xml(record_of(rows_of("ccubmi"))))
    suite = root.find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "3", "1")
    cases = suite.findall("testcase")
    assert len(cases) == 6
    assert [list(case) for case in cases[:2]] == [[], []]
    assert "undecided" in cases[2].find("skipped").get("message")
    assert [case.find("failure").get("type") for case in cases[3:]] == ["broken", "misclassified", "invalid"]
    assert "apgd" in cases[3].find("failure").get("message")
    assert "NaN" in cases[5].find("failure").get("message")


def test_valid_whatever_the_names_hold():
    record = record_of(
        (row(0, "broken", by=ALL), row(1, "invalid", error=ALL), row(2, "unknown", why=ALL)),
        threat=ALL,
        plan=ALL,
    )
    facts = record.data.model_copy(update={"classes": (ALL, "\x00", "\ud800"), "name": ALL})
    text = junit_xml(record.model_copy(update={"data": facts}))
    root = ElementTree.fromstring(text.encode())
    assert "⟨U+0000⟩" in root.find("testsuite").findall("testcase")[1].get("name")
    assert not set(text) & set("\x00\x1b\u202e")


def test_empty():
    assert ElementTree.fromstring(junit_xml(record_of(()))).find("testsuite").get("tests") == "0"
