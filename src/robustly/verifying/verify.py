"""The verdict on a property of a network: search and proof in turns, within a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from robustly.certify.splitting import Look
from robustly.certify.types import TooMuch, UnsupportedOperator
from robustly.core.errors import Contradiction, UsageError
from robustly.verifying.answers import Answer
from robustly.verifying.apart import lacks_memory
from robustly.verifying.asking import questions_of, without_floats
from robustly.verifying.clauses import combinations, faces, several
from robustly.verifying.hunt import Hunt
from robustly.verifying.network import Network, load_network
from robustly.verifying.proofs import Proofs, in_parts, standard
from robustly.verifying.properties import Property
from robustly.verifying.search import Inside
from robustly.verifying.vnnlib import read_vnnlib

RESERVE = 0.02
"""Share of the time that is kept for whatever is under way when it is up."""


def verify(
    network: Network | Path | str,
    wanted: Property | Path | str,
    timeout: float = 60.0,
    proofs: Proofs | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Does the network have the property: is there no input of its boxes whose outputs are unsafe?

    Args:
        network: an .onnx or .onnx.gz file, or what `load_network` made of one.
        wanted: a .vnnlib or .vnnlib.gz file, or what `read_vnnlib` made of one.
        timeout: seconds, reading included.
        proofs: what is tried; by default everything there is.
        clock: seconds since some moment; `time.process_time` on a machine that is shared.

    Returns:
        "sat" with a counterexample that was replayed in onnxruntime to the letter, "unsat", or "unknown" with the reason.

    Raises:
        UsageError: files that cannot be read, a property that isn't about this network, a timeout that isn't above 0.
        Contradiction: a counterexample to what was proven.
    """
    if not timeout > 0:
        raise UsageError(f"the timeout is a number of seconds above 0, got {timeout:g}.")
    begin = clock()
    net = network if isinstance(network, Network) else load_network(Path(network))
    task = wanted if isinstance(wanted, Property) else read_vnnlib(Path(wanted))
    refuse_others(net, task)
    end, ways = begin + timeout * (1 - RESERVE), proofs or standard()
    decide = _face_by_face if several(task) else _answered
    answer = decide(net, task, end, ways, clock)
    return Answer(
        answer.verdict, answer.counterexample, answer.why, clock() - begin, task.notes + answer.notes, answer.proven_by
    )


def refuse_others(net: Network, task: Property) -> None:
    """Raise unless the property has as many inputs as the network, and no output that it hasn't."""
    if task.inputs != net.inputs:
        raise UsageError(
            f"the property is about {task.inputs} inputs (X_0 to X_{task.inputs - 1}), but {net.name} has {net.inputs}. "
            "Is it the property of another network?"
        )
    if task.outputs != net.outputs:
        told = f"Y_{net.outputs} does not exist" if task.outputs > net.outputs else "the rest isn't declared"
        raise UsageError(
            f"the property is about {task.outputs} outputs, but {net.name} has {net.outputs} (Y_0 to Y_{net.outputs - 1}): {told}."
        )


def _face_by_face(net: Network, task: Property, end: float, proofs: Proofs, clock: Callable[[], float]) -> Answer:
    """A search for points that meet all disjunctions, then a proof that some one of them is never met, each in its turn."""
    now = clock()
    answer = _answered(net, combinations(task, net), now + 0.1 * (end - now), Proofs(()), clock, task)
    whys = []
    for left, face in reversed(list(enumerate(reversed(faces(task)), 1))):
        if answer.verdict != "unknown":
            break
        now = clock()
        answer = _answered(net, face, now + (end - now) / left, proofs, clock, task)
        whys.append(answer.why)
    if answer.verdict == "unknown":
        return Answer(
            "unknown", why=f"none of {len(whys)} disjunctions was proven; of the last: {whys[-1]}", notes=answer.notes
        )
    return answer


def _answered(
    net: Network,
    task: Property,
    end: float,
    proofs: Proofs,
    clock: Callable[[], float],
    whole: Property | None = None,
) -> Answer:
    if not task.regions or not any(region.unsafe for region in task.regions):
        return Answer("unsat", why="vacuously: " + (task.notes[0] if task.notes else "no output is unsafe"))
    questions, low, high = questions_of(task)
    hunt = Hunt(
        net, task, questions, Inside(low, high), end, clock, torch.ones(len(questions), dtype=torch.bool), whole
    )
    missing = [(i, region) for region in task.regions if (i := without_floats(region)) is not None]
    notes: tuple[str, ...] = ()
    if missing:
        i, region = missing[0]
        told = f"X_{i} in [{float(region.lower[i])!r}, {float(region.upper[i])!r}]"
        notes = (f"no float32 lies in a box ({told}), so no counterexample can be run there",)
    if net.module is None:
        while not hunt.over():
            if hunt.blind(64):
                return Answer("sat", hunt.found, notes=notes)
        return Answer("unknown", why=f"no bounds: {net.why}; random search found nothing", notes=notes)
    if hunt.first() or hunt.descend(64, 15):
        return Answer("sat", hunt.found, notes=notes)
    used, why, small = _bounded(hunt, proofs)
    if not bool(hunt.open.any()):
        return Answer("unsat", notes=notes, proven_by=used)
    if not small:  # searches would split what cannot be bounded once
        return _hunted(hunt, why, notes)
    quick = clock() + 0.1 * (end - clock())
    while clock() < quick and hunt.rounds < 8:
        if hunt.descend(128, 60):
            return Answer("sat", hunt.found, notes=notes)
    return _searched(hunt, proofs, used, why, notes)


