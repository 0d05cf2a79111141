"""What several tests of the report share."""

from __future__ import annotations

import pytest
from tests.report.making import fashion_record, swept


@pytest.fixture(scope="session")
def fashion(tmp_path_factory):
    """An audit of 120 pictures with a sweep, in its folder."""
    folder = tmp_path_factory.mktemp("run")
    record = swept(fashion_record(folder, 120), (0.05, 0.1, 0.15))
    (folder / "record.json").write_text(record.to_json(), encoding="utf-8")
    return record
