"""SPSA: the gradient estimated from pairs of points at random corners, and followed by Adam."""

from __future__ import annotations

from robustly.core.specs import spec
from robustly.losses import margin
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, Start, by_radius, chain, projected, steepest, uniform
from robustly.steps.adam import adam
from robustly.steps.estimates import antithetic, climb, pairs_of, signs
from robustly.steps.walk import positive
from robustly.threats.l2 import L2Ball


@spec("attack", paper="Uesato et al. 2018, arXiv:1802.05666, algorithm 1", needs="scores", sets=("LinfBall", "L2Ball"))
def spsa(
    queries: int = 5000,
    samples: int = 128,
    size: float = 0.3,
    delta: float = 0.01,
    loss: Loss = margin,
    start: Start = uniform,
) -> Attack:
    """Simultaneous perturbation: estimate the gradient of the margin along random signs, and step with Adam.

    A step asks `samples` points, half of them z + delta v and the others z - delta v for random signs v. Adam's update is
    taken as it is in linf; for l2, which the paper doesn't have, it is brought to length one. The samples are put inside
    the set, so that each may be the find. A surviving example costs exactly `queries` forward passes.

    Args:
        queries: points asked an example.
        samples: of one estimate; the paper has 256 to 8192.
        size: the first step, as a fraction of eps; the paper has 0.01 for an eps of 8/255.
        delta: how far samples are from the point in each coordinate, in widths of the domain.
        loss: what must rise.
        start: where to begin.

    Raises:
        UsageError: queries or samples < 1, size or delta not above 0; when it runs, a set other than a linf or l2 ball, an
            infinite eps, or an unbounded domain.
    """
    positive(delta, "delta")
    scale = by_radius(positive(size, "size"))
    pairs = pairs_of(samples)
    estimator = antithetic(signs, pairs, delta)
    in_linf = climb(estimator, loss, start, projected(chain(adam(), scale)), queries, "spsa")
    in_l2 = climb(estimator, loss, start, projected(chain(adam(), steepest(), scale)), queries, "spsa")

    def attack(case: Case) -> None:
        (in_l2 if isinstance(case.around, L2Ball) else in_linf)(case)

    return attack
