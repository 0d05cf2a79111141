"""A finished record opens without torch, and so does the help."""

import subprocess
import sys

from .conftest import AUDIT

SCRIPT = """
import sys
from robustly.cli.app import main

for words in (["--help"], ["audit", "--help"], ["list", "zoo"], ["show", "a"], ["show", "a", "--example", "0"],
              ["report", "a"], ["compare", "a", "a"], ["audit", "a"], ["audti"]):
    code = main(words)
    assert "torch" not in sys.modules, words
    print("CODE", code)
"""


def test_torch_is_not_loaded(here, run):
    assert run(*AUDIT, "linf:0.1", "--out", "a", "--plan", "quick").code == 0
    before = (here / "a" / "report.html").read_bytes()
    (here / "a" / "report.html").unlink()
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=here, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    codes = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("CODE")]
    assert codes == ["0"] * 7 + ["2"] * 2
    assert (here / "a" / "report.html").read_bytes() == before
