"""Actions: who may do them, what they do, what they say before, and in whose name they stand in the record."""

from __future__ import annotations

import pytest
from syncd.plan.phases import ReleasePhase
from syncd.plan.roles import Role
from syncd.reconcile.requests.operations import publish
from syncd.state.releases import approvals, freezes, holds

from tests.support.rooms import SDXL
from tests.unit.api.serving import Served
from tests.unit.api.test_routes import went_live
from tests.unit.ui.person import hidden_fields, signed_in

WHO = "a-operateer@127.0.0.1"
ALL = (
    "approve/r-1",
    "cancel/r-1",
    "retry/r-1",
    "dismiss/r-1",
    f"rollback/{SDXL}",
    f"hold/{SDXL}",
    f"unhold/{SDXL}",
    f"freeze/{SDXL}",
    f"unfreeze/{SDXL}",
    "freeze",
    "unfreeze",
)


@pytest.mark.parametrize("role", [Role.READ, Role.PUBLISH])
def test_who_may_not_operate_can_neither_open_nor_send_any_form(served: Served, role: Role) -> None:
    went_live(served.site, "v1")
    before = len(served.site.events())
    with signed_in(served, role) as ann:
        csrf = hidden_fields(ann.open("/ui").text)
        for action in ALL:
            assert ann.open(f"/ui/do/{action}").status_code == 403, action
            assert ann.client.post(f"/ui/do/{action}", data={**csrf, "why": "x"}).status_code == 403, action
    assert {each.reason for each in served.refused()} == {f"role {role} where operate is needed"}
    new = [event.kind for event in served.site.events()[before:]]
    assert [kind for kind in new if kind != "token.created"] == []


def test_each_form_needs_the_sessions_own_field(served: Served) -> None:
    went_live(served.site, "v1", "v2")
    with signed_in(served) as ann:
        for action in ALL:
            assert ann.open(f"/ui/do/{action}").status_code == 200, action
            assert ann.client.post(f"/ui/do/{action}", data={"why": "x"}).status_code == 403, action
            assert ann.client.get(f"/ui/do/{action}?why=x").status_code == 200, action
    assert served.site.events()[-1].kind == "token.created"


def test_a_rollback_says_what_will_move_and_then_moves_it(served: Served) -> None:
    went_live(served.site, "v1", "v2")
    with signed_in(served) as ann:
        page = ann.open(f"/ui/do/rollback/{SDXL}").text
        assert page.count("<td>v2</td><td>v1</td>") == 2
        assert f"syncd rollback {SDXL}" in page
        done = ann.send(f"/ui/do/rollback/{SDXL}", why="black images")
        assert (done.status_code, done.headers["location"]) == (303, "/ui/releases/r-3")
    assert served.woken
    served.site.settle(patient=True)
    began = served.site.release("r-3")
    assert (began.phase, began.ref, began.rollback, began.requested_by) == (ReleasePhase.LIVE, "v1", True, WHO)
    with served.state.read() as conn:
        held = holds.find(conn, SDXL)
    assert held is not None
    assert (held.who, held.why) == (WHO, "black images")


def test_a_rollback_in_the_middle_of_a_release_says_that_it_undoes_it(served: Served) -> None:
    went_live(served.site, "v1")
    served.site.world.deliver(SDXL, "v2")
    asked = publish(served.site.requester, SDXL, "v2")
    served.site.until(ReleasePhase.FLIPPING, asked.id)
    with signed_in(served) as ann:
        page = ann.open(f"/ui/do/rollback/{SDXL}").text
        assert f"{asked.id}, which is moving aliases now, is undone" in page
        assert page.count("<td>v1</td><td>v1 (no change)</td>") == 2
        ann.send(f"/ui/do/rollback/{SDXL}", why="no")
    served.site.settle(patient=True)
    assert served.site.release(asked.id).phase is ReleasePhase.UNDONE


