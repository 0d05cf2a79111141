"""A network with one layer of ReLUs as matrices: rows <c, relu(W x + b)> + <a, x> + d."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from robustly.certify.branching.layout import Layout, kinks
from robustly.certify.linear.backward import backward
from robustly.certify.linear.bounds import Specs
from robustly.certify.linear.enclosure import Enclosure
from robustly.certify.linear.program import Nonlinear, Program
from robustly.certify.linear.relu import RELU
from robustly.certify.linear.rules import Planes
from robustly.certify.types import UnsupportedOperator


@dataclass(frozen=True)
class Layer:
    """n inputs, m ReLUs, R rows for each of Q questions, all float64.

    under, over: lines below and above what float32 computes at every ReLU, ((m, n) slopes, (m,) offsets); the same but for rounding.
    weights (Q, R, m), slopes (Q, R, n), offsets (Q, R): the rows, near enough to search with; no proof rests on these three.
    """

    kinks: Layout
    under: tuple[Tensor, Tensor]
    over: tuple[Tensor, Tensor]
    weights: Tensor
    slopes: Tensor
    offsets: Tensor


def one_layer(program: Program, enclosure: Enclosure, specs: Specs) -> Layer:
    """The matrices of a program with ranges of Q questions' regions, which the rounding in `under` and `over` is for.

    Raises:
        UnsupportedOperator: ReLUs behind ReLUs, another nonlinearity, or none.
    """
    wanted = [(i, program.nodes[i]) for i in sorted(program.ancestors[program.output])]
    curved = [(i, node) for i, node in wanted if isinstance(node, Nonlinear)]
    inner = {a for _, node in curved for s in node.sources for a in program.ancestors[s]}
    for i, node in curved:
        if node.rule is not RELU or i in inner:
            raise UnsupportedOperator(node.rule.name, node.where, "this search is for a single layer of ReLUs")
    layout = kinks(program)
    if not curved or list(layout.shapes) != [i for i, _ in curved]:
        raise UnsupportedOperator("network", "output", "this search is for a single layer of ReLUs")
    most = {k: v.amax(0, keepdim=True) for k, v in enclosure.rounding.items()}
    with torch.no_grad():
        under = [_line(program, most, program.switches[k], 1.0) for k in layout.shapes]
        over = [_line(program, most, program.switches[k], -1.0) for k in layout.shapes]
    return Layer(
        layout,
        (torch.cat([a for a, _ in under]), torch.cat([b for _, b in under])),
        (-torch.cat([a for a, _ in over]), -torch.cat([b for _, b in over])),
        *_rows(program, enclosure, specs, layout),
    )


def _line(program: Program, rounding: dict[int, Tensor], number: int, sign: float) -> tuple[Tensor, Tensor]:
    """A line (k, n), (k,) under `sign` times each number of a node."""
    shape = program.nodes[number].shape
    size = prod(shape)
    unit = sign * torch.eye(size, dtype=torch.float64).reshape(1, size, *shape)
    line = backward(program, {}, rounding, unit, unit.new_zeros(1, size), number)
    return line.slope[0].flatten(1), line.offset[0]


def _rows(program: Program, enclosure: Enclosure, specs: Specs, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """What the ReLUs' values and the inputs weigh in each row: ReLUs held at constants, and derivatives by these."""
    lead = specs.constants.shape
    held = {k: specs.weights.new_zeros(*lead, *shape, requires_grad=True) for k, shape in layout.shapes.items()}
    flat = {k: (specs.weights.new_zeros(len(specs), 1, *shape),) for k, shape in layout.shapes.items()}
    with torch.enable_grad():
        planes = {k: Planes(flat[k], held[k], flat[k], held[k]) for k in held}
        line = backward(program, planes, enclosure.rounding, specs.weights, specs.constants)
        found = torch.autograd.grad(line.offset.sum(), list(held.values()), allow_unused=True)
    weights = {k: g for k, g in zip(held, found, strict=True) if g is not None}
    return layout.pack(weights, specs.constants, 2), line.slope.detach().flatten(2), line.offset.detach()
