"""Relaxations solved by steps on both sides reach what a linear program finds, from below."""

import pytest
import torch
from scipy.optimize import linprog

from robustly.certify.shallow.ascent import Climbed, Sides, climb, saddle


def case(seed: int):
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.randn(*size, generator=generator)

    matrix, offset, weights, slope = draw(12, 4), 0.5 * draw(12), draw(1, 1, 12), draw(1, 1, 4)
    reach = matrix.abs().sum(1)
    signs = torch.zeros(1, 12, dtype=torch.int8)
    signs[0, :3] = torch.tensor([1, -1, 1])
    low, high = (offset - reach)[None], (offset + reach)[None]
    low, high = torch.where(signs > 0, low.clamp_min(0), low), torch.where(signs < 0, high.clamp_max(0), high)
    box = (-torch.ones(1, 4), torch.ones(1, 4))
    task = saddle((low, high), signs, box, (weights, slope, torch.zeros(1, 1)))
    return Sides(matrix, offset), task, (low[0], high[0], signs[0], weights[0, 0], slope[0, 0])


def programmed(sides: Sides, parts) -> float | None:
    """The least of the relaxation by HiGHS: variables x and one h for each ReLU; None where there is none."""
    low, high, signs, weights, slope = (t.double() for t in parts)
    w, b = sides.matrix.double(), sides.offset.double()
    above, right = [], []
    for k in range(12):
        h = torch.zeros(12, dtype=torch.float64)
        h[k] = 1.0
        on, off = low[k] >= 0, high[k] <= 0
        if signs[k]:
            above.append(torch.cat((-signs[k] * w[k], 0 * h)))
            right.append(signs[k] * b[k])
        chord = 1.0 if on else 0.0 if off else float(high[k] / (high[k] - low[k]))
        rise = 0.0 if on or off else -chord * float(low[k])
        above += [torch.cat((0 * w[k], -h)), torch.cat((w[k], -h)), torch.cat((-chord * w[k], h))]
        right += [0.0, -b[k], chord * b[k] + rise]
        if off:
            above.pop(-2)
            right.pop(-2)
    aim = torch.cat((slope, weights))
    ends = [(-1, 1)] * 4 + [(None, None)] * 12
    found = linprog(aim.numpy(), A_ub=torch.stack(above).numpy(), b_ub=[float(r) for r in right], bounds=ends)
    return found.fun if found.status == 0 else None


@pytest.mark.parametrize("seed", range(10))
def test_it_reaches_the_linear_program_from_below(seed):
    sides, task, parts = case(seed)
    best = programmed(sides, parts)
    task = task._replace(constant=task.constant - 100)  # never above zero, so that it goes on to the end
    start = Climbed(torch.zeros(1, 1, 12), torch.zeros(1, 1, 4), torch.zeros(1, 1))
    first = climb(sides, task, start, 1, 1, patient=True)
    found = climb(sides, task, start, 20, 100, patient=True)
    if best is None:
        assert found.value > first.value + 5
        return
    assert found.value + 100 <= best + 1e-3
    assert found.value + 100 > best - 0.02 * abs(best) - 0.02
    assert found.value > first.value


def test_rows_in_company_get_what_they_get_alone():
    sides, task, _ = case(0)
    _, other, _ = case(1)
    both = type(task)(*(torch.cat(pair) for pair in zip(task, other, strict=True)))
    start = Climbed(torch.zeros(2, 1, 12), torch.zeros(2, 1, 4), torch.zeros(2, 1))
    alone = climb(sides, task, start.take(torch.tensor([0])), 20, 3)
    assert torch.allclose(climb(sides, both, start, 20, 3).value[:1], alone.value, atol=1e-5)
