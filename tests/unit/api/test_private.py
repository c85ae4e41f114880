"""Errors of the API: no path of this machine, and no query of a URL."""

from __future__ import annotations

import pytest
from syncd.api.responses import without_private


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/models/sdxl/v1: no such file", "registries.models/sdxl/v1: no such file"),
        ("no record at /var/lib/syncd/syncd.db", "no record at the record"),
        ("https://x.example.com/a?token=abc: 403", "https://x.example.com/a?… 403"),
        ("got https://x.example.com/a?sig=a%20b&c=d, then", "got https://x.example.com/a?…, then"),
        ("nothing private", "nothing private"),
    ],
)
def test_an_answer_has_no_path_of_this_machine_and_no_query(text: str, shown: str) -> None:
    paths = {"/srv/models": "registries.models", "/var/lib/syncd/syncd.db": "the record"}
    assert without_private(text, paths) == shown
