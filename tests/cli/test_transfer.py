"""robustly transfer: two models, one table, one folder."""

from xml.etree import ElementTree

from robustly.core.transfers import read_transfer

WORDS = ("transfer", "net.py:build", "net.py:sure", "data.npz", "--threat", "linf:0.2")


def test_the_matrix_is_shown_and_saved(here, run):
    said = run(*WORDS, "--attack", "transfer_pgd", "--set", 'views=["si"]', "--set", "steps=5", "--out", "matrix")
    assert said.code == 0, said.err
    found = read_transfer(here / "matrix")
    cell = found.cell(0, 1)
    assert f"({cell.transferred}/{cell.counted})" in said.out
    assert "both models read" in " ".join(said.out.split())
    assert [m.source for m in found.models] == ["net.py:build", "net.py:sure"]
    assert "si(times=5)" in found.attack or '"si"' in found.attack
    root = ElementTree.parse(here / "matrix" / "transfer.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_mistakes_are_told(here, run):
    assert "two models or more" in run("transfer", "net.py:build", "data.npz", "--threat", "linf:0.2").err
    assert run(*WORDS, "--attack", "mifgms").code == 2
    (here / "file").write_text("")
    assert "is a file" in run(*WORDS, "--out", "file").err
