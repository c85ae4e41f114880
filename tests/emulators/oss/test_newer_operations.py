"""The vendor's SDK has operations that are newer than the local OSS: each is itself or refused, never another one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alibabacloud_oss_v2 as oss
import pytest
from syncd.localcloud import LocalCloud
from syncd.localcloud.httpd import Body, HeaderFields, ServerRequest
from syncd.localcloud.oss.errors import OssError
from syncd.localcloud.oss.protocol.operation_names import operation_of
from syncd.localcloud.oss.protocol.request import OssCall
from syncd.localcloud.oss.region import OPERATIONS

from tests.emulators.clouds import BUCKET
from tests.emulators.oss.raw import Raw

SOURCES = Path(oss.__file__).parent
OWN_HOSTS = ("vectors", "tables")  # of other services, at other addresses
NEWER = [
    ("PUT", "k", "legalHold"),
    ("PUT", "k", "retention"),
    ("GET", "k", "legalHold"),
    ("PUT", "k", "aFutureOperation"),
    ("GET", "k", "aFutureOperation"),
    ("DELETE", "k", "aFutureOperation"),
    ("DELETE", "", "quota"),
    ("DELETE", "", "agenticBucket"),
    ("DELETE", "", "aFutureOperation"),
    ("GET", "", "objectWorm"),
    ("PUT", "", "metadataJournalTable"),
]


def operations_of_the_sdk() -> Iterator[tuple[str, str, dict[str, str], bool, bool]]:
    """Name, method, parameters, and whether there are a bucket and a key, of each that has a parameter of its own."""
    for source in sorted(SOURCES.rglob("operations/*.py")):
        if source.relative_to(SOURCES).parts[0] in OWN_HOSTS:
            continue
        for match in re.finditer(r"OperationInput\((.*?)\n    \)", source.read_text(), re.DOTALL):
            text = match[1]
            name, method = (re.search(rf"{key}='(\w+)'", text) for key in ("op_name", "method"))
            given = re.search(r"parameters=\{(.*?)\}", text, re.DOTALL)
            args = dict(re.findall(r"'([\w-]+)'\s*:\s*'([^']*)'", given[1])) if given else {}
            if name and method and "" in args.values():
                yield name[1], method[1], args, "bucket=request.bucket" in text, "key=request.key" in text


def answered(method: str, args: dict[str, str], *, has_bucket: bool, has_key: bool) -> str:
    request = ServerRequest(method, "/", "/", (), HeaderFields([]), Body.of(b""))
    call = OssCall(request, BUCKET if has_bucket else "", "k" if has_key else "", "r1", "id", 0.0, args=args)
    try:
        return operation_of(call)
    except OssError as error:
        return f"refused: {error}"


def test_no_operation_of_the_sdk_is_answered_as_another_one() -> None:
    found = list(operations_of_the_sdk())
    assert len(found) > 100
    wrong = []
    for name, method, args, has_bucket, has_key in found:
        operation = answered(method, args, has_bucket=has_bucket, has_key=has_key)
        if operation in OPERATIONS and operation.lower() != name.lower() and name != "GetVectorBucket":
            wrong.append((name, method, args, operation))
    assert not wrong


@pytest.mark.parametrize(("method", "key", "parameter"), NEWER)
def test_an_operation_that_is_not_known_changes_nothing(
    cloud: LocalCloud, one_bucket: Any, method: str, key: str, parameter: str
) -> None:
    one_bucket.put_object("other", b"1")
    one_bucket.delete_object("other")
    if key:
        one_bucket.put_object(key, b"1")
    refused = Raw(cloud)(
        method, f"/{BUCKET}/{key}".rstrip("/"), {parameter: ""}, {}, b"<LegalHold/>" if method == "PUT" else b""
    )
    assert (refused.status, refused.code) == (501, "NotImplemented")
    assert not key or one_bucket.get_object(key).read() == b"1"
    assert one_bucket.get_bucket_info().name == BUCKET
