"""JUnit XML, so that a CI server shows every example as a test case."""

from __future__ import annotations

from xml.etree import ElementTree

from robustly.core.records import Record, Row
from robustly.report.escape import visible
from robustly.report.words import class_name, headline, number


def junit_xml(record: Record) -> str:
    """One test case per example: certified passes; broken, misclassified and invalid fail; unknown is skipped.

    Valid XML whatever the names hold. Seconds stand at the suite: examples run in batches and have none of their own.
    """
    s = record.summary
    totals = {
        "tests": str(len(record.rows)),
        "failures": str(sum(r.verdict in ("broken", "misclassified", "invalid") for r in record.rows)),
        "skipped": str(sum(r.verdict == "unknown" for r in record.rows)),
        "errors": "0",
        "time": f"{s.seconds:.3f}",
    }
    suites = ElementTree.Element("testsuites", {"name": "robustly", **totals})
    name = visible(f"{record.model.name} on {record.data.name} under {record.threat}", most=500)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": name, **totals})
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in _properties(record):
        ElementTree.SubElement(properties, "property", {"name": key, "value": visible(value, most=2000)})
    for row in record.rows:
        _case(suite, record, row)
    ElementTree.indent(suites, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _properties(record: Record) -> list[tuple[str, str]]:
    s = record.summary
    return [
        ("verdict", headline(record)),
        ("status", record.status),
        ("clean", repr(s.clean)),
        ("certified", repr(s.certified)),
        ("attacked", repr(s.attacked)),
        ("model digest", record.model.digest),
        ("data digest", record.data.digest),
        ("plan", record.plan),
        ("seed", str(record.seed)),
    ]


def _case(suite: ElementTree.Element, record: Record, row: Row) -> None:
    label = visible(class_name(record, row.label), most=200)
    case = ElementTree.SubElement(
        suite,
        "testcase",
        {
            "classname": visible(f"robustly.{record.threat}", most=200),
            "name": f"example {row.index}: {label}",
            "time": "0",
        },
    )
    if row.verdict == "unknown":
        reason = row.why or "no counterexample was found, and none was ruled out"
        ElementTree.SubElement(case, "skipped", {"message": visible(f"undecided: {reason}", most=500)})
    elif row.verdict != "certified":
        message = visible(_message(record, row), most=500)
        ElementTree.SubElement(case, "failure", {"type": row.verdict, "message": message}).text = message


def _message(record: Record, row: Row) -> str:
    if row.verdict == "invalid":
        return f"invalid: {row.error or 'the model answered NaN or infinity'}"
    if row.verdict == "misclassified":
        return f"misclassified without any change: read as {class_name(record, row.clean_label)}"
    return (
        f"broken by {row.by or 'an attack'} at distance {number(row.distance)}: "
        f"read as {class_name(record, row.adversarial_label)}; counterexample {row.counterexample or 'not stored'}"
    )
