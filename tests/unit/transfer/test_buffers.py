"""Buffers are reused, counted and bounded, whatever sizes are asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from syncd.errors import Cancelled, Invalid
from syncd.transfer.flow.buffers import BufferPool

KIB = 1 << 10


def never() -> bool:
    return False


def always() -> bool:
    return True


@pytest.mark.parametrize("size_bytes", [0, 1, 65536, 65537, 1_000_000])
def test_a_buffer_is_exactly_as_large_as_asked_for(size_bytes: int) -> None:
    lease = BufferPool(4096 * KIB).take(size_bytes, never)
    assert len(lease.view) == size_bytes
    lease.view[:] = b"x" * size_bytes


def test_what_is_given_back_is_used_again() -> None:
    pool = BufferPool(256 * KIB)
    for _ in range(100):
        pool.take(100 * KIB, never).release()
    assert pool.allocated_bytes == 128 * KIB


def test_a_buffer_returns_only_with_its_last_holder() -> None:
    pool = BufferPool(64 * KIB)
    lease = pool.take(10, never)
    lease.hold()
    lease.release()
    with pytest.raises(Cancelled):
        pool.take(10, always)
    lease.release()
    pool.take(10, always).release()


def test_who_waits_gets_the_next_one() -> None:
    pool = BufferPool(64 * KIB)
    lease = pool.take(10, never)
    asked = Event()

    def note() -> bool:
        asked.set()
        return False

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.take, 20, note)
        assert asked.wait(10)
        assert not waiting.done()
        lease.release()
        assert len(waiting.result(10).view) == 20


def test_idle_buffers_make_room_for_other_sizes() -> None:
    pool = BufferPool(512 * KIB)
    small = [pool.take(1, never) for _ in range(8)]
    for lease in small:
        lease.release()
    assert pool.allocated_bytes == 512 * KIB
    large = pool.take(512 * KIB, never)
    assert pool.allocated_bytes == 512 * KIB
    large.release()
    pool.take(1, never)
    assert pool.allocated_bytes <= 512 * KIB


def test_lent_buffers_do_not_make_room() -> None:
    pool = BufferPool(128 * KIB)
    pool.take(1, never)
    with pytest.raises(Cancelled):
        pool.take(128 * KIB, always)


def test_what_can_never_fit_is_refused_with_advice() -> None:
    with pytest.raises(Invalid, match="65536 bytes of buffers") as caught:
        BufferPool(64 * KIB).take(65 * KIB, never)
    assert "transfer.buffer_bytes" in caught.value.hint


def test_who_reads_ahead_gets_nothing_that_another_waits_for() -> None:
    pool = BufferPool(128 * KIB)
    first, second = pool.take(10, never), pool.take_spare(10)
    assert second is not None
    assert pool.take_spare(10) is None
    asked, is_over = Event(), Event()

    def note() -> bool:
        asked.set()
        return is_over.is_set()

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.take, 100 * KIB, note)  # both of them
        assert asked.wait(10)
        second.release()
        assert pool.take_spare(10) is None
        first.release()
        waiting.result(10).release()
    spare = pool.take_spare(10)
    assert spare is not None
    spare.release()
