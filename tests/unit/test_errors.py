"""What others wrote may stand in a message: it moves no terminal, and any record takes it."""

from __future__ import annotations

import pytest
from syncd.errors import Invalid, Unavailable


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
