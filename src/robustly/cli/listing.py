"""robustly list: what there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from robustly.cli import options

KINDS = ("attacks", "certifiers", "losses", "starts", "views", "transforms", "plans", "threats", "zoo")
ALIASES = {"models": "zoo"}

THREATS = (
    ("linf:8/255", "each number may change by at most eps"),
    ("l2:0.5", "Euclidean length of the change at most eps"),
    ("l1:12", "sum of absolute changes at most eps"),
    ("l0:10", "at most so many numbers change, by any amount"),
    ("linf:8/255@8bit", "the same, for images that are stored with so many bits"),
    ("linf:8/255&l2:1", "both at once"),
    (
        "rotate:30,shift:3",
        "images: rotations up to 30 degrees, in whole degrees, with shifts up to 3 pixels; shift:3 alone",
    ),
    ("corrupt:3", "images: the fifteen common corruptions up to severity 3; corrupt:3,fog,jpeg those named"),
    ("flow:1", "images: each pixel takes a value that the image has within one pixel"),
    ("colour:5", "images: each pixel's colour differs by at most 5, in CIEDE2000"),
    ("ssim:0.1", "images: structural similarity at least 0.9"),
    ("edits:2", "texts: so many characters inserted, deleted or substituted"),
)


def listing(
    what: Annotated[
        Literal["attacks", "certifiers", "losses", "starts", "views", "transforms", "plans", "threats", "zoo", "models"]
        | None,
        Parameter(help="One of them; all if left out. models is another word for zoo."),
    ] = None,
    /,
    *,
    verbose: options.Verbose = False,
    here: options.Here,
) -> int:
    """List the attacks, certifiers, losses, plans, threats and carried models."""
    from robustly.report.gate import exit_code

    for kind in (ALIASES.get(what, what),) if what else KINDS:
        if what is None:
            here.say(kind, style="bold")
        here.show(table_of(kind))
        if what is None:
            here.say("")
    return exit_code()


def table_of(kind: str) -> Table:
    """The table of a kind; rows are a name, what it is, and where it comes from."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for row in {"plans": plans, "threats": threats, "zoo": carried}.get(kind, lambda: registered(kind))():
        table.add_row(*(Text(cell) for cell in row))
    return table


def registered(kind: str) -> Iterator[tuple[str, str, str]]:
    """Attacks, certifiers, losses or starts from the registry."""
    from robustly.core.specs import entries

    for entry in entries({"losses": "loss"}.get(kind, kind.removesuffix("s"))):
        yield entry.name, entry.summary, entry.paper


def plans() -> Iterator[tuple[str, str, str]]:
    """The named plans, with their stages."""
    from robustly.auditing.plan import NAMES, load_plan

    for name in NAMES:
        plan = load_plan(name)
        yield name, plan.description, ", ".join(stage.spec.name for stage in plan.stages)


def threats() -> Iterator[tuple[str, str, str]]:
    """The forms a threat is written in."""
    for form, meaning in THREATS:
        yield form, meaning, ""


def carried() -> Iterator[tuple[str, str, str]]:
    """The models and data of the package."""
    from robustly import zoo

    for name in (*zoo.names(), *zoo.data_names()):
        entry = zoo.describe(name)
        numbers = [] if entry.clean is None else [f"clean {entry.clean:.1%}"]
        if entry.pgd is not None:
            numbers.append(f"PGD-20 at linf:{entry.eps:g} {entry.pgd:.1%}")
        if entry.certified:
            numbers.append(f"certified {entry.certified:.1%}")
        yield f"zoo:{name}", entry.title, ", ".join(numbers) or f"{entry.source}; {entry.licence}"
