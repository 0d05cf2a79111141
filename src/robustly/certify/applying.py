"""How the operations of a trace are gone through, whatever stands for a value: rules where it depends on the input, the model's own
arithmetic on constants."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fx.node import Node, map_arg

from robustly.certify.enclosures.pointwise import Refused
from robustly.certify.trace import Operation
from robustly.certify.types import UnsupportedOperator

Rules: TypeAlias = Mapping[str, Callable[..., Any]]
"""One rule an operation, called with the arguments of torch's own function."""


def rules(room: ModuleType, names: str) -> dict[str, Callable[..., Any]]:
    """The functions of a module by their names."""
    return {name: getattr(room, name) for name in names.split()}


_PLAIN = {"getattr", "getitem", "size", "dim", "floordiv", "expand", "t"}
"""Rules that are right for constants and sizes too."""

_ON_TENSORS: Rules = {
    **rules(torch, "add sub mul div neg reshape flatten permute squeeze unsqueeze transpose"),  # type: ignore[arg-type]
    "view": Tensor.view,
    "contiguous": Tensor.contiguous,
}
"""Operations on constants alone, computed as the model computes them. Anything else on constants is refused."""

_ON_NUMBERS: Rules = {**rules(operator, "add sub mul neg"), "div": operator.truediv}
"""Operations on sizes."""


def walked(operations: tuple[Operation, ...], value: Any, step: Callable[[Operation, Any, Any], Any]) -> Any:
    """What stands for the output of a trace, None where it answers with no value. value: what stands for the input. step: makes
    the value of an operation from it, its arguments and its named arguments, where earlier values are put in."""
    values: dict[Node, Any] = {}
    for operation in operations[:-1]:
        if operation.name == "input":
            values[operation.node] = value
        elif operation.name == "constant":
            values[operation.node] = operation.args[0]
        else:
            args, kwargs = (map_arg(a, values.__getitem__) for a in (operation.args, operation.kwargs))
            values[operation.node] = step(operation, args, kwargs)
    result = operations[-1].args[0]
    return values.get(result) if isinstance(result, Node) else None


def applied(operation: Operation, args: Any, kwargs: Any, kind: type, known: Rules) -> Any:
    """The `known` rule of an operation on values of a kind, or on constants alone what the model computes.

    Raises:
        UnsupportedOperator: no rule for it, or none for its arguments.
    """
    name, leaves = operation.name, _leaves((args, kwargs))
    if any(isinstance(a, kind) for a in leaves) or name in _PLAIN:
        rule = known.get(name)
    elif any(isinstance(a, Tensor) for a in leaves):
        rule = _ON_TENSORS.get(name)
    else:
        rule = _ON_NUMBERS.get(name)
    if rule is None:
        raise UnsupportedOperator(name, operation.where)
    try:
        return rule(*args, **kwargs)
    except Refused as error:
        raise UnsupportedOperator(name, operation.where, str(error)) from None
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        said = f"its arguments ({(str(error) or type(error).__name__).splitlines()[0]})"
        raise UnsupportedOperator(name, operation.where, said) from error


def plain(f: Callable[..., Any], kind: type) -> Callable[..., Any]:
    """A rule that takes constants and sizes only, never a value of that kind, which depends on the input."""

    def rule(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(a, kind) for a in (*args, *kwargs.values())):
            raise Refused("there is no rule for it on values that depend on the input")
        return f(*args, **kwargs)

    return rule


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return _leaves(list(value.values()))
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]
