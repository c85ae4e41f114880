"""A receipt of a live release, and a history in which no change is silent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest
import sqlalchemy as sa
from syncd.errors import Conflict, Corrupt, Invalid
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.views.receipt import statement
from syncd.state.releases import audit
from syncd.state.releases.events import SETTLED_AFTER
from syncd.trust.dsse import key_signer, seal_envelope
from syncd.trust.receipts import verify_receipt

from tests.support.rooms import SDXL, Site, World
from tests.unit.trust.test_dsse import KEY, KEYS, pem

SIGNER = key_signer(pem(KEY))


@pytest.fixture
def here(on_each: Site) -> Site:
    return on_each


@pytest.fixture
def live(here: Site, world: World) -> str:
    """The second release of a model, which is live."""
    for version in ("v1", "v2"):
        world.deliver(SDXL, version)
        release = publish(here.requester, SDXL, version)
        here.settle()
    assert here.release(release.id).phase is ReleasePhase.LIVE
    world.time += SETTLED_AFTER * 2
    return release.id


def stated(here: Site, release_id: str) -> bytes:
    with here.state.write() as conn:
        return statement(conn, here.context.topology, release_id, here.state.now(conn))


def test_a_receipt_says_what_was_released_where_and_on_whose_word(here: Site, live: str) -> None:
    found = verify_receipt(seal_envelope(stated(here, live), SIGNER), [SIGNER.public])
    digest = here.digest(SDXL, "v2")
    assert (found.release, found.model, found.version, found.digest.hex) == (live, SDXL, "v2", digest)
    below = f"models/{SDXL}/v2-{digest[:12]}"
    assert set(found.files) == {f"{below}/{name}" for name in (".syncd/manifest.json", "config.json", "weights.bin")}
    predicate = found.document["predicate"]
    assert predicate["release"]["requestedBy"] == "ops"
    assert predicate["version"]["bytes"] == "100008"
    assert [each["target"] for each in predicate["placements"]] == ["hz", "sg"]
    for each in predicate["serving"]:
        assert each["replacedVersion"].startswith(f"{SDXL}@v1#")
        assert (each["function"], each["alias"], bool(each["servesSince"])) == ("draw", "prod", True)
    assert not [each for each in _values(found.document) if isinstance(each, int | float)]


def _values(document: object) -> list[object]:
    if isinstance(document, dict):
        return [each for value in document.values() for each in _values(value)]
    if isinstance(document, list):
        return [each for value in document for each in _values(value)]
    return [document]


def test_only_a_live_release_has_a_receipt(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    with pytest.raises(Conflict, match="a receipt is given for a release that went live"):
        stated(here, release.id)


def test_a_receipt_that_another_key_signed_or_that_is_none_is_refused(here: Site, live: str) -> None:
    found = stated(here, live)
    with pytest.raises(Corrupt):
        verify_receipt(seal_envelope(found, SIGNER), [key_signer(pem(KEYS["p-256"])).public])
    for key, value in (("predicateType", "x"), ("subject", []), ("predicate", {}), ("_type", "x")):
        changed = json.dumps(json.loads(found) | {key: value}).encode()
        with pytest.raises(Invalid, match="signed, and no receipt"):
            verify_receipt(seal_envelope(changed, SIGNER), [SIGNER.public])


CHANGES: Mapping[str, tuple[Sequence[str], Sequence[int]]] = {
    "a detail": (["UPDATE events SET detail = '{\"who\": \"eve\"}' WHERE id = 3"], [3]),
    "a time": (["UPDATE events SET at = at + 1 WHERE id = 3"], [3]),
    "a removed event": (["DELETE FROM events WHERE id = 3"], [3]),
    "a removed event and its link": (
        ["DELETE FROM events WHERE id = 3", "DELETE FROM event_links WHERE event_id = 3"], [4],
    ),
    "two that changed places": (
        ["UPDATE events SET id = 100000 WHERE id = 3", "UPDATE events SET id = 3 WHERE id = 4",
         "UPDATE events SET id = 4 WHERE id = 100000"],
        [3, 4],
    ),
    "an inserted event": (
        ["DELETE FROM events WHERE id = 5", "DELETE FROM event_links WHERE event_id = 5",
         "INSERT INTO events (id, at, kind) SELECT 5, at, kind FROM events WHERE id = 4"],
        [5, 6],
    ),
    "a changed link": (["UPDATE event_links SET hash = 'x' WHERE event_id = 3"], [3, 4]),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_history_is_found(here: Site, live: str, change: str) -> None:
    statements, wanted = CHANGES[change]
    stated(here, live)
    with here.state.read() as conn:
        assert audit.verify(conn, {}).breaks == ()
    with here.state.write() as conn:
        for each in statements:
            conn.execute(sa.text(each.replace(":", "\\:")))
    with here.state.read() as conn:
        assert [each.event_id for each in audit.verify(conn, {}).breaks] == wanted


def test_a_history_that_was_cut_off_or_linked_anew_is_shown_by_a_receipt(here: Site, live: str) -> None:
    anchor = verify_receipt(seal_envelope(stated(here, live), SIGNER), [SIGNER.public]).anchor
    with here.state.read() as conn:
        found = audit.verify(conn, dict([anchor]))
        assert (found.breaks, found.head.event_id, found.links) == ((), anchor[0], found.events - found.unlinked)
    with here.state.write() as conn:
        conn.execute(sa.text("DELETE FROM event_links"))
        conn.execute(sa.text("DELETE FROM events WHERE id > 10"))
        audit.extend(conn)
    with here.state.read() as conn:
        assert audit.verify(conn, {}).breaks == ()
        (found_break,) = audit.verify(conn, dict([anchor])).breaks
    assert found_break.event_id == anchor[0]


def test_links_are_added_once_and_in_batches(here: Site, live: str) -> None:
    stated(here, live)
    with here.state.write() as conn:
        head = audit.extend(conn)
        assert audit.extend(conn) == head
    with here.state.read() as conn:
        pairs = list(audit.pairs(conn))
    assert [event["id"] for event, _ in pairs if event] == [link.event_id for _, link in pairs if link]
