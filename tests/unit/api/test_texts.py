"""Texts of callers and of the server: what is shown later can be shown anywhere, and answers keep what is private."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.errors import Invalid
from syncd.plan.roles import Role
from syncd.reconcile.drift.resolve import Justification
from syncd.reconcile.requests import operations, rollbacks
from syncd.reconcile.requests.operations import Requester

from tests.support.rooms import SDXL, Site
from tests.unit.api.deliveries import Genuine, genuine, hook
from tests.unit.api.serving import Served, problem, serving
from tests.unit.api.test_hooks import send, waiting

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
CONTROL = ["a\x00b", "a\nb", "a\tb", "\x1b[2Jgone", "a\x7fb", "\x9b2J", "a\u2028b", "a\ud800b"]
UNSHOWN = [*CONTROL, "a\u202eb", "a\u200bb", "x" * 501]
PATHS = ["/v1/models/sdxl/hold", "/v1/models/sdxl/freeze", "/v1/everything/freeze", "/v1/models/sdxl/rollback",
         "/v1/releases/r-1/cancel"]  # fmt: skip


@pytest.mark.parametrize("text", UNSHOWN)
def test_no_reason_that_cannot_be_shown_is_recorded(served: Served, text: str) -> None:
    for path in PATHS:
        assert problem(served.post(path, content=json.dumps({"why": text}))) == (400, "invalid"), path
    with served.state.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM events").scalar() == len({Role.OPERATE})


@pytest.mark.parametrize("text", [*CONTROL, "x" * 10_001])
def test_a_command_refuses_it_alike(at: Site, text: str) -> None:
    requester = Requester(at.context, "ann@desk")
    for ask in (
        lambda: operations.hold(requester, SDXL, text),
        lambda: operations.freeze(requester, SDXL, text, None),
        lambda: rollbacks.rollback(requester, SDXL, text),
        lambda: operations.cancel(requester, "r-1", text),
        lambda: operations.unquarantine(requester, SDXL, "v1", text),
        lambda: Justification("ann@desk", text),
        lambda: Justification(text, "why"),
        lambda: Requester(at.context, text),
    ):
        with pytest.raises(Invalid, match="without control characters"):
            ask()


@pytest.mark.parametrize(
    ("hours", "is_good"),
    [(0, True), (1 / 60, True), (0.5, True), (8784, True), (0.0166, False), (1e-300, False), (5e-324, False),
     (8784.1, False), (-1, False), (float("nan"), False), (float("inf"), False)],
)  # fmt: skip
def test_a_freeze_lasts_a_minute_at_least(served: Served, hours: float, *, is_good: bool) -> None:
    answer = served.post("/v1/models/sdxl/freeze", content=json.dumps({"hours": hours}))
    assert answer.status_code == (200 if is_good else 400)
    if is_good:
        assert (answer.json()["until"] is None) == (hours == 0)
    else:
        with pytest.raises(Invalid):
            operations.freeze_time(hours)


GENUINE = {each.name: each for each in genuine()}


@pytest.mark.parametrize("name", ["github", "harbor push", "harbor cloudevent"])
def test_a_delivery_is_known_by_its_content_whatever_id_is_beside_it(at: Site, tmp_path: Path, name: str) -> None:
    given: Genuine = GENUINE[name]
    with serving(at, {"models": hook(given, tmp_path)}, given.now_s) as served:
        assert send(served, given).json() == {"accepted": 1, "new": 1}
        for header in ("x-github-delivery", "x-github-event", "ce-id", "x-request-id"):
            again = replace(given, headers={**given.headers, header: "another"})
            assert send(served, again).json() == {"accepted": 1, "new": 0}
    assert len(waiting(at.state)) == 1


def test_an_error_of_a_served_registry_names_the_setting_and_not_the_path(at: Site) -> None:
    with serving(at, private_paths={str(at.world.root): "registries.models"}) as served:
        answer = served.post("/v1/releases", Role.PUBLISH, json={"model": SDXL, "ref": "v9"})
    assert answer.status_code == 404
    assert str(at.world.root) not in answer.text
