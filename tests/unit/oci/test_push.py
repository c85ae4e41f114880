"""Pushes: what a kill leaves, their rate, and the requests before anything is sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import time, timedelta

import pytest
from syncd.artifact.digest import Digest
from syncd.errors import Cancelled
from syncd.oci.build import LayerOrigin
from syncd.transfer.flow.bandwidth import Bandwidth, RateWindow, Timetable

from tests.emulators.relay import ImageRelay
from tests.emulators.web import Reply
from tests.unit.oci.kitchen import SMALL, Kitchen, Notebook, model
from tests.unit.transfer.test_bandwidth import MB, NOON, Clock

pytestmark = pytest.mark.needs_docker_registry


class Killed(BaseException):
    """The process was killed."""


@dataclass
class Mortal(Notebook):
    """The journal of a process that dies before its n-th write of a kind."""

    at: tuple[str, int] = ("", 0)
    seen: dict[str, int] = field(default_factory=dict)

    def opened(self, recipe: Digest, location: str) -> None:
        self._pass("opened")
        super().opened(recipe, location)

    def closed(self, recipe: Digest) -> None:
        self._pass("closed")
        super().closed(recipe)

    def proven(self, recipe: Digest, digest: Digest) -> None:
        self._pass("proven")
        super().proven(recipe, digest)

    def _pass(self, kind: str) -> None:
        self.seen[kind] = self.seen.get(kind, 0) + 1
        if (kind, self.seen[kind]) == self.at:
            raise Killed

    def next_life(self) -> Notebook:
        return Notebook(self.uploads, self.digests)


class Ticking(threading.Event):
    """A stop; waiting for it moves a clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.clock.wait(timeout)
        return self.is_set()


@pytest.mark.parametrize("at", [("proven", 1), ("closed", 1), ("proven", 2), ("closed", 2), ("closed", 4)])
def test_a_layer_that_was_complete_when_the_process_died_is_not_sent_again(
    relay: ImageRelay, at: tuple[str, int]
) -> None:
    """Before the upload was completed, and after that but before it was recorded."""
    dying = Mortal(at=at)
    with pytest.raises(Killed):
        Kitchen(relay.origin, notes=dying).bake(model())
    kitchen = Kitchen(relay.origin, notes=dying.next_life())
    baked = kitchen.bake(model())
    assert relay.bytes_in < sum(layer.size_bytes for layer in baked.layers[1:]) + 8192  # the configuration
    assert sum(layer.bytes_sent for layer in baked.layers[:2]) == 0
    assert kitchen.notes.uploads == {}
    if at[0] == "closed" and at[1] < len(baked.layers):
        assert baked.layers[at[1]].how is LayerOrigin.KEPT


def test_a_digest_that_is_noted_is_believed_only_where_the_registry_has_the_blob(relay: ImageRelay) -> None:
    dying = Mortal(at=("closed", 1))
    relay.web.faults.append(lambda request: Reply(500) if request.method == "PUT" else None)
    with pytest.raises(Exception, match="500"):
        Kitchen(relay.origin, notes=dying).bake(model())
    assert len(dying.digests) == 1
    relay.web.faults.clear()
    baked = Kitchen(relay.origin, notes=dying.next_life()).bake(model())
    assert baked.layers[1].how is LayerOrigin.PUSHED
    assert baked.layers[1].bytes_sent == 0, "the registry has all of it already, and the upload is completed"


def test_an_upload_that_is_gone_because_it_was_completed_is_not_sent_again(relay: ImageRelay) -> None:
    """The registry was still completing it when the blob was requested."""
    dying = Mortal(at=("closed", 1))
    with pytest.raises(Killed):
        Kitchen(relay.origin, notes=dying).bake(model())
    (digest,) = dying.digests.values()
    late = iter([Reply(404)])
    relay.web.faults.append(lambda request: next(late, None) if request.path.endswith(digest.hex) else None)
    sent_bytes = relay.bytes_in
    baked = Kitchen(relay.origin, notes=dying.next_life()).bake(model())
    assert (baked.layers[1].digest, baked.layers[1].bytes_sent) == (digest, 0)
    assert relay.bytes_in - sent_bytes < sum(layer.size_bytes for layer in baked.layers[2:]) + 8192


def test_all_layers_together_are_sent_as_fast_as_is_allowed(relay: ImageRelay) -> None:
    clock = Clock()
    pace = Bandwidth(Timetable(MB // 10), clock, clock.now)
    kitchen = Kitchen(relay.origin, settings=replace(SMALL, pace=pace))
    kitchen.bake_until(model(shards=4), Ticking(clock))
    assert relay.bytes_in > 4 * MB
    assert relay.bytes_in / clock.passed_s == pytest.approx(MB // 10, rel=0.15)


def test_a_push_is_slow_in_the_hours_in_which_it_is_to_be(relay: ImageRelay) -> None:
    clock = Clock(NOON - timedelta(seconds=20))
    pace = Bandwidth(Timetable(MB // 10, (RateWindow(time(12), time(13), 0),)), clock, clock.now)
    kitchen = Kitchen(relay.origin, settings=replace(SMALL, pace=pace))
    kitchen.bake_until(model(shards=4), Ticking(clock))
    assert relay.bytes_in > 4 * MB
    assert 20 <= clock.passed_s < 21, "there is no limit from noon on"


def test_a_registry_that_takes_no_chunks_is_sent_to_as_slowly(relay: ImageRelay) -> None:
    clock = Clock()
    pace = Bandwidth(Timetable(MB // 10), clock, clock.now)
    relay.web.faults.append(lambda request: Reply(405) if request.method == "PATCH" else None)
    kitchen = Kitchen(relay.origin, settings=replace(SMALL, pace=pace))
    kitchen.bake_until(model(shards=4), Ticking(clock))
    whole = relay.sent["PUT"]
    assert whole > 4 * MB
    assert whole / clock.passed_s <= 1.15 * MB // 10


def test_an_existing_layer_is_not_rate_limited(relay: ImageRelay) -> None:
    notes = Notebook()
    Kitchen(relay.origin, notes=notes).bake(model())
    clock = Clock()
    pace = Bandwidth(Timetable(1), clock, clock.now)
    Kitchen(relay.origin, notes=notes, settings=replace(SMALL, pace=pace)).bake_until(model(), Ticking(clock))
    assert clock.passed_s == 0


def test_a_push_that_waits_for_bandwidth_can_be_stopped(relay: ImageRelay) -> None:
    clock = Clock()
    stop = Ticking(clock)

    class Stopping(Bandwidth):
        def take(self, size_bytes: int, wait: object) -> None:
            stop.set()
            super().take(size_bytes, stop.wait)

    pace = Stopping(Timetable(1), clock, clock.now)
    pace.take(1, lambda seconds: False)
    with pytest.raises(Cancelled):
        Kitchen(relay.origin, settings=replace(SMALL, pace=pace)).bake_until(model(), stop)
    assert clock.passed_s < 1
