"""Signal from Prometheus, or any server with its HTTP API: Thanos, Mimir, VictoriaMetrics, ARMS.

An expression is evaluated now and must give one number. `$region`, `$function`, `$alias`, `$function_version` and
`$seconds` in it are replaced by the subject's values.
"""

from __future__ import annotations

import math
import re
from string import Template
from typing import Any, Final
from urllib.parse import urlencode

from syncd.errors import Invalid, Unavailable
from syncd.http.client import HttpClient, HttpRequest, HttpResponse
from syncd.http.responses import parse_json
from syncd.signals.base import Evidence, PrometheusSettings, Subject, Verdict

_SAFE: Final = re.compile(r"[A-Za-z0-9._-]*")  # valid in an expression, in quotes or without


class PrometheusSignal:
    """`Signal` over one expression and one that counts its samples."""

    def __init__(self, settings: PrometheusSettings, http: HttpClient) -> None:
        self._settings = settings
        self._http = http

    def measure(self, subject: Subject) -> Evidence:
        settings = self._settings
        samples, missing = self._number(settings.samples_query, subject)
        if samples is None:
            return Evidence(Verdict.NOT_ENOUGH, f"the number of samples is unknown: {missing}")
        if samples < settings.samples_min:
            said = f"got {samples:g} samples, want at least {settings.samples_min:g}"
            return Evidence(Verdict.NOT_ENOUGH, said, samples=samples)
        value, missing = self._number(settings.query, subject)
        if value is None:
            return Evidence(Verdict.NOT_ENOUGH, missing, samples=samples)
        verdict = Verdict.GOOD if value <= settings.at_most else Verdict.BAD
        said = f"got {value:g} over {samples:g} samples, want at most {settings.at_most:g}"
        return Evidence(verdict, said, value, samples)

    def _number(self, query: str, subject: Subject) -> tuple[float | None, str]:
        """The number that an expression gives; None with the reason if there is no reliable one."""
        expression = _about(query, subject)
        url = f"{self._settings.url.rstrip('/')}/api/v1/query?{urlencode({'query': expression})}"
        document = self._http.fetch(HttpRequest(url)).json()
        if not isinstance(document, dict) or document.get("status") != "success":
            raise Unavailable(f"{self._settings.url}: not an answer of Prometheus: {str(document)[:200]}")
        if document.get("warnings"):  # some of several stores behind it did not answer
            return None, f"the answer is incomplete: {str(document['warnings'])[:200]}"
        values = _values(document.get("data"), self._settings.url)
        if not values:
            return None, f"no data: {expression}"
        if len(values) > 1:
            hint = "aggregate it, for example with sum() or max(), until one number is left"
            raise Invalid(f"{len(values)} series instead of one number: {expression}", hint=hint)
        return (None, f"not a number: {expression}") if math.isnan(values[0]) else (values[0], "")


def explain(response: HttpResponse) -> Invalid | None:
    """An expression that cannot be evaluated is a configuration error, not a network error. For `HttpClient`."""
    if response.status not in {400, 422}:
        return None
    try:
        said = parse_json(response.body, response.url)
    except Unavailable:
        return None
    error = said.get("error") if isinstance(said, dict) else None
    return Invalid(f"Prometheus cannot answer: {error}", hint="try the expression in its console") if error else None


def _about(query: str, subject: Subject) -> str:
    names = {
        "region": subject.region,
        "function": subject.function,
        "alias": subject.alias,
        "function_version": subject.function_version,
        "seconds": str(max(1, math.ceil(subject.seconds))),
    }
    unsafe = next((value for value in names.values() if not _SAFE.fullmatch(value)), None)
    if unsafe is not None:
        raise Invalid(f"{unsafe!r} is not allowed in an expression")
    return Template(query).safe_substitute(names)


def _values(data: Any, url: str) -> list[float]:
    """The numbers of a vector or a scalar."""
    try:
        if data["resultType"] == "scalar":
            return [float(data["result"][1])]
        if data["resultType"] == "vector":
            return [float(series["value"][1]) for series in data["result"]]
        kind = str(data["resultType"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Unavailable(f"{url}: not an answer of Prometheus: {str(data)[:200]}") from error
    raise Invalid(f"{url}: expected a number, the expression gives a {kind}", hint="it must not end in a range: [5m]")
