"""What a store that is slow, or silent, does to a call: a slow one is borne, a silent one is not."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from syncd.artifact.parts import MIB, cut
from syncd.errors import Cancelled, Failed, Invalid, Unavailable
from syncd.secret import Secret
from syncd.store.base import PutMode
from syncd.store.oss.http import send_in_chunks
from syncd.store.oss.store import Credentials, OssSettings, OssStore
from syncd.store.oss.upload import OssUpload
from syncd.watchdog import Heartbeat, heartbeat_of_thread
from tests.support.sockets import Rude, deaf, gulping, rude, silent

BODY = memoryview(bytes(8 * MIB))
PARTS = cut(8 * MIB + 1, 8 * MIB)


def store_at(server: Rude, silence_s: float) -> OssStore:
    return OssStore(
        OssSettings(
            endpoint=server.endpoint,
            bucket="weights",
            region="cn-hangzhou",
            credentials=lambda: Credentials("id", Secret("secret")),
            read_timeout_s=silence_s,
            path_style=True,
        )
    )


def test_a_store_that_accepts_and_never_answers_is_given_up() -> None:
    with rude(silent) as server, pytest.raises(Unavailable, match=r"oss://weights/key: .*no byte for 0.3 s"):
        store_at(server, 0.3).stat("key")


@pytest.mark.parametrize("serve", [silent, deaf])
def test_a_part_that_gets_stuck_is_given_up_by_name(serve: type) -> None:
    with rude(serve) as server:
        upload = OssUpload(store_at(server, 0.3).bucket, "key", PARTS, "upload-id")
        with pytest.raises(Unavailable, match=r"oss://weights/key part 1: .*no byte for 0.3 s"):
            upload.send(PARTS[0], BODY, 0)


def test_a_body_that_moves_is_borne_however_long_it_takes() -> None:
    """The standard library would give all of it the time that a socket may be silent."""
    never, silence_s, body = Event(), 0.5, BODY[: 2 * MIB]
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
        ours.settimeout(silence_s)

        def read() -> int:
            got = 0
            while got < len(body) and not never.wait(0.02):
                got += len(theirs.recv(32 << 10))
            return got

        reading = pool.submit(read)
        began = time.monotonic()
        send_in_chunks(ours, body)
        assert time.monotonic() - began > 2 * silence_s
        assert reading.result(30) == len(body)


def test_a_part_is_left_in_its_middle_when_nobody_waits_for_it() -> None:
    over, read = Event(), []

    def gulp(got_bytes: int) -> None:
        read.append(got_bytes)
        if got_bytes >= MIB:
            over.set()

    with rude(gulping(gulp)) as server, heartbeat_of_thread(Heartbeat(over.is_set)):
        store = store_at(server, 30)
        with pytest.raises(Cancelled):
            OssUpload(store.bucket, "key", PARTS, "upload-id").send(PARTS[0], BODY, 0)
        assert max(read) < len(BODY) - MIB


def test_after_a_body_that_was_left_the_next_one_has_a_connection_of_its_own() -> None:
    over, connections = Event(), []

    def serve(connection: socket.socket) -> None:
        connections.append(connection)
        gulping(lambda got_bytes: over.set())(connection)

    with rude(serve) as server:
        store = store_at(server, 30)
        with heartbeat_of_thread(Heartbeat(over.is_set)), pytest.raises(Cancelled):
            store.put("key", BODY, PutMode.CREATE)
        with pytest.raises((Failed, Invalid, Unavailable), match="400"):
            store.put("key", BODY[:MIB], PutMode.CREATE)
        assert len(connections) == 2


def test_nothing_is_stuck_at_an_address_that_does_not_take_connections() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        store = OssStore(
            OssSettings(
                endpoint=f"http://127.0.0.1:{full.getsockname()[1]}",
                bucket="weights",
                region="cn-hangzhou",
                credentials=lambda: Credentials("id", Secret("secret")),
                read_timeout_s=0.3,
                path_style=True,
            )
        )
        with pytest.raises(Unavailable, match=r"no connection within 0.3 s"):
            store.stat("key")
        for one in waiting:
            one.close()
