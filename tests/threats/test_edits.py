"""The edits of texts against brute force, and on texts that break things."""

import time
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import take
from robustly.threats import Edits, eps_of, parse_threat, with_eps
from robustly.threats.edits import EditSet
from robustly.threats.levenshtein import edits_between

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # an emoji of five code points with zero-width joiners
ODD = ("", " ", "a", FAMILY, "\u202eright to left\u202c", "e\u0301\u200b\u200b", "\x00\n\t", "\ud800 lone", "aaaa" * 9)

letters = st.text("ab\u00e9", max_size=7)


def reference(x: str, z: str, written: str | None = None) -> float:
    """The recursion everyone knows; inf where a character would be written that may not."""

    @cache
    def cost(i: int, j: int) -> float:
        if i == len(x) and j == len(z):
            return 0
        ways = [float("inf")]
        if i < len(x):
            ways.append(1 + cost(i + 1, j))
        if j < len(z) and (written is None or z[j] in written):
            ways.append(1 + cost(i, j + 1))
            if i < len(x):
                ways.append(1 + cost(i + 1, j + 1))
        if i < len(x) and j < len(z) and x[i] == z[j]:
            ways.append(cost(i + 1, j + 1))
        return min(ways)

    return cost(0, 0)


def one_away(z: str, written: str) -> set[str]:
    cuts = [(z[:i], z[i:]) for i in range(len(z) + 1)]
    shorter = {a + b[1:] for a, b in cuts if b}
    return (
        shorter | {a + c + b for a, b in cuts for c in written} | {a + c + b[1:] for a, b in cuts if b for c in written}
    ) - {z}


def around(*texts: str, most: int = 2, alphabet: str = "ab") -> EditSet:
    return Edits(most, alphabet).at(texts)


def key(*names: str, seed: int = 0) -> torch.Tensor:
    return keys.from_ids(seed, names)


@settings(max_examples=250, deadline=None)
@given(letters, letters, st.sampled_from([None, "", "a", "ab", "ab\u00e9"]), st.integers(0, 8))
def test_counts_edits_like_the_recursion(x, z, written, most):
    wanted = reference(x, z, written)
    assert edits_between(x, z, most, written) == (wanted if wanted <= most else None)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(letters, letters, st.integers(0, 3)), min_size=1, max_size=4), st.sampled_from(["", "a", "ab"])
)
def test_membership_and_distance_are_the_definition(rows, alphabet):
    x, z, most = zip(*rows, strict=True)
    ball = EditSet(x, torch.tensor(most), alphabet)
    assert ball.contains(z).tolist() == [reference(a, b, alphabet) <= k for a, b, k in rows]
    assert ball.distance(z).tolist() == [reference(a, b, alphabet) for a, b, _ in rows]
    assert ball.distance(z).dtype == torch.float64


@settings(max_examples=80, deadline=None)
@given(
    st.text("ab\u00e9", max_size=5),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(["", "a", "ab"]),
    st.integers(0, 9),
)
def test_all_moves_are_what_brute_force_lists(x, most, walked, alphabet, seed):
    z = around(x, most=min(most, walked), alphabet=alphabet).sample(key(x, seed=seed))
    ball = around(x, most=most, alphabet=alphabet)
    found, owner = ball.moves(z, key(x, seed=seed), 1000)
    assert len(set(found)) == len(found) == len(owner)
    assert set(found) == {m for m in one_away(z[0], alphabet) if reference(x, m, alphabet) <= most}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=3), st.integers(0, 4), st.integers(0, 99))
def test_samples_and_moves_are_members(texts, most, seed):
    ball = Edits(most).at(texts)
    start = ball.sample(key(*texts, seed=seed))
    assert ball.contains(start).all()
    for _ in range(2):
        found, owner = ball.moves(start, key(*texts, seed=seed), 5)
        assert ball.take(owner).contains(found).all()
        assert all(reference(start[i], m) == 1 for i, m in zip(owner.tolist(), found, strict=True))
        assert (torch.bincount(owner, minlength=len(texts)) <= 5).all()
        if most == 0:
            assert not found
            return
        first = {int(i): m for i, m in zip(owner, found, strict=True)}
        start = tuple(first.get(i, z) for i, z in enumerate(start))


def test_a_random_choice_of_moves_is_by_key_and_repeats_nothing():
    ball = Edits(2).at(("a sentence of some length, with room for many edits",) * 2)
    names = ("one", "two")
    found, owner = ball.moves(ball.x, key(*names), 200)
    assert torch.bincount(owner).tolist() == [200, 200]
    assert len(set(found[:200])) == 200
    assert found == ball.moves(ball.x, key(*names), 200)[0]
    assert set(found[:200]) != set(found[200:])
    assert {len(m) - len(ball.x[0]) for m in found} == {-1, 0, 1}
    changed = {edits_between(ball.x[0][:25], m[:25], 1) == 0 for m in found}
    assert changed == {True, False}, "both halves of the text are edited"


