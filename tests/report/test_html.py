import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.report.hostile import ALL, HOSTILE, assert_inert
from tests.report.making import APGD, NAMES, record_of, row, rows_of
from tests.report.test_pictures import decoded

from robustly.core.points import Pair, pair_bytes, save_pair
from robustly.core.records import Record
from robustly.report.html import report_html, write_report
from robustly.report.notebook import notebook_html

LARGEST = 3_000_000


def stored(folder: Path, pairs: list[Pair], **changes) -> Record:
    """A record of broken examples with these counterexamples."""
    rows = tuple(
        row(i, "broken", distance=0.01 * (i + 1), counterexample=save_pair(folder, pair_bytes(pair)))
        for i, pair in enumerate(pairs)
    )
    return record_of(rows, **changes).with_points(folder)


def with_facts(record: Record, **changes) -> Record:
    data = record.data.model_copy(update=changes)
    return record.model_copy(update={"data": data}).with_points(record.folder)


def test_the_same_run_gives_the_same_bytes(fashion):
    first = write_report(fashion.folder).read_bytes()
    assert write_report(str(fashion.folder)).read_bytes() == first
    assert first.decode() == report_html(fashion)


def test_everything_a_reader_wants_is_there(fashion):
    text = " ".join(assert_inert(report_html(fashion)).text.replace("\u00a0", " ").split())
    s = fashion.summary
    for value in (s.clean, s.certified, s.attacked, s.population.low, s.population.high):
        assert f"{100 * value:.1f} %" in text
    for part in (
        fashion.command,
        fashion.model.digest,
        fashion.data.digest,
        APGD,
        "torch 2.13.0",
        "Ankle boot",
        *fashion.not_tested,
        *fashion.notes,
        f"{s.broken - 12} more in the run folder",
    ):
        assert part in text, part
    assert (
        text.index("The smallest changes") < text.index("By class") < text.index("Not tested") < text.index("Versions")
    )


def test_panels_show_the_counterexample_that_is_stored(fashion):
    html = report_html(fashion)
    broken = sorted((r for r in fashion.rows if r.verdict == "broken"), key=lambda r: r.distance)
    pictures = decoded(html)
    assert len(pictures) == 3 * 12
    pair = fashion.pair(broken[0].index)
    np.testing.assert_array_equal(pictures[0][:, :, 0], np.rint(255 * pair.clean[0]).astype(np.uint8))
    np.testing.assert_array_equal(
        pictures[2][:, :, 0], np.rint(255 * pair.adversarial[0].astype(float)).astype(np.uint8)
    )
    assert f"example {broken[0].index} · distance {broken[0].distance:.4g}" in html


def test_a_policy_forbids_every_request(fashion):
    tags = assert_inert(report_html(fashion)).tags
    policy = next(a["content"] for t, a in tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def hostile_record(folder: Path) -> Record:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (1, 4, 4)).astype(np.float32)
    record = stored(folder, [Pair(x, 1 - x)] * 2)
    rows = [r.model_copy(update={"by": ALL, "label": i}) for i, r in enumerate(record.rows)]
    rows += [row(2, "invalid", error=ALL, flags=(ALL,)), row(3, "unknown", why=ALL)]
    names = tuple(HOSTILE[i % len(HOSTILE)] for i in range(10))
    base = record_of(
        tuple(rows),
        threat=ALL,
        goal=ALL,
        plan=ALL,
        plan_stages=HOSTILE,
        warnings=HOSTILE,
        notes=HOSTILE,
        not_tested=HOSTILE,
        versions={ALL: ALL},
        machine=ALL,
        command=ALL,
        started=ALL,
        stages=tuple(s.model_copy(update={"name": ALL, "spec": ALL}) for s in record.stages),
        model=record.model.model_copy(update={"name": ALL, "digest": ALL, "access": ALL, "device": ALL}),
        data=record.data.model_copy(update={"name": ALL, "digest": ALL, "classes": names}),
    )
    return base.with_points(folder)


