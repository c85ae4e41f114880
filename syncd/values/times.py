"""RFC 3339 timestamps, parsed to a point in time so that they compare across offsets."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

# RFC 3339, section 5.6: date, T, time with an optional fraction, offset. It allows small letters and a space.
_TIME: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}):(\d{2})(?:[.,](\d{1,18}))?([Zz]|[+-]\d{2}:?\d{2})", re.ASCII
)


def parse_time(text: str) -> datetime | None:
    """Parse a timestamp to an aware datetime in UTC, to the microsecond; None if the text is not one.

    A text without an offset is not one: its time zone is unknown. A leap second (`:60`) is the
    instant before the next minute.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    date, minute, second, fraction, offset = match.groups()
    is_leap = second == "60"
    zone = "+00:00" if offset in "Zz" else offset
    try:
        whole = datetime.fromisoformat(f"{date}T{minute}:{'59' if is_leap else second}{zone}")
        microseconds = 999_999 if is_leap else int((fraction or "0").ljust(6, "0")[:6])
        return (whole + timedelta(microseconds=microseconds)).astimezone(UTC)
    except (ValueError, OverflowError):  # a 31st of June, hour 25, or a year that no offset can leave
        return None
