"""Conformance of a runtime. A subclass provides the runtime, and independent means to read and change the platform."""

from __future__ import annotations

import json
from abc import abstractmethod

import pytest
from syncd.artifact.digest import Digest
from syncd.errors import Cancelled, Conflict, Failed, NotFound
from syncd.runtime.base import ProbeFailed, Runtime
from syncd.values.function import (
    AliasState,
    Change,
    Golden,
    InstanceSettings,
    Latency,
    Mount,
    MountKind,
    Names,
    Probe,
    Scaling,
    Staged,
)

FUNCTION = "show"
FAILING = b'{"status": 500}'  # what the function under test answers with an error
DIGESTS = {name: Digest(name * 64) for name in "abcd"}


def go_on(_what: str) -> None:
    """A wait that is never stopped."""


def change_to(name: str, mount_dir: str = "/mnt/model") -> Change:
    mount = Mount(MountKind.NAS, "n.cn-hangzhou.nas.aliyuncs.com", f"/models/sdxl/{name}", mount_dir)
    return Change((mount,), {"MODEL_DIGEST": DIGESTS[name].hex})


def probe_for(*names: str) -> Probe:
    return Probe(b"{}", tuple(DIGESTS[name] for name in names), 10.0)


def runtime_env(runtime: Runtime, version: str) -> dict[str, str]:
    """The variables in the answer of a version."""
    found: dict[str, str] = json.loads(runtime.ask(FUNCTION, version, b"{}", 10.0))["env"]
    return found


