"""Drift over HTTP: the same as beside the record, for any token that may read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from syncd.client import Reader
from syncd.errors import NotFound
from syncd.plan.drift import Difference
from syncd.plan.roles import Role
from syncd.state.serving import drifts, live

from tests.support.rooms import SDXL
from tests.unit.api.serving import Served, problem
from tests.unit.api.test_command import Calling
from tests.unit.api.test_routes import assert_described, went_live

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MOVED = Difference("alias", "3", "1")
SHARED = Difference("weights", "0.5 to 3", "nothing")


@pytest.fixture
def reader(served: Served) -> Iterator[Reader]:
    went_live(served.site, "v1")
    with Reader(served.url, served.token(Role.READ), trust_env=False) as made:
        yield made


def seen(served: Served, binding: str, *differences: Difference) -> None:
    """A check by the daemon that found this difference."""
    with served.state.write() as conn:
        recorded = live.get(conn, binding)
        assert recorded is not None
        drifts.note(conn, recorded, differences, served.state.now(conn))


def test_drift_is_reported_with_the_time_of_each_check(served: Served, reader: Reader) -> None:
    reported = reader.drift()
    assert (reported["good"], reported["drifted"]) == (True, [])
    assert reported["looked_at"] == {"draw-hz": None, "draw-sg": None}
    seen(served, "draw-hz", MOVED)
    answer = served.get("/v1/drift")
    assert_described(answer, "/v1/drift")
    (row,) = answer.json()["drifted"]
    assert (row["binding"], row["what"], row["got"], row["want"]) == ("draw-hz", "alias", "3", "1")
    assert "syncd restore draw-hz" in row["hint"]
    assert answer.json()["looked_at"]["draw-hz"]
    assert not answer.json()["good"]


def test_drift_is_reported_of_one_binding_or_of_those_that_serve_a_model(served: Served, reader: Reader) -> None:
    seen(served, "draw-hz", MOVED)
    assert reader.drift("draw-sg")["good"]
    assert set(reader.drift("draw-sg")["looked_at"]) == {"draw-sg"}
    assert [row["binding"] for row in reader.drift(SDXL)["drifted"]] == ["draw-hz"]
    with pytest.raises(NotFound, match="nobody"):
        reader.drift("nobody")


def test_closed_drift_is_reported_on_request(served: Served, reader: Reader) -> None:
    seen(served, "draw-hz", MOVED, SHARED)
    seen(served, "draw-hz", SHARED)
    assert reader.drift()["ended"] == []
    answer = served.get("/v1/drift?ended=true")
    assert_described(answer, "/v1/drift")
    assert [(each["what"], each["closed"] != "") for each in answer.json()["ended"]] == [("alias", True)]
    assert problem(served.get("/v1/drift?ended=perhaps")) == (400, "invalid")


def test_the_command_reports_drift_from_elsewhere_and_exits_with_8(
    served: Served, reader: Reader, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Calling(served, capsys, monkeypatch)
    assert reader.drift()["good"]
    assert (call("drift").code, call("drift").out) == (0, "all is as recorded\n")
    seen(served, "draw-hz", MOVED, SHARED)
    seen(served, "draw-hz", MOVED)
    reported = call("drift", SDXL, "--ended")
    assert reported.code == 8
    assert "draw-hz" in reported.out
    assert "over: draw-hz weights was 0.5 to 3" in reported.out
    assert call("drift", "-o", "json").document["drifted"][0]["got"] == "3"
    assert call("drift", "draw-sg").code == 0
    assert call("drift", "nobody").code == 3
    refused = call("drift", "--look")
    assert (refused.code, "without --server" in refused.err) == (2, True)
