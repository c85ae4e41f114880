"""A short form meets every value of every kind; the long form has every case."""

from __future__ import annotations

from itertools import product

import pytest

from tests.support import lengths

CASES = tuple(product(range(7), "abc", (True, False)))


def test_each_value_of_each_kind_is_met_by_few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "LONG", False)
    found = lengths.one_of_each(CASES, lambda case: (case[0], case[2]), lambda case: (case[1], case[2]))
    assert {(number, flag) for number, _, flag in found} == set(product(range(7), (True, False)))
    assert {(letter, flag) for _, letter, flag in found} == set(product("abc", (True, False)))
    assert len(found) < len(CASES) / 2
    assert len(set(found)) == len(found)


def test_the_long_form_has_all_of_them_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "LONG", True)
    assert lengths.one_of_each(CASES, lambda case: case[0]) == list(CASES)
