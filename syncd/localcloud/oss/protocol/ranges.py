"""Byte ranges with OSS's semantics, which differ from HTTP's."""

import re

from syncd.localcloud.oss.errors import OssError
from syncd.localcloud.oss.protocol.request import OssCall

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def requested_range(call: OssCall, size_bytes: int) -> tuple[int, int] | None:
    """Offset and size of the range of a GET; None for the whole object.

    Without `x-oss-range-behavior: standard` a range that is not wholly inside the object is ignored: the
    response is the whole object.

    Raises:
        OssError: 416, in standard behaviour, for a range that starts after the end.
    """
    text = call.header("range").strip()
    found = _RANGE.fullmatch(text)
    if found is None or found.groups() == ("", ""):
        return None
    standard = call.header("x-oss-range-behavior") == "standard"
    first, last = found.groups()
    if first:
        start = int(first)
        end = int(last) if last else size_bytes - 1
    else:
        start = size_bytes - int(last)
        end = size_bytes - 1
    if end < start and last and first:
        return None  # HTTP ignores a reversed range too
    if 0 <= start <= end < size_bytes:
        return start, end - start + 1
    if not standard:
        return None
    if start >= size_bytes:
        raise OssError(
            416,
            "InvalidRange",
            "The requested range cannot be satisfied",
            "0016-00000902",
            {"ActualObjectSize": str(size_bytes), "RangeRequested": text},
        )
    start, end = max(start, 0), min(end, size_bytes - 1)
    return start, end - start + 1


def copy_range(call: OssCall, size_bytes: int) -> tuple[int, int]:
    """Offset and size of the source range of an UploadPartCopy. An end left open is the source's, as in a GET.

    Raises:
        OssError: The range is invalid, or not inside the source.
    """
    text = call.header("x-oss-copy-source-range")
    if not text:
        return 0, size_bytes
    found = _RANGE.fullmatch(text.strip())
    if found is None or found.groups() == ("", ""):
        raise _invalid_copy_range(text)
    first, last = found.groups()
    start = int(first) if first else size_bytes - int(last)
    end = int(last) if first and last else size_bytes - 1
    if not 0 <= start <= end < size_bytes:
        raise _invalid_copy_range(text)
    return start, end - start + 1


def _invalid_copy_range(text: str) -> OssError:
    return OssError(
        400,
        "InvalidArgument",
        "The copy source range is not valid.",
        "0017-00000505",
        {"ArgumentName": "x-oss-copy-source-range", "ArgumentValue": text},
    )
