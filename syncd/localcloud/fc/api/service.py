"""The arguments of every operation: the region's service and the parsed call."""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from syncd.localcloud.fc.errors import invalid
from syncd.localcloud.fc.functions.function_store import FunctionStore
from syncd.localcloud.fc.functions.operations import Settings
from syncd.localcloud.fc.functions.records import Preparation
from syncd.localcloud.fc.functions.validation import Json
from syncd.localcloud.fc.images.image_table import ImageTable
from syncd.localcloud.fc.instances.pool import InstancePool

_T = TypeVar("_T")
_LIMIT_MAX = 100


@dataclass(slots=True)
class FunctionService:
    """State and dependencies of one region. Thread-safe."""

    region: str
    account_id: str
    store: FunctionStore
    instances: InstancePool
    images: ImageTable
    settings: Settings
    clock: Callable[[], float]
    chance: Callable[[], float]
    background: set[threading.Thread] = field(default_factory=set)

    def arn(self, function: str) -> str:
        return f"acs:fc:{self.region}:{self.account_id}:functions/{function}"


@dataclass(frozen=True, slots=True)
class FcCall:
    """One parsed request.

    `function` and `item` come from the path; `script` holds the values of `State` fault rules.
    """

    function: str
    item: str
    query: Mapping[str, str]
    header: Callable[[str], str]
    body: bytes
    request_id: str
    now_s: float
    script: Mapping[str, Any] = field(default_factory=dict)

    @property
    def qualifier(self) -> str:
        return self.query.get("qualifier", "")

    def document(self) -> Json:
        """The body as a JSON object; an empty body is an empty object. Raises FcError (InvalidArgument)."""
        try:
            parsed = json.loads(self.body or b"{}")
        except ValueError as cause:
            raise invalid(f"the request body is not JSON: {cause}") from cause
        if not isinstance(parsed, dict):
            raise invalid("the request body is not a JSON object")
        return parsed

    def preparation(self, default_s: float) -> Preparation:
        """How the saved configuration becomes ready: as scripted, else with success after `default_s`."""
        return Preparation(
            until_s=self.now_s + float(self.script.get("in_progress_s", default_s)),
            end=str(self.script.get("end", "Successful")),
            reason_code=str(self.script.get("reason_code", "")),
            reason=str(self.script.get("reason", "")),
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of an operation: a JSON document, or an invocation's bytes and headers."""

    status: int = 200
    document: Json | None = None
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()


Operation = Callable[[FunctionService, FcCall], Reply]


def paged(call: FcCall, items: Sequence[tuple[str, _T]]) -> tuple[list[_T], str]:
    """One page of keyed items, and the key of the next page's first item ('' on the last page).

    Raises:
        FcError: The limit is not from 1 to 100.
    """
    text = call.query.get("limit") or str(_LIMIT_MAX)
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= _LIMIT_MAX:
        raise invalid(f"limit is '{text}', expected 1 to {_LIMIT_MAX}")
    token = call.query.get("nextToken", "")
    keys = [key for key, _ in items]
    if token and token not in keys:
        raise invalid(f"nextToken '{token}' is not one of an earlier response")
    start = keys.index(token) if token else 0
    end = start + int(text)
    return [item for _, item in items[start:end]], keys[end] if end < len(keys) else ""
