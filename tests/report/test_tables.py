from tests.report.making import record_of, row, rows_of

from robustly.report.tables import ClassLine, by_class, confusion


def test_by_class():
    rows = tuple(
        row(i, v, label=i % 2) for i, v in enumerate(["certified", "broken", "unknown", "misclassified", "invalid"])
    )
    assert by_class(record_of(rows)) == [
        ClassLine(label=0, examples=3, clean=2, certified=1, attacked=2, broken=0),
        ClassLine(label=1, examples=2, clean=1, certified=0, attacked=0, broken=1),
    ]


def test_confusion_counts_the_worst_answer():
    rows = (
        row(0, "broken", label=0, adversarial_label=2),
        row(1, "misclassified", label=0, clean_label=1),
        row(2, "certified", label=0),
        row(3, "unknown", label=2),
        row(4, "invalid", label=2),
    )
    found = confusion(record_of(rows))
    assert found.labels == (0, 1, 2)
    assert found.counts == ((1, 1, 1), (0, 0, 0), (0, 0, 1))


def test_many_classes_become_a_list():
    rows = tuple(row(i, "broken", label=i, adversarial_label=(i + 1) % 50) for i in range(50))
    rows += (row(50, "broken", label=7, adversarial_label=8),)
    found = confusion(record_of(rows))
    assert found.counts == ()
    assert found.pairs[0] == (7, 8, 2)
    assert len(found.pairs) == 20
    weak = by_class(record_of((*rows, *(row(60 + i, "certified", label=i) for i in range(40)))))
    assert len(weak) == 20
    assert weak[0].label == 40


def test_nothing():
    assert by_class(record_of(())) == []
    assert confusion(record_of(rows_of(""))).labels == ()
