"""One page of a listing, with keys that share a prefix up to the delimiter rolled into one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

Marker = tuple[str, str]  # a key, and what orders entries of the same key; "~" is after every such
_LAST_CHARACTER = "\U0010ffff"
_BATCH_MIN = 64


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


E = TypeVar("E", bound=_Keyed)


class Rows(Protocol[E]):
    """Entries in order of their markers."""

    def after(self, marker: Marker, floor: str, limit: int) -> Sequence[E]:
        """Up to `limit` entries past the marker whose keys are not below `floor`."""
        ...

    def marker_of(self, entry: E, /) -> Marker: ...


@dataclass(slots=True)
class Page(Generic[E]):
    """`next_marker` is where the following page begins; empty on the last one."""

    entries: list[E] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    truncated: bool = False
    next_marker: Marker = ("", "")


def page_through(rows: Rows[E], start: Marker, select: tuple[str, str], limit: int) -> Page[E]:
    """Up to `limit` entries and groups after `start`; `select` is the prefix and the delimiter."""
    prefix, delimiter = select
    page: Page[E] = Page()
    marker = start
    last: Marker = ("", "")
    if delimiter and start[0].startswith(prefix) and start[0].endswith(delimiter) and start[0] != prefix:
        marker = max(marker, (start[0] + _LAST_CHARACTER, "~"))  # a group already listed is not listed again
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
