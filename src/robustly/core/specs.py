"""Specs: the name and arguments of every attack, certifier, loss and start, captured when it is made.

A factory decorated with `@spec("attack", ...)` returns an object that knows how it was made, so that the registry, the
command line, plan files, records and replay all come from the one definition.
"""

from __future__ import annotations

import functools
import inspect
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from robustly.core.arguments import checked
from robustly.core.errors import UsageError, nearest

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """A registered factory: its kind ("attack", "certifier", "loss", "start"), name, paper and docstring."""

    kind: str
    name: str
    make: Callable[..., Any]
    paper: str = ""
    needs: str = "gradients"
    sets: tuple[str, ...] = ("Smooth",)
    elsewhere: bool = False

    @property
    def summary(self) -> str:
        """The first line of the factory's docstring."""
        return (inspect.getdoc(self.make) or "").split("\n")[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameter names and their defaults."""
        return {k: p.default for k, p in inspect.signature(self.make).parameters.items()}


@dataclass(frozen=True)
class Spec:
    """What was made and with which arguments; `build()` makes it again."""

    kind: str
    name: str
    args: tuple[tuple[str, Any], ...]

    def build(self) -> Any:
        """Make the object again; nested specs are built first."""
        make = lookup(self.kind, self.name).make
        several = {k for k, p in inspect.signature(make).parameters.items() if p.kind is p.VAR_POSITIONAL}
        values = {k: _built(v) for k, v in self.args}
        listed = [v for k in several for v in values.pop(k)]
        return make(*listed, **values)

    def leaves(self) -> list[Spec]:
        """The specs of this kind that it is finally made of: itself, or what its arguments hold."""
        if lookup(self.kind, self.name).elsewhere:
            return [self]
        inner = [v for _, value in self.args for v in (value if isinstance(value, tuple) else (value,))]
        inner = [leaf for v in inner if isinstance(v, Spec) and v.kind == self.kind for leaf in v.leaves()]
        return inner or [self]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={_shown(v)}' for k, v in self.args)})"


_registry: dict[tuple[str, str], Entry] = {}


def spec(
    kind: str,
    name: str | None = None,
    paper: str = "",
    needs: str = "gradients",
    sets: tuple[str, ...] = ("Smooth",),
    elsewhere: bool = False,
) -> Callable[[F], F]:
    """Register a factory; what it makes carries `.spec`.

    needs: the least access an attack works with. sets: the class names of the perturbation sets it can walk in. elsewhere:
    the attacks it is made of ask another model, so that their needs are not its own.
    """

    def decorate(make: F) -> F:
        known = name or make.__name__
        signature = inspect.signature(make)

        @functools.wraps(make)
        def factory(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            bound.arguments.update(checked(known, signature, bound.arguments))
            made = make(*bound.args, **bound.kwargs)
            made.spec = Spec(kind, known, tuple((k, _recorded(v)) for k, v in bound.arguments.items()))
            return made

        _registry[kind, known] = Entry(kind, known, factory, paper, needs, sets, elsewhere)
        return factory  # type: ignore[return-value]

    return decorate


def register(kind: str, name: str | None = None, paper: str = "") -> Callable[[F], F]:
    """Register a plain function (a loss, a start) that takes no arguments to be made."""

    def decorate(function: F) -> F:
        known = name or function.__name__

        def make() -> F:
            return function

        make.__doc__ = function.__doc__
        _registry[kind, known] = Entry(kind, known, make, paper)
        function.spec = Spec(kind, known, ())  # type: ignore[attr-defined]
        return function

    return decorate


def lookup(kind: str, name: str) -> Entry:
    """The entry of that kind and name.

    Raises:
        UsageError: unknown name; the message has the nearest known one.
    """
    _load()
    try:
        return _registry[kind, name]
    except KeyError:
        raise UsageError(f'unknown {kind} "{name}".{nearest(name, [e.name for e in entries(kind)])}') from None


def entries(kind: str) -> list[Entry]:
    """All entries of a kind, by name."""
    _load()
    return sorted((e for (k, _), e in _registry.items() if k == kind), key=lambda e: e.name)


def build(kind: str, name: str, arguments: Mapping[str, Any]) -> Any:
    """Make an object from plain values (a plan file, the command line).

    A string given for a registered object (loss="margin", inner="pgd") is looked up by that object's kind.

    Raises:
        UsageError: unknown name or argument, with the nearest known one.
    """
    entry = lookup(kind, name)
    known, parameters = entry.parameters, inspect.signature(entry.make).parameters
    values, listed = {}, []
    for key, value in arguments.items():
        if key not in known:
            raise UsageError(f'{kind} "{name}" has no argument "{key}".{nearest(key, known)}')
        if parameters[key].kind is inspect.Parameter.VAR_POSITIONAL:
            listed = _several(value, f"{key} of {name}")
            continue
        inner = getattr(known[key], "spec", None)
        if isinstance(value, str) and isinstance(inner, Spec):
            value = build(inner.kind, value, {})
        elif isinstance(value, str) and parameters[key].annotation == "Attack":
            value = build("attack", value, {})
        elif isinstance(value, Mapping):
            value = from_table(value, f'argument "{key}" of {name}')
        elif isinstance(value, list):
            value = [from_table(v, f'"{key}" of {name}') if isinstance(v, Mapping) else v for v in value]
        values[key] = value
    missing = [k for k, default in known.items() if default is inspect.Parameter.empty and k not in arguments]
    if missing:
        raise UsageError(f'{kind} "{name}" needs the argument "{missing[0]}".')
    return entry.make(*listed, **values)


def from_table(table: Mapping[str, Any], what: str) -> Any:
    """Make an object from a table such as {attack = "apgd", steps = 100}.

    Raises:
        UsageError: no key says what it is, or as `build`.
    """  # an attack has a loss and a start too, so the first kind found is what the table is about
    kinds = [kind for kind in ("attack", "certifier", "loss", "start", "view", "transform") if kind in table]
    if not kinds:
        raise UsageError(f'{what} must name one thing, say attack = "pgd"; its keys are {", ".join(sorted(table))}.')
    return build(kinds[0], str(table[kinds[0]]), {k: v for k, v in table.items() if k != kinds[0]})


def _several(values: Any, what: str) -> list[Any]:
    """Attacks of their names or their tables."""
    if not isinstance(values, (list, tuple)):
        raise UsageError(f'{what} are a list, say ["pgd", {{attack = "apgd", steps = 20}}]; got {values!r}.')
    return [
        build("attack", v, {}) if isinstance(v, str) else from_table(v, what) if isinstance(v, Mapping) else v
        for v in values
    ]


def _recorded(value: Any) -> Any:
    """A value as it stands in a record: nested objects by their own spec, plain values as they are."""
    if isinstance(getattr(value, "spec", None), Spec):
        return value.spec
    if isinstance(value, (list, tuple)):
        return tuple(_recorded(v) for v in value)
    if hasattr(value, "digest") and hasattr(value, "name"):  # a model: named by its weights
        return f"{value.name}#{value.digest[:12]}"
    if hasattr(value, "untyped_storage"):  # a tensor, say of other examples: named by its content
        content = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes())
        return f"tensor{tuple(value.shape)}#{content:08x}"
    if callable(value):  # named by its code, since an address would be another in every process
        code = getattr(value, "__code__", None)
        mark = zlib.crc32(code.co_code + repr(code.co_names).encode()) if code else 0
        return f"{value.__module__}.{value.__qualname__}#{mark:08x}"
    return value


def _built(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.build()
    if isinstance(value, tuple):
        return tuple(_built(v) for v in value)
    return value


def _shown(value: Any) -> str:
    if isinstance(value, Spec):
        return str(value) if value.args else value.name
    if isinstance(value, tuple):
        return "[" + ", ".join(_shown(v) for v in value) + "]"
    return json.dumps(value) if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _load() -> None:
    """Import the rooms whose files register something, so that a look-up never depends on what was imported before."""
    import importlib

    for room in ("robustly.losses", "robustly.steps", "robustly.attacks", "robustly.certify"):
        importlib.import_module(room)
