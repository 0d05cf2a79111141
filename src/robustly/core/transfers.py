"""The record of a transfer matrix: frozen, versioned, and readable without torch."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, ValidationError

from robustly.core.errors import UsageError
from robustly.core.records import DataFacts, Frozen, Interval, ModelFacts, Number

SCHEMA = 1
FILE = "transfer.json"


class Cell(Frozen):
    """What was found on one model, asked of one model: the same on the diagonal.

    Only examples count that both read rightly when unperturbed. An example on which the attack found nothing counts as
    not transferred.
    """

    source: int = Field(description="the model attacked, by its place in `models`")
    target: int = Field(description="the model asked")
    counted: int = Field(description="examples that both read rightly")
    found: int = Field(description="of those, where the attack broke the source")
    transferred: int = Field(description="of those, where the same point breaks the target")
    rate: Number = Field(description="transferred of counted; null where none counts")
    given_found: Number = Field(description="transferred of found; null where none was found")
    interval: Interval = Field(description="of the rate, Clopper and Pearson")
    bits: tuple[bool | None, ...] = Field(description="of every example: transferred; null where it doesn't count")


class Transfer(Frozen):
    """Does what fools one model fool another?"""

    schema_version: int = SCHEMA
    models: tuple[ModelFacts, ...]
    clean: tuple[float, ...] = Field(description="of each model, the share of examples it reads rightly")
    data: DataFacts
    threat: str
    attack: str
    seed: int
    cells: tuple[Cell, ...] = Field(description="row by row: all targets of the first source, then of the second")
    forward: tuple[int, ...] = Field(description="examples forward through each model, everything included")
    backward: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def cell(self, source: int, target: int) -> Cell:
        """What was found on model `source`, asked of model `target`, by their places."""
        return self.cells[source * len(self.models) + target]

    def to_json(self) -> str:
        """The record as JSON text, the same for the same record."""
        return self.model_dump_json(indent=1) + "\n"

    def __repr__(self) -> str:
        return f"<Transfer: {self}>"

    def __str__(self) -> str:
        from robustly.report.transfers import plain_matrix

        return plain_matrix(self)

    def _repr_html_(self) -> str:
        from robustly.report.transfers import matrix_html

        return matrix_html(self)


def read_transfer(folder: Path | str) -> Transfer:
    """The record of a folder that `robustly transfer` wrote, or of the path of its transfer.json.

    Raises:
        UsageError: none there, damaged, or of a newer schema.
    """
    path = Path(folder)
    path = path if path.suffix == ".json" else path / FILE
    if not path.exists():
        raise UsageError(
            f"no transfer record at {path}. Write one: robustly transfer MODEL MODEL DATA --threat ... --out FOLDER"
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA:
            raise UsageError(f"{path} has schema {version}, this robustly reads up to {SCHEMA}: update robustly.")
        return Transfer.model_validate(raw)
    except (json.JSONDecodeError, ValidationError, AttributeError) as error:
        raise UsageError(f"{path} is damaged: {str(error).splitlines()[0]}. Make it again.") from error