def test_hostile_names_are_inert(tmp_path):
    record = hostile_record(tmp_path)
    html = report_html(record)
    text = assert_inert(html).text
    assert "<script>alert(1)</script>" in text  # shown, as text
    assert "{{7*7}}" in text
    assert "user⟨U+202E⟩gnp.exe⟨U+2066⟩" in text
    assert "⟨U+001B⟩[31mred" in text
    html.encode()
    assert_inert(notebook_html(record))


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_browser_finds_nothing_to_run(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report_html(hostile_record(tmp_path)), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout.decode()
    assert "Robustness audit" in dom
    assert_inert(dom)


@pytest.mark.parametrize("verdicts", ["", "c", "b", "i", "u"])
def test_nothing_and_one(verdicts, tmp_path):
    record = record_of(rows_of(verdicts)).with_points(tmp_path)
    assert_inert(report_html(record))
    assert_inert(notebook_html(record))


def test_a_hundred_thousand_examples_stay_small():
    rows = rows_of("cubmi" * 20_000)
    rows = tuple(
        r.model_copy(update={"distance": 1e-6 * r.index, "label": r.index % 1000}) if r.verdict == "broken" else r
        for r in rows
    )
    html = report_html(record_of(rows))
    assert len(html) < LARGEST
    assert "first 200 of 100,000" in html
    assert_inert(html)


def test_long_names_and_large_pictures_stay_small(tmp_path):
    rng = np.random.default_rng(0)
    clean = rng.uniform(0, 1, (3, 224, 224)).astype(np.float32)
    pairs = [Pair(np.clip(clean + rng.normal(0, 0.1, clean.shape), 0, 1).astype(np.float32), clean) for _ in range(14)]
    record = stored(tmp_path, pairs, warnings=("w" * 100_000,) * 500, command="c" * 1_000_000)
    record = with_facts(record, classes=("n" * 100_000,) * 10)
    html = report_html(record)
    assert len(html) < LARGEST
    assert "440 more in record.json" in html
    assert "more in the run folder" in html
    for group in ("The smallest changes", "Typical", "most confidence"):
        assert group in html


@pytest.mark.parametrize("shape", [(5,), (500,), (4, 6), (2, 4, 6), (4, 6, 6), (2, 2, 2, 2), ()])
def test_inputs_of_any_shape(shape, tmp_path):
    x = np.full(shape, 0.5, np.float32)
    record = with_facts(stored(tmp_path, [Pair(x + np.float32(0.1), x)]), kind="array", shape=shape)
    html = report_html(record)
    reader = assert_inert(html)
    assert html.count('<div class="frame">') == 3
    assert "change ×5" in reader.text


def test_texts_are_shown_with_their_edits(tmp_path):
    record = stored(
        tmp_path,
        [Pair("a god <script>film</script>\u202e", "a good <script>film</script>\u202e")],
        threat="edits:1",
        eps=1.0,
    )
    html = report_html(with_facts(record, kind="text", shape=(), classes=("bad", "good")))
    assert "a go<del>o</del>d &lt;script&gt;film" in html
    assert "⟨U+202E⟩" in assert_inert(html).text


def test_a_lost_counterexample_is_said_and_the_report_opens(tmp_path):
    record = stored(tmp_path, [Pair(np.ones((1, 2, 2), np.float32), np.zeros((1, 2, 2), np.float32))])
    path = next(tmp_path.glob("counterexamples/*"))
    path.write_bytes(b"torn")
    assert "the file is missing or damaged" in report_html(record)
    path.unlink()
    assert "the file is missing or damaged" in report_html(record)
    assert "the file is missing or damaged" in report_html(record.with_points(None))


def test_equal_distances_have_no_nearest(tmp_path):
    x = np.zeros((1, 2, 2), np.float32)
    rows = tuple(row(i, "broken", counterexample=save_pair(tmp_path, pair_bytes(Pair(x + 1, x)))) for i in range(3))
    html = report_html(record_of(rows).with_points(tmp_path))
    assert "The smallest changes" not in html
    assert html.count("<figure>") == 3


def test_partial_and_contradiction_are_said_first():
    partial = report_html(record_of(rows_of("cub"), status="partial", why_partial="the time limit of 60 s was reached"))
    assert partial.index("Partial run") < partial.index("Clean accuracy")
    assert "Contradiction." in report_html(record_of(rows_of("cub"), status="contradiction"))


def test_confusion_and_classes_are_named(fashion):
    text = assert_inert(report_html(fashion)).text
    assert all(name in text for name in NAMES)


def test_torch_is_not_needed(fashion):
    code = (
        "import sys\n"
        "from robustly.core.records import read_record\n"
        "from robustly.report import compare, gate, html, junit, notebook, terminal\n"
        f"record = read_record({str(fashion.folder)!r})\n"
        "html.report_html(record), junit.junit_xml(record), notebook.notebook_html(record)\n"
        "compare.compare(record, record), gate.exit_code(record, 0.4)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "from robustly import write_report\n"
        "assert 'torch' not in sys.modules, 'the front door imported torch'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
