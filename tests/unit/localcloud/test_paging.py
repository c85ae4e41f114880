"""Listings page by page against the plain definition of a listing."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from syncd.localcloud.oss.operations.paging import Marker, page_through


@dataclass(frozen=True)
class Entry:
    key: str


class Rows:
    """Keys in memory, in order."""

    def __init__(self, keys: set[str]) -> None:
        self._entries = [Entry(key) for key in sorted(keys)]

    def after(self, marker: Marker, floor: str, limit: int) -> Sequence[Entry]:
        return [e for e in self._entries if (e.key, "") > marker and e.key >= floor][:limit]

    def marker_of(self, entry: Entry) -> Marker:
        return entry.key, ""


KEYS = st.sets(st.text(alphabet="ab/\U0001f600", min_size=1, max_size=6), max_size=30)
PREFIXES = st.text(alphabet="ab/", max_size=3)


def _definition(keys: set[str], prefix: str, delimiter: str) -> list[str]:
    found = set()
    for key in keys:
        if key.startswith(prefix):
            head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            found.add(prefix + head + cut if cut else key)
    return sorted(found)


@given(KEYS, PREFIXES, st.sampled_from(["", "/", "b"]), st.integers(1, 7))
def test_all_pages_together_are_the_whole_listing_once(keys: set[str], prefix: str, delimiter: str, limit: int) -> None:
    rows = Rows(keys)
    marker: Marker = ("", "")
    found: list[str] = []
    while True:
        page = page_through(rows, marker, (prefix, delimiter), limit)
        assert len(page.entries) + len(page.groups) <= limit
        found += sorted([*(entry.key for entry in page.entries), *page.groups])
        if not page.truncated:
            break
        marker = (page.next_marker[0], "")  # all a client is given to come back with
    assert found == _definition(keys, prefix, delimiter)


def test_a_prefix_with_a_million_keys_costs_one_look() -> None:
    looks: list[Marker] = []

    class Counted(Rows):
        def after(self, marker: Marker, floor: str, limit: int) -> Sequence[Entry]:
            looks.append(marker)
            return super().after(marker, floor, limit)

    page = page_through(Counted({f"a/{n}" for n in range(1000)} | {"b"}), ("", ""), ("", "/"), 100)
    assert (page.groups, [entry.key for entry in page.entries]) == (["a/"], ["b"])
    assert len(looks) == 3
