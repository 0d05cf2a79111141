"""A fault put in on purpose: a few words of a function's source replaced while the laws that must notice are held on it."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import pytest

Law = Callable[[], Any]


class DoesNotApply(Exception):  # noqa: N818 - as patch(1) says it
    """The words to replace don't stand in the source exactly once: the mutant must follow the code."""


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in the source of `where`, "module:function" or "module:Class.method".

    fault: what then is wrong, as a sentence. laws: tests, with their arguments, each of which must hold on the code as it
    is and fail on the mutant. fails: how they fail; an assertion or an error that is missing, unless the fault makes the code itself raise.
    """

    fault: str
    where: str
    old: str
    new: str
    laws: tuple[Law, ...]
    fails: type[BaseException] | tuple[type[BaseException], ...] = (AssertionError, pytest.fail.Exception)

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        """Swap the function's code, so that whoever holds the function, under whatever name, runs the mutant.

        Raises:
            DoesNotApply: `old` isn't there, or stands there twice.
        """
        function = found(self.where)
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.old) != 1:
            raise DoesNotApply(f"{self.where} has {source.count(self.old)} times the words {self.old!r}")
        patch.setattr(function, "__code__", _code(function, source.replace(self.old, self.new)))


def found(where: str) -> FunctionType:
    """The plain function behind a name: that of a property, a factory's own."""
    module, _, path = where.partition(":")
    value: Any = importlib.import_module(module)
    for name in path.split("."):
        value = inspect.getattr_static(value, name)
    value = value.fget if isinstance(value, property) else value
    value = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    return inspect.unwrap(value)


def _code(function: FunctionType, source: str) -> Any:
    tree = ast.parse(source)
    made = tree.body[0]
    assert isinstance(made, ast.FunctionDef)
    made.decorator_list = []  # the code inside is swapped, what wraps it stays
    flags = function.__code__.co_flags & importlib.import_module("__future__").annotations.compiler_flag
    scope = dict(function.__globals__)
    exec(compile(tree, f"<mutant of {function.__qualname__}>", "exec", flags=flags, dont_inherit=True), scope)
    return scope[made.name].__code__


def law(test: Callable[..., Any], *given: Any, **named: Any) -> Law:
    """A test with its arguments; `tmp_path` and other fixtures are left for the runner to fill in."""
    return functools.partial(test, *given, **named)
