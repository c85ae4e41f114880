"""The page about faults has every cell, and no end that a release may not have."""

from __future__ import annotations

from tests.faults.cells import cells
from tests.faults.page import LIVE, PAGE, ends_of, page_of


def test_the_page_is_what_is_made_of_its_own_table() -> None:
    told = PAGE.read_text()
    assert page_of(ends_of(told)) == told


def test_the_page_has_every_cell_and_no_other() -> None:
    assert set(ends_of(PAGE.read_text())) == {cell.name for cell in cells()}


def test_one_fault_is_borne_and_one_that_lasts_ends_whole() -> None:
    told = ends_of(PAGE.read_text())
    for cell in cells():
        ends = {LIVE} if cell.often == "once" else {LIVE, "stalled", "undone", "undone, late"}
        assert told[cell.name] in ends, cell.name
        if cell.ends and cell.often == "always":
            assert told[cell.name] == cell.ends