class RuntimeConformance:
    """A subclass binds `runtime`, in which the function `show` has nothing published, and the abstract methods."""

    @abstractmethod
    def alias_raw(self, alias: str) -> AliasState:
        """The target of an alias, read by other means than the runtime's."""

    @abstractmethod
    def edit_alias(self, alias: str, version: str, weights: dict[str, float] | None = None) -> None:
        """Create or move an alias outside syncd."""

    @abstractmethod
    def environment_raw(self, version: str) -> dict[str, str]:
        """The variables of a published version."""

    @abstractmethod
    def versions_raw(self) -> list[tuple[str, str]]:
        """Every published version with its description, oldest first."""

    @abstractmethod
    def edit_environment(self, name: str, value: str) -> None:
        """Change a variable of the function outside syncd."""

    @abstractmethod
    def resize(self, size: InstanceSettings) -> None:
        """Change the size of the function's instances outside syncd."""

    def stage(self, runtime: Runtime, name: str, token: str = "", known: tuple[str, ...] = ()) -> Staged:
        return runtime.stage(FUNCTION, change_to(name), token or f"token-{name}", known=known, waiting=go_on)

    # Staging.

    def test_a_staged_version_is_published_and_carries_the_change(self, runtime: Runtime) -> None:
        staged = self.stage(runtime, "a")
        assert not staged.reused
        assert self.environment_raw(staged.function_version)["MODEL_DIGEST"] == DIGESTS["a"].hex
        assert self.versions_raw() == [(staged.function_version, "token-a")]

    def test_staging_again_ends_with_one_version(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a")
        assert self.stage(runtime, "a") == Staged(first.function_version, reused=True)
        assert len(self.versions_raw()) == 1

    def test_a_version_published_under_the_token_is_found_though_others_came_after_it(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a")
        self.stage(runtime, "b")
        assert self.stage(runtime, "a") == Staged(first.function_version, reused=True)
        assert len(self.versions_raw()) == 2

    def test_a_token_alone_does_not_make_a_version_carry_the_change(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a", "token")
        second = self.stage(runtime, "b", "token")
        assert not second.reused
        assert second.function_version != first.function_version
        assert self.environment_raw(second.function_version)["MODEL_DIGEST"] == DIGESTS["b"].hex

    def test_where_nothing_differs_from_the_newest_version_that_one_is_used(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a", "earlier")
        assert self.stage(runtime, "a", "later") == Staged(first.function_version, reused=True)
        assert len(self.versions_raw()) == 1

    def test_a_deleted_newest_version_is_published_again(self, runtime: Runtime) -> None:
        self.stage(runtime, "a")
        gone = self.stage(runtime, "b")
        runtime.retire(FUNCTION, gone.function_version)
        for again in ("later", "later still"):  # the second time nothing differs but for what the first one left
            staged = self.stage(runtime, "b", again)
            assert not staged.reused
            assert self.environment_raw(staged.function_version)["MODEL_DIGEST"] == DIGESTS["b"].hex
            runtime.retire(FUNCTION, staged.function_version)

    def test_an_older_version_with_the_same_content_is_not_used_unless_known(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a", "earlier")
        self.stage(runtime, "b")
        again = self.stage(runtime, "a", "later")
        assert not again.reused
        assert again.function_version != first.function_version

    def test_a_known_version_that_carries_the_change_is_used(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a", "earlier")
        self.stage(runtime, "b")
        again = self.stage(runtime, "a", "later", known=("999", first.function_version))
        assert again == Staged(first.function_version, reused=True)

    def test_a_known_version_that_does_not_carry_the_change_is_not_used(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a")
        second = self.stage(runtime, "b", known=(first.function_version,))
        assert not second.reused
        assert self.environment_raw(second.function_version)["MODEL_DIGEST"] == DIGESTS["b"].hex

    def test_a_variable_that_is_not_ours_is_kept_as_it_is_now(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a")
        self.edit_environment("OWNER", "ops")
        second = self.stage(runtime, "b")
        assert self.environment_raw(second.function_version)["OWNER"] == "ops"
        assert "OWNER" not in self.environment_raw(first.function_version), "a published version never changes"

    def test_what_must_not_be_there_goes_and_what_is_not_named_stays(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a")
        self.edit_environment("OWNER", "ops")
        (mount,) = change_to("a").mounts
        without = Names(frozenset({mount.mount_dir, "/mnt/absent"}), frozenset({"MODEL_DIGEST", "ABSENT"}))
        change = Change((), {"OTHER": "b"}, without=without)
        second = runtime.stage(FUNCTION, change, "token", known=(first.function_version,), waiting=go_on)
        assert not second.reused, "a known version that has more does not carry the change"
        found = self.environment_raw(second.function_version)
        assert {name: found.get(name) for name in ("MODEL_DIGEST", "OTHER", "OWNER")} == {
            "MODEL_DIGEST": None,
            "OTHER": "b",
            "OWNER": "ops",
        }
        like = Change((), {}, without=without)
        assert runtime.latest(FUNCTION, like, first.function_version).mounts == (mount,)
        assert runtime.latest(FUNCTION, like, second.function_version) == Change((), {})
        assert runtime.stage(FUNCTION, change, "later", known=(), waiting=go_on).reused

    def test_the_last_variable_and_the_last_mount_can_go(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a")
        names = frozenset(self.environment_raw(first.function_version))
        without = Names(frozenset(mount.mount_dir for mount in change_to("a").mounts), names)
        second = runtime.stage(FUNCTION, Change((), {}, without=without), "token", known=(), waiting=go_on)
        assert not names & self.environment_raw(second.function_version).keys()
        assert runtime.latest(FUNCTION, Change((), {}, without=without)) == Change((), {})

    def test_a_setting_changed_outside_syncd_is_published_though_our_part_is_the_same(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a", "earlier")
        self.edit_environment("OWNER", "ops")
        second = self.stage(runtime, "a", "later")
        assert second.function_version != first.function_version

    def test_staging_moves_no_alias(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a")
        self.edit_alias("prod", first.function_version)
        self.stage(runtime, "b")
        assert self.alias_raw("prod") == AliasState(first.function_version)

    def test_staging_a_missing_function_is_reported(self, runtime: Runtime) -> None:
        with pytest.raises(NotFound):
            runtime.stage("nothing", change_to("a"), "token", known=(), waiting=go_on)

    # Looking.

    def test_an_absent_alias_is_an_answer(self, runtime: Runtime) -> None:
        assert runtime.read(FUNCTION, "prod") == AliasState(None)

    def test_an_alias_is_read_with_its_weights(self, runtime: Runtime) -> None:
        first, second = self.stage(runtime, "a"), self.stage(runtime, "b")
        self.edit_alias("prod", first.function_version, {second.function_version: 0.25})
        assert runtime.read(FUNCTION, "prod") == AliasState(first.function_version, {second.function_version: 0.25})

    def test_an_alias_of_a_missing_function_is_not_an_absent_alias(self, runtime: Runtime) -> None:
        with pytest.raises(NotFound):
            runtime.read("nothing", "prod")

    def test_of_latest_only_named_parts_are_returned(self, runtime: Runtime) -> None:
        self.stage(runtime, "a")
        self.edit_environment("OWNER", "ops")
        other = Mount(MountKind.OSS, "b", "/x", "/mnt/other")
        like = Change((*change_to("b").mounts, other), {"MODEL_DIGEST": "", "ABSENT": ""})
        assert runtime.latest(FUNCTION, like) == change_to("a")
        assert runtime.latest(FUNCTION, Change((), {})) == Change((), {})

    def test_latest_has_edits_made_outside_syncd(self, runtime: Runtime) -> None:
        self.stage(runtime, "a")
        self.edit_environment("MODEL_DIGEST", "x")
        assert runtime.latest(FUNCTION, change_to("a")).environment == {"MODEL_DIGEST": "x"}

    def test_the_latest_of_a_missing_function_is_reported(self, runtime: Runtime) -> None:
        with pytest.raises(NotFound):
            runtime.latest("nothing", change_to("a"))

    # Probing and asking.

    def test_a_probe_asks_the_staged_version_through_the_candidate(self, runtime: Runtime) -> None:
        first, second = self.stage(runtime, "a"), self.stage(runtime, "b")
        self.edit_alias("prod", first.function_version)
        report = runtime.probe(FUNCTION, "candidate", second.function_version, probe_for("b"))
        assert DIGESTS["b"].hex.encode() in report.answer
        assert report.seconds >= 0
        assert self.alias_raw("candidate") == AliasState(second.function_version)
        assert self.alias_raw("prod") == AliasState(first.function_version)

    def test_the_candidate_follows_from_release_to_release(self, runtime: Runtime) -> None:
        for name in "ab":
            version = self.stage(runtime, name).function_version
            runtime.probe(FUNCTION, "candidate", version, probe_for(name))
            assert self.alias_raw("candidate") == AliasState(version)

    def test_a_candidate_with_weights_is_pointed_wholly_at_the_version(self, runtime: Runtime) -> None:
        first, second = self.stage(runtime, "a"), self.stage(runtime, "b")
        self.edit_alias("candidate", second.function_version, {first.function_version: 0.5})
        runtime.probe(FUNCTION, "candidate", second.function_version, probe_for("b"))
        assert self.alias_raw("candidate") == AliasState(second.function_version)

    def test_an_answer_without_a_digest_fails_the_probe_with_got_and_want(self, runtime: Runtime) -> None:
        version = self.stage(runtime, "a").function_version
        with pytest.raises(Failed, match=DIGESTS["b"].hex):
            runtime.probe(FUNCTION, "candidate", version, probe_for("a", "b"))

    def test_probing_a_missing_version_is_reported(self, runtime: Runtime) -> None:
        self.stage(runtime, "a")
        with pytest.raises(NotFound):
            runtime.probe(FUNCTION, "candidate", "999", probe_for("a"))
        assert self.alias_raw("candidate") == AliasState(None)

    def test_the_answer_of_a_golden_request_is_compared(self, runtime: Runtime) -> None:
        version = self.stage(runtime, "a").function_version
        right = Golden(
            "variable", b"{}", {"env.MODEL_DIGEST": DIGESTS["a"].hex, "$.env": runtime_env(runtime, version)}
        )
        probe = Probe(b"{}", (DIGESTS["a"],), 10.0, (right, Golden("refused", FAILING, fails=True)))
        report = runtime.probe(FUNCTION, "candidate", version, probe)
        assert [(each.what, each.wrong) for each in report.asked] == [
            ("digests", ""),
            ("variable", ""),
            ("refused", ""),
        ]
        wrong = Golden("variable", b"{}", {"env.MODEL_DIGEST": DIGESTS["b"].hex})
        with pytest.raises(ProbeFailed, match=r"variable: at env\.MODEL_DIGEST got .a{64}., want .b{64}."):
            runtime.probe(FUNCTION, "candidate", version, Probe(b"{}", (), 10.0, (wrong,)))

    def test_a_function_error_in_a_successful_call_is_not_an_answer(self, runtime: Runtime) -> None:
        version = self.stage(runtime, "a").function_version
        with pytest.raises(ProbeFailed, match="failed with UnhandledInvocationError") as failed:
            runtime.probe(FUNCTION, "candidate", version, Probe(FAILING, (), 10.0))
        assert failed.value.report.asked[0].wrong
        with pytest.raises(Failed, match="failed with UnhandledInvocationError"):
            runtime.ask(FUNCTION, "candidate", FAILING, 10.0)

    def test_latency_is_bound_over_calls(self, runtime: Runtime) -> None:
        version = self.stage(runtime, "a").function_version
        probe = Probe(b"{}", (DIGESTS["a"],), 10.0, latency=Latency(3, 30.0))
        assert len(runtime.probe(FUNCTION, "candidate", version, probe).asked) == 4
        with pytest.raises(ProbeFailed, match="latency: p95 is"):
            runtime.probe(FUNCTION, "candidate", version, Probe(b"{}", (), 10.0, latency=Latency(3, 1e-9)))

    def test_a_probe_can_be_stopped(self, runtime: Runtime) -> None:
        version = self.stage(runtime, "a").function_version

        def stop(what: str) -> None:
            raise Cancelled(what)

        with pytest.raises(Cancelled):
            runtime.probe(FUNCTION, "candidate", version, probe_for("a"), stop)

    # Holding instances ready.

    def test_nothing_hangs_on_an_alias_until_something_is_put_there(self, runtime: Runtime) -> None:
        self.edit_alias("candidate", self.stage(runtime, "a").function_version)
        assert runtime.scaling(FUNCTION, "candidate") == Scaling()

    def test_instances_are_prewarmed_and_released(self, runtime: Runtime) -> None:
        self.edit_alias("candidate", self.stage(runtime, "a").function_version)
        for _ in range(2):
            runtime.scale(FUNCTION, "candidate", {}, least=2)
            held = runtime.scaling(FUNCTION, "candidate")
            assert (held.target, held.current, held.error) == (2, 2, "")
        for _ in range(2):
            runtime.scale(FUNCTION, "candidate", {})
            assert runtime.scaling(FUNCTION, "candidate") == Scaling()

    def test_previous_settings_are_kept_and_restored(self, runtime: Runtime) -> None:
        self.edit_alias("candidate", self.stage(runtime, "a").function_version)
        runtime.scale(FUNCTION, "candidate", {}, least=1)
        before = runtime.scaling(FUNCTION, "candidate")
        runtime.scale(FUNCTION, "candidate", before.settings, least=3)
        assert runtime.scaling(FUNCTION, "candidate").target == 3
        runtime.scale(FUNCTION, "candidate", before.settings, least=1)
        assert runtime.scaling(FUNCTION, "candidate") == before

    def test_settings_with_enough_instances_are_unchanged(self, runtime: Runtime) -> None:
        self.edit_alias("candidate", self.stage(runtime, "a").function_version)
        runtime.scale(FUNCTION, "candidate", {}, least=5)
        before = runtime.scaling(FUNCTION, "candidate")
        runtime.scale(FUNCTION, "candidate", before.settings, least=2)
        assert runtime.scaling(FUNCTION, "candidate") == before

    def test_scaling_stays_when_the_alias_moves_and_is_deleted_with_it(self, runtime: Runtime) -> None:
        first, second = (self.stage(runtime, name).function_version for name in "ab")
        self.edit_alias("prod", first)
        runtime.scale(FUNCTION, "prod", {}, least=2)
        runtime.flip(FUNCTION, "prod", second, first)
        assert runtime.scaling(FUNCTION, "prod").target == 2
        runtime.flip(FUNCTION, "prod", None, second)
        runtime.flip(FUNCTION, "prod", first, None)
        assert runtime.scaling(FUNCTION, "prod") == Scaling()

    def test_the_size_of_instances_is_read(self, runtime: Runtime) -> None:
        size = InstanceSettings("tesla.1", gpu_gb=16.0, vcpu=8.0, memory_gb=32.0, disk_gb=10.0, concurrency=4)
        self.resize(size)
        assert runtime.instance(FUNCTION) == size
        with pytest.raises(NotFound):
            runtime.instance("nothing")

    def test_a_missing_alias_has_no_scaling(self, runtime: Runtime) -> None:
        self.stage(runtime, "a")
        for function, alias in ((FUNCTION, "nowhere"), ("nothing", "prod")):
            with pytest.raises(NotFound):
                runtime.scaling(function, alias)
            with pytest.raises(NotFound):
                runtime.scale(function, alias, {}, least=1)

    # Asking.

    def test_a_version_is_invoked_by_number_and_by_alias(self, runtime: Runtime) -> None:
        first, second = self.stage(runtime, "a"), self.stage(runtime, "b")
        self.edit_alias("prod", first.function_version)
        assert DIGESTS["a"].hex.encode() in runtime.ask(FUNCTION, "prod", b"{}", 10.0)
        assert DIGESTS["b"].hex.encode() in runtime.ask(FUNCTION, second.function_version, b"{}", 10.0)

    def test_invoking_a_missing_alias_is_reported(self, runtime: Runtime) -> None:
        self.stage(runtime, "a")
        with pytest.raises(NotFound):
            runtime.ask(FUNCTION, "nowhere", b"{}", 10.0)

    # Flipping.

    def test_a_first_flip_makes_the_alias(self, runtime: Runtime) -> None:
        version = self.stage(runtime, "a").function_version
        assert runtime.flip(FUNCTION, "prod", version, None) == AliasState(version)
        assert self.alias_raw("prod") == AliasState(version)

    def test_a_flip_moves_the_alias_wholly(self, runtime: Runtime) -> None:
        first, second = self.stage(runtime, "a"), self.stage(runtime, "b")
        self.edit_alias("prod", first.function_version, {second.function_version: 0.1})
        assert runtime.flip(FUNCTION, "prod", second.function_version, first.function_version) == AliasState(
            second.function_version
        )
        assert self.alias_raw("prod") == AliasState(second.function_version)

    def test_flipping_again_is_success(self, runtime: Runtime) -> None:
        first, second = self.stage(runtime, "a"), self.stage(runtime, "b")
        self.edit_alias("prod", first.function_version)
        for _ in range(2):
            after = runtime.flip(FUNCTION, "prod", second.function_version, first.function_version)
            assert after == AliasState(second.function_version)

    def test_weights_on_the_requested_version_are_cleared(self, runtime: Runtime) -> None:
        first, second = self.stage(runtime, "a"), self.stage(runtime, "b")
        self.edit_alias("prod", second.function_version, {first.function_version: 0.5})
        runtime.flip(FUNCTION, "prod", second.function_version, first.function_version)
        assert self.alias_raw("prod") == AliasState(second.function_version)

    def test_an_alias_that_points_elsewhere_is_not_moved(self, runtime: Runtime) -> None:
        first, second, third = (self.stage(runtime, name).function_version for name in "abc")
        self.edit_alias("prod", third)
        with pytest.raises(Conflict, match=f"points at {third}") as caught:
            runtime.flip(FUNCTION, "prod", second, first)
        assert caught.value.hint
        assert self.alias_raw("prod") == AliasState(third)

    def test_an_alias_that_should_not_exist_and_does_is_not_moved(self, runtime: Runtime) -> None:
        first, second = (self.stage(runtime, name).function_version for name in "ab")
        self.edit_alias("prod", first)
        with pytest.raises(Conflict):
            runtime.flip(FUNCTION, "prod", second, None)

    def test_an_alias_that_should_exist_and_does_not_is_not_made(self, runtime: Runtime) -> None:
        first, second = (self.stage(runtime, name).function_version for name in "ab")
        with pytest.raises(Conflict):
            runtime.flip(FUNCTION, "prod", second, first)
        assert self.alias_raw("prod") == AliasState(None)

    def test_an_alias_is_never_left_dangling(self, runtime: Runtime) -> None:
        version = self.stage(runtime, "a").function_version
        self.edit_alias("prod", version)
        with pytest.raises(NotFound):
            runtime.flip(FUNCTION, "prod", "999", version)
        assert self.alias_raw("prod") == AliasState(version)

    def test_the_way_back_from_a_first_release_deletes_the_alias(self, runtime: Runtime) -> None:
        version = self.stage(runtime, "a").function_version
        runtime.flip(FUNCTION, "prod", version, None)
        for _ in range(2):
            assert runtime.flip(FUNCTION, "prod", None, version) == AliasState(None)
        assert self.alias_raw("prod") == AliasState(None)

    def test_an_alias_that_points_elsewhere_is_not_deleted(self, runtime: Runtime) -> None:
        first, second = (self.stage(runtime, name).function_version for name in "ab")
        self.edit_alias("prod", second)
        with pytest.raises(Conflict):
            runtime.flip(FUNCTION, "prod", None, first)
        assert self.alias_raw("prod") == AliasState(second)

    def test_flipping_an_alias_of_a_missing_function_is_reported(self, runtime: Runtime) -> None:
        with pytest.raises(NotFound):
            runtime.flip("nothing", "prod", "1", None)

    # Splitting.

    @pytest.mark.parametrize("before", [None, 0.1, 0.9])
    def test_a_share_goes_to_the_new_version_and_the_alias_stays(self, runtime: Runtime, before: float | None) -> None:
        first, second = (self.stage(runtime, name).function_version for name in "ab")
        self.edit_alias("prod", first, {} if before is None else {second: before})
        wanted = AliasState(first, {second: 0.25})
        for _ in range(2):
            assert runtime.split(FUNCTION, "prod", second, first, 0.25) == wanted
        assert self.alias_raw("prod") == wanted

    @pytest.mark.parametrize("way", ["there", "back"])
    def test_a_flip_leaves_no_share_behind(self, runtime: Runtime, way: str) -> None:
        first, second = (self.stage(runtime, name).function_version for name in "ab")
        self.edit_alias("prod", first)
        runtime.split(FUNCTION, "prod", second, first, 0.5)
        to, expect = (second, first) if way == "there" else (first, second)
        assert runtime.flip(FUNCTION, "prod", to, expect) == AliasState(to)
        assert self.alias_raw("prod") == AliasState(to)

    def test_an_alias_that_points_elsewhere_gets_no_share(self, runtime: Runtime) -> None:
        first, second, third = (self.stage(runtime, name).function_version for name in "abc")
        for version, weights in ((third, {}), (second, {}), (first, {third: 0.5})):
            self.edit_alias("prod", version, weights)
            with pytest.raises(Conflict) as caught:
                runtime.split(FUNCTION, "prod", second, first, 0.1)
            assert caught.value.hint
            assert self.alias_raw("prod") == AliasState(version, weights)

    def test_a_missing_alias_cannot_be_split(self, runtime: Runtime) -> None:
        first, second = (self.stage(runtime, name).function_version for name in "ab")
        with pytest.raises(Conflict):
            runtime.split(FUNCTION, "prod", second, first, 0.1)
        assert self.alias_raw("prod") == AliasState(None)

    def test_no_share_goes_to_a_missing_version(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a").function_version
        self.edit_alias("prod", first)
        with pytest.raises(NotFound):
            runtime.split(FUNCTION, "prod", "999", first, 0.1)
        assert self.alias_raw("prod") == AliasState(first)

    # Retiring.

    def test_a_version_without_an_alias_is_retired(self, runtime: Runtime) -> None:
        first, second = (self.stage(runtime, name).function_version for name in "ab")
        for _ in range(2):
            runtime.retire(FUNCTION, first)
        assert [version for version, _ in self.versions_raw()] == [second]

    def test_a_version_an_alias_points_at_is_not_retired(self, runtime: Runtime) -> None:
        first, second = (self.stage(runtime, name).function_version for name in "ab")
        self.edit_alias("prod", first, {second: 0.05})
        for version in (first, second):
            with pytest.raises(Conflict, match="prod"):
                runtime.retire(FUNCTION, version)
        assert len(self.versions_raw()) == 2

    def test_the_number_of_a_retired_version_is_not_reused(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a").function_version
        runtime.retire(FUNCTION, first)
        assert self.stage(runtime, "b").function_version != first

    def test_a_known_version_that_was_retired_is_published_again(self, runtime: Runtime) -> None:
        first = self.stage(runtime, "a", "earlier").function_version
        self.stage(runtime, "b")
        runtime.retire(FUNCTION, first)
        again = self.stage(runtime, "a", "later", known=(first,))
        assert not again.reused

    # Stopping.

    def test_a_wait_can_be_stopped_and_staging_goes_on_later(self, runtime: Runtime) -> None:
        self.make_slow(runtime)

        def stop(what: str) -> None:
            raise Cancelled(what)

        with pytest.raises(Cancelled):
            runtime.stage(FUNCTION, change_to("a"), "token-a", known=(), waiting=stop)
        assert self.versions_raw() == []
        assert self.environment_raw(self.stage(runtime, "a").function_version)["MODEL_DIGEST"] == DIGESTS["a"].hex
        assert len(self.versions_raw()) == 1

    def make_slow(self, runtime: Runtime) -> None:
        """Make the next update take a while, where the platform does not do so itself."""
