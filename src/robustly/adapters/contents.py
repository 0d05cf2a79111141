"""A hash of a Python value by what it holds: the same in another process, another where anything in it differs.

Of libraries only names are in it. A function of the user's is its compiled code, defaults, closure and the globals it
names; an object is what pickling would keep of it, and the code of its class.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DEEPEST = 100  # values within values; Python's own stack ends at about three times that
ADDRESSES = ("_stop_words_id",)  # attributes that hold a memory address, which is another in every process
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
_CODED = (FunctionType, staticmethod, classmethod)


def content_digest(value: Any, of_module: Callable[[nn.Module], str]) -> tuple[str, tuple[str, ...]]:
    """Sha256 (hex) of a value, and the types of what in it can't be hashed. `of_module` is the hash of a network."""
    hasher = _Hasher(of_module)
    return hasher.of(value).hex(), tuple(hasher.missed)


def tensor_parts(value: Tensor) -> Iterator[bytes]:
    """Dtype, shape and content of a tensor on any device, of any layout."""
    value = value.detach()
    yield f"{value.dtype}{tuple(value.shape)}\n".encode()
    if value.is_quantized:
        yield f"{value.qscheme()}".encode()
        value = value.int_repr()
    value = value.to_dense() if value.layout is not torch.strided else value
    yield value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@functools.cache
def of_library(module: str) -> bool:
    """Is a module of this name installed, and not the user's own?"""
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return top in sys.stdlib_module_names or top == "robustly" or "site-packages" in file or "dist-packages" in file


def is_bound(function: BuiltinFunctionType) -> bool:
    """Is it a method of an object, such as tensor.matmul, and no plain function?"""
    return function.__self__ is not None and not isinstance(function.__self__, (ModuleType, type))


class _Hasher:
    """Hashes with a memory: what was met is not hashed again, and a cycle says how far back it leads."""

    def __init__(self, of_module: Callable[[nn.Module], str]) -> None:
        self.of_module = of_module
        self.known: dict[int, tuple[Any, bytes]] = {}  # with the value, so that no other gets its id
        self.open: list[int] = []
        self.missed: dict[str, None] = {}

    def of(self, value: Any) -> bytes:
        if type(value) in _PLAIN:
            return _joined((type(value).__name__.encode(), repr(value).encode("utf-8", "surrogatepass")))
        if id(value) in self.known:
            return self.known[id(value)][1]
        if id(value) in self.open:
            return _joined((b"cycle", str(len(self.open) - self.open.index(id(value))).encode()))
        self.open.append(id(value))
        try:
            found = self._content(value)
        finally:
            self.open.pop()
        self.known[id(value)] = value, found
        return found

    def _content(self, value: Any) -> bytes:
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        try:
            if len(self.open) > DEEPEST:
                raise RecursionError
            return _joined((kind.encode(), *self._parts(value)))
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception:  # a lock, a file, a session: each type refuses in its own way
            self.missed[kind] = None
            return _joined((b"missed", kind.encode()))

    def _parts(self, value: Any) -> Iterable[bytes]:
        match value:
            case nn.Module():
                return (self.of_module(value).encode(),)
            case Tensor():
                return tensor_parts(value)
            case np.ndarray() if not value.dtype.hasobject:
                return (value.dtype.str.encode(), str(value.shape).encode(), value.tobytes())
            case np.ndarray():
                return self._each((value.shape, value.ravel().tolist()))
            case FunctionType():
                return self._each(_of_function(value))
            case MethodType():
                return self._each((value.__func__, value.__self__))
            case BuiltinFunctionType():
                return self._each((value.__qualname__, value.__self__ if is_bound(value) else None))
            case functools.partial():
                return self._each((value.func, value.args, value.keywords))
            case CodeType():
                return self._each(_of_code(value))
            case ModuleType():
                return (value.__name__.encode(),)
            case type():
                return self._each(_of_class(value))
            case staticmethod() | classmethod():
                return self._each((value.__func__,))
            case property():
                return self._each((value.fget,))
            case functools.cached_property():
                return self._each((value.func,))
        if type(value) in (list, tuple):
            return self._each(value)
        if type(value) in (dict, MappingProxyType):
            return sorted(self.of(key) + self.of(held) for key, held in value.items() if key not in ADDRESSES)
        if type(value) in (set, frozenset):
            return sorted(self._each(value))
        return self._each((*_kept(value), getattr(value, "__wrapped__", None)))

    def _each(self, values: Iterable[Any]) -> Iterator[bytes]:
        return (self.of(value) for value in values)


def _joined(parts: Iterable[bytes]) -> bytes:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.digest()


def _of_function(function: FunctionType) -> tuple[Any, ...]:
    cells = [_inside(cell) for cell in function.__closure__ or ()]
    carried = (cells, function.__defaults__, function.__kwdefaults__)
    home = str(function.__globals__.get("__name__"))
    if of_library(home):  # told by its code, as a decorator's own name is that of what it decorates
        return (home, function.__code__.co_qualname, *carried)
    own = {name: held for name, held in vars(function).items() if name != "__wrapped__"}
    return (function.__code__, _named(function), own, *carried)


def _inside(cell: Any) -> Any:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not filled yet
        return ()


def _of_code(code: CodeType) -> tuple[Any, ...]:
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return (code.co_code, code.co_exceptiontable, code.co_consts, code.co_names, code.co_freevars, shape)


def _named(function: FunctionType) -> dict[str, Any]:
    """The globals that a function names, and what it names of the user's own modules (helpers.net), wherever it has them."""
    found: dict[str, Any] = {}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    modules = {name: held for name, cell in cells for held in _inside(cell) if isinstance(held, ModuleType)}
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop()
        waiting += [held for held in code.co_consts if isinstance(held, CodeType)]
        loads = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        reached = {name: function.__globals__[name] for name in sorted(loads & function.__globals__.keys())} | modules
        entered: set[str] = set()
        while reached:
            path, value = reached.popitem()
            found[path] = value
            if isinstance(value, ModuleType) and not of_library(value.__name__) and value.__name__ not in entered:
                entered.add(value.__name__)
                reached |= {f"{path}.{name}": vars(value)[name] for name in code.co_names if name in vars(value)}
    return found


def _of_class(kind: type) -> tuple[Any, ...]:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if of_library(kind.__module__):
        return (name,)
    held = {
        key: value
        for key, value in vars(kind).items()
        if not key.startswith("_abc_") and (not key.startswith("__") or isinstance(value, _CODED))
    }
    return (kind.__qualname__, kind.__bases__, held)


def _kept(value: Any) -> tuple[Any, ...]:
    """What pickling would keep of an object."""
    reducer = copyreg.dispatch_table.get(type(value))
    kept = reducer(value) if reducer else value.__reduce_ex__(4)
    if isinstance(kept, str):
        return (kept,)
    return tuple(list(part) if isinstance(part, Iterator) else part for part in kept)
