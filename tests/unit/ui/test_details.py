"""The pages of releases, models, bindings and registries."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from syncd.daemon.components import Components
from syncd.errors import KeyRefused
from syncd.plan.phases import PlacementPhase, ReleasePhase
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import cancel, hold, publish
from syncd.state.access import deliveries
from syncd.state.content import placements
from syncd.state.records import Delivery
from syncd.state.releases import releases
from syncd.state.releases.events import advance

from tests.support.rooms import SDXL
from tests.unit.api.serving import Served
from tests.unit.api.test_routes import went_live
from tests.unit.reconcile.test_overview_statements import statements
from tests.unit.ui.person import Person, signed_in, visitor

HOSTILE = "<script src=//evil.example></script>"
PATHS = (
    "/ui/releases",
    "/ui/releases/r-1",
    "/ui/releases/r-1/part",
    f"/ui/models/{SDXL}",
    "/ui/bindings/draw-hz",
    "/ui/registries",
)
NOT_THERE = ("/ui/releases/r-99", "/ui/releases/x", "/ui/models/nobody", "/ui/bindings/none", "/ui/x/y")


def test_a_live_release_shows_its_copies_steps_aliases_and_who_asked(served: Served) -> None:
    went_live(served.site, "v1")
    with signed_in(served, Role.READ) as ann:
        page = ann.open("/ui/releases/r-1").text
    assert f"r-1: {SDXL}@v1" in page
    for text in ("by ops", "● live", "place targets", "draw-sg", "sealed", "release.requested", "release.live"):
        assert text in page, text
    assert page.count("not yet") == 0


def test_a_release_on_its_way_shows_how_far_it_is(served: Served) -> None:
    served.site.world.deliver(SDXL, "v1")
    asked = publish(served.site.requester, SDXL, "v1")
    served.site.until(ReleasePhase.STAGING, asked.id)
    with signed_in(served) as ann:
        page = ann.open(f"/ui/releases/{asked.id}").text
    assert "▶ staging <small>now" in page
    assert "○ flipping <small>not yet" in page
    assert f'href="/ui/do/cancel/{asked.id}"' in page


def test_what_ended_badly_shows_where_it_ended(served: Served) -> None:
    served.site.world.deliver(SDXL, "v1")
    asked = publish(served.site.requester, SDXL, "v1")
    cancel(served.site.requester, asked.id, HOSTILE)
    served.site.settle()
    with signed_in(served) as ann:
        page = ann.open(f"/ui/releases/{asked.id}").text
        listed = ann.open("/ui/releases").text
    assert "▶ cancelled" in page
    assert "not yet" not in page
    for text in (page, listed):
        assert "<script src=//" not in text
        assert "&lt;script src=//evil" in text


def test_a_model_shows_its_versions_and_their_size(served: Served) -> None:
    went_live(served.site, "v1", "v2")
    hold(served.site.requester, SDXL, HOSTILE)
    with signed_in(served) as ann:
        page = ann.open(f"/ui/models/{SDXL}").text
    assert "held by ops" in page
    assert "<script src=//" not in page
    assert page.count("100.0 kB") == 2
    assert f'href="/ui/do/unhold/{SDXL}"' in page
    assert "hz, sg" in page


def test_a_binding_and_the_registries_show_what_is_known(served: Served) -> None:
    went_live(served.site, "v1")
    served.pulse.components = Components([("registries", "models")], {})  # type: ignore[misc]  # as a daemon's
    served.pulse.components.end("registries", "models", "", KeyRefused(f"no such key {HOSTILE}", hint="check the key"))
    with served.state.write() as conn:
        deliveries.record(conn, [Delivery("hub", "1", "models", HOSTILE)], served.state.now(conn))
    with signed_in(served) as ann, visitor(served) as bob:
        bob.sign_in("wrong")
        binding, registries = ann.open("/ui/bindings/draw-hz").text, ann.open("/ui/registries").text
        assert "no token" in registries or "unknown token" in registries
    assert f"{SDXL}</a></th><td>v1" in binding
    assert "check the key" in registries
    assert registries.count("&lt;script src=//evil") == 2
    assert "<script src=//" not in registries
    with signed_in(served, Role.READ) as carol:
        assert "unknown token" not in carol.open("/ui/registries").text


@pytest.mark.parametrize("path", NOT_THERE)
def test_what_is_not_there_is_a_page(served: Served, path: str) -> None:
    with signed_in(served) as ann:
        answer = ann.open(path)
    assert answer.status_code == 404
    assert "This did not work" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_each_page_costs_as_many_statements_whatever_there_is(served: Served) -> None:
    def counted(ann: Person, path: str) -> int:
        with statements() as said:
            assert ann.open(path).status_code == 200, path
        return len(said)

    went_live(served.site, "v1")
    with signed_in(served, Role.READ) as ann:
        before = {path: counted(ann, path) for path in PATHS}
        went_live(served.site, "v2", "v3", "v4")
        after = {path: counted(ann, path) for path in PATHS}
    assert after == before
    assert max(after.values()) <= 25


def test_what_only_people_of_this_machine_may_know_is_not_on_a_page(served: Served) -> None:
    server = served._server
    server.site = replace(server.site, private_paths={"/srv/secret": "the record"})
    with signed_in(served) as ann:
        page = ann.open("/ui/bindings/%2Fsrv%2Fsecret").text
        assert "/srv/secret" not in page


def test_a_copy_shows_its_bytes_its_rate_and_the_time_that_is_left(served: Served) -> None:
    served.site.world.deliver(SDXL, "v1")
    asked = publish(served.site.requester, SDXL, "v1")
    served.site.until(ReleasePhase.PLACING, asked.id)
    with served.state.read() as conn:
        version = releases.get(conn, asked.id).version_id
    assert version is not None

    def copied(sent: int) -> None:
        with served.state.write() as conn:
            now = served.state.now(conn)
            placed = placements.get(conn, version, "hz")
            if placed.phase is PlacementPhase.WANTED:
                advance(conn, placed, PlacementPhase.COPYING, now=now)
            files = {"files": [["weights.bin", sent, 100_000]], "bytes_sent": sent}
            placements.note_progress(conn, version, "hz", sent, files, now)

    with signed_in(served, Role.READ) as ann, ann.client.stream("GET", f"/ui/stream?release={asked.id}") as stream:
        lines = stream.iter_lines()  # the stream ends with it
        assert next(lines) == "event: changed"
        path = f"/ui/releases/{asked.id}/part"
        copied(20_000)
        page = ann.open(path).text
        assert "20.0 kB of 100.0 kB" in page
        assert "weights.bin 20.0 kB of 100.0 kB" in page
        copied(40_000)
        again = ann.open(path).text
        assert "40.0 kB of 100.0 kB" in again
        assert re.search(r'<td class="number">[\d.]+ [kM]?B/s</td><td class="number">\d+ (s|min)</td>', again)
