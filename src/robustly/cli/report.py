"""robustly report: write report.html anew from the stored record."""

from __future__ import annotations

from pathlib import Path

from robustly.cli import options


def report(run: options.Run, /, *, verbose: options.Verbose = False, here: options.Here) -> int:
    """Write report.html again from the stored record, and print its path.

    The model is not needed. The same record gives the same bytes.
    """
    from robustly.report.gate import exit_code
    from robustly.report.html import write_report

    folder = Path(run)
    here.say(str(write_report(folder.parent if folder.suffix == ".json" else folder)))
    return exit_code()
