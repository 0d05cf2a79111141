"""CROWN for fully-connected ReLU networks as the paper writes it, in numpy and float64, neuron by neuron: the reference.

Zhang et al. 2018 (arXiv:1811.00866), section 3: the chord above, below y = x or y = 0, whichever leaves less area; ranges of
hidden values are interval bounds, met with backward bounds where those leave the sign open.
"""

import numpy as np


def lines(low, high):
    """Per neuron (slope below, slope above, offset above)."""
    out = []
    for a, b in zip(low, high, strict=True):
        if a >= 0:
            out.append((1.0, 1.0, 0.0))
        elif b <= 0:
            out.append((0.0, 0.0, 0.0))
        else:
            s = b / (b - a)
            out.append((1.0 if b > -a else 0.0, s, -s * a))
    return out


def least(row, constant, layers, ranges, low, high, depth):
    """A lower bound of <row, values after layer `depth`> + constant over the box, carried back layer by layer."""
    row = np.array(row, dtype=np.float64)
    for k in range(depth, -1, -1):
        weight, bias = layers[k]
        constant += float(row @ bias)
        row = row @ weight
        if k:
            chosen = lines(*ranges[k - 1])
            below, above, offset = (np.array(v) for v in zip(*chosen, strict=True))
            constant += float(np.minimum(row, 0) @ offset)
            row = np.where(row > 0, row * below, row * above)
    return constant + float(np.where(row > 0, row * low, row * high).sum())


def crown(layers, low, high, specs):
    """Lower bounds of the specs on the last layer's values; layers: [(W, b), ...]; and the ranges of hidden values."""
    ranges, inner = [], (low, high)
    for k, (weight, bias) in enumerate(layers[:-1]):
        centre, radius = (inner[0] + inner[1]) / 2, (inner[1] - inner[0]) / 2
        middle, reach = weight @ centre + bias, np.abs(weight) @ radius
        below, above = middle - reach, middle + reach
        for j in np.flatnonzero((below < 0) & (above > 0)):
            unit = np.eye(len(bias))[j]
            below[j] = max(below[j], least(unit, 0.0, layers, ranges, low, high, k))
            above[j] = min(above[j], -least(-unit, 0.0, layers, ranges, low, high, k))
        ranges.append((below, above))
        inner = (np.maximum(below, 0), np.maximum(above, 0))
    return [least(row, 0.0, layers, ranges, low, high, len(layers) - 1) for row in specs], ranges
