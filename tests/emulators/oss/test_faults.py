"""Injected faults as an oss2 client sees them, and their effect on the state."""

import json
import os
import threading
import time
import urllib.request
from typing import Any

import oss2
import pytest
from fastcrc.crc64 import xz
from syncd.localcloud.faults import Delay, FaultRule, FlipBit, Reset, Respond, SetState, Trickle, Truncate
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, OTHER, REGION
from tests.emulators.oss.conftest import Connect


def _rule(action: Any, operation: str = "PutObject", **options: Any) -> FaultRule:
    return FaultRule("oss", action, operation=operation, **options)


def test_an_answer_before_means_that_nothing_happened(one_bucket: Any, cloud: LocalCloud) -> None:
    busy = Respond(503, "SlowDown", "Please reduce your request rate.", {"x-oss-qos-delay-time": "200"})
    cloud.faults.add(_rule(busy, times=2))
    for _ in range(2):
        with pytest.raises(oss2.exceptions.ServerError) as refusal:
            one_bucket.put_object("k", b"1")
        assert (refusal.value.status, refusal.value.code) == (503, "SlowDown")
        assert refusal.value.headers["x-oss-qos-delay-time"] == "200"
        assert not one_bucket.object_exists("k")
    one_bucket.put_object("k", b"1")
    assert cloud.counters.statuses("PutObject") == {503: 2, 200: 1}


def test_a_gateways_html_is_passed_on_as_it_is(one_bucket: Any, cloud: LocalCloud) -> None:
    cloud.faults.add(_rule(Respond(502, body="<html><h1>Bad Gateway</h1></html>")))
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        one_bucket.put_object("k", b"1")
    assert refusal.value.status == 502
    assert refusal.value.body == b"<html><h1>Bad Gateway</h1></html>"
    assert refusal.value.code == ""


def test_an_answer_after_hides_what_did_happen(one_bucket: Any, cloud: LocalCloud) -> None:
    cloud.faults.add(_rule(Respond(500), when="after"))
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        one_bucket.put_object("k", b"1")
    assert (refusal.value.status, refusal.value.code) == (500, "InternalError")
    assert one_bucket.get_object("k").read() == b"1"


def test_a_lost_complete_is_settled_by_looking(one_bucket: Any, cloud: LocalCloud) -> None:
    upload_id = one_bucket.init_multipart_upload("k").upload_id
    parts = [oss2.models.PartInfo(1, one_bucket.upload_part("k", upload_id, 1, b"all").etag)]
    cloud.faults.add(_rule(Reset(), "CompleteMultipartUpload", when="after"))
    with pytest.raises(oss2.exceptions.RequestError):
        one_bucket.complete_multipart_upload("k", upload_id, parts)
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        one_bucket.complete_multipart_upload("k", upload_id, parts)
    assert int(one_bucket.head_object("k").headers["x-oss-hash-crc64ecma"]) == xz(b"all")
    assert cloud.counters.statuses("CompleteMultipartUpload") == {0: 1, 404: 1}


def test_a_reset_before_applies_nothing(one_bucket: Any, cloud: LocalCloud) -> None:
    cloud.faults.add(_rule(Reset()))
    with pytest.raises(oss2.exceptions.RequestError):
        one_bucket.put_object("k", b"1")
    assert not one_bucket.object_exists("k")


def test_a_lost_read_closes_the_body_it_had_opened(one_bucket: Any, cloud: LocalCloud) -> None:
    one_bucket.put_object("k", b"1")
    data = cloud.oss[REGION].object_file(BUCKET, "k")
    cloud.faults.add(_rule(Reset(), "GetObject", when="after"))
    with pytest.raises(oss2.exceptions.RequestError):
        one_bucket.get_object("k")
    one_bucket.delete_object("k")
    assert not data.exists()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_slow_answer_outlasts_the_clients_patience(connect: Connect, cloud: LocalCloud, when: Any) -> None:
    bucket = connect(connect_timeout=0.3)
    bucket.create_bucket()
    cloud.faults.add(_rule(Delay(30), when=when))
    with pytest.raises(oss2.exceptions.RequestError):
        bucket.put_object("k", b"1")
    assert bucket.object_exists("k") is (when == "after")


def test_a_corrupted_upload_shows_in_the_checksum(one_bucket: Any, cloud: LocalCloud) -> None:
    data = os.urandom(300_000)
    cloud.faults.add(_rule(FlipBit(299_999)), _rule(FlipBit(0), "UploadPart"))
    with pytest.raises(oss2.exceptions.InconsistentError):
        one_bucket.put_object("k", data)
    stored = one_bucket.get_object("k").read()
    assert stored[:-1] == data[:-1]
    assert stored[-1] == data[-1] ^ 1
    upload_id = one_bucket.init_multipart_upload("k").upload_id
    with pytest.raises(oss2.exceptions.InconsistentError):
        one_bucket.upload_part("k", upload_id, 1, data)