def _bounded(hunt: Hunt, proofs: Proofs) -> tuple[tuple[str, ...], str, bool]:
    """Close what one bound at the root proves; which bounds were tried, why the best is not enough, and whether the network is
    small enough for them."""
    used, why, small, spent = (), "", True, 0.0
    module = hunt.network.module
    assert module is not None
    for name, make in proofs.bounds:
        if hunt.over() or not bool(hunt.open.any()):
            break
        if not small or (len(used) > 1 and 20 * spent > hunt.end - hunt.clock()):
            break  # each costs tens of times what the one before it did
        index, begin = hunt.open.nonzero().squeeze(1), hunt.clock()
        try:
            best, least = in_parts(make(module, hunt.network.inputs), hunt.questions, index, hunt.network.numbers)
        except UnsupportedOperator as error:
            why = str(error)
            continue
        except TooMuch as error:
            why, small = str(error), False
            continue
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            why, small = f"not enough memory for {name} bounds", False
            continue
        spent = hunt.clock() - begin
        _held_against_the_network(hunt, index, least, name)
        hunt.open[index] = ~(best > 0)
        used += (name,)
        if bool(hunt.open.any()):
            why = f"{name} bound {float(best.min()):.4g} is not above 0"
    return used, why, small


def _held_against_the_network(hunt: Hunt, index: torch.Tensor, least: torch.Tensor, name: str) -> None:
    """A bound above what the file itself answers somewhere in the box is wrong, whatever the reason.

    Raises:
        Contradiction: it is.
    """
    some = index[hunt.reachable[index]][:8]
    if not len(some):
        return
    middle = (hunt.inside.lower[some].double() + hunt.inside.upper[some].double()) / 2
    x = hunt.inside.point(middle, some)
    y = torch.from_numpy(hunt.network.ask(x.numpy()).astype(np.float64))
    rows, offsets = hunt.questions.rows[some], hunt.questions.offsets[some]
    values = torch.einsum("mrk,mk->mr", rows, y) + offsets
    size = torch.einsum("mrk,mk->mr", rows.abs(), y.abs()) + offsets.abs()
    place = {int(q): i for i, q in enumerate(index.tolist())}
    claimed = least[[place[int(q)] for q in some.tolist()]]
    if bool((claimed > values + 1e-4 * (1 + size)).any()):
        raise Contradiction(
            f"{hunt.network.name}: the {name} bound is above what the network answers. Please report it."
        )


def _searched(hunt: Hunt, proofs: Proofs, used: tuple[str, ...], why: str, notes: tuple[str, ...]) -> Answer:
    """The complete searches, each in its share of the time, then the rest of the time on looking alone."""
    module = hunt.network.module
    assert module is not None
    for way in proofs.complete:
        if hunt.network.inputs > way.inputs or hunt.over():
            continue
        index = hunt.open.nonzero().squeeze(1)
        end = hunt.clock() + way.share * (hunt.end - hunt.clock())
        try:
            found = way.search(
                module, hunt.questions.take(index), _looking(hunt, index), lambda end=end: hunt.clock() >= end
            )
        except UnsupportedOperator as error:
            why = str(error)
            continue
        if found.end == "found":
            return Answer("sat", hunt.found, notes=notes)
        hunt.open[index] = ~found.proven
        used += (f"{way.name}, {found.boxes} boxes",)
        if not bool(hunt.open.any()):
            return Answer("unsat", notes=notes, proven_by=used)
        reason = "the margin is within rounding, or memory is full" if found.end == "stuck" else "out of time"
        why = f"{reason}: {found.open} of {found.boxes} boxes of {way.name} are open, the worst bound is {found.worst:.4g}"
    return _hunted(hunt, why, notes)


def _looking(hunt: Hunt, index: torch.Tensor) -> Look:
    """Looks at all points that a search of the questions `index` shows, and walks on from some of them now and then."""
    looks = 0

    def look(points: torch.Tensor, owner: torch.Tensor) -> bool:
        nonlocal looks
        looks += 1
        mine = index[owner]
        free = hunt.reachable[mine]
        if hunt.look(points[free], mine[free]):
            return True
        return looks % 8 == 0 and hunt.walk_from(points[free][:32], mine[free][:32], 10)

    return look


def _hunted(hunt: Hunt, why: str, notes: tuple[str, ...]) -> Answer:
    """Nothing is left but to search until the time is up."""
    while not hunt.over() and bool(hunt.reachable.any()):
        if hunt.descend(128, 100):
            return Answer("sat", hunt.found, notes=notes)
    return Answer("unknown", why=why, notes=notes)
