"""The fault proxy plays each fault, passes everything else on, and counts the faults."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.foreign.processes import Process, free_port
from tests.foreign.world import REGIONS, Region

BODY = bytes(range(256)) * 400
PATH = "/models-hz/proxied/object"
BROKEN = (OSError, http.client.HTTPException)


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    root = tmp_path_factory.mktemp("region")
    region = Region(REGIONS[0], root, root / "nas", seed=3)
    yield region
    region.close()


@pytest.fixture
def line(region: Region) -> Iterator[Region]:
    assert region.client.oss("PUT", PATH, body=BODY).status == 200
    yield region
    region.play()


def test_without_faults_signed_requests_pass_unchanged(line: Region) -> None:
    assert line.proxied.oss("GET", PATH).body == BODY
    assert line.proxied.fc("GET", "/functions").status == 200


def test_throttling_is_reported_as_each_service_does(line: Region) -> None:
    line.play(unavailable=1.0)
    answer = line.proxied.oss("GET", PATH)
    assert (answer.status, answer.headers["x-oss-qos-delay-time"]) == (503, "100")
    answer = line.proxied.fc("GET", "/functions")
    assert (answer.status, answer.headers["x-acs-retry-after"]) == (429, "100")


def test_a_lost_answer_has_had_its_effect(line: Region) -> None:
    line.play(lost=1.0)
    with pytest.raises(BROKEN):
        line.proxied.oss("PUT", PATH, body=b"lost")
    assert line.client.oss("GET", PATH).body == b"lost"


def test_a_cut_request_has_no_effect_and_a_cut_answer_is_short(line: Region) -> None:
    line.play(cut_request=1.0)
    with pytest.raises(BROKEN):
        line.proxied.oss("PUT", PATH, body=b"cut")
    assert line.client.oss("GET", PATH).body == BODY
    line.play(cut_response=1.0)
    with pytest.raises(http.client.IncompleteRead):
        line.proxied.oss("GET", PATH)


def test_one_bit_flips_there_and_back_and_only_in_objects(line: Region) -> None:
    line.play(flip_sent=1.0, flip_received=1.0)
    got = line.proxied.oss("GET", PATH).body
    assert sum((one ^ other).bit_count() for one, other in zip(got, BODY, strict=True)) == 1
    assert line.proxied.oss("PUT", PATH, body=BODY).status == 200
    assert line.client.oss("GET", PATH).body != BODY
    assert line.proxied.oss("GET", "/models-hz/", {"list-type": "2"}).status == 200


def test_latency_and_rate_are_those_of_the_line(line: Region) -> None:
    line.play(latency_s=0.2)
    started = time.monotonic()
    line.proxied.oss("HEAD", PATH)
    assert time.monotonic() - started >= 0.2
    line.play(bytes_per_s=len(BODY) * 2)
    started = time.monotonic()
    line.proxied.oss("GET", PATH)
    assert time.monotonic() - started >= 0.45


def test_a_fault_can_be_of_some_requests_only_and_come_true_so_often(line: Region) -> None:
    line.play(lost=1.0, only="GET /models-hz/proxied", times=1)
    assert line.proxied.oss("HEAD", PATH).status == 200
    with pytest.raises(BROKEN):
        line.proxied.oss("GET", PATH)
    assert line.proxied.oss("GET", PATH).body == BODY


def test_a_region_that_stops_breaks_connections_and_comes_back(line: Region) -> None:
    line.play(stopped="reset")
    with pytest.raises(BROKEN):
        line.proxied.oss("GET", PATH)
    played = line.play()["played"]
    assert played["stopped"] >= 1
    assert line.proxied.oss("GET", PATH).body == BODY


def test_a_killed_region_keeps_its_objects(line: Region) -> None:
    line.kill()
    line.restart()
    assert line.client.oss("GET", PATH).body == BODY


def test_a_process_that_does_not_start_is_named(tmp_path: Path) -> None:
    assert free_port() != 0
    with pytest.raises(RuntimeError, match="log"):
        Process(["false"], tmp_path / "log").first_line()
