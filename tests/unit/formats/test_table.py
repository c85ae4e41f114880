"""The table of inputs × outcome, row by row, through the check that `inspect` and a release's `resolve` make."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.formats.table import Row, outcome, rows

ROWS = list(rows())


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.kind}: {row.what}" for row in ROWS])
def test_what_becomes_of_an_input(row: Row, tmp_path: Path) -> None:
    came, said = outcome(row, tmp_path)
    assert came == row.outcome, said
    assert row.says in said
