"""The short form of `python -m tests.faults.throttled`: through 503s, lost answers and a kill a release goes live."""

from __future__ import annotations

from tests.faults.throttled import deliver, release
from tests.support.directories import quick_directory
from tests.support.fleet import Fleet

FILES = 200


def test_a_release_of_many_files_goes_live_though_every_tenth_call_is_throttled_and_the_daemon_is_killed() -> None:
    with quick_directory() as home:
        fleet = Fleet(home)
        fleet.make()
        try:
            deliver(fleet, FILES)
            told = release(fleet, FILES, 0.10, 0.02)
        finally:
            fleet.stop()
    assert (told.phase, told.exit_code) == ("live", 0), told
    assert told.throttled > 20
    # Two buckets: a PUT and, after the kill, a HEAD for each file; what settles a lost answer; lists, markers, seals.
    assert told.calls < 2 * FILES * 3 * 1.3 + 300, told
