"""Label-only audits that set out from other examples of the data."""

from __future__ import annotations

import pytest
import torch

from robustly import audit
from robustly.attacks.hopskipjump import hopskipjump
from robustly.attacks.pgd import pgd
from robustly.attacks.square import square
from robustly.auditing.others import MOST, with_others
from robustly.auditing.plan import PlanStage, load_plan, read_plan
from robustly.steps.combinators import in_turn
from robustly.zoo.load import images, network

WHOLE = "l2:30"  # wider than the domain, so that an example ends at its start


def zoo(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, y, _ = images("fashion")
    return x[:count], y[:count]


def spent(attack, seed: int, count: int = 60) -> tuple[int, int]:
    record = audit(
        network("fashion_plain"), zoo(count), WHOLE, [attack], seed=seed, access="labels", range=(0.0, 1.0), classes=10
    )
    return sum(row.forward for row in record.rows), sum(row.verdict == "broken" for row in record.rows)


@pytest.mark.filterwarnings("ignore")
def test_starts_from_the_data_cost_fewer_queries_than_random_ones():
    for seed in range(3):
        given, found = spent(hopskipjump(queries=50, tries=50), seed)
        alone, at_random = spent(hopskipjump(queries=50, tries=50, pool=torch.zeros(0, 1, 28, 28)), seed)
        assert found >= at_random
        assert given < alone


def test_what_an_example_gets_is_the_same_in_any_batch_and_named_in_the_record():
    def rows(batch: int):
        record = audit(
            network("fashion_plain"), zoo(12), "l2:1", [hopskipjump(queries=80, directions=20)], access="labels",
            range=(0.0, 1.0), classes=10, batch=batch,
        )  # fmt: skip
        (stage,) = [stage for stage in record.stages if stage.name == "hopskipjump"]
        assert 'pool="tensor(12, 1, 28, 28)#' in stage.spec
        return [(row.verdict, row.forward, row.distance) for row in record.rows]

    assert rows(12) == rows(5)


def test_only_attacks_that_lack_a_pool_get_one():
    x, _ = zoo(300)
    own = hopskipjump(pool=x[:3])
    stages = [PlanStage("attack", made) for made in (own, pgd(), square(), in_turn(square(), hopskipjump()))]
    found = with_others(stages, x, 0)
    assert [a is b for a, b in zip(found, stages, strict=True)] == [True, True, True, False]
    assert f"tensor({MOST}, 1, 28, 28)" in str(found[3])
    assert str(with_others(stages, x, 0)[3]) == str(found[3]) != str(with_others(stages, x, 1)[3])


def test_texts_and_plans_without_such_attacks_are_left_alone():
    stages = load_plan("standard").stages
    assert with_others(stages, torch.zeros(4, 3), 0) == stages
    stages = read_plan('[[stage]]\nattack = "hopskipjump"\n', "own").stages
    assert with_others(stages, ("a text", "another"), 0) == stages
