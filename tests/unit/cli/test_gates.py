"""Cancel, approve, freeze and unfreeze as commands."""

from __future__ import annotations

from syncd.cli.exit_codes import Exit
from syncd.state.releases import releases
from syncd.state.state import State

from tests.unit.cli.calling import Calling


def test_a_freeze_is_shown_until_it_is_lifted(call: Calling) -> None:
    reported = call("freeze", "m", "--why", "audit", "--hours", "2")
    assert reported.code == 0
    assert reported.out.startswith("m is frozen by ")
    assert reported.out.endswith("Z: audit\n")
    (frozen,) = call("status", "-o", "json").document["frozen"]
    assert (frozen["model"], frozen["why"]) == ("m", "audit")
    shown = call("status")
    assert "frozen: m by " in shown.out
    assert "`syncd unfreeze m` lifts it" in shown.out
    assert call("unfreeze", "m").out == "m is no longer frozen\n"
    assert call("unfreeze", "m").out == "m was not frozen\n"
    assert call("status", "-o", "json").document["frozen"] == []


def test_everything_is_frozen_and_thawed_by_the_same_words(call: Calling) -> None:
    assert call("freeze").out.startswith("everything is frozen by ")
    assert "`syncd unfreeze` lifts it" in call("status", "m").out
    assert call("unfreeze", "-o", "json").document == {"model": None, "lifted": True}


def test_a_release_is_cancelled_once_and_not_approved_before_its_bytes_are_known(call: Calling) -> None:
    state = State(f"sqlite:///{call.database}")
    with state.write() as conn:
        now = state.now(conn)
        release = releases.create(conn, model="m", ref="v1", registry="local", requested_by="ann", now=now).id
    state.close()
    reported = call("approve", release)
    assert reported.code == Exit.CONFLICT
    warning, refusal = reported.err.splitlines()[:2]
    assert warning.startswith(
        f"warning: no process works on this record, so {release} does not go on: start `syncd run`"
    )
    assert refusal == f"error: {release}: its digest is not known yet"
    reported = call("cancel", release, "--why", "wrong file", "-o", "json")
    assert (reported.code, reported.document["release"]) == (Exit.OK, release)
    assert call("cancel", release).out.startswith(f"{release} m@v1 ends; ")
