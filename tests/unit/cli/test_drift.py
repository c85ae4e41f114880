"""Drift, adopt, restore, retire and unquarantine as commands, against Function Compute on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from alibabacloud_fc20230330 import models
from syncd.cli.exit_codes import Exit
from syncd.reconcile.steps.carried_models import digest_of
from syncd.state.content import versions
from syncd.state.records import FunctionVersion
from syncd.state.releases import releases
from syncd.state.serving import live
from syncd.state.state import State
from syncd.values.function import Change

from tests.conformance.runtime import change_to, go_on
from tests.support.fc_clouds import FcCloud, fc_cloud, fresh_function
from tests.unit.cli.calling import Calling
from tests.unit.state.making import make_version

NOTHING_OURS = Change((), {})


@pytest.fixture(scope="module")
def fc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FcCloud]:
    with fc_cloud(Path(tmp_path_factory.mktemp("fc"))) as cloud:
        yield cloud


@dataclass
class Scene:
    """Function `f`: versions 1 and 2 have served, 2 is live by the record; 3 somebody made by hand."""

    call: Calling
    fc: FcCloud

    def move(self, version: str, weights: dict[str, float] | None = None) -> None:
        body = models.UpdateAliasInput(version_id=version, additional_version_weight=weights or {})
        self.fc.client().update_alias("f", "prod", models.UpdateAliasRequest(body=body))

    def alias(self) -> str | None:
        return self.fc.runtime().read("f", "prod").function_version

    @property
    def numbers(self) -> list[str]:
        found = self.fc.client().list_function_versions("f", models.ListFunctionVersionsRequest(direction="FORWARD"))
        return [str(version.version_id) for version in found.body.versions or []]


@pytest.fixture
def scene(call: Calling, fc: FcCloud) -> Scene:
    fresh_function(fc, fc.client(), "f")
    runtime = fc.runtime()
    made = [
        runtime.stage("f", change_to(name), name, known=(), waiting=go_on).function_version for name in ("a", "b", "c")
    ]
    runtime.flip("f", "prod", made[1], None)
    call.change('endpoint = "127.0.0.1:9"', f'endpoint = "{fc.endpoint}"')
    call.change("CALLING_SECRET", "CLOUD_SECRET")
    call.patch.setenv("CLOUD_SECRET", fc.whole.cloud.access_key_secret)
    state = State(f"sqlite:///{call.database}")
    with state.write() as conn:
        now = state.now(conn)
        release = releases.create(conn, model="m", ref="v1", registry="models", requested_by="ann", now=now).id
        insert = (
            "INSERT INTO flips (release_id, binding, phase, to_version, updated_at) VALUES (:r, 'b', 'done', :v, 0)"
        )
        for number in made[:2]:
            carried = FunctionVersion("b", number, {}, digest_of(NOTHING_OURS), release, now)
            live.note_function_version(conn, carried)
        conn.execute(sa.text(insert), {"r": release, "v": made[0]})
        conn.execute(sa.text("UPDATE releases SET phase = 'live'"))
        live.record(conn, "b", made[1], {}, release, now)
    state.close()
    return Scene(call, fc)


def test_drift_is_listed_with_what_to_do_and_exit_code_8_until_it_is_adopted(scene: Scene) -> None:
    one, two, _ = scene.numbers
    reported = scene.call("drift", "--look")
    assert (reported.code, reported.out) == (Exit.OK, "all is as recorded\n")
    scene.move(one)
    reported = scene.call("drift", "--look", "-o", "json")
    assert reported.code == Exit.DIFFERS
    (row,) = reported.document["drifted"]
    assert (row["binding"], row["region"], row["what"], row["got"], row["want"]) == (
        "b",
        "cn-shanghai",
        "alias",
        one,
        two,
    )
    assert not reported.document["good"]
    reported = scene.call("drift", "m")
    assert reported.code == Exit.DIFFERS
    head, line, hint = reported.out.splitlines()
    assert head.split() == ["BINDING", "REGION", "WHAT", "GOT", "WANT", "SINCE"]
    assert line.split()[:5] == ["b", "cn-shanghai", "alias", one, two]
    assert hint == "   to do: `syncd adopt b` accepts it into the record, `syncd restore b` restores what is recorded"
    shown = scene.call("status").out
    assert f"drifted: cn-shanghai f:prod alias is {one}, the record says {two}\n{hint}\n" in shown
    reported = scene.call("adopt", "m", "--why", "it was me")
    assert (reported.code, reported.out) == (Exit.OK, f"b alias: {one} is adopted, the record said {two}\n")
    reported = scene.call("drift", "b", "--ended")
    assert reported.code == Exit.OK
    assert reported.out.startswith(f"all is as recorded\nover: b alias was {one} until ")
    assert reported.out.endswith(": it was me\n")
    assert scene.call("adopt", "b", "-o", "json").document == {
        "bindings": [{"binding": "b", "done": "nothing", "was": []}]
    }


def test_what_cannot_be_adopted_is_one_error_with_a_hint_and_is_put_back(scene: Scene) -> None:
    _, two, three = scene.numbers
    scene.move(three)
    reported = scene.call("adopt", "b")
    assert reported.code == Exit.CONFLICT
    assert f"f:prod points at function version {three}, which syncd did not stage for it" in reported.err
    assert "`syncd restore b`" in reported.err
    reported = scene.call("restore", "b", "--why", "a slip")
    assert (reported.code, reported.out) == (Exit.OK, f"b alias: {three} is put back to {two}\n")
    assert scene.alias() == two
    assert scene.call("restore", "b").out == "b is as recorded\n"


def test_shares_are_taken_away_by_restoring(scene: Scene) -> None:
    one, two, _ = scene.numbers
    scene.move(two, {one: 0.1})
    (row,) = scene.call("drift", "--look", "-o", "json").document["drifted"]
    assert (row["what"], row["got"], row["want"]) == ("weights", f"0.1 to {one}", "nothing")
    assert scene.call("restore", "b").code == Exit.OK
    assert scene.fc.runtime().read("f", "prod").weights == {}


def test_a_region_that_does_not_answer_is_reported(call: Calling) -> None:
    state = State(f"sqlite:///{call.database}")
    with state.write() as conn:
        live.record(conn, "b", "1", {}, None, state.now(conn))
    state.close()
    reported = call("drift", "--look")
    assert reported.code == Exit.UNAVAILABLE
    assert reported.out.startswith("not checked: b: GetAlias f: no usable answer")
    assert call("drift").code == Exit.OK
    for command in ("adopt", "restore"):
        assert call(command, "b").code == Exit.UNAVAILABLE


def test_unknown_names_are_reported_with_the_known_ones(call: Calling) -> None:
    for command in ("drift", "adopt", "restore"):
        reported = call(command, "nothing")
        assert reported.code == Exit.NOT_FOUND
        assert reported.err.endswith("hint:  bindings: b\n")
    assert call("adopt", "b").code == Exit.NOT_FOUND, "syncd never moved it"


def test_a_version_is_retired_and_a_quarantine_lifted(call: Calling) -> None:
    assert call("retire", "m@v1").code == Exit.NOT_FOUND
    assert call("unquarantine", "m@v1").code == Exit.NOT_FOUND
    state = State(f"sqlite:///{call.database}")
    with state.write() as conn:
        known = make_version(conn, "m", "v1")
        conn.execute(sa.text("UPDATE versions SET quarantined = 'other bytes'"))
    assert "syncd unquarantine m@v1" in call("status").out
    assert call("unquarantine", "m@v1").out == "m@v1 is no longer quarantined\n"
    assert call("unquarantine", "m@v1", "-o", "json").document == {"version": "m@v1", "lifted": False}
    reported = call("retire", "m@v1", "--why", "old")
    assert (reported.code, reported.out) == (Exit.OK, "m@v1 is retired\n")
    with state.write() as conn:
        live.record(conn, "b", "1", {"m": known.id}, None, state.now(conn))
        assert versions.get(conn, known.id).quarantined == ""
    state.close()
    reported = call("retire", "m@v1")
    assert reported.code == Exit.CONFLICT
    assert reported.err.startswith("error: m@v1 is live: binding b serves it\n")
