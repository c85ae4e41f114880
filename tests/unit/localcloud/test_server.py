"""The composition: one port a region, FC beside OSS, and an end that waits for nothing it need not."""

import http.client
import threading
from pathlib import Path

import pytest
from syncd.localcloud.httpd import Handler, ServerRequest, ServerResponse
from syncd.localcloud.server import LocalCloud, RegionContext

REGION = "cn-hangzhou"


def _ask(cloud: LocalCloud, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    host = cloud.endpoint(REGION).removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _fc(context: RegionContext) -> Handler:
    def handle(request: ServerRequest) -> ServerResponse:
        return ServerResponse(200, body=f"fc of {context.region}: {request.path}".encode())

    return handle


def test_fc_has_what_is_signed_for_it_and_oss_the_rest(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, [REGION], fc=_fc) as cloud:
        path = "/2023-03-30/functions"
        assert _ask(cloud, path, {"x-acs-action": "ListFunctions"})[1] == b"fc of cn-hangzhou: " + path.encode()
        assert _ask(cloud, path, {"Authorization": "ACS3-HMAC-SHA256 x"})[0] == 200
        assert _ask(cloud, path, {})[0] == 403
        assert _ask(cloud, "/bucket/key", {"x-acs-action": "x"})[0] == 403
    with LocalCloud(tmp_path, [REGION]) as alone:
        assert _ask(alone, path, {"x-acs-action": "ListFunctions"})[0] == 403


def test_a_stop_ends_what_a_handler_waits_for_before_it_waits(tmp_path: Path) -> None:
    entered, process_over = threading.Event(), threading.Event()
    order: list[str] = []

    def slow(context: RegionContext) -> Handler:
        context.on_stop += [lambda: order.append("first made"), process_over.set, lambda: order.append("last made")]

        def handle(_: ServerRequest) -> ServerResponse:
            entered.set()
            process_over.wait()
            return ServerResponse(200)

        return handle

    cloud = LocalCloud(tmp_path, [REGION], fc=slow)
    cloud.start()
    failed: list[Exception] = []

    def ask() -> None:
        try:
            _ask(cloud, "/2023-03-30/functions", {"x-acs-action": "x"})
        except (http.client.HTTPException, OSError) as error:
            failed.append(error)

    client = threading.Thread(target=ask)
    client.start()
    assert entered.wait(20)
    cloud.stop()
    client.join(20)
    assert len(failed) == 1
    assert order == ["last made", "first made"]


def test_two_clouds_do_not_share_a_state(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, ["a", REGION]):
        second = LocalCloud(tmp_path, ["b", REGION])
        with pytest.raises(OSError, match="in use by another local cloud"):
            second.start()
        assert second.oss == {}
        with LocalCloud(tmp_path, ["b"]) as free:
            assert list(free.oss) == ["b"]


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    cloud = LocalCloud(tmp_path, [REGION], access_key_secret="very-secret")
    assert "very-secret" not in repr(cloud) + repr(cloud.account)
