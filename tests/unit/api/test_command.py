"""Commands with --server: the same codes and forms as beside the record, and no configuration."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from syncd.cli.main import main
from syncd.cli.remote import duration, there
from syncd.client import Client
from syncd.plan.phases import ReleasePhase
from syncd.plan.roles import Role
from syncd.plan.token_limits import TokenLimits
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import hold
from syncd.reconcile.views.release import document, load
from syncd.state.access import tokens

from tests.support.rooms import SDXL
from tests.unit.api.serving import Served
from tests.unit.cli.calling import Reported

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Calling:
    """The entry point, with a server and a token in the environment and no configuration."""

    def __init__(self, served: Served, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.served = served
        self._capsys = capsys
        patch.setenv("SYNCD_CONFIG", "/nonexistent/config.toml")
        patch.setenv("SYNCD_SERVER", served.url)
        patch.setenv("SYNCD_TOKEN", served.token(Role.OPERATE))

    def __call__(self, *arguments: str) -> Reported:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        seen = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Reported(int(ended.value.code), seen.out, seen.err)


@pytest.fixture
def call(served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Calling:
    for version in ("v1", "v2"):
        served.site.world.deliver(SDXL, version)
    return Calling(served, capsys, monkeypatch)


@contextmanager
def at_work(served: Served) -> Iterator[None]:
    """A daemon that does what is asked for, until the block ends."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            tick(served.site.context)
            if not served.site.run_one():
                over.wait(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_it_asks_and_without_wait_says_what_was_recorded(call: Calling) -> None:
    reported = call("publish", f"{SDXL}@v1")
    assert (reported.code, reported.out) == (0, "r-1 is requested\n")
    assert call("publish", f"{SDXL}@v1", "-o", "json").document["release"] == "r-1"


def test_it_waits_until_the_release_is_live_and_shows_each_change_once(call: Calling) -> None:
    with at_work(call.served):
        reported = call("publish", f"{SDXL}@v1", "--wait", "--timeout", "2m")
    assert reported.code == 0
    lines = reported.out.splitlines()
    assert lines[-1] == f"r-1 {SDXL}@v1 is live"
    assert len(set(lines)) == len(lines)
    assert "r-1 release: live" in lines


def test_as_json_it_ends_with_the_document_of_the_end(call: Calling) -> None:
    with at_work(call.served):
        reported = call("publish", f"{SDXL}@v1", "--wait", "-o", "json")
    documents = [json.loads(line) for line in reported.out.splitlines() if line.startswith("{")]  # and the daemon's log
    assert [each["event"] for each in documents[-2:]] == ["progress", "end"]
    assert documents[-1]["phase"] == "live"
    beside = document(load(call.served.state, documents[-1]["release"]))
    assert list(documents[-1]) == ["event", *beside]  # as the command beside the record prints it


def test_a_rollback_goes_back_from_elsewhere_too(call: Calling) -> None:
    with at_work(call.served):
        for version in ("v1", "v2"):
            assert call("publish", f"{SDXL}@{version}", "--wait").code == 0
        reported = call("rollback", SDXL, "--why", "black images")
    assert reported.code == 0
    assert reported.out.splitlines()[-1] == f"r-3 {SDXL}@v1 is live"
    assert call("publish", f"{SDXL}@v2").code == 4


def test_holds_and_freezes_are_put_and_lifted_from_elsewhere_too(call: Calling) -> None:
    held = call("hold", SDXL, "--why", "black images")
    assert (held.code, held.out) == (0, f"{SDXL} is on hold by a-operateer@127.0.0.1: black images\n")
    assert call("hold", SDXL, "-o", "json").document["why"] == "black images"
    assert call("publish", f"{SDXL}@v1").code == 4
    assert call("unhold", SDXL).out == f"{SDXL} is no longer on hold\n"
    assert call("unhold", SDXL, "-o", "json").document == {"model": SDXL, "lifted": False}
    assert call("unhold", "nobody").code == 3
    frozen = call("freeze", "--why", "audit", "--hours", "2", "-o", "json").document
    assert (frozen["model"], frozen["why"]) == ("*", "audit")
    assert call("freeze", SDXL).out.endswith("until `syncd unfreeze`: manual\n")
    assert call("unfreeze").out == "everything is no longer frozen\n"
    assert call("unfreeze", SDXL, "-o", "json").document == {"model": SDXL, "lifted": True}


def test_a_release_is_approved_and_cancelled_from_elsewhere_too(call: Calling) -> None:
    asked = call("publish", f"{SDXL}@v1", "-o", "json").document["release"]
    assert call("approve", asked).code == 9
    call.served.site.until(ReleasePhase.PLACING, asked)
    reported = call("approve", asked).out.splitlines()[-1]  # before it is what the daemon logs
    assert reported.startswith(f"{asked} is approved by a-operateer@127.0.0.1 for sha256 ")
    approved = call("approve", asked, "-o", "json").document
    assert (approved["release"], approved["who"]) == (asked, "a-operateer@127.0.0.1")
    assert approved["digest"].startswith(reported.rpartition(" ")[2])
    cancelled = call("cancel", asked, "--why", "wrong file")
    assert (cancelled.code, cancelled.out.startswith(f"{asked} {SDXL}@v1 ends; ")) == (0, True)
    assert call("cancel", "r-99").code == 3


def test_a_token_of_the_model_publishes_waits_and_reads_status(call: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = TokenLimits(models=(SDXL,), networks=("127.0.0.0/8",))
    with call.served.state.write() as conn:
        made = tokens.create(conn, "train", Role.PUBLISH, "ann@desk", call.served.state.now(conn), limits)
    monkeypatch.setenv("SYNCD_TOKEN", made.reveal())
    with at_work(call.served):
        assert call("publish", f"{SDXL}@v1", "--wait", "--timeout", "2m").code == 0
        assert call("publish", f"{SDXL}-v2", "--wait", "--timeout", "2m").code == 0
    assert call("status", SDXL).code == 0
    assert call("versions", SDXL).code == 0
    refused = call("publish", "lora@v1")
    assert (refused.code, "is for the models sdxl only" in refused.err) == (10, True)
    assert call("status").code == 10


def test_every_way_to_fail_has_the_code_of_the_local_command(call: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.client.connection.FIRST_WAIT_S", 0.01)
    assert call("publish", f"{SDXL}@v9").code == 3
    assert call("publish", "nobody@v1").code == 3
    late = call("publish", f"{SDXL}@v1", "--wait", "--timeout", "0.2s", "-o", "json")
    assert (late.code, json.loads(late.out.splitlines()[-1])["event"]) == (6, "end")
    assert call("publish", f"{SDXL}@v1", "--server", "http://127.0.0.1:9").code == 7
    assert call("publish", f"{SDXL}@v1", "--server", "nowhere").code == 2
    assert call("publish", f"{SDXL}@v1", "--from", ".").code == 2
    hold(call.served.site.requester, SDXL, "manual")
    held = call("publish", f"{SDXL}@v2", "-o", "json").document
    assert held["exit_code"] == 4
    assert "manual" in held["error"]
    call.served.site.settle(patient=True)
    monkeypatch.setenv("SYNCD_TOKEN", "wrong")
    assert call("publish", f"{SDXL}@v1").code == 10


def test_a_release_that_ends_otherwise_is_code_5(call: Calling) -> None:
    with at_work(call.served):
        asked = call("publish", f"{SDXL}@v1", "-o", "json").document["release"]
        hold(call.served.site.requester, SDXL, "manual")
        from syncd.client import Client, NotLive

        token = call.served.token(Role.READ)
        with Client(call.served.url, token, trust_env=False) as client, pytest.raises(NotLive) as reported:
            client.wait(asked, timeout_s=60, poll_s=0.05)
    from syncd.cli.exit_codes import code_of

    assert code_of(reported.value) == 5


def test_the_token_comes_from_a_file_where_one_is_named(
    call: Calling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCD_TOKEN", "wrong")
    file = tmp_path / "token"
    file.write_text(call.served.token(Role.PUBLISH) + "\n")
    assert call("publish", f"{SDXL}@v1", "--token-file", str(file)).code == 0
    assert call("publish", f"{SDXL}@v1", "--token-file", str(tmp_path / "none")).code == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1800", 1800),
        ("90s", 90),
        ("0.5", 0.5),
        ("30m", 1800),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h2m3s", 3723),
        ("0", 0),
    ],
)
def test_a_time_is_written_as_people_do(database_url: str, text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "30 m", "m", "1d", "5m3h", "1e3"])
def test_what_is_no_time_is_refused(database_url: str, text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as"):
        duration(text)


def test_the_daemon_resolves_a_name_and_the_first_line_says_what_it_is(call: Calling) -> None:
    reported = call("publish", f"{SDXL}-v1")
    assert (reported.code, reported.out) == (0, "publishing sdxl@v1\nr-1 is requested\n")
    assert call("publish", f"{SDXL}_v1", "-o", "json").document["version"] == "v1"
    reported = call("publish", SDXL)
    assert reported.out.splitlines()[0] == "publishing sdxl@v2"
    reported = call("publish", f"{SDXL}-v3")
    assert reported.code == 3
    assert "did you mean sdxl@v2? versions there: v2, v1" in reported.err


def test_it_lists_the_versions_of_a_model(call: Calling) -> None:
    reported = call("versions", SDXL)
    assert (reported.code, reported.err) == (0, "")
    assert [line.split()[:4] for line in reported.out.splitlines()][1:] == [
        ["v2", "0", "of", "2"],
        ["v1", "0", "of", "2"],
    ]
    assert [each["version"] for each in call("versions", SDXL, "-o", "json").document["versions"]] == ["v2", "v1"]
    assert call("versions", "nobody").code == 3


def test_every_reading_command_asks_the_daemon(call: Calling) -> None:
    with at_work(call.served):
        assert call("publish", f"{SDXL}@v1", "--wait").code == 0
    assert f"{SDXL}   v1" in call("status").out
    assert call("status", SDXL, "-o", "json").document["live"][0]["version"] == "v1"
    listed = call("releases").out.splitlines()
    assert listed[1].split()[:4] == ["r-1", "sdxl@v1", "promote", "live"]
    assert call("releases", SDXL, "-o", "json").document["releases"][0]["release"] == "r-1"
    shown = call("show", "r-1")
    assert shown.out.startswith("r-1: release of sdxl@v1 is live\n")
    assert "release.requested" in shown.out
    assert call("show", "r-1", "-o", "json").document["events"]
    planned = call("plan", f"{SDXL}-v2")
    assert planned.out.startswith("sdxl@v2: 2 files, ")
    assert [each["to"] for each in call("plan", SDXL, "-o", "json").document["flips"]] == ["v2", "v2"]
    watched = call("watch", "r-1")
    assert (watched.code, watched.out.splitlines()[-1]) == (0, "r-1 sdxl@v1 is live")
    for wrong in (
        ("status", "nobody"),
        ("releases", "nobody"),
        ("show", "r-9"),
        ("plan", "sdxl-v9"),
        ("watch", "nobody"),
    ):
        assert call(*wrong).code == 3, wrong


def test_hints_name_commands_that_work_from_here(call: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(call.served.site.requester, SDXL, "black images")
    assert "   to do: `syncd unhold sdxl` lifts it\n" in call("status").out, "SYNCD_SERVER is set for it too"
    monkeypatch.delenv("SYNCD_SERVER")
    url = call.served.url
    assert f"   to do: `syncd unhold sdxl --server {url}` lifts it\n" in call("status", "--server", url).out
    refused = call("publish", f"{SDXL}@v1", "--server", url)
    assert refused.err.endswith(f"hint:  `syncd unhold sdxl --server {url}` lifts it\n")
    assert there("`syncd db upgrade` does it", url) == "`syncd db upgrade` on the daemon's machine does it"


def test_events_of_a_model_are_followed_over_a_stream(call: Calling) -> None:
    with Client(call.served.url, call.served.token(Role.READ)) as client:
        happening = client.events(0)
        call("publish", f"{SDXL}@v1")
        assert "release.requested" in (event["kind"] for event in happening)
