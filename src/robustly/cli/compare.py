"""robustly compare: two runs on the same data, example by example."""

from __future__ import annotations

from robustly.cli import options


def compare(run_a: options.Run, run_b: options.Run, /, *, verbose: options.Verbose = False, here: options.Here) -> int:
    """Compare two runs example by example: which verdicts changed?

    Both must be on the same data under the same threat. The paired McNemar test
    says whether the difference could be chance.
    """
    from robustly.cli.opening import open_record
    from robustly.report.compare import compare as compared
    from robustly.report.compare import comparison_table
    from robustly.report.gate import exit_code

    here.show(comparison_table(compared(open_record(run_a), open_record(run_b))))
    return exit_code()
