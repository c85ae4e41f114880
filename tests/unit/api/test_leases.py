"""Leases over HTTP: a leased version is not retired, by a person or by the rules, until the lease ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from syncd.client import Client
from syncd.errors import Conflict, NotFound
from syncd.plan.roles import Role
from syncd.reconcile.drift.resolve import Justification
from syncd.reconcile.gc.retire import retire
from syncd.state.content import versions
from syncd.state.db.schema_keeping import leases
from syncd.state.releases import retirements

from tests.support.rooms import SDXL
from tests.support.snapshots import live
from tests.unit.api.serving import Served, problem
from tests.unit.api.test_routes import assert_described

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
WHY = Justification("ann", "old")


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    live(served.site, "v1", "v2", "v3")
    with Client(served.url, served.token(Role.PUBLISH), trust_env=False) as client:
        yield client


def test_a_leased_version_is_not_retired_until_its_lease_ends(served: Served, client: Client) -> None:
    taken = client.lease("train-9", SDXL, "v1", hours=8)
    assert (taken.model, taken.version, taken.until - taken.since) == (SDXL, "v1", timedelta(hours=8))
    with pytest.raises(Conflict, match=r"sdxl@v1 is in use until .* has the lease train-9"):
        retire(served.site.looker, SDXL, "v1", WHY)
    listed = served.get("/v1/leases")
    assert_described(listed, "/v1/leases")
    assert [(each["name"], each["version"]) for each in listed.json()["leases"]] == [("train-9", "v1")]
    assert client.lease("train-9", SDXL, "v2", hours=1).version == "v2", "it is moved"
    retire(served.site.looker, SDXL, "v1", WHY)
    assert (client.end_lease("train-9"), client.end_lease("train-9")) == (True, False)
    assert served.get("/v1/leases").json() == {"leases": []}
    told = [event for event in served.site.events() if event.kind.startswith("lease.")]
    assert [(each.kind, each.subject) for each in told] == [
        ("lease.put", "train-9"), ("lease.put", "train-9"), ("lease.ended", "train-9"),
    ]  # fmt: skip


def test_a_lease_runs_out_by_itself(served: Served, client: Client) -> None:
    client.lease("train-9", SDXL, "v1", hours=1)
    with served.state.write() as conn:
        conn.execute(sa.update(leases).values(until=served.state.now(conn)))
    assert served.get("/v1/leases").json() == {"leases": []}
    assert not client.end_lease("train-9")
    retire(served.site.looker, SDXL, "v1", WHY)


def test_what_has_no_copy_or_is_being_retired_is_not_leased(served: Served, client: Client) -> None:
    with pytest.raises(NotFound, match="no copy of sdxl@v9"):
        client.lease("train-9", SDXL, "v9", hours=1)
    with served.state.write() as conn:
        first = versions.find(conn, SDXL, "v1")
        assert first is not None
        retirements.begin(conn, first, "ann", "old", served.state.now(conn))
    with pytest.raises(Conflict, match="sdxl@v1 is being retired"):
        client.lease("train-9", SDXL, "v1", hours=1)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("-x", {"model": SDXL, "version": "v1", "hours": 1}),
        ("x" * 65, {"model": SDXL, "version": "v1", "hours": 1}),
        ("a", {"model": SDXL, "version": "v1", "hours": 0}),
        ("a", {"model": SDXL, "version": "v1", "hours": 9000}),
        ("a", {"model": SDXL, "version": "v1"}),
        ("a", {"model": SDXL, "version": "v1", "hours": 1, "until": "x"}),
    ],
)
def test_a_lease_that_says_something_else_is_refused(
    served: Served, client: Client, name: str, body: dict[str, object]
) -> None:
    del client
    assert problem(served.call("PUT", f"/v1/leases/{name}", Role.PUBLISH, json=body)) == (400, "invalid")
