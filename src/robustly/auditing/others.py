"""Other examples of the data, from which the attacks on labels alone of an audit set out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from robustly.auditing.plan import PlanStage, remade
from robustly.core import keys
from robustly.core.rows import Batch
from robustly.core.specs import Spec

MOST = 100  # of the examples; an untargeted walk seldom asks more than two for a start
ARGUMENT = "pool"
PURPOSE = "other examples"


def with_others(stages: Sequence[PlanStage], x: Batch, seed: int) -> tuple[PlanStage, ...]:
    """The stages, whose attacks that take a `pool` and have none get up to 100 inputs of the data x (N, ...) as theirs.

    Which ones follows from the data and the seed alone, so they are the same for every batch and in a resumed run; a record names them
    by the hash of their content. Attacks that hold what cannot be made again (a model or a tensor of the user's) stay as they are.
    """
    if not isinstance(x, Tensor) or not any(_lacks(stage.spec) for stage in stages):
        return tuple(stages)
    order = keys.permutation(keys.from_ids(seed, [PURPOSE]), len(x))[0, :MOST]
    pool = x[order.to(x.device)]
    return tuple(replace(s, make=_given(s.spec, pool).build()) if _lacks(s.spec) else s for s in stages)


def _lacks(spec: Spec) -> bool:
    """Does it, or an attack that it is made of, take a pool and have none; and can it be made again?"""
    return remade(spec) and any(_open(one) for one in _parts(spec))


def _open(spec: Spec) -> bool:
    given = dict(spec.args)
    return spec.kind == "attack" and ARGUMENT in given and given[ARGUMENT] is None


def _parts(spec: Spec) -> list[Spec]:
    inner = [v for _, value in spec.args for v in (value if isinstance(value, tuple) else (value,))]
    return [spec, *(part for v in inner if isinstance(v, Spec) for part in _parts(v))]


def _given(spec: Spec, pool: Tensor) -> Spec:
    def filled(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(filled(v) for v in value)
        return _given(value, pool) if isinstance(value, Spec) else value

    own = _open(spec)
    return replace(spec, args=tuple((k, pool if own and k == ARGUMENT else filled(v)) for k, v in spec.args))
