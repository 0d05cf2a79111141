"""Makes marabou.json beside this file: bounds of small random networks by Marabou, an independent verifier.

    python -m venv env && env/bin/pip install maraboupy==2.0.0 numpy && env/bin/python make_marabou.py

Weights and inputs have three decimals, so that the file holds them exactly. Marabou prints bounds to about eight digits.
Its tightening "deeppoly" is Singh et al. 2019 (DeepPoly), whose lines for ReLU are those of CROWN; "none" is interval
arithmetic. Both are met with interval bounds, value by value.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from maraboupy import Marabou, MarabouCore, MarabouNetwork, MarabouUtils

CASES = [((3, 8, 4), 0.3), ((5, 20, 20, 3), 0.1), ((4, 10, 10, 10, 2), 0.2), ((6, 16, 16, 16, 16, 3), 0.05)]


def network(layers, x, eps):
    """The network as Marabou holds it, and its variables before each ReLU, layer by layer."""
    net = MarabouNetwork.MarabouNetwork()
    values = [net.getNewVariable() for _ in x]
    net.inputVars = [np.array(values)]
    for variable, centre in zip(values, x, strict=True):
        net.setLowerBound(variable, centre - eps)
        net.setUpperBound(variable, centre + eps)
    before = []
    for depth, (weight, bias) in enumerate(layers):
        sums = [net.getNewVariable() for _ in bias]
        for row, offset, variable in zip(weight, bias, sums, strict=True):
            equation = MarabouUtils.Equation(MarabouCore.Equation.EQ)
            for factor, source in zip(row, values, strict=True):
                equation.addAddend(float(factor), source)
            equation.addAddend(-1.0, variable)
            equation.setScalar(-float(offset))
            net.addEquation(equation)
        before.append(sums)
        values = sums
        if depth < len(layers) - 1:
            values = [net.getNewVariable() for _ in bias]
            for one, two in zip(sums, values, strict=True):
                net.addRelu(one, two)
    net.outputVars = [np.array(values)]
    return net, before


def main():
    """Write the file."""
    cases = []
    for seed, (widths, eps) in enumerate(CASES):
        rng = np.random.default_rng(seed)
        layers = [
            (np.round(rng.normal(size=(m, n)) / n**0.5, 3), np.round(rng.normal(size=m) / 2, 3))
            for n, m in pairwise(widths)
        ]
        x = np.round(rng.uniform(size=widths[0]), 3)
        case = {"eps": eps, "x": x.tolist(), "layers": [[w.tolist(), b.tolist()] for w, b in layers]}
        for tightening in ("deeppoly", "none"):
            net, before = network(layers, x, eps)
            options = Marabou.createOptions(verbosity=0, tighteningStrategy=tightening, milpTightening="none")
            found = net.calculateBounds(verbose=False, options=options)[1]
            case[tightening] = [[list(found[v]) for v in layer] for layer in before]
        cases.append(case)
    made = {"by": "maraboupy 2.0.0, MarabouNetwork.calculateBounds", "cases": cases}
    Path(__file__).with_name("marabou.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main()
