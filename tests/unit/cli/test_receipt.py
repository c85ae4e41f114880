"""`syncd receipt` and `syncd audit`: a receipt is verified without record and configuration."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from syncd.cli.exit_codes import Exit
from syncd.plan.phases import ReleasePhase
from syncd.state.content import versions
from syncd.state.db.schema import releases as release_rows
from syncd.state.releases import holds, releases
from syncd.state.state import State

from tests.unit.cli.calling import Calling
from tests.unit.state.making import manifest
from tests.unit.trust.test_dsse import KEY, KEYS, pem, public_pem


@pytest.fixture
def keyed(call: Calling) -> Calling:
    """With a key, and a release that is live."""
    (call.home / "key.pem").write_bytes(pem(KEY))
    (call.home / "key.pub.pem").write_bytes(public_pem(KEY))
    (call.home / "other.pub.pem").write_bytes(public_pem(KEYS["p-256"]))
    call.config.write_text(call.config.read_text() + f'\n[receipts]\nkey = {{ file = "{call.home}/key.pem" }}\n')
    state = State(f"sqlite:///{call.database}")
    with state.write() as conn:
        now = state.now(conn)
        version = versions.record(conn, manifest("m", "v1"), "models", "pin", now)
        made = releases.create(
            conn, model="m", ref="v1", registry="models", requested_by="ann", version_id=version.id, now=now
        )
        conn.execute(release_rows.update().values(phase=ReleasePhase.LIVE, version_id=version.id))
        holds.put(conn, "m", "ann", "why", now)
    state.close()
    assert made.id == "r-1"
    return call


def given(call: Calling) -> Path:
    reported = call("receipt", "r-1")
    assert (reported.code, reported.err) == (Exit.OK, "")
    file = call.home / "r-1.json"
    file.write_text(reported.out)
    return file


def test_a_receipt_is_verified_where_there_is_no_record(keyed: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    file, key = given(keyed), str(keyed.home / "key.pub.pem")
    monkeypatch.delenv("SYNCD_CONFIG")
    keyed.config.unlink()
    keyed.database.unlink()
    reported = keyed("receipt", "verify", str(file), "--key", key)
    assert (reported.code, reported.out[:8]) == (Exit.OK, "r-1: m@v")
    assert reported.out.endswith("2 files; the signature is right\n")
    document = keyed("receipt", "verify", str(file), "--key", key, "-o", "json").document
    assert document["predicate"]["release"]["requestedBy"] == "ann"
    other = keyed("receipt", "verify", str(file), "--key", str(keyed.home / "other.pub.pem"))
    assert (other.code, other.out) == (Exit.DIFFERS, "")
    assert keyed("receipt", "verify", str(file)).code == Exit.USAGE
    assert keyed("receipt", "verify").code == Exit.USAGE
    assert keyed("receipt", "verify", str(file), "--key", "nowhere").err.startswith("error: nowhere: No such file")
    assert keyed("receipt", "verify", str(keyed.home / "nowhere"), "--key", key).code == Exit.USAGE


def test_without_a_key_there_is_no_receipt(call: Calling) -> None:
    reported = call("receipt", "r-1")
    assert (reported.code, reported.out) == (Exit.USAGE, "")
    assert "set `key` or `signer` in [receipts]" in reported.err


def test_what_is_no_release_has_no_receipt(keyed: Calling) -> None:
    for name in ("r-2", "v1", "../x"):
        assert keyed("receipt", name).code == Exit.NOT_FOUND
    assert keyed("receipt", "r-1", "r-2").code == Exit.USAGE


def test_history_is_verified_and_exported(keyed: Calling) -> None:
    file, key = given(keyed), str(keyed.home / "key.pub.pem")
    good = keyed("audit", "verify", "-o", "json")
    assert (good.code, good.document["good"], good.document["unlinked"]) == (Exit.OK, True, 0)
    lines = [json.loads(line) for line in keyed("audit", "export").out.splitlines()]
    assert [line["kind"] for line in lines] == ["version.recorded", "release.requested", "hold.put"]
    assert lines[-1]["hash"] == good.document["head"]["hash"]
    assert keyed("audit", "verify").out.startswith("3 events, 3 linked, 0 breaks; the newest link is 3:")
    anchored = ("audit", "verify", "--receipt", str(file), "--key", key)
    assert keyed(*anchored).code == Exit.OK
    connection = sqlite3.connect(keyed.database)
    with connection:
        connection.execute("UPDATE events SET subject = 'x' WHERE id = 2")
    connection.close()
    changed = keyed("audit", "verify")
    assert changed.code == Exit.DIFFERS
    assert changed.out.startswith("event 2 was changed, or is not the one that followed 1\n")
    connection = sqlite3.connect(keyed.database)
    with connection:
        connection.execute("DELETE FROM event_links")
    connection.close()
    nothing_compared = keyed("audit", "verify")
    assert nothing_compared.code == Exit.OK
    assert "3 events had no link: nothing shows whether they were changed before now" in nothing_compared.err
    anew = keyed(*anchored)
    assert anew.code == Exit.DIFFERS
    assert "not as a receipt says" in anew.out
