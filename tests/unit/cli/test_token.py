"""API tokens are created, listed and revoked; each is shown once and stored as a hash."""

from __future__ import annotations

import hashlib

import pytest
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


def test_its_limits_are_listed_and_in_the_events(call: Calling) -> None:
    limits = ("--expires", "90d", "--model", "sdxl*", "--model", "team/*", "--from", "10.0.0.0/8", "--per-minute", "60")
    made = call("token", "create", "ci", *limits, "-o", "json").document
    (listed,) = call("token", "list", "-o", "json").document["tokens"]
    for shown in (made, listed):
        assert (shown["models"], shown["networks"]) == (["sdxl*", "team/*"], ["10.0.0.0/8"])
        assert shown["per_minute"] == 60
        assert shown["ends_at"] > listed["created_at"]
    text = call("token", "list").out
    assert "sdxl*, team/*" in text
    assert "10.0.0.0/8" in text
    state = State(f"sqlite:///{call.database}")
    with state.read() as conn:
        (event,) = events.after(conn, 0, 10)
    state.close()
    assert event.detail["models"] == ["sdxl*", "team/*"]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (("--expires", "soon"), "expected a time such as 12h or 30d"),
        (("--expires", "0d"), "expected a time such as 12h or 30d"),
        (("--expires", "4000d"), "at most ten years"),
        (("--model", "a b"), "expected a model or a pattern"),
        (("--from", "10.0.0.1/8"), "expected an address such as 10.0.0.0/8"),
        (("--from", "office"), "expected an address such as 10.0.0.0/8"),
        (("--per-minute", "-1"), "greater than or equal to 0"),
        (("--per-minute", "1000001"), "requests a minute"),
    ],
)
def test_an_invalid_limit_is_refused_and_creates_nothing(call: Calling, limit: tuple[str, ...], message: str) -> None:
    refused = call("token", "create", "ci", *limit)
    assert refused.code == 2
    assert message in refused.err
    assert call("token", "list", "-o", "json").document["tokens"] == []


def test_a_syncd_before_schema_0011_refuses_a_token_with_limits(call: Calling) -> None:
    made = {name: call("token", "create", name, *more, "-o", "json").document["token"]
            for name, more in {"free": (), "limited": ("--expires", "1d")}.items()}  # fmt: skip
    state = State(f"sqlite:///{call.database}")
    with state.read() as conn:
        hashes = {token.name: token.hash.hex for token in tokens.all(conn)}
        assert all(tokens.find(conn, text) for text in made.values())
    state.close()
    as_before_0011 = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in made.items()}
    assert hashes["free"] == as_before_0011["free"]
    assert hashes["limited"] != as_before_0011["limited"]
