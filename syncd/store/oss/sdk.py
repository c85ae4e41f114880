"""Rare OSS operations through oss2: deleting and copying. The only file that imports it, and only on demand.

To import it takes longer than most of our commands. Its requests are signed by `requests`, and sent by `http`.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlencode

import oss2
import oss2.exceptions

from syncd.store.oss.errors import ErrorBody
from syncd.store.oss.errors import ErrorResponse as OssAnswer
from syncd.store.oss.http import HttpBody, HttpPool
from syncd.store.oss.requests import Signer, crc64_in
from syncd.store.oss.responses import UploadedPart
from syncd.store.oss.settings import OssSettings
from syncd.values.bucket import BucketFacts, LifecycleRule


class Bucket:
    """Safe from several threads. Raises ErrorBody for every error of oss2."""

    def __init__(self, settings: OssSettings, wire: HttpPool) -> None:
        logging.getLogger("oss2").setLevel(logging.WARNING)  # below, it logs headers, and tokens are in them
        try:
            self._bucket = _Bucket(settings, wire)
        except oss2.exceptions.OssError as error:
            raise _error_body(error) from error

    def delete(self, name: str) -> None:
        self._bucket.delete_object(name)

    def abort(self, name: str, upload_id: str) -> None:
        self._bucket.abort_multipart_upload(name, upload_id)

    def facts(self) -> BucketFacts:
        """Region, versioning and enabled lifecycle rules."""
        info = self._bucket.get_bucket_info()
        try:
            rules = self._bucket.get_bucket_lifecycle().rules
        except ErrorBody as error:
            if error.answer.code != "NoSuchLifecycle":
                raise
            rules = []
        region = str(info.location).removeprefix("oss-")
        enabled = tuple(_lifecycle(rule) for rule in rules if rule.status == oss2.models.LifecycleRule.ENABLED)
        return BucketFacts(region, info.versioning_status or "", enabled)

    def copied_part(
        self, source: tuple[str, str], run: tuple[int, int], name: str, upload_id: str, number: int
    ) -> UploadedPart:
        """Have OSS write a part from the bytes `run`, both ends of which are included, of a bucket's object."""
        answer = self._bucket.upload_part_copy(*source, run, name, upload_id, number)
        return UploadedPart(answer.etag, run[1] - run[0] + 1, crc64_in(answer.headers))


def _lifecycle(rule: Any) -> LifecycleRule:
    """See https://www.alibabacloud.com/help/en/oss/developer-reference/putbucketlifecycle."""
    expiration, abort = rule.expiration, rule.abort_multipart_upload
    deletes = expiration is not None and any((expiration.days, expiration.date, expiration.created_before_date))
    days = None if abort is None else abort.days
    archives = any("Archive" in str(each.storage_class) for each in rule.storage_transitions or ())
    return LifecycleRule(str(rule.id or ""), str(rule.prefix or ""), deletes, archives, days)


class _Bucket(oss2.Bucket):  # type: ignore[misc]  # oss2 has no types
    def __init__(self, settings: OssSettings, wire: HttpPool) -> None:
        super().__init__(
            Signer(settings.credentials),
            settings.endpoint,
            settings.bucket,
            session=_Session(wire),
            connect_timeout=settings.read_timeout_s,
            enable_crc=False,
            region=settings.region,
            is_path_style=settings.path_style,
        )

    def _do(self, *arguments: Any, **more: Any) -> Any:
        """Every request of oss2 passes here."""
        try:
            return super()._do(*arguments, **more)
        except oss2.exceptions.OssError as error:
            raise _error_body(error) from error


class _Session:
    """Sends requests as oss2 made them, by a client of ours."""

    def __init__(self, wire: HttpPool) -> None:
        self._wire = wire

    def do_request(self, req: Any, timeout: object) -> HttpBody:  # noqa: ARG002 - the settings have it
        query = urlencode([(name, value) for name, value in req.params.items() if value is not None])
        headers = {name: value for name, value in req.headers.items() if value is not None}
        answer = self._wire.ask(req.method, f"{req.url}?{query}" if query else req.url, headers, req.data or b"")
        answer.load()
        return answer


def _error_body(error: Any) -> ErrorBody:
    return ErrorBody(OssAnswer(error.status, str(error.code), error.message or str(error.body), error.headers or {}))
