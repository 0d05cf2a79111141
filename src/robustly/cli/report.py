"""robustly report: write report.html anew from the stored record."""

from __future__ import annotations

from robustly.cli import options


def report(run: options.Run, /, *, verbose: options.Verbose = False, here: options.Here) -> int:
    """Write report.html again from the stored record, and print its path.

    The model is not needed. The same record gives the same bytes.
    """
    from robustly.cli.opening import folder_of, open_record
    from robustly.report.gate import exit_code
    from robustly.report.html import write_report

    open_record(run)
    here.say(str(write_report(folder_of(run))))
    return exit_code()
