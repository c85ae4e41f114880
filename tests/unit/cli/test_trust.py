"""Waivers and what is live under the trust policy, as commands."""

from __future__ import annotations

import io

from rich.console import Console
from syncd.artifact.digest import Digest
from syncd.cli.commands.plan import _text as as_text
from syncd.cli.commands.trust import _text as live_text
from syncd.cli.exit_codes import Exit
from syncd.reconcile.trust.evaluation import LiveTrust
from syncd.state.content import versions
from syncd.state.state import State

from tests.unit.cli.calling import Calling
from tests.unit.state.making import manifest


def test_a_waiver_is_given_shown_and_taken_back(call: Calling) -> None:
    refused = call("waive", "m@v1", "--why", "read by ann")
    assert (refused.code, refused.out) == (Exit.NOT_FOUND, "")
    assert "`syncd publish m@v1` records its digest" in refused.err
    state = State(f"sqlite:///{call.database}")
    with state.write() as conn:
        known = versions.record(conn, manifest("m", "v1"), "local", "pin", state.now(conn))
    state.close()
    given = call("waive", "m@v1", "--why", "read by ann", "--hours", "2")
    assert given.code == 0
    assert given.out.startswith(f"one release of m@v1 ({known.digest.short}) is let through up to ")
    (waiver,) = call("trust", "-o", "json").document["waivers"]
    assert (waiver["digest"], waiver["why"], waiver["used_by"]) == (known.digest.hex, "read by ann", None)
    assert "read by ann" in call("trust").out
    assert call("unwaive", "m@v1").out == "m@v1 is no longer waived\n"
    assert call("unwaive", "m@v1").out == "m@v1 was not waived\n"
    assert call("waive", "m@v1", "--why", " ").code == Exit.USAGE
    assert call("waive", "m@v1").code == Exit.USAGE


def test_without_a_policy_or_evidence_nothing_reads_as_trusted(call: Calling) -> None:
    assert "nothing is evaluated: the configuration has no [policy.trust]" in call("trust").err
    call.change("[policy]", '[policy.trust]\nmode = "off"\n[policy]')
    assert "the policy selects no version that is live" in call("trust").err


def test_what_was_never_evaluated_says_how_to_evaluate_it() -> None:
    found = [LiveTrust("m@v1#bbbbbbbbbbbb", Digest("b" * 64), ["hz"], (), is_stale=True)]
    file = io.StringIO()
    live_text(Console(file=file, width=200), found, [])
    assert "not evaluated: `syncd plan m@v1` shows what the policy says of it" in file.getvalue()


def test_a_plan_shows_what_the_policy_would_refuse_and_what_meets_it() -> None:
    finding = {"requirement": "formats", "subject": "m.pkl", "reason": "not allowed", "remedy": "save it otherwise"}
    found = {"model": "m", "version": "v1", "files": 1, "bytes": 7, "digest": "b" * 64}
    found |= {"targets": [], "flips": [], "steps": [], "trust": {"outcome": "refused", "findings": [finding]}}
    file = io.StringIO()
    as_text(Console(file=file, width=200), found)
    assert file.getvalue().endswith("trust policy: refused\n  m.pkl: not allowed (save it otherwise)\n")
