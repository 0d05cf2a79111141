"""A record as a short fragment of HTML, for a notebook cell."""

from __future__ import annotations

from markupsafe import Markup

from robustly.core.records import Record
from robustly.report.escape import visible
from robustly.report.plots import bracket_bar
from robustly.report.words import detail, headline, percent, seconds


def notebook_html(record: Record) -> str:
    """The verdict, the bracket and the numbers; everything escaped, no script, no style that reaches beyond it."""
    s = record.summary
    what = f"{record.model.name} on {record.data.name}, {record.threat}, plan {record.plan}, seed {record.seed}"
    lines = [
        ("clean accuracy", percent(s.clean)),
        ("robust accuracy", f"{percent(s.certified)} certified – {percent(s.attacked)} attacked"),
        (
            "in the population",
            f"{percent(s.population.low)} – {percent(s.population.high)} ({percent(s.population.level, 0)} confidence)",
        ),
        ("passes", f"{s.forward:,} forward, {s.backward:,} backward, {seconds(s.seconds)}"),
        ("audit", f"{what}, {record.status}"),
        *(("warning", warning) for warning in record.warnings[:5]),
    ]
    cells = Markup("").join(
        Markup('<tr><td style="text-align:left;opacity:.7">{}</td><td style="text-align:left">{}</td></tr>').format(
            visible(name), visible(value, most=500)
        )
        for name, value in lines
    )
    return str(
        Markup(
            '<div class="robustly" style="max-width:960px">'
            '<p style="font-size:1.15em;font-weight:600;margin:.3em 0">{}</p>'
            '<p style="margin:.3em 0;opacity:.8">{}</p>{}<table>{}</table></div>'
        ).format(visible(headline(record)), visible(detail(record)), bracket_bar(record), cells)
    )
