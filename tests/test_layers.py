"""Imports only go downwards: the table of the house, held by reading every import in the package."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "robustly"

LAYERS = {
    "core": 0,
    "threats": 1,
    "goals": 1,
    "losses": 1.5,
    "oracle": 2,
    "adapters": 3,
    "steps": 3,
    "attacks": 4,
    "certify": 4,
    "soundness": 4,
    "defend": 4,
    "auditing": 5,
    "serving": 5,
    "verifying": 5,
    "report": 6,
    "cli": 7,
}
FREE = {"zoo": 7, "__init__": 8, "__main__": 8}
"""The zoo uses nothing below itself but errors; adapters may open it. The package's front door may open everything."""

LAZY_TOP = {
    "core/records.py": {"report"},
    "core/transfers.py": {"report"},
    "core/specs.py": {"losses", "steps", "attacks", "certify"},
}
"""Named exceptions: a record shows itself in a notebook; the registry loads the rooms that register."""


def room(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imported(path: Path):
    """(room, file) of every robustly import in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "robustly" and len(parts) > 1:
                yield parts[1], ".".join(parts)


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_room_has_its_layer():
    rooms = {room(path) for path in FILES}
    assert rooms <= set(LAYERS) | set(FREE)
    assert set(LAYERS) <= rooms


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = room(path)
    if own in ("__init__", "__main__"):
        return
    name = str(path.relative_to(PACKAGE))
    for other, _ in imported(path):
        if other == own or other in LAZY_TOP.get(name, ()):
            continue
        if other == "zoo":
            assert own in ("adapters", "auditing", "cli", "zoo"), f"{name} opens the zoo"
        elif own == "zoo":
            assert other == "core", f"{name} imports {other}"
        else:
            assert LAYERS[other] < LAYERS[own], f"{name} (layer {LAYERS[own]}) imports {other} (layer {LAYERS[other]})"


@pytest.mark.parametrize("folder", ["attacks", "certify", "soundness", "defend"])
def test_rooms_of_layer_four_do_not_open_each_other(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        others = {other for other, _ in imported(path)} - {folder}
        assert not others & {"attacks", "certify", "soundness", "defend"}, path


def test_the_report_and_the_record_need_no_torch():
    for path in [*(PACKAGE / "report").rglob("*.py"), PACKAGE / "core" / "records.py", PACKAGE / "core" / "points.py"]:
        tree = ast.parse(path.read_text())
        top = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
        names = {a.name for n in top if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in top if isinstance(n, ast.ImportFrom) and n.module}
        assert not any(name.split(".")[0] == "torch" for name in names), path
