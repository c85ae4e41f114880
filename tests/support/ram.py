"""Whether RAM policies allow a call: written from the platform's documentation, apart from what prints the policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from syncd.localcloud.counters import CallRecord

# Operations of OSS whose permission has another name, and the ones that need more than one.
_OSS: Final[Mapping[str, tuple[str, ...]]] = {
    "ListObjectsV2": ("ListObjects",),
    "HeadObject": ("GetObject",),
    "GetObjectMeta": ("GetObject",),
    "InitiateMultipartUpload": ("PutObject",),
    "UploadPart": ("PutObject",),
    "UploadPartCopy": ("GetObject", "PutObject"),
    "CopyObject": ("GetObject", "PutObject"),
    "CompleteMultipartUpload": ("PutObject",),
    "DeleteMultipleObjects": ("DeleteObject",),
}


def needed(call: CallRecord) -> list[tuple[str, str]]:
    """The permissions that one call needs, as action and resource."""
    if call.service == "fc":
        return [(f"fc:{call.operation}", f"acs:fc:{call.region}:1234567890123456:functions/{call.resource}")]
    actions = _OSS.get(call.operation, (call.operation,))
    return [(f"oss:{action}", f"acs:oss:{call.region}:1234567890123456:{call.resource}") for action in actions]


def allows(statements: Iterable[Mapping[str, Any]], action: str, resource: str, prefix: str = "") -> bool:
    """Whether a statement allows it. A condition is on the prefix of a listing."""
    return any(
        each["Effect"] == "Allow"
        and any(fnmatchcase(action, pattern) for pattern in each["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in each["Resource"])
        and _meets(each.get("Condition", {}), prefix)
        for each in statements
    )


def _meets(condition: Mapping[str, Any], prefix: str) -> bool:
    wanted = condition.get("StringLike", {}).get("oss:Prefix")
    return wanted is None or any(fnmatchcase(prefix, pattern) for pattern in wanted)
