"""A counterexample held to the letter: float32 inside the exact box, onnxruntime on the file, exact arithmetic on its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from robustly.core.errors import UsageError
from robustly.verifying.network import Network
from robustly.verifying.properties import Property


@dataclass(frozen=True)
class Counterexample:
    """inputs float32 (n,), and the outputs float32 (K,) that onnxruntime gives for them as it runs a file by default."""

    inputs: np.ndarray
    outputs: np.ndarray


def replayed(network: Network, wanted: Property, inputs: np.ndarray) -> Counterexample | None:
    """The counterexample that these inputs (n,) are, with no tolerance anywhere; None where they are none."""
    x = np.asarray(inputs, dtype=np.float32).reshape(-1)
    regions = [region for region in wanted.regions if region.contains(x)]
    if not regions:
        return None
    plain, fused = network.ask(x[None])[0], network.ask_fused(x[None])[0]
    if any(region.violated(plain) and region.violated(fused) for region in regions):
        return Counterexample(x, fused)
    return None


def told(found: Counterexample) -> str:
    """In the verification competition's format: one pair a line, in decimals that are exactly the floats."""
    pairs = [f"(X_{i} {_decimal(v)})" for i, v in enumerate(found.inputs.tolist())]
    pairs += [f"(Y_{i} {_decimal(v)})" for i, v in enumerate(found.outputs.tolist())]
    return "(" + "\n".join(pairs) + ")"


def read_counterexample(text: str) -> np.ndarray:
    """The inputs (n,) float64 of a counterexample in that format.

    Raises:
        UsageError: no inputs in it, or some left out.
    """
    pairs = {int(k): float(v) for k, v in re.findall(r"\(\s*X_(\d+)\s+([^\s()]+)\s*\)", text)}
    if not pairs or sorted(pairs) != list(range(len(pairs))):
        raise UsageError("a counterexample lists all its inputs: ((X_0 0.5) (X_1 0.25) ... (Y_0 ...)).")
    return np.array([pairs[k] for k in range(len(pairs))])


def _decimal(value: float) -> str:
    return np.format_float_positional(value, unique=True, trim="0") if abs(value) < 1e16 else repr(value)
