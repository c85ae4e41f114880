"""Reading the documents that OSS answers with: lists of objects, of uploads and of parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from syncd.artifact.digest import crc64_combine
from syncd.artifact.parts import Part
from syncd.errors import Corrupt
from syncd.store.base import PendingUpload, Stat


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """One part as OSS has it."""

    etag: str
    size_bytes: int
    crc64: int | None


def parts_in(root: ET.Element) -> tuple[dict[int, UploadedPart], str]:
    """The parts of one page of ListParts, and the marker of the next page, empty after the last.

    Raises:
        ValueError: It is something else.
    """
    _expect(root, "ListPartsResult")
    held = {}
    for node in root.findall("Part"):
        crc64 = node.findtext("HashCrc64ecma")
        etag, size = node.findtext("ETag", "").strip('"'), node.findtext("Size", "")
        held[int(node.findtext("PartNumber", ""))] = UploadedPart(etag, int(size), int(crc64) if crc64 else None)
    return held, _next(root, "NextPartNumberMarker")


def objects_in(root: ET.Element) -> tuple[list[Stat], str]:
    """The objects of one page of ListObjectsV2, and the token of the next page, empty after the last.

    Raises:
        ValueError: It is something else.
    """
    _expect(root, "ListBucketResult")
    name_of = _decoder(root)
    found = []
    for node in root.findall("Contents"):
        size, tag = int(node.findtext("Size", "")), node.findtext("ETag", "").strip('"')
        found.append(Stat(name_of(node, "Key"), size, None, _time(node, "LastModified"), tag))
    return found, _next(root, "NextContinuationToken", name_of)


def uploads_in(root: ET.Element) -> tuple[list[PendingUpload], tuple[str, str]]:
    """The uploads of one page of ListMultipartUploads, and the markers of the next page, empty after the last.

    Raises:
        ValueError: It is something else.
    """
    _expect(root, "ListMultipartUploadsResult")
    name_of = _decoder(root)
    found = [
        PendingUpload(name_of(node, "Key"), node.findtext("UploadId", ""), _time(node, "Initiated"))
        for node in root.findall("Upload")
    ]
    return found, (_next(root, "NextKeyMarker", name_of), _next(root, "NextUploadIdMarker"))


def _expect(root: ET.Element, tag: str) -> None:
    if root.tag != tag:
        raise ValueError(f"<{root.tag}> is not <{tag}>")


def _decoder(root: ET.Element) -> Callable[[ET.Element, str], str]:
    """How names are to be read: XML cannot hold all of them, so OSS is asked to encode them, and says if it did."""
    is_encoded = root.findtext("EncodingType") == "url"

    def name_of(node: ET.Element, tag: str) -> str:
        text = node.findtext(tag, "")
        return unquote(text) if is_encoded else text

    return name_of


def _next(root: ET.Element, tag: str, name_of: Callable[[ET.Element, str], str] | None = None) -> str:
    truncated = root.findtext("IsTruncated")
    if truncated not in {"true", "false"}:
        raise ValueError(f"IsTruncated is {truncated!r}")
    if truncated == "false":
        return ""
    marker = name_of(root, tag) if name_of is not None else root.findtext(tag, "")
    if not marker:
        raise ValueError(f"there is more, and no {tag}")
    return marker


def _time(node: ET.Element, tag: str) -> datetime:
    return with_zone(datetime.fromisoformat(node.findtext(tag, "")))


def crc64_of_parts(parts: tuple[Part, ...], held: Mapping[int, UploadedPart], place: str) -> int:
    """The CRC of the whole that OSS's own CRCs of its parts make.

    Raises:
        Corrupt: A part is missing, has another size, or OSS reports no CRC of it.
    """
    combined = 0
    for part in parts:
        there = held.get(part.number)
        if there is None or there.crc64 is None or there.size_bytes != part.size_bytes:
            raise Corrupt(f"{place}: part {part.number} of {len(parts)} is missing")
        combined = crc64_combine(combined, there.crc64, there.size_bytes)
    return combined


def with_zone(at: datetime) -> datetime:
    """Times are compared with ours, which those without a zone cannot be. OSS's own are GMT."""
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def hex_of(crc64: int | None) -> str:
    """A CRC for a message."""
    return "none" if crc64 is None else f"{crc64:016x}"
