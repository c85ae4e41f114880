"""The log of calls that tests count by."""

from syncd.localcloud import counters
from syncd.localcloud.counters import CallRecord, Counters


def _filled() -> Counters:
    made = Counters()
    made.record(CallRecord("oss", "UploadPart", "b/one", 200, bytes_in=10, bytes_out=1))
    made.record(CallRecord("oss", "UploadPart", "b/one", 500, bytes_in=10))
    made.record(CallRecord("oss", "UploadPart", "b/two", 200, bytes_in=5))
    made.record(CallRecord("fc", "UpdateAlias", "f/prod", 200, bytes_out=7))
    return made


def test_calls_are_counted_by_operation_resource_and_status() -> None:
    made = _filled()
    assert made.count("UploadPart") == 3
    assert made.count("UploadPart", "b/one") == 2
    assert made.statuses("UploadPart") == {200: 2, 500: 1}
    assert [call.resource for call in made.calls(service="fc")] == ["f/prod"]


def test_only_what_was_taken_counts_as_payload() -> None:
    made = _filled()
    assert made.bytes_in("UploadPart") == 15
    assert made.bytes_in("UploadPart", "b/two") == 5


def test_what_the_service_copied_counts_apart_and_only_where_it_succeeded() -> None:
    made = _filled()
    made.record(CallRecord("oss", "UploadPartCopy", "b/one", 200, bytes_copied=100))
    made.record(CallRecord("oss", "UploadPartCopy", "b/one", 500, bytes_copied=100))
    made.record(CallRecord("oss", "CopyObject", "b/two", 200, bytes_copied=7))
    assert made.bytes_copied() == 107
    assert made.bytes_copied("UploadPartCopy", "b/one") == 100
    assert made.bytes_in("UploadPartCopy") == 0


def test_the_json_form_has_totals_and_the_latest_calls() -> None:
    made = _filled()
    plain = made.to_dict()
    assert plain["totals"][1] == {
        "service": "oss",
        "operation": "UploadPart",
        "status": 200,
        "count": 2,
        "bytes_in": 15,
        "bytes_out": 1,
        "bytes_copied": 0,
    }
    assert plain["calls"][-1]["operation"] == "UpdateAlias"
    made.clear()
    assert made.to_dict() == {"totals": [], "calls": []}


def test_totals_go_on_when_the_log_is_full() -> None:
    made = Counters()
    call = CallRecord("oss", "GetObject", "b/k", 200)
    for _ in range(counters.CALLS_KEPT_MAX + 1):
        made.record(call)
    assert len(made.calls()) == counters.CALLS_KEPT_MAX
    assert made.to_dict()["totals"][0]["count"] == counters.CALLS_KEPT_MAX + 1
