"""VNN-LIB 1.0 to a `Property`: input boxes, linear constraints on outputs, and / or / not over both.

The standard: Guidotti, Demarchi, Tacchella, Pulina 2023, "The Verification of Neural Networks Library", and what the
verification competition wrote in it since: `or` over several input boxes, files packed with gzip. Inputs are X_0, X_1, ...,
outputs Y_0, Y_1, ...; the assertions together say what a counterexample is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from robustly.adapters.packed import read_packed
from robustly.core.errors import UsageError
from robustly.verifying.forms import Form, Part, Text
from robustly.verifying.properties import Polyhedron, Property, Region, Row

MOST = 200_000
"""Cases that a property may have when its `or`s are multiplied out."""
FEW = 256
"""Cases up to which an `or` over outputs is multiplied out; beyond, it is kept beside the others."""
LARGEST = 400
"""Most that the decimal exponent of a number may be: no float64 is beyond."""

_NAME = re.compile(r"([XY])_(\d+)\Z")
_IGNORED = {"set-logic", "set-info", "set-option", "check-sat", "get-model", "exit"}
_COMPARED = {"<=": (1, False), "<": (1, True), ">=": (-1, False), ">": (-1, True)}


class Linear(NamedTuple):
    """A linear term: a coefficient for each name, and a constant."""

    terms: dict[tuple[str, int], Fraction]
    constant: Fraction


class Case(NamedTuple):
    """A conjunction: bounds of some inputs with where they are written, rows of outputs, and lists of which one each must hold."""

    lower: dict[int, tuple[Fraction, int]]
    upper: dict[int, tuple[Fraction, int]]
    rows: Polyhedron
    also: tuple[tuple[Polyhedron, ...], ...] = ()


def read_vnnlib(path: Path) -> Property:
    """The property in a file, .vnnlib or .vnnlib.gz.

    Raises:
        UsageError: as `parse_vnnlib`; no such file.
    """
    try:
        text = read_packed(path, "property").decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text. A property is a VNN-LIB file (.vnnlib, or packed .vnnlib.gz).") from None
    return parse_vnnlib(text, str(path))


def parse_vnnlib(text: str, name: str = "property") -> Property:
    """The property in a text.

    Raises:
        UsageError: with the line and what to write instead: a syntax error, a name that is not declared, an input that
            isn't real or has no bound, a term that isn't linear, a constraint between inputs, too many cases.
    """
    return _Reader(Text(text, name)).read()


class _Reader:
    def __init__(self, text: Text) -> None:
        self.text = text
        self.declared: dict[str, dict[int, int]] = {"X": {}, "Y": {}}

    def read(self) -> Property:
        cases = [Case({}, {}, ())]
        for form in self.text.forms():
            word = form.word
            if word in ("declare-const", "declare-fun"):
                self.declare(form)
            elif word == "assert":
                if len(form) != 2:
                    raise self.text.wrong(form.at, "assert takes one condition: (assert (<= X_0 1.0)).")
                cases = self.joined(cases, self.cases(form[1], form.at, True), form.at)
            elif word.startswith(("vnnlib-version", "declare-network", "declare-input", "declare-output")):
                raise self.text.wrong(form.at, "this is VNN-LIB 2.0, and only 1.0 is read here: declare X_0, Y_0, ...")
            elif word not in _IGNORED:
                raise self.text.wrong(form.at, f'unknown command "{word}". Write declare-const or assert.')
        inputs, outputs = self.count("X"), self.count("Y")
        return self.property(cases, inputs, outputs)

    def declare(self, form: Form) -> None:
        wanted = "(declare-const X_0 Real)"
        parts = [p for p in form[1:] if p != []]
        if len(parts) != 2 or not all(isinstance(p, str) for p in parts):
            raise self.text.wrong(form.at, f"a declaration looks like {wanted}.")
        name, kind = str(parts[0]), str(parts[1])
        found = _NAME.match(name)
        if not found:
            raise self.text.wrong(
                form.at, f'"{name}" is no input or output: they are called X_0, X_1, ... and Y_0, ...'
            )
        if kind != "Real":
            what = "integer inputs and outputs have" if kind == "Int" else f"the type {kind} has"
            raise self.text.wrong(form.at, f"{name} is declared {kind}; {what} no bounds here. Write {wanted}.")
        room, index = self.declared[found[1]], int(found[2])
        if index in room:
            raise self.text.wrong(form.at, f"{name} is declared twice.")
        room[index] = form.at

    def count(self, letter: str) -> int:
        room = self.declared[letter]
        what = "input" if letter == "X" else "output"
        if not room:
            raise UsageError(f"{self.text.name} declares no {what}. Write (declare-const {letter}_0 Real).")
        last = max(room)
        missing = next((i for i in range(last) if i not in room), None)
        if missing is not None:
            raise self.text.wrong(room[last], f"{letter}_{last} is declared, but {letter}_{missing} is not.")
        return last + 1

    def cases(self, form: Part, at: int, sense: bool) -> list[Case]:
        """The disjunction that a condition is (its negation, where sense is False)."""
        if isinstance(form, str):
            if form in ("true", "false"):
                return [Case({}, {}, ())] if (form == "true") == sense else []
            raise self.text.wrong(at, f'"{form}" is no condition. Write one such as (<= Y_0 Y_1).')
        word = form.word
        if word == "not":
            if len(form) != 2:
                raise self.text.wrong(form.at, "not takes one condition.")
            return self.cases(form[1], form.at, not sense)
        if word in ("and", "or"):
            parts = (self.cases(part, form.at, sense) for part in form[1:])
            if (word == "and") == sense:
                out = [Case({}, {}, ())]
                for part in parts:
                    out = self.joined(out, part, form.at)
                return out
            return [case for part in parts for case in part]
        if word in _COMPARED:
            sign, strict = _COMPARED[word]
            if not sense:  # not (a <= b) is a > b
                sign, strict = -sign, not strict
            return self.compared(form, sign, strict)
        if word == "=":
            if sense:
                return self.joined(self.compared(form, 1, False), self.compared(form, -1, False), form.at)
            return [*self.compared(form, 1, True), *self.compared(form, -1, True)]
        raise self.text.wrong(
            form.at, f'unknown condition "{word}". Conditions are made of <=, >=, <, >, =, and, or, not.'
        )

    def compared(self, form: Form, sign: int, strict: bool) -> list[Case]:
        """sign * (left - right) <= 0 as a case, or what it comes to where nothing is unknown in it."""
        if len(form) != 3:
            raise self.text.wrong(form.at, f"{form[0]} takes two terms: ({form[0]} Y_0 Y_1).")
        left, right = self.linear(form[1], form.at), self.linear(form[2], form.at)
        terms = dict(left.terms)
        for name, c in right.terms.items():
            terms[name] = terms.get(name, Fraction(0)) - c
        terms = {name: sign * c for name, c in terms.items() if c}
        most = sign * (right.constant - left.constant)  # sum of terms <= most
        letters = {letter for letter, _ in terms}
        if not terms:
            return [Case({}, {}, ())] if (most > 0 if strict else most >= 0) else []
        if letters == {"Y"}:
            return [Case({}, {}, (Row(tuple(sorted((k, c) for (_, k), c in terms.items())), most, strict),))]
        if letters != {"X"} or len(terms) > 1:
            raise self.text.wrong(
                form.at, "a constraint between several inputs, or of inputs and outputs, is not read here: only bounds of single "
                "inputs, such as (<= X_0 1.0), and linear constraints on outputs are."
            )  # fmt: skip
        if strict:
            raise self.text.wrong(form.at, "a bound of an input must include its end: write <= or >=.")
        ((_, k), c) = next(iter(terms.items()))
        value = (most / c, form.at)
        return [Case({}, {k: value}, ())] if c > 0 else [Case({k: value}, {}, ())]

    def linear(self, form: Part, at: int) -> Linear:
        if isinstance(form, str):
            return self.word(form, at)
        word = form.word
        if word not in ("+", "-", "*", "/") or len(form) < 2:
            raise self.text.wrong(form.at, f'"{word}" is no term: terms are made of numbers, names, +, -, * and /.')
        first, *rest = [self.linear(part, form.at) for part in form[1:]]
        if word == "-" and not rest:
            return _scaled(first, Fraction(-1))
        for other in rest:
            if word in "+-":
                first = _sum(first, _scaled(other, Fraction(1 if word == "+" else -1)))
            elif word == "*" and not (first.terms and other.terms):
                first = _scaled(other, first.constant) if other.terms else _scaled(first, other.constant)
            elif word == "/" and not other.terms and other.constant:
                first = _scaled(first, 1 / other.constant)
            else:
                raise self.text.wrong(form.at, "this is not linear: only constants may multiply or divide a name.")
        return first

    def word(self, word: str, at: int) -> Linear:
        found = _NAME.match(word)
        if found:
            room = self.declared[found[1]]
            if int(found[2]) not in room:
                what = "input" if found[1] == "X" else "output"
                known = f"{found[1]}_0 to {found[1]}_{max(room)}" if room else f"no {what}s"
                raise self.text.wrong(at, f"there is no {what} {word}: declared are {known}.")
            return Linear({(found[1], int(found[2])): Fraction(1)}, Fraction(0))
        try:
            number = Decimal(word)
        except InvalidOperation:
            raise self.text.wrong(at, f'"{word}" is neither a number nor a name such as X_0 or Y_0.') from None
        if not number.is_finite() or (number and abs(number.adjusted()) > LARGEST):
            raise self.text.wrong(at, f"{word} is not a finite number of ordinary size.")
        return Linear({}, Fraction(number))

    def joined(self, left: list[Case], right: list[Case], at: int) -> list[Case]:
        """Both conditions at once."""
        if len(left) > 1 or len(right) > 1:
            for kept, beside in ((left, right), (right, left)):
                many = min(len(left), len(right)) > 1 and len(left) * len(right) > FEW
                if not many and not (len(beside) > 1 and any(case.also for case in kept)):
                    continue
                if not any(case.lower or case.upper or case.also for case in beside):
                    clause = tuple(dict.fromkeys(case.rows for case in beside))
                    return [case._replace(also=(*case.also, clause)) for case in _as_one(kept)]
        if len(left) * len(right) > MOST:
            raise self.text.wrong(at, f"more than {MOST} cases when the or's are multiplied out. Split the property.")
        if len(left) == len(right) == 1 and not (right[0].lower and right[0].upper):  # the long list of plain bounds
            case, new = left[0], right[0]
            for room, more, keep in ((case.lower, new.lower, max), (case.upper, new.upper, min)):
                for k, value in more.items():
                    room[k] = keep(room[k], value) if k in room else value
            return [Case(case.lower, case.upper, case.rows + new.rows, case.also + new.also)]
        return [_both(a, b) for a in left for b in right]

    def property(self, cases: list[Case], inputs: int, outputs: int) -> Property:
        grouped: dict[tuple[int, int], list[Case]] = {}
        for case in cases:  # cases of one box share its bounds, see `_both`
            grouped.setdefault((id(case.lower), id(case.upper)), []).append(case)
        notes, regions = [], []
        for same in grouped.values():
            lower, upper = (tuple(self.ends(r, inputs, w)) for r, w in ((same[0].lower, ">="), (same[0].upper, "<=")))
            plain = tuple(dict.fromkeys(case.rows for case in same if not case.also))
            found = [Region(lower, upper, plain)] if plain else []
            found += [Region(lower, upper, *_clauses(case)) for case in same if case.also]
            if (k := found[0].empty) is not None:
                notes.append(self.emptiness(cases, k))
            else:
                regions += found
        if not cases:
            notes.append("the assertions contradict each other whatever the network answers")
        return Property(inputs, outputs, tuple(regions), tuple(dict.fromkeys(notes)))

    def ends(self, room: dict[int, tuple[Fraction, int]], inputs: int, word: str) -> Iterator[Fraction]:
        for k in range(inputs):
            if k not in room:
                side = "lower" if word == ">=" else "upper"
                raise self.text.wrong(
                    self.declared["X"][k],
                    f"the input X_{k} has no {side} bound. Write (assert ({word} X_{k} 0.0)) or so.",
                )
            yield room[k][0]

    def emptiness(self, cases: list[Case], k: int) -> str:
        """Which input has no room, and where that is written."""
        for case in cases:
            (low, here), (high, there) = case.lower[k], case.upper[k]
            if low > high:
                lines = sorted({self.text.text.count("\n", 0, at) + 1 for at in (here, there)})
                told = " and ".join(map(str, lines))
                return (
                    f"an input box is empty: X_{k} is at least {float(low):g} and at most {float(high):g} (line {told})"
                )
        raise AssertionError("a box is empty only if one of its cases is")


def _clauses(case: Case) -> tuple[tuple[Polyhedron, ...], tuple[tuple[Polyhedron, ...], ...]]:
    """The lists of a case, the first apart, each with the rows that must hold whatever is chosen."""
    first, *rest = (tuple(case.rows + rows for rows in clause) for clause in case.also)
    return first, tuple(rest)


def _as_one(cases: list[Case]) -> list[Case]:
    """Cases that differ in their rows alone as one with a list, where that says the same."""
    same = all(c.lower == cases[0].lower and c.upper == cases[0].upper for c in cases)
    if len(cases) == 1 or not same or any(case.also for case in cases):
        return cases
    clause = tuple(dict.fromkeys(case.rows for case in cases))
    return [Case(cases[0].lower, cases[0].upper, (), (clause,))]


def _both(a: Case, b: Case) -> Case:
    """Both at once; bounds that one of them leaves alone stay the very same object."""
    return Case(_tighter(a.lower, b.lower, max), _tighter(a.upper, b.upper, min), a.rows + b.rows, a.also + b.also)


def _tighter(
    a: dict[int, tuple[Fraction, int]],
    b: dict[int, tuple[Fraction, int]],
    keep: Callable[[tuple[Fraction, int], tuple[Fraction, int]], tuple[Fraction, int]],
) -> dict[int, tuple[Fraction, int]]:
    if not a or not b:
        return a or b
    return {**a, **{k: keep(a[k], value) if k in a else value for k, value in b.items()}}


def _sum(a: Linear, b: Linear) -> Linear:
    terms = dict(a.terms)
    for name, c in b.terms.items():
        terms[name] = terms.get(name, Fraction(0)) + c
    return Linear({name: c for name, c in terms.items() if c}, a.constant + b.constant)


def _scaled(a: Linear, by: Fraction) -> Linear:
    return Linear({name: c * by for name, c in a.terms.items()} if by else {}, a.constant * by)
