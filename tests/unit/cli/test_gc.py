"""`syncd gc`: the plan with bytes and money, marks, undo, and deletion, against Function Compute on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import parse_path
from syncd.cli.exit_codes import Exit
from syncd.cost.shipped import text
from syncd.plan.phases import PlacementPhase
from syncd.state.content import placements, proofs, versions
from syncd.state.db.schema import placements as placement_rows
from syncd.state.db.schema import versions as version_rows
from syncd.state.db.schema_keeping import removals
from syncd.state.state import State

from tests.support.fc_clouds import FcCloud, fc_cloud, fresh_function
from tests.unit.cli.calling import Calling

RULES = """
[retention]
grace = "1h"
rules = [{ models = ["m"], keep = 1, min_age = "1s" }]
"""


@pytest.fixture(scope="module")
def fc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FcCloud]:
    with fc_cloud(Path(tmp_path_factory.mktemp("fc"))) as cloud:
        yield cloud


@pytest.fixture
def there(call: Calling, fc: FcCloud) -> Calling:
    """Versions v1 and v2 of `m` are sealed on the NAS; nothing serves them."""
    fresh_function(fc, fc.client(), "f")
    call.change('endpoint = "127.0.0.1:9"', f'endpoint = "{fc.endpoint}"')
    call.change("CALLING_SECRET", "CLOUD_SECRET")
    call.patch.setenv("CLOUD_SECRET", fc.whole.cloud.access_key_secret)
    state = State(f"sqlite:///{call.database}")
    for name in ("v1", "v2"):
        weights = Entry(parse_path("w.bin"), 2_000_000_000, Digest("0" * 63 + name[1]))
        manifest = Manifest.of("m", name, [weights])
        with state.write() as conn:
            now = state.now(conn)
            version = versions.record(conn, manifest, "models", f"pin-{name}", now)
            placements.ensure(conn, version.id, "nas", now)
            conn.execute(sa.update(placement_rows).values(phase=PlacementPhase.SEALED))
            conn.execute(sa.update(version_rows).values(created_at=now.replace(year=2026, month=1)))
    state.close()
    return call


def rules(call: Calling) -> Calling:
    call.config.write_text(call.config.read_text() + RULES)
    return call


def test_without_rules_it_says_so_and_does_nothing(there: Calling) -> None:
    ended = there("gc", "--yes")
    assert (ended.code, ended.out) == (Exit.OK, "nothing to do\n")
    assert "no retention rule selects a served model" in ended.err
    assert there("gc", "--plan").out == "nothing to remove\n"


def test_the_plan_has_reasons_bytes_and_money(there: Calling) -> None:
    assert rules(there)("gc", "--plan").out.splitlines()[2] == "frees 2.0 GB at nas", "the shipped list has no price"
    there.change("[policy]", f'[cost]\nprices = "{there.home}/p.toml"\n[policy]')
    unknown = 'price = "unknown"\nsource = "not found: the performance type"'
    (there.home / "p.toml").write_text(text().replace(unknown, 'price = "1"\nsource = "x"'))
    planned = there("gc", "--plan")
    assert planned.code == Exit.OK
    assert planned.out.splitlines()[1] == "m@v2: keep: it is the newest"
    assert planned.out.startswith("m@v1: remove: a newer version is kept, and it was last used on 2026-01-")
    assert planned.out.splitlines()[2] == "frees 2.0 GB at nas, CNY 1.86 a month"
    document = there("gc", "--plan", "-o", "json").document
    assert [each["state"] for each in document["versions"]] == ["remove", "keep"]
    assert document["frees_bytes"] == 2_000_000_000
    assert there("gc", "--plan", "--model", "m").out == planned.out
    assert there("gc", "--plan", "--model", "other").code == Exit.NOT_FOUND


def test_it_marks_and_undoes_and_deletes_when_the_time_is_over(there: Calling) -> None:
    done = rules(there)("gc")
    assert done.out.startswith("m@v1: marked, deleted after ")
    assert "to keep them: syncd gc undo gc-1" in done.out
    planned = there("gc", "--plan").out
    assert planned.startswith("m@v1: delete after ")
    assert "(run gc-1)" in planned
    assert there("gc", "undo", "gc-1").out == "m@v1 is kept: its removal is undone\n"
    assert "undid its removal" in there("gc", "--plan").out
    again = there("gc", "undo", "m@v1")
    assert (again.code, again.err) == (
        Exit.CONFLICT,
        "error: m@v1 is not marked for removal\nhint:  `syncd gc --plan` lists marked versions\n",
    )
    state = State(f"sqlite:///{there.database}")
    with state.write() as conn:
        conn.execute(sa.update(removals).values(spared_by="", due_at=state.now(conn)))
    state.close()
    document = there("gc", "-o", "json").document
    assert (document["deleted"], document["postponed"]) == (["m@v1"], [])
    assert [each["version"] for each in there("gc", "--plan", "-o", "json").document["versions"]] == ["v2"]


def test_the_last_proofs_are_shown_and_damage_stands_in_the_status(there: Calling) -> None:
    state = State(f"sqlite:///{there.database}")
    with state.write() as conn:
        now = state.now(conn)
        first, second = versions.known(conn, "m")
        proofs.note(conn, first.id, "nas", how="bytes", now=now - timedelta(days=3))
        proofs.note(conn, second.id, "nas", how="checksums", now=now - timedelta(minutes=5))
        proofs.note_fault(conn, second.id, "nas", "w.bin: missing", now)
    state.close()
    shown = there("verify", "--results", "m")
    lines = [line.split() for line in shown.out.splitlines() if line.startswith("nas")]
    assert [(words[1], words[4], words[5]) for words in lines] == [
        ("m@v1", "3d", "bytes"),
        ("m@v2", "5m00s", "checksums"),
    ]
    assert "w.bin: missing" in shown.out
    document = there("verify", "--results", "m", "-o", "json").document
    assert [each["fault"] for each in document["proofs"]] == [None, "w.bin: missing"]
    assert there("verify", "--results", "--quick").code == Exit.USAGE
    assert "damaged: 1 of 2 copies at nas" in there("status").out
    assert there("status", "-o", "json").document["proofs"][0]["damaged"] == 1
