"""Errors with foreign text: a message controls no terminal, and a requested delay has an upper limit."""

from __future__ import annotations

import pytest
from syncd.errors import RETRY_AFTER_MAX_S, Invalid, Unavailable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 模型", "plain é 模型"),
        ("two\nlines", "two\nlines"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("right\u202eleft", "right\\u202eleft"),
        ("half \ud800", "half \\ud800"),
        ("", ""),
    ],
)
def test_what_cannot_be_seen_is_shown_by_its_number(text: str, shown: str) -> None:
    error = Invalid(text, hint=text)
    assert (error.message, error.hint, str(error)) == (shown, shown, shown)
    assert Unavailable(text, hint=text).hint == shown


@pytest.mark.parametrize(("told_s", "waited_s"), [(None, None), (0.0, 0.0), (7.5, 7.5), (1e12, RETRY_AFTER_MAX_S)])
def test_an_endless_retry_after_is_cut_to_an_hour(told_s: float | None, waited_s: float | None) -> None:
    assert Unavailable("busy", retry_after_s=told_s).retry_after_s == waited_s
