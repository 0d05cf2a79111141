"""Operators that exporters write out in parts, put together again: GELU, which has an operator of its own only since set 20, and
products of turned rows with a matrix on the left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor


class Whole(NamedTuple):
    """A node that stands for several; read as a node of the graph is."""

    op_type: str
    input: tuple[str, ...]
    output: tuple[str, ...]
    name: str
    attribute: tuple[Any, ...] = ()
    domain: str = ""


def put_together(nodes: Sequence[Any], constants: Mapping[str, Tensor]) -> list[Any]:
    """The nodes, with x / 2 * (1 + erf(x / sqrt 2)) in any of its orders as one Gelu of x, and (A x^T)^T as x A^T. What it was
    made of stays, and falls away with what nothing needs."""
    made = {name: node for node in nodes for name in node.output}
    users: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    ends: dict[int, Whole] = {}
    for node in nodes:
        found = _gelu(node, made, users, constants) if node.op_type == "Erf" else None
        if found is not None:
            ends[id(found[1])] = Whole("Gelu", (found[0],), tuple(found[1].output), found[1].name or found[1].output[0])
        turned = _product(node, made, constants) if node.op_type == "Transpose" else None
        if turned is not None:
            ends[id(node)] = turned
    return [ends.get(id(node), node) for node in nodes]


def _product(last: Any, made: Mapping[str, Any], constants: Mapping[str, Tensor]) -> Whole | None:
    """(A x^T)^T as a Gemm, which doesn't take rows apart."""
    import onnx

    product = made.get(last.input[0])
    if product is None or product.op_type != "MatMul" or not _swaps(last):
        return None
    matrix, first = constants.get(product.input[0]), made.get(product.input[1])
    if matrix is None or matrix.dim() != 2 or first is None or first.op_type != "Transpose" or not _swaps(first):
        return None
    turned = (onnx.helper.make_attribute("transB", 1),)
    takes = (first.input[0], product.input[0])
    return Whole("Gemm", takes, tuple(last.output), last.name or last.output[0], turned)


def _swaps(node: Any) -> bool:
    """Does a Transpose swap the two axes of a matrix?"""
    return any(a.name == "perm" and list(a.ints) == [1, 0] for a in node.attribute)


def _gelu(
    erf: Any, made: Mapping[str, Any], users: Mapping[str, list[Any]], constants: Mapping[str, Tensor]
) -> tuple[str, Any] | None:
    """The name of x and the last node of the pattern around an Erf."""
    inner = made.get(erf.input[0])
    if inner is None:
        return None
    x = _factor(inner, constants, math.sqrt(2) if inner.op_type == "Div" else math.sqrt(0.5))
    plus = _only(users, erf.output[0])
    if x is None or plus is None or plus.op_type != "Add" or _other(plus, erf.output[0], constants) != 1.0:
        return None
    product = _only(users, plus.output[0])
    if product is None or product.op_type != "Mul":
        return None
    rest = next((name for name in product.input if name != plus.output[0]), "")
    if rest == x:  # x (1 + erf), then halved
        last = _only(users, product.output[0])
        halved = (
            last is not None and _factor(last, constants, 0.5 if last.op_type == "Mul" else 2.0) == product.output[0]
        )
        return (x, last) if halved else None
    half = made.get(rest)
    if half is not None and _factor(half, constants, 0.5 if half.op_type == "Mul" else 2.0) == x:
        return x, product
    halved = _other(product, plus.output[0], constants)  # (1 + erf) / 2, then times x
    last = _only(users, product.output[0]) if halved == 0.5 else None
    return (x, last) if last is not None and last.op_type == "Mul" and x in last.input else None


def _factor(node: Any, constants: Mapping[str, Tensor], number: float) -> str | None:
    """What a node multiplies by a number (or divides by it, for Div), or None where it does something else."""
    if node.op_type not in ("Mul", "Div"):
        return None
    names = list(node.input) if node.op_type == "Div" else sorted(node.input, key=lambda name: name in constants)
    value = constants.get(names[1])
    close = value is not None and value.numel() == 1 and abs(float(value) - number) < 1e-4 * number
    return names[0] if close and names[0] not in constants else None


def _other(node: Any, name: str, constants: Mapping[str, Tensor]) -> float | None:
    """The one constant that a node takes besides `name`."""
    value = next((constants[other] for other in node.input if other != name and other in constants), None)
    return float(value) if value is not None and value.numel() == 1 else None


def _only(users: Mapping[str, list[Any]], name: str) -> Any | None:
    found = users.get(name, [])
    return found[0] if len(found) == 1 else None
