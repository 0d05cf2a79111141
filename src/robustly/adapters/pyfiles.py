"""`file.py:function`: run a Python file of the user's and call one function of it."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from robustly.core.errors import RobustlyError, UsageError, nearest

FORM = "model.py:make"


def is_python(source: str) -> bool:
    """Does a model's word name a Python file?"""
    return source.endswith(".py") or ".py:" in source


def made_by(source: str) -> Any:
    """What `function()` of the word "file.py:function" returns.

    Raises:
        UsageError: no such file or function, it needs arguments, or it raised; names the line.
    """
    file, _, function = source.rpartition(":") if ".py:" in source else (source, "", "")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"no file {path}. A model from Python is written file.py:function, say {FORM}.")
    sys.path.insert(0, str(path.parent.resolve()))  # so that the file may import its neighbours, as when run
    try:
        module = _run(path)
        return _call(_find(module, function, path), function, path)
    finally:
        sys.path.remove(str(path.parent.resolve()))


def _run(path: Path) -> ModuleType:
    name = f"robustly_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and torch look classes up by their module's name
    try:
        spec.loader.exec_module(module)
    except RobustlyError:
        raise
    except Exception as error:
        raise UsageError(f"{path} could not be run: {_told(error, path)}") from error
    return module


def _find(module: ModuleType, function: str, path: Path) -> Callable[..., Any]:
    made_here = [k for k, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
    known = [name for name in made_here if not name.startswith("_")]
    if not function:
        raise UsageError(f"say which function of {path} makes the model: {path}:{known[0] if known else 'make'}.")
    found = getattr(module, function, None)
    if found is None:
        raise UsageError(f'{path} has no function "{function}".' + (nearest(function, known) if known else ""))
    if not callable(found):
        raise UsageError(
            f"{function} in {path} is a {type(found).__name__}, not a function. Write one that returns the model."
        )
    return found


def _call(function: Callable[..., Any], name: str, path: Path) -> Any:
    try:
        inspect.signature(function).bind()
    except TypeError:
        raise UsageError(
            f"{name} in {path} needs arguments. Write a function of none that returns the model, "
            f"or name what it returns: def make(): return {name}(...)."
        ) from None
    except ValueError:
        pass  # a callable without a signature: just call it
    try:
        return function()
    except RobustlyError:
        raise
    except Exception as error:
        raise UsageError(f"{name} in {path} raised {_told(error, path)}") from error


def _told(error: Exception, path: Path) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == path.name]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f"{type(error).__name__}: {error}" + (f" (line {line})" if line else "")
