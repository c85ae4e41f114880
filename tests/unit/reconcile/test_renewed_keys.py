"""A release that stalled for a refused key is requested again once its file has another key that works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.config.secret_file import SecretFile
from syncd.errors import KeyRefused, Refused, SyncdError
from syncd.plan.phases import ReleasePhase, StepKind, StepState
from syncd.reconcile.context import Attempt, Context
from syncd.reconcile.controller.attempt import run_attempt
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import hold, publish
from syncd.reconcile.requests.renewed_keys import retry_renewed
from syncd.secret import Secret, fingerprint, renewal_hint
from syncd.state.records import Release
from syncd.state.releases import releases, steps

from tests.support.rooms import SDXL, Site

KEY = "r-1/resolve/version"


def refused(key: str) -> Callable[[Attempt], None]:
    def body(_job: Attempt) -> None:
        error = KeyRefused("oss://b/k: 403 SecurityTokenExpired: it has ended", hint="restart")
        error.key = key
        raise error

    return body


def stalled(here: Site, key: str) -> Release:
    here.world.deliver(SDXL, "v1")
    publish(here.requester, SDXL, "v1")
    tick(here.context)
    run_attempt(here.context, {StepKind.RESOLVE: refused(key)}, KEY, 1)
    tick(here.context)
    with here.state.read() as conn:
        assert steps.get(conn, KEY).state is StepState.STALLED, "a refused key stalls at the first try"
        return releases.get(conn, "r-1")


def with_keys(here: Site, *keys: str) -> Context:
    return replace(here.context, keys=lambda: frozenset(keys))


def test_another_key_that_works_has_the_release_requested_again_once(here: Site) -> None:
    assert stalled(here, "old").phase is ReleasePhase.STALLED
    assert retry_renewed(with_keys(here, "old", "else")) == []
    (again,) = retry_renewed(with_keys(here, "new", "else"))
    assert (again.id, again.ref, again.requested_by) == ("r-2", "v1", "renewed key")
    assert retry_renewed(with_keys(here, "new", "else")) == []


def test_nothing_is_requested_where_the_new_key_is_refused_as_well_or_the_model_is_held(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled(here, "old")
    registry = next(iter(here.context.registries.values()))

    def refuse(*_: object) -> None:
        raise Refused("not yours")

    with monkeypatch.context() as patched:
        patched.setattr(type(registry), "resolve", refuse)
        assert retry_renewed(with_keys(here, "new")) == []
    hold(here.requester, SDXL, "not now")
    assert retry_renewed(with_keys(here, "new")) == []


def test_a_release_that_stalled_for_something_else_is_left_alone(here: Site) -> None:
    publish(here.requester, SDXL, "v1")
    tick(here.context)

    def body(_job: Attempt) -> None:
        raise SyncdError("broken")

    for attempt in range(1, 9):
        run_attempt(here.context, {StepKind.RESOLVE: body}, KEY, attempt)
    assert retry_renewed(with_keys(here, "new")) == []


def test_a_key_in_a_file_is_read_again_where_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.config.secret_file._CHECK_S", 0.0)
    path = tmp_path / "key"
    path.write_text("one\n")
    secret = Secret("one", str(path), SecretFile(path, "one").read)
    before = fingerprint("id", secret)
    assert secret.reveal() == "one"
    path.write_text("another\n")
    assert secret.reveal() == "another"
    assert fingerprint("id", secret) != before
    path.unlink()
    assert secret.reveal() == "another", "what cannot be read now is what it was"
    path.write_text("")
    assert secret.reveal() == "another"


def test_the_hint_says_where_a_new_key_goes_and_whether_a_restart_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    file = Secret("one", str(path), lambda: "one")
    env = Secret("two", "the environment variable SECRET")
    assert "the environment variable SECRET, then restart syncd" in renewal_hint(env, None)
    assert "restart" not in renewal_hint(file, None)
    assert str(path) in renewal_hint(file, None)
    assert "the environment variable SECRET, then restart syncd" in renewal_hint(file, env)
    assert renewal_hint(Secret("three")) == "the credentials are refused or have ended"
