"""Plain arguments of a factory, held to what it says they are: a count for an `int`, a number for a `float`.

Checked once, where something is made, so that no factory has to and none can forget to.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, get_args

from robustly.core.errors import UsageError

NOUNS = {
    int: "a whole number such as 20",
    float: "a number such as 0.1",
    bool: "True or False",
    str: "a text",
    type(None): "None",
}


def checked(maker: str, signature: inspect.Signature, values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, whole and real numbers of other libraries made Python's own.

    Raises:
        UsageError: a value is not what the signature's annotation says, or is a factory that wasn't called; names the
            maker, the argument, the value and what to write.
    """
    out = {}
    for name, value in values.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            out[name] = tuple(_fit(maker, name, parameter, one) for one in value)
        else:
            out[name] = _fit(maker, name, parameter, value)
    return out


def _fit(maker: str, name: str, parameter: inspect.Parameter, value: Any) -> Any:
    if hasattr(value, "__wrapped__") and not hasattr(value, "spec") and inspect.isfunction(value):
        raise UsageError(f"{name} of {maker} is what {value.__name__} makes: write {value.__name__}().")
    kinds = plain(parameter.annotation)
    if kinds:
        return _as_one_of(maker, name, kinds, value)
    default = parameter.default
    wants_function = _named(parameter.annotation) == "Attack" or (
        callable(default) and default is not inspect.Parameter.empty
    )
    if wants_function and not callable(value):
        such = (
            "an attack such as pgd()"
            if default is inspect.Parameter.empty
            else f"a function such as {_called(default)}"
        )
        raise UsageError(f"{name} of {maker} must be {such}, got {value!r}.")
    return value


def plain(annotation: Any) -> tuple[type, ...]:
    """The plain types an annotation allows, as in `int | None`; none where it names any other."""
    if isinstance(annotation, str):
        parts: list[Any] = [part.strip() for part in annotation.split("|")]
    else:
        parts = list(get_args(annotation)) if isinstance(annotation, types.UnionType) else [annotation]
    known = {("None" if kind is type(None) else kind.__name__): kind for kind in NOUNS}
    found = [known.get(part) if isinstance(part, str) else part if part in NOUNS else None for part in parts]
    return tuple(kind for kind in found if kind is not None) if all(found) else ()


def _as_one_of(maker: str, name: str, kinds: tuple[type, ...], value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Real):
        if any(isinstance(value, kind) for kind in kinds if kind is bool or not isinstance(value, bool)):
            return value
    elif int in kinds and isinstance(value, Integral):
        return int(value)
    elif float in kinds and not math.isnan(value):
        return int(value) if isinstance(value, Integral) else float(value)
    wanted = " or ".join(NOUNS[kind] for kind in kinds)
    raise UsageError(f"{name} of {maker} must be {wanted}, got {value!r}.{_remedy(maker, name, kinds, value)}")


def _remedy(maker: str, name: str, kinds: tuple[type, ...], value: Any) -> str:
    """A call that would do, where one can be told from the value."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return ""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        return ""
    if float in kinds:
        return f" Write {maker}({name}={float(value):g})."
    return f" Write {maker}({name}={round(float(value))})." if int in kinds else ""


def _named(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")


def _called(default: Callable[..., Any]) -> str:
    return getattr(getattr(default, "spec", None), "name", getattr(default, "__name__", "a loss"))
