"""The detector of near queries against its definition, on points whose distances are known."""

import pytest
import torch

from robustly.core.errors import UsageError
from robustly.defend.nearest import NearestQueries, nearest_queries, pixels, threshold_of


def line(*places):
    return torch.tensor(places, dtype=torch.float32).reshape(-1, 1)


def test_the_threshold_is_a_quantile_of_mean_distances():
    clean = line(0.0, 1.0, 3.0, 7.0)  # to the two nearest: (1+3)/2, (1+2)/2, (2+3)/2, (4+6)/2
    assert threshold_of(clean, k=2, rate=0.0) == 1.5
    assert threshold_of(clean, k=2, rate=1.0) == 5.0
    assert threshold_of(clean, k=2, rate=1 / 3) == 2.0
    assert threshold_of(torch.cat((clean, clean + 100)), k=2, rate=0.0) == 1.5


def test_slices_do_not_matter():
    clean = torch.rand(600, 5, generator=torch.Generator().manual_seed(0))
    far = torch.cdist(clean.double(), clean.double()) + torch.diag(torch.full((600,), torch.inf)).double()
    means = far.topk(7, largest=False).values.mean(1)
    assert threshold_of(clean, k=7, rate=0.25) == pytest.approx(means.quantile(0.25).item(), rel=1e-5)


def test_a_query_is_flagged_by_its_mean_distance_to_the_k_nearest():
    detector = NearestQueries(pixels, threshold=1.0, k=2)
    queries = line(0.0, 10.0, 20.0, 10.5, 11.25, 10.6, 19.9)
    #   known before:  0     1     2   .5+9.5  .75+1.25 .1+.6  .1+8.65
    assert detector.flag(queries).tolist() == [False, False, False, False, False, True, False]
    assert detector.flag(line(0.01, 0.02, 0.03)).tolist() == [False, True, True]


def test_the_threshold_itself_is_not_below_it():
    detector = NearestQueries(pixels, threshold=1.0, k=1)
    assert detector.flag(line(0.0, 1.0, 1.5)).tolist() == [False, False, True]


def test_one_by_one_or_in_a_batch_is_the_same():
    queries = torch.rand(200, 3, 4, generator=torch.Generator().manual_seed(0))
    queries[100:] = queries[100:] * 0.1
    together, alone = (nearest_queries(queries[:100], k=5, rate=0.05)() for _ in range(2))
    flags = together.flag(queries)
    assert torch.equal(flags, torch.cat([alone.flag(row[None]) for row in queries]))
    assert flags[110:].all()
    assert not flags[:100].float().mean() > 0.06


def test_forgetting_counts_accounts():
    same = torch.zeros(20, 3)
    assert NearestQueries(pixels, 1.0, k=4).flag(same).tolist() == [False] * 4 + [True] * 16
    assert NearestQueries(pixels, 1.0, k=4, forgets=True).flag(same).tolist() == ([False] * 4 + [True]) * 4


def test_only_so_many_are_remembered():
    detector = NearestQueries(pixels, 0.5, k=1, most=3)
    assert detector.flag(line(0, 1, 2, 3, 0, 1)).tolist() == [False] * 6
    assert detector.flag(line(1, 0)).tolist() == [True, True]


def test_accounts_know_nothing_of_each_other():
    make = nearest_queries(line(0.0, 1.0, 3.0, 7.0), k=2, rate=0.0)
    first, second = make(), make()
    assert first.flag(torch.zeros(3, 1)).tolist() == [False, False, True]
    assert second.flag(torch.zeros(2, 1)).tolist() == [False, False]


@pytest.mark.parametrize(("clean", "k", "rate", "said"), [(3, 3, 0.1, "more than 3"), (9, 3, 1.5, "fraction")])
def test_impossible_calibrations(clean, k, rate, said):
    with pytest.raises(UsageError, match=said):
        threshold_of(torch.rand(clean, 2), k=k, rate=rate)


def test_impossible_memories():
    with pytest.raises(UsageError, match="at most the queries remembered"):
        NearestQueries(pixels, 1.0, k=5, most=4)
