"""The exact optimum of a small ReLU network over a box as a mixed-integer program, solved by HiGHS through scipy.

Tjeng, Xiao, Tedrake 2019, "Evaluating Robustness of Neural Networks with Mixed Integer Programming", arXiv:1711.07356: one binary
for each ReLU whose sign is not known. HiGHS works in floating point to a tolerance of about 1e-6, so this is a cross-check for
bounds and searches, and its answer alone certifies nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn

from robustly.certify.linear.crown import crown
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.program import Affine, Input, Program
from robustly.certify.linear.region import Region
from robustly.certify.linear.relu import RELU
from robustly.certify.questions import Questions
from robustly.certify.types import UnsupportedOperator
from robustly.core.errors import UsageError

LARGEST = 4096
"""Most values of a network that this is meant for."""


class Optimum(NamedTuple):
    """least: the smallest that the largest row can be, to HiGHS's tolerance (a lower bound on it, where not `solved`).
    point: float64 (n,) where that is so, None where none was found. solved: to the end, within the time."""

    least: float
    point: Tensor | None
    solved: bool


def least_excess(module: nn.Module, questions: Questions, index: int = 0, seconds: float = 60.0) -> Optimum:
    """The smallest excess of one question: above 0 there is no yes, at or below it there is one, both to the tolerance.

    module: maps (N, n) to (N, K), made of affine operations and of ReLUs and what is made of them (leaky ReLU, clamps, maxima of
    pools).

    Raises:
        UnsupportedOperator: another nonlinearity, or more than `LARGEST` values.
        UsageError: seconds not above 0.
    """
    if not seconds > 0:
        raise UsageError(f"seconds must be above 0, got {seconds:g}.")
    one = questions.take(torch.tensor([index]))
    program = lower(module, (one.lower.shape[1],)).unrounded()
    region = Region(one.lower, one.upper)
    with torch.no_grad():
        ranges = crown(program, region).boxes
    return _solved(_Writer(program, one, ranges).write(), one, seconds)


class _Problem(NamedTuple):
    """minimise the last variable: A v + b between low and high; v within its bounds, whole where `whole`."""

    matrix: Any
    low: np.ndarray
    high: np.ndarray
    bounds: Bounds
    whole: np.ndarray


class _Writer:
    """Columns: all values of all nodes, then the binaries, then the excess."""

    def __init__(self, program: Program, one: Questions, ranges: dict) -> None:
        self.program, self.one, self.ranges = program, one, ranges
        sizes = [int(np.prod(node.shape)) for node in program.nodes]
        if sum(sizes) > LARGEST:
            raise UnsupportedOperator(
                "network", "root", f"{sum(sizes)} values are more than the {LARGEST} of a small one"
            )
        self.first = np.concatenate(([0], np.cumsum(sizes))).tolist()
        self.rows: list[Any] = []
        self.low: list[np.ndarray] = []
        self.high: list[np.ndarray] = []
        self.binaries = 0
        self.columns = self.first[-1] + sum(s for s, n in zip(sizes, program.nodes, strict=True) if self.kinked(n)) + 1

    def kinked(self, node: object) -> bool:
        return not isinstance(node, (Input, Affine))

    def write(self) -> _Problem:
        low, high = np.full(self.columns, -np.inf), np.full(self.columns, np.inf)
        whole = np.zeros(self.columns, dtype=np.int8)
        low[: self.first[1]], high[: self.first[1]] = self.one.lower[0].numpy(), self.one.upper[0].numpy()
        for number, node in enumerate(self.program.nodes):
            if isinstance(node, Input):
                continue
            if isinstance(node, Affine):
                self.affine(number, node)
            elif node.rule is RELU:
                self.relu(number, node.sources[0], low, high, whole)
            elif node.rule.name == "maximum":
                self.maximum(number, node.sources, low, high, whole)
            else:
                raise UnsupportedOperator(
                    node.rule.name, node.where, "only ReLUs can be written as a mixed-integer program"
                )
        place = self.first[len(self.program.nodes) - 1]
        rows, offsets = self.one.rows[0].numpy(), self.one.offsets[0].numpy()
        block: Any = sparse.lil_matrix((len(rows), self.columns))
        block[:, place : place + rows.shape[1]] = rows
        block[:, self.columns - 1] = -1.0  # row @ y + offset <= excess
        self.add(block.tocsr(), np.full(len(rows), -np.inf), -offsets)
        return _Problem(
            sparse.vstack(self.rows).tocsr(),
            np.concatenate(self.low),
            np.concatenate(self.high),
            Bounds(_any(low), _any(high)),
            whole,
        )

    def add(self, block: Any, low: np.ndarray, high: np.ndarray) -> None:
        self.rows.append(block)
        self.low.append(low)
        self.high.append(high)

    def affine(self, number: int, node: Affine) -> None:
        """value - sum_i A_i source_i = offset."""
        count = self.first[number + 1] - self.first[number]
        block: Any = sparse.lil_matrix((count, self.columns))
        block[:, self.first[number] : self.first[number + 1]] = sparse.identity(count)
        for source, turn in zip(node.sources, node.maps, strict=True):
            shape = self.program.nodes[source].shape
            size = int(np.prod(shape))
            matrix = turn.forward(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).reshape(size, count).T
            begin = self.first[source]
            block[:, begin : begin + size] = block[:, begin : begin + size].toarray() - matrix.numpy()
        offset = np.zeros(count)
        if node.offset is not None:
            offset = node.offset.double().expand(1, *node.shape).reshape(-1).numpy()
        self.add(block.tocsr(), offset, offset)

    def relu(self, number: int, source: int, low: np.ndarray, high: np.ndarray, whole: np.ndarray) -> None:
        """0 <= v, z <= v, v <= z - l (1 - b), v <= u b."""
        here, there = self.first[number], self.first[source]
        count = self.first[number + 1] - here
        least, most = (t.reshape(-1).numpy() for t in self.ranges[source])
        low[here : here + count], high[here : here + count] = 0.0, np.maximum(most, 0)
        block, below, above = [], [], []
        for i in range(count):
            if least[i] >= 0:
                block.append({here + i: 1.0, there + i: -1.0})
                below.append(0.0)
                above.append(0.0)
            elif most[i] > 0:
                b = self.binary(low, high, whole)
                block += [
                    {here + i: 1.0, there + i: -1.0},
                    {here + i: 1.0, there + i: -1.0, b: -least[i]},
                    {here + i: 1.0, b: -most[i]},
                ]
                below += [0.0, -np.inf, -np.inf]
                above += [np.inf, -least[i], 0.0]
        self.lines(block, below, above)

    def maximum(
        self, number: int, sources: tuple[int, ...], low: np.ndarray, high: np.ndarray, whole: np.ndarray
    ) -> None:
        """v = max(a, b), with d = a - b in [l, u]: a <= v, b <= v, v <= a - l (1 - s), v <= b + u s."""
        here, a, b = self.first[number], self.first[sources[0]], self.first[sources[1]]
        least, most = (t.reshape(-1).numpy() for t in self.ranges[sources[2]])
        block, below, above = [], [], []
        for i in range(self.first[number + 1] - here):
            s = self.binary(low, high, whole)
            under, over = min(least[i], 0.0), max(most[i], 0.0)
            block += [{here + i: 1.0, a + i: -1.0}, {here + i: 1.0, b + i: -1.0}]
            block += [{here + i: 1.0, a + i: -1.0, s: -under}, {here + i: 1.0, b + i: -1.0, s: -over}]
            below += [0.0, 0.0, -np.inf, -np.inf]
            above += [np.inf, np.inf, -under, 0.0]
        self.lines(block, below, above)

    def binary(self, low: np.ndarray, high: np.ndarray, whole: np.ndarray) -> int:
        column = self.first[-1] + self.binaries
        self.binaries += 1
        low[column], high[column], whole[column] = 0.0, 1.0, 1
        return column

    def lines(self, block: list[dict[int, float]], below: list[float], above: list[float]) -> None:
        if block:
            entries = [(r, c, v) for r, line in enumerate(block) for c, v in line.items()]
            rows, columns, values = zip(*entries, strict=True)
            matrix = sparse.csr_matrix((values, (rows, columns)), shape=(len(block), self.columns))
            self.add(matrix, np.array(below), np.array(above))


def _solved(problem: _Problem, one: Questions, seconds: float) -> Optimum:
    aim = np.zeros(problem.matrix.shape[1])
    aim[-1] = 1.0
    found: Any = milp(
        aim,
        constraints=LinearConstraint(problem.matrix, _any(problem.low), _any(problem.high)),
        bounds=problem.bounds,
        integrality=problem.whole,
        options={"time_limit": seconds, "mip_rel_gap": 1e-9},
    )
    point = None if found.x is None else torch.from_numpy(found.x[: one.lower.shape[1]].copy())
    least = found.mip_dual_bound if found.mip_dual_bound is not None else -np.inf
    return Optimum(float(least if found.status != 0 else found.fun), point, found.status == 0)


def _any(values: np.ndarray) -> Any:
    """scipy's hints know scalars only."""
    return values