def test_the_first_version_of_a_model_has_no_way_back(served: Served) -> None:
    went_live(served.site, "v1")
    with signed_in(served) as ann:
        answer = ann.open(f"/ui/do/rollback/{SDXL}")
    assert (answer.status_code, "no earlier version" in answer.text) == (404, True)


def test_a_release_is_approved_and_cancelled_in_the_persons_name(served: Served) -> None:
    served.site.world.deliver(SDXL, "v1")
    asked = publish(served.site.requester, SDXL, "v1")
    served.site.until(ReleasePhase.PLACING, asked.id)
    with signed_in(served) as ann:
        assert served.site.digest(SDXL, "v1")[:12] in ann.open(f"/ui/do/approve/{asked.id}").text
        assert ann.send(f"/ui/do/approve/{asked.id}").headers["location"] == f"/ui/releases/{asked.id}"
        assert f"by {WHO}" in ann.open(f"/ui/releases/{asked.id}").text
        assert ann.send(f"/ui/do/cancel/{asked.id}", why="wrong eyes").status_code == 303
        served.site.settle()
        assert ann.send(f"/ui/do/approve/{asked.id}").status_code == 409
    with served.state.read() as conn:
        given = approvals.find(conn, asked.id)
    assert given is not None
    assert given.who == WHO
    assert served.site.release(asked.id).reason == f"cancelled by {WHO}: wrong eyes"


def test_models_are_held_and_frozen_and_both_are_lifted(served: Served) -> None:
    with signed_in(served) as ann:
        ann.send(f"/ui/do/hold/{SDXL}", why="eyes")
        ann.send(f"/ui/do/freeze/{SDXL}", why="audit", hours="2")
        ann.send("/ui/do/freeze", why="quarter")
        with served.state.read() as conn:
            (held,) = holds.all(conn)
            found = {each.model: each for each in freezes.all(conn, served.state.now(conn))}
        assert (held.who, held.why) == (WHO, "eyes")
        assert {name: (each.who, each.why, each.until is None) for name, each in found.items()} == {
            SDXL: (WHO, "audit", False),
            "*": (WHO, "quarter", True),
        }
        for action in (f"unhold/{SDXL}", f"unfreeze/{SDXL}", "unfreeze"):
            assert ann.send(f"/ui/do/{action}").status_code == 303
        with served.state.read() as conn:
            assert (holds.all(conn), freezes.all(conn, served.state.now(conn))) == ([], [])


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        (f"hold/{SDXL}", {"why": ""}),
        (f"hold/{SDXL}", {"why": " "}),
        (f"hold/{SDXL}", {"why": "a\nb"}),
        (f"hold/{SDXL}", {"why": "\u202e\x1b[2J"}),
        (f"freeze/{SDXL}", {"why": "x", "hours": "many"}),
        (f"freeze/{SDXL}", {"why": "x", "hours": "nan"}),
        (f"freeze/{SDXL}", {"why": "x", "hours": "-1"}),
    ],
)
def test_a_field_that_cannot_be_right_changes_nothing(served: Served, action: str, fields: dict[str, str]) -> None:
    with signed_in(served) as ann:
        answer = ann.send(f"/ui/do/{action}", **fields)
    assert (answer.status_code, "This did not work" in answer.text) == (400, True)
    assert not [event for event in served.site.events() if event.kind.startswith(("hold", "freeze"))]


NOT_THERE = ("hold", "approve", "rollback", "nothing/x", "hold/nobody", "approve/r-99", "cancel/x")


@pytest.mark.parametrize("path", NOT_THERE)
def test_what_is_not_there_is_not_found(served: Served, path: str) -> None:
    with signed_in(served) as ann:
        csrf = hidden_fields(ann.open("/ui").text)
        assert ann.open(f"/ui/do/{path}").status_code == 404
        assert ann.client.post(f"/ui/do/{path}", data={**csrf, "why": "x"}).status_code == 404
