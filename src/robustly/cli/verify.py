"""robustly verify: a property of a network in the standard formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from robustly.cli import options, values
from robustly.core.errors import UsageError

if TYPE_CHECKING:
    from robustly.verifying.answers import Answer

CODES = {"unsat": 0, "sat": 1, "error": 3, "unknown": 4}


def verify(
    network: Annotated[
        str,
        Parameter(name="NETWORK", group=options.WHAT, help="An .onnx or .onnx.gz file; or an instances.csv of many."),
    ],
    property_: Annotated[
        str | None,
        Parameter(name="PROPERTY", group=options.WHAT, help="A .vnnlib or .vnnlib.gz file, VNN-LIB 1.0."),
    ] = None,
    /,
    *,
    timeout: Annotated[
        str | None,
        Parameter(group=options.HOW, help="Stop after so long: 20s, 5m; by default 60s, or what the list says."),
    ] = None,
    out: Annotated[
        str | None,
        Parameter(
            group=options.OUTPUT,
            help="Also write the verdict and the counterexample to this file; for a list, the table of results "
            "(NAME-results.csv if left out), from which a stopped list goes on.",
        ),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    here: options.Here,
) -> int:
    """Verify a property of a network: sat, unsat or unknown.

    Prints sat and a counterexample, which was run again in onnxruntime and
    meets the property to the last bit; unsat if it is proven that there is
    none; or unknown, with the reason.

    The exit code is 0 for unsat, 1 for sat, 4 for unknown; for a list 3 if one
    raised, else 1 if one is sat, else 4 if one is unknown, else 0.
    """
    seconds = values.duration(timeout)
    if network.endswith(".csv"):
        if property_ is not None:
            raise UsageError(f"a list names its own properties: leave out {property_}.")
        return _many(Path(network), seconds, Path(out) if out else None, quiet, here)
    if property_ is None:
        raise UsageError("a property is wanted: robustly verify NET.onnx PROPERTY.vnnlib")
    target = values.writable(out, "--out")
    from robustly.core.points import write_atomically

    answer = _verdict(Path(network), Path(property_), seconds or 60.0)
    if target is not None:
        write_atomically(target, answer.text().encode())
    for note in answer.notes:
        here.complain(f"note: {note}", style="yellow")
    if answer.verdict == "unknown" or answer.why.startswith("vacuously"):
        here.complain(f"{answer.verdict}: {answer.why}")
    if verbose and answer.proven_by:
        here.complain(f"proven by {', '.join(answer.proven_by)} in {answer.seconds:.1f} s")
    for line in (answer.verdict if quiet else answer.text()).splitlines():
        here.say(line)
    return CODES[answer.verdict]


def _many(path: Path, seconds: float | None, out: Path | None, quiet: bool, here: options.Here) -> int:
    from robustly.verifying.instances import Outcome, exit_of, read_instances, verify_all

    instances = read_instances(path, seconds)
    target = out or Path(f"{path.stem}-results.csv")
    here.advice = ("What was done is kept. Go on with", here.again)

    def told(number: int, outcome: Outcome, kept: bool) -> None:
        if not quiet:
            words = f"{outcome.onnx} {outcome.vnnlib}: {outcome.verdict}, {outcome.seconds:.1f} s"
            here.say(f"{number + 1}/{len(instances)} {words}{' (kept)' if kept else ''}{_reason(outcome)}")

    done = verify_all(instances, target, told, _verdict)
    count = {v: sum(o.verdict == v for o in done) for v in ("sat", "unsat", "unknown", "error")}
    here.say(", ".join(f"{n} {v}" for v, n in count.items() if n) + f"; results in {target}", style="bold")
    return CODES[exit_of(o.verdict for o in done)]


def _verdict(network: Path, wanted: Path, seconds: float) -> Answer:
    """In a process of its own, which is stopped where it does not stop in time."""
    from robustly.verifying.apart import apart
    from robustly.verifying.verify import verify as verified

    return apart(lambda: verified(network, wanted, seconds), seconds)


def _reason(outcome: object) -> str:
    why = getattr(outcome, "why", "")
    return f" ({why})" if why else ""
