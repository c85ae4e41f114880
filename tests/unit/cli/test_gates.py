"""Cancel, approve, freeze and unfreeze, as a person calls them."""

from __future__ import annotations

from hashlib import sha256

from syncd.cli.exits import Exit

from tests.unit.cli.calling import Calling


def test_a_freeze_is_shown_until_it_is_lifted(call: Calling) -> None:
    told = call("freeze", "m", "--why", "audit", "--hours", "2")
    assert told.code == 0
    assert told.out.startswith("m is frozen by ")
    assert told.out.endswith("Z: audit\n")
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


def test_a_release_is_cancelled_and_then_cannot_be_approved(call: Calling) -> None:
    version = call.home / "registry" / "m" / "v1"
    version.mkdir()
    (version / "model.bin").write_bytes(b"weights")
    (version / "SHA256SUMS").write_text(f"{sha256(b'weights').hexdigest()}  model.bin\n")
    assert call("freeze").code == 0
    assert call("publish", "m@v1", "--wait", "--timeout", "1").code in {Exit.TIMEOUT, Exit.NOT_LIVE}
    release = call("releases", "-o", "json").document["releases"][0]["release"]
    assert call("approve", release).code in {Exit.OK, Exit.CONFLICT}
    told = call("cancel", release, "--why", "wrong file", "-o", "json")
    assert (told.code, told.document["release"]) == (Exit.OK, release)