def test_a_corrupted_download_is_silent_unless_the_crc_is_asked_for(one_bucket: Any, cloud: LocalCloud) -> None:
    data = os.urandom(300_000)
    one_bucket.put_object("k", data)
    cloud.faults.add(_rule(FlipBit(150_000), "GetObject", times=0))
    got = one_bucket.get_object("k")
    read = got.read()  # this is how oss2 is: the whole body, one bit wrong, no error
    assert read != data
    assert got.client_crc != got.server_crc
    with pytest.raises(oss2.exceptions.InconsistentError):
        one_bucket.get_object_to_file("k", os.devnull)


def test_a_truncated_body_is_a_broken_stream(one_bucket: Any, cloud: LocalCloud) -> None:
    one_bucket.put_object("k", os.urandom(300_000))
    cloud.faults.add(_rule(Truncate(1000), "GetObject"))
    got = one_bucket.get_object("k")
    with pytest.raises(Exception, match=r"IncompleteRead|Connection broken") as broken:
        got.read()
    assert not isinstance(broken.value, oss2.exceptions.OssError)
    assert got.content_length == 300_000
    got.resp.response.close()


def test_a_trickle_is_slow_and_whole(one_bucket: Any, cloud: LocalCloud) -> None:
    one_bucket.put_object("k", b"x" * 300)
    cloud.faults.add(_rule(Trickle(1000), "GetObject"))
    began = time.monotonic()
    assert one_bucket.get_object("k").read() == b"x" * 300
    assert time.monotonic() - began >= 0.25


def test_rules_skip_count_and_name_their_calls(one_bucket: Any, cloud: LocalCloud) -> None:
    cloud.faults.add(_rule(Respond(500), "PutObject|UploadPart", resource=f"{BUCKET}/a.*", skip=1))
    one_bucket.put_object("a1", b"1")
    one_bucket.put_object("b1", b"1")
    with pytest.raises(oss2.exceptions.ServerError):
        one_bucket.put_object("a2", b"1")
    one_bucket.put_object("a3", b"1")
    cloud.faults.add(_rule(SetState({"end": "Failed"})))
    one_bucket.put_object("a4", b"1")


def _local(cloud: LocalCloud, method: str, page: str, body: Any = None, region: str = OTHER) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    url = f"{cloud.endpoint(region)}/_local/{page}"
    request = urllib.request.Request(url, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read() or "null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_the_script_is_driven_over_http_from_any_region(one_bucket: Any, cloud: LocalCloud) -> None:
    rule = {"service": "oss", "operation": "PutObject", "times": 0, "action": {"kind": "Answer", "status": 503}}
    assert _local(cloud, "POST", "faults", [rule]) == (201, {"added": 1})
    with pytest.raises(oss2.exceptions.ServerError):
        one_bucket.put_object("k", b"1")
    status, rules = _local(cloud, "GET", "faults")
    assert (status, rules[0]["hits"], rules[0]["action"]["kind"]) == (200, 1, "Answer")
    assert _local(cloud, "DELETE", "faults") == (204, None)
    one_bucket.put_object("k", b"1")
    status, refusal = _local(cloud, "POST", "faults", {"service": "ecs"})
    assert status == 400
    assert "not a fault rule" in refusal["error"]


def test_the_counters_and_the_health_are_read_over_http(one_bucket: Any, cloud: LocalCloud) -> None:
    one_bucket.put_object("k", b"12345")
    put = next(t for t in _local(cloud, "GET", "counters")[1]["totals"] if t["operation"] == "PutObject")
    assert put == {
        "service": "oss",
        "operation": "PutObject",
        "status": 200,
        "count": 1,
        "bytes_in": 5,
        "bytes_out": 0,
        "bytes_copied": 0,
    }
    assert cloud.counters.bytes_in("PutObject", f"{BUCKET}/k") == 5
    assert _local(cloud, "DELETE", "counters") == (204, None)
    assert cloud.counters.count("PutObject") == 0
    assert _local(cloud, "GET", "health") == (
        200,
        {"status": "ok", "region": OTHER, "regions": list(cloud.regions)},
    )
    assert _local(cloud, "GET", "nothing")[0] == 404


def test_stopping_ends_what_is_being_delayed(one_bucket: Any, cloud: LocalCloud) -> None:
    cloud.faults.add(_rule(Delay(600)))
    failures: list[BaseException] = []

    def put() -> None:
        try:
            one_bucket.put_object("k", b"1")
        except oss2.exceptions.RequestError as error:
            failures.append(error)

    waiting = threading.Thread(target=put)
    waiting.start()
    while not any(rule["hits"] for rule in cloud.faults.to_list()):
        waiting.join(0.01)
    cloud.stop()
    waiting.join(20)
    assert not waiting.is_alive()
