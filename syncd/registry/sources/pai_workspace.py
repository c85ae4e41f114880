"""Client of a PAI workspace. Only this file imports the SDK, which is installed as `syncd[pai]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, TypeVar

from alibabacloud_aiworkspace20210204.client import Client
from alibabacloud_aiworkspace20210204.models import (
    GetModelVersionRequest,
    ListModelsRequest,
    ListModelVersionsRequest,
)
from darabonba.exceptions import DaraException
from darabonba.runtime import RuntimeOptions

from syncd import retry
from syncd.errors import Invalid, NotFound, Refused, SyncdError, Unavailable
from syncd.registry.alibabacloud import FAILURES, config_of, options
from syncd.registry.settings import AccessKey, PaiSettings
from syncd.registry.sources.pai import APPROVED, Registered
from syncd.retry import Retry

T = TypeVar("T")

_PAGE: Final = 100
_ROWS_MAX: Final = 10_000
_SHOWN_MAX: Final = 100  # characters of the service's names, in messages
_RETRY: Final = Retry(attempts_max=4, elapsed_max_s=60.0)
_HINT: Final = "is the endpoint right, and reachable from this machine?"


class SdkWorkspace:
    """See `registry.sources.pai.Workspace`. Safe from several threads; the constructor makes no request."""

    def __init__(self, settings: PaiSettings, key: AccessKey, policy: Retry = _RETRY) -> None:
        self._workspace = settings.workspace
        self._policy = policy
        self._client = Client(config_of(key, settings.region, settings.endpoint))

    def models(self, name: str | None = None) -> Iterator[tuple[str, str]]:
        """See `registry.sources.pai.Workspace`."""

        def page(number: int, options: RuntimeOptions) -> tuple[Any, Any]:
            request = ListModelsRequest(
                workspace_id=self._workspace, model_name=name, page_number=number, page_size=_PAGE,
                sort_by="GmtCreateTime", order="ASC",
            )  # fmt: skip
            body = self._client.list_models_with_options(request, {}, options).body
            return body.models, body.total_count

        for row in self._all("ListModels", self._workspace, page):
            yield str(row.model_name or ""), str(row.model_id or "")

    def approved(self, model_id: str) -> Iterator[Registered]:
        """See `registry.sources.pai.Workspace`."""

        def page(number: int, options: RuntimeOptions) -> tuple[Any, Any]:
            request = ListModelVersionsRequest(
                approval_status=APPROVED, page_number=number, page_size=_PAGE, sort_by="GmtCreateTime", order="ASC"
            )
            body = self._client.list_model_versions_with_options(model_id, request, {}, options).body
            return body.versions, body.total_count

        for row in self._all("ListModelVersions", model_id[:_SHOWN_MAX], page):
            found = _registered(row)
            if found.status == APPROVED:
                yield found

    def version(self, model_id: str, name: str) -> Registered:
        """See `registry.sources.pai.Workspace`."""

        def sent(options: RuntimeOptions) -> Registered:
            request = GetModelVersionRequest()
            return _registered(self._client.get_model_version_with_options(model_id, name, request, {}, options).body)

        what = f"{model_id[:_SHOWN_MAX]} {name}"
        found = self._call("GetModelVersion", what, sent)
        if found.name != name:
            other = found.name[:_SHOWN_MAX]
            raise Unavailable(f"GetModelVersion {what}: the response is about {other!r}", hint=_HINT)
        return found

    def _all(self, operation: str, what: str, page: Callable[[int, RuntimeOptions], tuple[Any, Any]]) -> Iterator[Any]:
        """The rows of every page, up to the total that the service reports."""
        seen = 0
        for number in range(1, _ROWS_MAX // _PAGE + 1):
            rows, total = self._call(operation, what, partial(page, number))
            if type(total) is not int:
                raise Unavailable(f"{operation} {what}: the response has no total", hint=_HINT)
            yield from rows or ()
            seen += len(rows or ())
            if seen >= total:
                return
            if not rows:
                raise Unavailable(f"{operation} {what}: got {seen} of {total} rows", hint=_HINT)
        raise Invalid(f"{operation} {what}: there are more than {_ROWS_MAX} rows")

    def _call(self, operation: str, what: str, send: Callable[[RuntimeOptions], T]) -> T:
        def sent() -> T:
            try:
                return send(options())
            except FAILURES as error:
                raise translate_errors(error, f"{operation} {what}") from error

        return retry.call(self._policy, sent)


def translate_errors(error: Exception, what: str) -> SyncdError:
    """The syncd error for an SDK failure; without a status, the response was lost or unreadable."""
    status = getattr(error, "status_code", None)
    code = str(getattr(error, "code", "") or "")
    said = " ".join(str(getattr(error, "message", "") or error).split())[:300]
    if not isinstance(error, DaraException) or status is None:
        return Unavailable(f"{what}: no usable response: {said}", hint=_HINT)
    reason = f"{what}: {status} {code}: {said}"
    if status == 404:
        return NotFound(reason)
    if status == 429 or status >= 500 or code.startswith("Throttling"):
        return Unavailable(reason, hint="PAI is unavailable now")
    return Refused(reason, hint="check the workspace, and that the access key is allowed to read its models")


def _registered(row: Any) -> Registered:
    return Registered(
        str(row.version_name or ""), str(row.uri or ""), str(row.approval_status or ""), str(row.gmt_create_time or "")
    )