def test_moves_beside_stay_at_the_place():
    x = "where it is edited"
    ball = Edits(2, "xyz").at((x, x))
    near = (x[:6] + "Q" + x[7:], x)
    found, owner = ball.beside(ball.x, near, key("p", "q"), 100)
    assert owner.tolist() == [0] * 7
    assert set(found) == {x[:6] + c + x[6:] for c in "xyz"} | {x[:6] + c + x[7:] for c in "xyz"} | {x[:6] + x[7:]}


def test_each_row_alone_is_as_in_the_batch():
    texts = ("first text", "", "the third is rather longer than the others " * 100)
    ball, k = EditSet(texts, torch.tensor([3, 1, 2]), "abc"), key("i", "j", "k")
    drawn = ball.sample(k)
    moved, owner = ball.moves(drawn, k, 9)
    for i in range(3):
        index = torch.tensor([i])
        one = ball.take(index)
        assert one.sample(k[index]) == (drawn[i],)
        assert one.moves((drawn[i],), k[index], 9)[0] == take(moved, (owner == i).nonzero().squeeze(1))


def test_samples_vary_and_use_their_edits():
    ball = Edits(3).at(("a plain sentence of forty characters here",) * 200)
    drawn = ball.sample(key(*map(str, range(200))))
    assert len(set(drawn)) > 190
    assert ball.distance(drawn).mean() > 2.5
    assert {len(z) - 41 for z in drawn} >= {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("alphabet", ["", "a", "\U0001f600"])
@pytest.mark.parametrize("most", [0, 1, 5])
def test_odd_texts(alphabet, most):
    ball = Edits(most, alphabet).at(ODD)
    k = key(*map(str, range(len(ODD))))
    assert ball.contains(ODD).all()
    assert (ball.distance(ODD) == 0).all()
    drawn = ball.sample(k)
    assert ball.contains(drawn).all()
    found, owner = ball.moves(drawn, k, 50)
    assert ball.take(owner).contains(found).all()


def test_only_the_alphabet_is_written_but_what_stood_there_may_stay():
    ball = around("caf\u00e9", most=2)
    assert ball.contains(("caf\u00e9",)).all()
    assert ball.contains(("acaf\u00e9",)).all()
    assert not ball.contains(("acaf\u00ea",)).any()
    assert not ball.contains(("caf\u00e9\u00e9",)).any()


def test_a_million_characters():
    x = "0123456789" * 100_000
    far = "".join(reversed(x))
    ball = Edits(3).at((x,))
    began = time.process_time()
    z = ("z" + x[:500_000] + x[500_001:] + "z",)
    assert ball.contains(z).tolist() == [True]
    assert ball.distance(z).tolist() == [3]
    assert not ball.contains((z[0] + "z",)).any()
    assert not ball.contains((far,)).any()
    k = key("long")
    found, _ = ball.moves(ball.x, k, 20)
    assert len(found) == 20
    assert all(edits_between(x, m, 1) == 1 for m in found)
    found, owner = ball.moves(z, k, 5)
    assert ball.take(owner).contains(found).all()
    assert ball.contains(ball.sample(k)).all()
    assert time.process_time() - began < 10


def test_distance_is_measured_far_beyond_most_and_then_given_up():
    ball = Edits(1).at(("a" * 300, "a" * 3000))
    assert ball.distance(("b" * 300, "b" * 3000)).tolist() == [300, float("inf")]


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.zeros(2, 3), "Tensor"),
        ("one text", "one text"),
        (b"bytes", "one text"),
        (("fine", b"bytes"), "input 1 is bytes"),
        (["fine", None], "input 1 is NoneType"),
        (None, "NoneType"),
    ],
)
def test_refuses_what_is_no_tuple_of_texts(x, says):
    with pytest.raises(UsageError, match=says):
        Edits(2).at(x)


@pytest.mark.parametrize("most", [-1, 1.5, True, "2"])
def test_refuses_a_number_of_edits_that_is_none(most):
    with pytest.raises(UsageError, match=r"Edits\(2\)"):
        Edits(most).at(("text",))


def test_refuses_an_alphabet_that_is_no_text():
    with pytest.raises(UsageError, match="alphabet"):
        Edits(2, ["a"]).at(("text",))  # type: ignore[arg-type]


def test_the_text_form():
    assert parse_threat("edits:2") == Edits(2)
    assert str(Edits(2)) == "edits:2"
    assert str(Edits(2, "ab")) == "edits:2 writing 'ab'"
    assert eps_of(with_eps(Edits(2), 3)) == 3
    assert Edits(1, "aab").at(["x"]).alphabet == "ab"
