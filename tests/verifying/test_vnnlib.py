"""VNN-LIB 1.0: what is read is exact, and what cannot be read is refused with its line."""

import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustly.core.errors import UsageError
from robustly.verifying.properties import Region, inward, outward
from robustly.verifying.vnnlib import parse_vnnlib, read_vnnlib

SHARED = Path(__file__).parents[3] / "shared" / "data" / "vnncomp"

HEAD = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"
BOX = "(assert (<= X_0 0.1))(assert (>= X_0 -0.3))\n(assert (<= X_1 2e-1))(assert (>= X_1 0))\n"


def rows(text: str) -> tuple:
    (region,) = parse_vnnlib(HEAD + BOX + text).regions
    return region.unsafe


def test_decimals_stay_exact():
    (region,) = parse_vnnlib(HEAD + BOX + "(assert (<= Y_0 Y_1)) ; done").regions
    assert region.lower == (Fraction(-3, 10), Fraction(0))
    assert region.upper == (Fraction(1, 10), Fraction(1, 5))
    assert region.unsafe[0][0].terms == ((0, Fraction(1)), (1, Fraction(-1)))
    assert region.unsafe[0][0].most == 0


@pytest.mark.parametrize(
    ("text", "terms", "most"),
    [
        ("(assert (>= Y_0 0.5))", {0: -1}, Fraction(-1, 2)),
        ("(assert (<= (+ Y_0 (* 2.5 Y_1) 1) 3))", {0: 1, 1: Fraction(5, 2)}, Fraction(2)),
        ("(assert (<= (- Y_0 Y_1 1) (- 3)))", {0: 1, 1: -1}, Fraction(-2)),
        ("(assert (<= (* Y_0 (/ 1 4)) (/ Y_1 2)))", {0: Fraction(1, 4), 1: Fraction(-1, 2)}, Fraction(0)),
        ("(assert (not (< Y_0 Y_1)))", {0: -1, 1: 1}, Fraction(0)),
        ("(assert (<= 1 Y_0))", {0: -1}, Fraction(-1)),
    ],
)
def test_linear_terms(text, terms, most):
    ((row,),) = rows(text)
    assert dict(row.terms) == terms
    assert row.most == most
    assert not row.strict


def test_conjunctions_and_disjunctions_of_outputs():
    unsafe = rows("(assert (or (and (<= Y_0 1) (<= Y_1 2)) (and (>= Y_0 5))))(assert (>= Y_1 0))")
    assert [len(p) for p in unsafe] == [3, 2]
    assert rows("(assert (= Y_0 1))")[0][0].terms != rows("(assert (= Y_0 1))")[0][1].terms
    (strict,) = rows("(assert (not (<= Y_0 1)))")[0]
    assert strict.strict
    assert not strict.holds([1.0, 0.0])
    assert strict.holds([np.nextafter(1, 2), 0.0])


def test_disjunctions_over_input_boxes_are_regions():
    text = "(assert (or (and (<= X_0 0.5)(>= X_0 0)(<= Y_0 1)) (and (<= X_0 2)(>= X_0 1)(<= Y_0 3)) (and (<= X_0 2)(>= X_0 1)(<= Y_1 3))))"
    task = parse_vnnlib(HEAD + "(assert (<= X_1 1))(assert (>= X_1 -1))" + text)
    found = {(r.lower[0], r.upper[0]): len(r.unsafe) for r in task.regions}
    assert found == {(Fraction(0), Fraction(1, 2)): 1, (Fraction(1), Fraction(2)): 1} or sum(found.values()) == 3
    assert all(r.lower[1] == -1 and r.upper[1] == 1 for r in task.regions)


