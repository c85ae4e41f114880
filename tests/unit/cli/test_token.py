"""API tokens are created, listed and revoked; each is shown once and stored as a hash."""

from __future__ import annotations

from syncd.plan.roles import Role
from syncd.state.access import tokens
from syncd.state.releases import events
from syncd.state.state import State

from tests.unit.cli.calling import Calling


def test_a_token_is_shown_once_and_is_in_the_record_as_a_hash_only(call: Calling) -> None:
    made = call("token", "create", "ci", "--role", "publish", "-o", "json").document
    assert (made["name"], made["role"]) == ("ci", "publish")
    files = [path.read_bytes() for path in call.home.iterdir() if path.name.startswith("syncd.db")]
    assert files
    secret = made["token"].split("_", 2)[2]  # it may have a "_" in it
    assert len(secret) == 43
    assert not any(secret.encode() in data for data in files)
    listed = call("token", "list", "-o", "json").document["tokens"]
    assert [(t["name"], t["role"]) for t in listed] == [("ci", "publish")]
    assert made["token"] not in call("token", "list").out


def test_without_a_role_it_may_only_read_and_alone_on_a_line_it_is_for_a_shell(call: Calling) -> None:
    reported = call("token", "create", "dash")
    (line,) = reported.out.splitlines()
    state = State(f"sqlite:///{call.database}")
    with state.read() as conn:
        found = tokens.find(conn, line)
    state.close()
    assert found is not None
    assert (found.name, found.role) == ("dash", Role.READ)


def test_one_that_is_taken_back_is_gone_and_both_are_in_the_events(call: Calling) -> None:
    made = call("token", "create", "ci", "-o", "json").document["token"]
    assert call("token", "revoke", "ci").out == "ci is revoked\n"
    state = State(f"sqlite:///{call.database}")
    with state.read() as conn:
        assert tokens.find(conn, made) is None
        reported = [(event.kind, event.subject, event.detail["who"]) for event in events.after(conn, 0, 10)]
    state.close()
    assert [(kind, subject) for kind, subject, _ in reported] == [("token.created", "ci"), ("token.revoked", "ci")]
    assert all("@" in str(who) for _, _, who in reported)


def test_a_name_is_taken_once_and_must_be_one(call: Calling) -> None:
    assert call("token", "create", "ci").code == 0
    again = call("token", "create", "ci")
    assert again.code == 9
    assert "syncd token revoke ci" in again.err
    assert call("token", "create", "../ci").code == 2
    assert call("token", "create", "ci2", "--role", "king").code == 2
    assert call("token", "revoke", "nobody").code == 3
