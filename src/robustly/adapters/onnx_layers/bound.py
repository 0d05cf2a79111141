"""What every operator is converted with: layers of some variables and some constants, and readers of a node's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from torch import Tensor, nn

VARIABLE: Final = object()
Args = Sequence[Any]
At = Mapping[str, Any]


class UnsupportedError(Exception):
    """An operator, or a setting of one, that is not converted."""


class Bound(nn.Module):
    """A function some of whose arguments are constants, kept as buffers so that they move with the module."""

    def __init__(self, function: Callable[..., Tensor], args: Args) -> None:
        super().__init__()
        self.function = function
        self.plan: list[str | None] = []
        for place, arg in enumerate(args):
            if isinstance(arg, Tensor):
                self.register_buffer(f"constant{place}", arg)
            self.plan.append(None if arg is VARIABLE else f"constant{place}")

    def forward(self, *variables: Tensor) -> Tensor:
        """The function of the variables, with the constants in their places."""
        left = iter(variables)
        return self.function(*(next(left) if name is None else getattr(self, name, None) for name in self.plan))


def plain(function: Callable[..., Tensor]) -> Callable[[At, Args], nn.Module]:
    """An operator that is one function of its arguments."""
    return lambda at, args: Bound(function, args)


def of_torch(make: Callable[[], nn.Module]) -> Callable[[At, Args], nn.Module]:
    """An operator without settings that torch has as a layer."""
    return lambda at, args: make()


def constant(args: Args, place: int, what: str, default: Any = None) -> Any:
    """A constant argument, or the default where it is left out."""
    if place >= len(args) or args[place] is None:
        return default
    if args[place] is VARIABLE:
        raise UnsupportedError(f"{what} is computed, not constant")
    return args[place]


def setting(at: At, args: Args, name: str, place: int) -> list[int] | None:
    """Integers that older operator sets keep as an attribute and newer ones as an argument."""
    if name in at:
        return list(at[name])
    found = constant(args, place, name)
    return None if found is None else [int(v) for v in found.reshape(-1).tolist()]


def one_or_all(values: Sequence[int]) -> Any:
    """Settings as torch takes them: a number where there is one."""
    return values[0] if len(values) == 1 else tuple(values)


def cut(cuts: tuple[slice, ...]) -> nn.Module:
    """A part of a row."""
    return Bound(lambda x: x[cuts], [VARIABLE])