def test_an_input_box_with_nothing_in_it_is_said():
    task = parse_vnnlib(HEAD + BOX + "(assert (>= X_1 0.25))\n(assert (<= Y_0 1))")
    assert task.regions == ()
    assert "X_1" in task.notes[0]
    assert "line 6 and 7" in task.notes[0]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("(assert (<= Y_2 0))", 7, "no output Y_2"),
        ("(assert (<= (* Y_0 Y_1) 0))", 7, "not linear"),
        ("(assert (<= (/ 1 Y_0) 0))", 7, "not linear"),
        ("(assert (<= (+ X_0 X_1) 1))", 7, "several inputs"),
        ("(assert (<= X_0 Y_0))", 7, "inputs and outputs"),
        ("(assert (< X_0 0))", 7, "write <= or >="),
        ("(assert (<= Y_0 nan))", 7, "not a finite number"),
        ("(assert (<= Y_0 1e999999999))", 7, "ordinary size"),
        ("(assert (=> (<= Y_0 1) (<= Y_1 1)))", 7, 'unknown condition "=>"'),
        ("(assert (<= Y_0))", 7, "takes two terms"),
        ("\n(assert (<= Y_0 1)", 8, "never closed"),
        ("(assert (<= Y_0 1)))", 7, "closes nothing"),
        ("(declare-const X_3 Real)", 7, "X_2 is not"),
        ("(declare-const X_2 Int)", 7, "integer inputs"),
        ("(declare-const X_1 Real)", 7, "declared twice"),
        ("(declare-const Z Real)", 7, "no input or output"),
        ("(vnnlib-version <2.0>)", 7, "VNN-LIB 2.0"),
        ("(push 1)", 7, "unknown command"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text, line, words):
    with pytest.raises(UsageError, match=f"line {line}: .*{words}"):
        parse_vnnlib(HEAD + BOX + text, "p.vnnlib")


def test_an_input_without_a_bound_is_refused():
    with pytest.raises(UsageError, match=r"line 2: the input X_1 has no upper bound. Write \(assert \(<= X_1"):
        parse_vnnlib(HEAD + "(assert (<= X_0 1))(assert (>= X_0 0))(assert (>= X_1 0))(assert (<= Y_0 1))")


def test_too_many_cases_are_refused():
    many = "(assert (or " + " ".join(f"(<= X_0 {i})" for i in range(500)) + "))"
    with pytest.raises(UsageError, match="cases"):
        parse_vnnlib(HEAD + BOX + many * 3)


@settings(max_examples=200, deadline=None)
@given(st.fractions(-10, 10), st.fractions(0, 10))
def test_rounding_goes_outwards_for_bounds_and_inwards_for_points(low, width):
    region = Region((low,), (low + width,), ())
    (a,), (b,) = outward(region)
    assert Fraction(float(a)) <= low
    assert Fraction(float(b)) >= low + width
    assert Fraction(float(np.nextafter(a, np.inf))) > low or Fraction(float(a)) == low
    (c,), (d,) = inward(region)
    assert c.dtype == np.float32
    assert Fraction(float(c)) >= low
    assert Fraction(float(d)) <= low + width
    assert Fraction(float(np.nextafter(c, np.float32(-np.inf)))) < low  # the nearest, and no other


def test_a_plain_cast_would_leave_the_box():
    region = parse_vnnlib(HEAD + BOX + "(assert (<= Y_0 1))").regions[0]
    assert not region.contains(np.array([0.1, 0.2], dtype=np.float32))  # 0.1f > 0.1
    low, high = inward(region)
    assert region.contains(high)
    assert region.contains(low)


def test_packed_and_damaged_files(tmp_path):
    text = HEAD + BOX + "(assert (<= Y_0 1))"
    (tmp_path / "p.vnnlib.gz").write_bytes(gzip.compress(text.encode()))
    assert read_vnnlib(tmp_path / "p.vnnlib.gz") == parse_vnnlib(text)
    (tmp_path / "q.vnnlib.gz").write_bytes(gzip.compress(text.encode())[:-20])
    with pytest.raises(UsageError, match="damaged"):
        read_vnnlib(tmp_path / "q.vnnlib.gz")
    with pytest.raises(UsageError, match="no property file"):
        read_vnnlib(tmp_path / "none.vnnlib")
    (tmp_path / "r.vnnlib").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not text"):
        read_vnnlib(tmp_path / "r.vnnlib")


@pytest.mark.skipif(not SHARED.exists(), reason="the folder of real properties is absent")
@pytest.mark.parametrize(
    ("name", "inputs", "disjuncts"),
    [
        ("cora_mnist_2024/vnnlib/mnist-img0.vnnlib.gz", 784, 9),
        ("mnist_fc_2022/vnnlib/prop_0_0.03.vnnlib.gz", 784, 9),
        ("oval21/vnnlib/cifar_base_kw-img1598-eps0.0026143790849673205.vnnlib.gz", 3072, 9),
        ("safenlp_2024/vnnlib/medical_hyperrectangle_97.vnnlib.gz", 30, 1),
    ],
)
def test_real_properties(name, inputs, disjuncts):
    task = read_vnnlib(SHARED / name)
    assert task.inputs == inputs
    (region,) = task.regions
    assert len(region.unsafe) == disjuncts
    low, high = inward(region)
    assert (low <= high).all()
