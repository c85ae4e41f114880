"""One page of a listing, with common prefixes up to the delimiter."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

Marker = tuple[str, str]  # a key, and the order within the key; "~" sorts last
_LAST_CHARACTER = "\U0010ffff"
_BATCH_MIN = 64


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


E = TypeVar("E", bound=_Keyed)


class Rows(Protocol[E]):
    """Entries ordered by marker."""

    def after(self, marker: Marker, floor: str, limit: int) -> Sequence[E]:
        """Up to `limit` entries after the marker with keys from `floor` on."""
        ...

    def marker_of(self, entry: E, /) -> Marker: ...


@dataclass(slots=True)
class Page(Generic[E]):
    """One page. `next_marker` is the start of the next page; empty on the last page."""

    entries: list[E] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    truncated: bool = False
    next_marker: Marker = ("", "")


def page_through(rows: Rows[E], start: Marker, select: tuple[str, str], limit: int) -> Page[E]:
    """Up to `limit` entries and common prefixes after `start`. `select` is the prefix and the delimiter."""
    prefix, delimiter = select
    page: Page[E] = Page()
    marker = start
    last: Marker = ("", "")
    if delimiter and start[0].startswith(prefix) and start[0].endswith(delimiter) and start[0] != prefix:
        marker = max(marker, (start[0] + _LAST_CHARACTER, "~"))  # do not list a common prefix again
    while batch := rows.after(marker, prefix, max(_BATCH_MIN, limit + 1)):
        for entry in batch:
            if not entry.key.startswith(prefix):
                return page
            group = _group(entry.key, prefix, delimiter)
            if len(page.entries) + len(page.groups) == limit:
                page.truncated, page.next_marker = True, last
                return page
            if group:
                page.groups.append(group)
                last = (group, "~")
                marker = (group + _LAST_CHARACTER, "~")
                break
            page.entries.append(entry)
            last = marker = rows.marker_of(entry)
    return page


def _group(key: str, prefix: str, delimiter: str) -> str:
    if not delimiter:
        return ""
    head, found, _ = key[len(prefix) :].partition(delimiter)
    return prefix + head + delimiter if found else ""
