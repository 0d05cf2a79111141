import pytest
from tests.report.making import record_of, rows_of
from tests.report.printing import printed

from robustly.core.records import Stage
from robustly.report.stages import arguments, stage_names
from robustly.report.terminal import summary_table


def stage(name, spec, eps=0.1):
    return Stage(name=name, kind="attack", spec=spec, eps=eps, asked=1, decided=0, forward=1, backward=1, seconds=0.1)


STAGES = (
    stage("apgd", "apgd(steps=100, loss=cross_entropy)"),
    stage("apgd", "apgd(steps=100, loss=dlr)"),
    stage("noise", "noise(tries=100)"),
    stage("noise", "noise(tries=100)"),
    stage("apgd", "apgd(steps=100, loss=dlr)", eps=0.2),
)


def test_stages_of_one_name_are_told_apart_by_what_differs():
    names = stage_names(STAGES)
    assert names == ["apgd loss=cross_entropy", "apgd loss=dlr", "noise", "noise (2)", "apgd"]
    assert "apgd loss=dlr" in printed(summary_table(record_of(rows_of("cub"), stages=STAGES)))


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("per_target(inner=apgd(steps=5, loss=dlr), targets=9)", ["inner=apgd(steps=5, loss=dlr)", "targets=9"]),
        ("noise(tries=3) on 100 at first", ["tries=3"]),
        ("interval()", []),
        ("the unperturbed examples", []),
    ],
)
def test_arguments_are_cut_at_their_own_commas(spec, found):
    assert arguments(spec) == found
