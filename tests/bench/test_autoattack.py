"""The comparison with AutoAttack's records: of subjects of any norm, in blocks of their own size, with the seeds that there are."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from bench.reference import Found
from bench.subjects import LOADER, SUBJECTS, Subject, subject

from bench import autoattack, reference

ONE = Subject("fashion_plain", "fashion_mnist", "l2", 1.0, block=6)
needs_data = pytest.mark.skipif(not LOADER.exists(), reason="the data of this benchmark are absent")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Records of AutoAttack that broke all but example 4 (seed 0), all but 4 and 5 (seed 1), in two blocks and one."""
    monkeypatch.setattr(reference, "FOLDER", tmp_path)

    def keep(block: int, seed: int, broken: tuple[int, ...]) -> None:
        found = Found(ONE.name, ONE.norm, ONE.eps, block, 6, seed, (), broken, 6000, 1200, 1.0, "here")
        reference.path_of(ONE, block, seed).write_text(json.dumps(asdict(found)))

    keep(0, 0, (0, 1, 2, 3, 5))
    keep(1, 0, (6, 7))
    keep(0, 1, (0, 1, 2, 3))
    return keep


def test_words_are_unique_and_find_their_subject():
    assert len({s.word for s in SUBJECTS}) == len(SUBJECTS) == len({s.key for s in SUBJECTS})
    assert subject("fashion_adversarial").norm == "linf"
    assert subject("fashion_adversarial:l2").norm == "l2"
    assert {s.norm for s in SUBJECTS} == {"linf", "l2", "l1"}


def test_sizes_are_of_blocks_that_every_seed_was_run_on(kept):
    assert autoattack.seeds_of(ONE) == (0, 1)
    assert autoattack.sizes(ONE, 1000) == [6]
    kept(1, 1, ())
    assert autoattack.sizes(ONE, 1000) == [6, 12]
    assert autoattack.sizes(ONE, 6) == [6]
    assert autoattack.sizes(Subject("fashion_plain", "fashion_mnist", "l1", 1.0, block=6), 1000) == []


@needs_data
def test_ours_stands_beside_the_seeds_that_were_run(kept):
    found = autoattack.compare(ONE, 6, "quick")
    assert found is not None
    assert (found.forward, found.backward) == (6000, 1200)
    assert found.theirs == ({4}, {4, 5})
    assert found.apart == 1
    assert found.ratio == 7200 / (found.ours.summary.forward + found.ours.summary.backward)
    assert found.missed == len(found.robust - {4})
    bars = autoattack.bars_of(found)
    assert [bar.what.partition(": ")[2] for bar in bars] == [
        "robust accuracy, at most the lowest seed's",
        "broken by AutoAttack and not by us",
    ]  # no bar of passes on so few
    assert autoattack.row(found)[0] == "fashion_plain l2 1"
