"""Keys are relative and stay where they belong."""

from __future__ import annotations

import pytest
from syncd.errors import Invalid
from syncd.store.keys import KEY_MAX_BYTES, parse_key, parse_prefix


@pytest.mark.parametrize("key", ["a", "a/b", "models/", ".syncd/manifest.json", "a b/ü", "a..b", "x" * KEY_MAX_BYTES])
def test_ordinary_keys_pass_unchanged(key: str) -> None:
    assert parse_key(key) == key


@pytest.mark.parametrize("key", ["", "/", "/a", "a//b", "a//", "..", "a/..", "./a", "a\tb", "a\x7f", "a\\b"])
def test_what_could_lead_astray_is_refused(key: str) -> None:
    with pytest.raises(Invalid):
        parse_key(key)


def test_the_length_is_counted_in_bytes_with_what_the_store_adds() -> None:
    parse_key("é" * 511)
    with pytest.raises(Invalid, match="1024 bytes long, at most 1023 are allowed"):
        parse_key("é" * 512)
    with pytest.raises(Invalid):
        parse_key("x" * 1000, room_bytes=24)


def test_a_prefix_is_empty_or_a_directory() -> None:
    assert parse_prefix("") == ""
    assert parse_prefix("a/b/") == "a/b/"
    for text in ("a", "/", "a//", "../"):
        with pytest.raises(Invalid):
            parse_prefix(text)
