"""Invocations on Function Compute, and the headers of their answers.

A function that fails is HTTP 200 with `X-Fc-Error-Type`; the container's own status and headers are dropped.
"""

from __future__ import annotations

import time
from io import BytesIO
from typing import Any, Final

from alibabacloud_fc20230330 import models as fc
from requests.exceptions import RequestException

from syncd.errors import Unavailable
from syncd.runtime.fc.call import SdkCall
from syncd.values.function import GoldenAnswer

_ANSWER_MAX_BYTES: Final = 1 << 20


def invoke(client: Any, call: SdkCall, where: tuple[str, str], body: bytes, timeout_s: float) -> GoldenAnswer:
    """Invoke the function `where[0]` through the alias or version `where[1]`. The caller evaluates the answer.

    Raises:
        NotFound: The function, alias or version does not exist.
        Unavailable: The call could not be made, was not answered in time, or its answer broke off.
        Failed: The platform cannot run it.
    """
    function, qualifier = where
    request = fc.InvokeFunctionRequest(qualifier=qualifier, body=BytesIO(body))
    headers = fc.InvokeFunctionHeaders(x_fc_invocation_type="Sync", x_fc_log_type="None")
    began = time.monotonic()
    result = call(
        "InvokeFunction",
        f"{function}:{qualifier}",
        lambda o: client.invoke_function_with_options(function, request, headers, o),
        read_timeout_s=timeout_s,
    )
    try:
        answer: bytes = result.body.read(_ANSWER_MAX_BYTES)
    except RequestException as broken:
        raise Unavailable(f"InvokeFunction {function}:{qualifier}: the answer broke off: {broken}") from broken
    seconds = time.monotonic() - began
    error = str(result.headers.get("x-fc-error-type") or "")
    return GoldenAnswer(answer, seconds, error, _inside_s(result.headers.get("x-fc-invocation-duration")))


def _inside_s(header: str | None) -> float | None:
    """The duration in seconds; the platform gives milliseconds. None if it cannot be read."""
    try:
        return None if header is None else float(header) / 1000
    except ValueError:
        return None
