"""The conformance suite, bound to an emulated Prometheus server; and Prometheus's own promises."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from syncd.errors import Invalid, Refused, SyncdError, Unavailable
from syncd.http.auth import BearerAuth
from syncd.secret import Secret
from syncd.signals.base import PrometheusSettings, Signal, Subject, Verdict
from syncd.signals.prometheus import PrometheusSignal, explain

from tests.conformance.signal import ABOUT, AT_MOST, SAMPLES_MIN, SignalConformance
from tests.emulators.web import Reply, Request, Web, as_json
from tests.unit.registry.webs import http_to

ERRORS = 'rate(errors{function="$function",version="$function_version",region="$region",alias="$alias"}[${seconds}s])'
SETTINGS = PrometheusSettings("", ERRORS, AT_MOST, "count_of($function)", SAMPLES_MIN)


def vector(*values: float | None) -> dict[str, Any]:
    """An instant vector as Prometheus writes it: numbers are text."""
    found = [{"metric": {}, "value": [1.5e9, _text(value)]} for value in values if value is not None]
    return {"status": "success", "data": {"resultType": "vector", "result": found}}


def _text(value: float) -> str:
    return {math.inf: "+Inf"}.get(value, "NaN" if math.isnan(value) else f"{value!r}")


class Prometheus:
    """Answers each expression with its configured value."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.web = Web(self.answer)

    def answer(self, request: Request) -> Reply:
        if request.path != "/api/v1/query":
            return Reply(404)
        found = self.answers["count" if request.query["query"].startswith("count_of") else "value"]
        return found if isinstance(found, Reply) else as_json(found)


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    served = Prometheus()
    with served.web:
        yield served


def signal_to(prometheus: Prometheus, settings: PrometheusSettings = SETTINGS, **more: Any) -> PrometheusSignal:
    origin = prometheus.web.origin
    there = PrometheusSettings(f"{origin}/", settings.query, AT_MOST, settings.samples_query, SAMPLES_MIN)
    return PrometheusSignal(there, http_to(prometheus.web, explain=explain, **more))


class TestPrometheusSignal(SignalConformance):
    @pytest.fixture
    def signal(self, prometheus: Prometheus) -> Signal:
        self.prometheus = prometheus
        return signal_to(prometheus)

    def measured(self, value: float | None, samples: float | None) -> None:
        self.prometheus.answers = {"value": vector(value), "count": vector(samples)}

    def silent(self) -> None:
        self.prometheus.web.stop()

    def test_the_subjects_values_are_in_the_expression(self, signal: Signal) -> None:
        self.measured(0.0, 100.0)
        signal.measure(ABOUT)
        asked = [request.query["query"] for request in self.prometheus.web.seen]
        assert asked == [
            "count_of(sd)",
            'rate(errors{function="sd",version="12",region="cn-hangzhou",alias="prod"}[300s])',
        ]

    def test_a_scalar_is_a_number_too(self, signal: Signal) -> None:
        scalar = {"status": "success", "data": {"resultType": "scalar", "result": [1.5e9, "21"]}}
        self.prometheus.answers = {"value": vector(0.5), "count": scalar}
        assert (found := signal.measure(ABOUT)).verdict is Verdict.BAD
        assert found.samples == 21.0

    def test_more_than_one_series_is_a_mistake_in_the_expression(self, signal: Signal) -> None:
        self.prometheus.answers = {"value": vector(0.0, 1.0), "count": vector(100.0)}
        with pytest.raises(Invalid, match="2 series instead of one number") as refused:
            signal.measure(ABOUT)
        assert "sum()" in refused.value.hint

    def test_a_range_is_not_a_number(self, signal: Signal) -> None:
        matrix = {"status": "success", "data": {"resultType": "matrix", "result": []}}
        self.prometheus.answers = {"value": matrix, "count": vector(100.0)}
        with pytest.raises(Invalid, match="gives a matrix"):
            signal.measure(ABOUT)

    def test_an_answer_of_some_stores_alone_is_not_enough(self, signal: Signal) -> None:
        partial = {**vector(0.0), "warnings": ["store 10.0.0.7 did not answer"]}
        self.prometheus.answers = {"value": partial, "count": vector(100.0)}
        found = signal.measure(ABOUT)
        assert (found.verdict, found.value) == (Verdict.NOT_ENOUGH, None)
        assert "store 10.0.0.7" in found.said

    @pytest.mark.parametrize("status", [400, 422])
    def test_an_expression_that_cannot_be_evaluated_has_the_servers_reason(self, signal: Signal, status: int) -> None:
        error = {"status": "error", "errorType": "bad_data", "error": "1:5: parse error: unexpected end of input"}
        self.prometheus.answers = {"value": vector(0.0), "count": as_json(error, status)}
        with pytest.raises(Invalid, match="unexpected end of input"):
            signal.measure(ABOUT)

    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            (Reply(401), Refused),
            (Reply(403), Refused),
            (Reply(503), Unavailable),
            (Reply(200, {}, b"<html>"), SyncdError),
            (Reply(400, {}, b"<html>"), SyncdError),
            (as_json([]), Unavailable),
            (as_json({"status": "success"}), Unavailable),
            (as_json({"status": "error", "error": "busy"}), Unavailable),
            (as_json(vector(0.0) | {"data": {"resultType": "vector", "result": [{"value": [0, "x"]}]}}), Unavailable),
        ],
    )
    def test_an_answer_of_another_type_is_not_a_figure(
        self, signal: Signal, reply: Reply, kind: type[SyncdError]
    ) -> None:
        self.prometheus.answers = {"value": vector(0.0), "count": reply}
        with pytest.raises(kind):
            signal.measure(ABOUT)

    def test_the_token_goes_along(self, prometheus: Prometheus) -> None:
        prometheus.answers = {"value": vector(0.0), "count": vector(100.0)}
        signal_to(prometheus, access=BearerAuth(Secret("t0ken"))).measure(ABOUT)
        assert {request.headers["authorization"] for request in prometheus.web.seen} == {"Bearer t0ken"}

    def test_a_name_that_could_change_the_expression_is_refused(self, signal: Signal) -> None:
        with pytest.raises(Invalid, match="is not allowed in an expression"):
            signal.measure(Subject('x"} or vector(0) #', "sd", "prod", "1", 1.0))
