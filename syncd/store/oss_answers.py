"""Reading what OSS answers, where the SDK drops it: headers and lists of parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree as ET

from syncd.artifact.digest import crc64_combine
from syncd.artifact.parts import Part
from syncd.errors import Corrupt


@dataclass(frozen=True, slots=True)
class HeldPart:
    """One part as OSS has it."""

    etag: str
    size_bytes: int
    crc64: int | None


def parts_in(body: bytes) -> tuple[dict[int, HeldPart], str]:
    """The parts of one page of ListParts, and the marker of the next page, empty after the last.

    oss2's own parser leaves out the CRC.

    Raises:
        ParseError, ValueError: It is something else.
    """
    root = ET.fromstring(body)  # noqa: S314 - oss2 reads every other answer of this server with it
    if root.tag != "ListPartsResult":
        raise ValueError(f"<{root.tag}> is not a list of parts")
    held = {}
    for node in root.findall("Part"):
        crc64 = node.findtext("HashCrc64ecma")
        etag, size = node.findtext("ETag", "").strip('"'), node.findtext("Size", "")
        held[int(node.findtext("PartNumber", ""))] = HeldPart(etag, int(size), int(crc64) if crc64 else None)
    is_truncated = root.findtext("IsTruncated") == "true"
    return held, root.findtext("NextPartNumberMarker", "") if is_truncated else ""


def crc64_in(headers: Mapping[str, str]) -> int | None:
    """OSS's CRC of what it holds, if it says one."""
    text = headers.get("x-oss-hash-crc64ecma")
    return None if text is None else int(text)


def crc64_of_parts(parts: tuple[Part, ...], held: Mapping[int, HeldPart], place: str) -> int:
    """The CRC of the whole that OSS's own CRCs of its parts make.

    Raises:
        Corrupt: A part is missing, has another size, or OSS told no CRC of it.
    """
    combined = 0
    for part in parts:
        there = held.get(part.number)
        if there is None or there.crc64 is None or there.size_bytes != part.size_bytes:
            raise Corrupt(f"{place}: part {part.number} of {len(parts)} is missing")
        combined = crc64_combine(combined, there.crc64, there.size_bytes)
    return combined


def time_in(headers: Mapping[str, str], name: str) -> datetime:
    return parsedate_to_datetime(headers[name])


def time_of(posix_s: int) -> datetime:
    return datetime.fromtimestamp(posix_s, UTC)


def hex_of(crc64: int | None) -> str:
    """A CRC for a message."""
    return "none" if crc64 is None else f"{crc64:016x}"
