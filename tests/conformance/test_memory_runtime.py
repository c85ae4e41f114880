"""The conformance suite, bound to the in-memory runtime; and its own promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.errors import Failed
from syncd.runtime.memory import LATEST, MemoryRuntime
from syncd.values.function import AliasState, Change, InstanceSettings

from tests.conformance.runtime import DIGESTS, FAILING, FUNCTION, RuntimeConformance, change_to, go_on
from tests.conformance.runtime_images import REPOSITORY, RuntimeImageConformance, digest_of


def failing(_change: Change) -> bytes:
    raise Failed("status 500")


class TestMemoryRuntime(RuntimeConformance, RuntimeImageConformance):
    @pytest.fixture
    def runtime(self) -> MemoryRuntime:
        self.memory = MemoryRuntime()
        self.memory.have_function(FUNCTION)
        self.memory.replies[FAILING] = failing
        return self.memory

    def alias_raw(self, alias: str) -> AliasState:
        return self.memory.functions[FUNCTION].aliases.get(alias, AliasState(None))

    def edit_alias(self, alias: str, version: str, weights: dict[str, float] | None = None) -> None:
        self.memory.functions[FUNCTION].aliases[alias] = AliasState(version, weights or {})

    def environment_raw(self, version: str) -> dict[str, str]:
        return dict(self.memory.functions[FUNCTION].versions[version].change.environment)

    def versions_raw(self) -> list[tuple[str, str]]:
        versions = self.memory.functions[FUNCTION].versions
        return [(version, published.description) for version, published in versions.items()]

    def edit_environment(self, name: str, value: str) -> None:
        function = self.memory.functions[FUNCTION]
        function.latest = replace(function.latest, environment={**function.latest.environment, name: value})

    def resize(self, size: InstanceSettings) -> None:
        self.memory.functions[FUNCTION].instance = size

    def have_image(self, tag: str) -> None:
        self.memory.tags.setdefault(f"{REPOSITORY}:{tag}", digest_of(tag))

    def move_tag(self, tag: str, digest: str) -> None:
        self.memory.tags[f"{REPOSITORY}:{tag}"] = digest

    def image_raw(self, version: str) -> str:
        return self.memory.functions[FUNCTION].versions[version].change.image

    def test_an_existing_function_is_unchanged(self, runtime: MemoryRuntime) -> None:
        self.stage(runtime, "a")
        runtime.have_function(FUNCTION, environment={"OTHER": "x"})
        assert len(self.versions_raw()) == 1

    def test_an_unpublished_change_answers_as_latest(self, runtime: MemoryRuntime) -> None:
        self.edit_environment("OWNER", "ops")
        assert b"ops" in runtime.ask(FUNCTION, LATEST, b"", 1.0)

    def test_answers_come_from_the_published_change(self) -> None:
        def refuse(change: Change) -> bytes:
            if change.environment["MODEL_DIGEST"] == DIGESTS["b"].hex:
                raise Failed("it does not start")
            return b"fine"

        runtime = MemoryRuntime(refuse)
        runtime.have_function(FUNCTION)
        versions = [runtime.stage(FUNCTION, change_to(n), n, known=(), waiting=go_on).function_version for n in "ab"]
        assert runtime.ask(FUNCTION, versions[0], b"", 1.0) == b"fine"
        with pytest.raises(Failed, match="start"):
            runtime.ask(FUNCTION, versions[1], b"", 1.0)

    def test_another_mount_stays_beside_ours(self, runtime: MemoryRuntime) -> None:
        self.stage(runtime, "a")
        other = runtime.stage(FUNCTION, change_to("b", "/mnt/other"), "b", known=(), waiting=go_on)
        mounts = runtime.functions[FUNCTION].versions[other.function_version].change.mounts
        assert [mount.mount_dir for mount in mounts] == ["/mnt/model", "/mnt/other"]

    def test_no_more_instances_are_there_than_can_be_had(self, runtime: MemoryRuntime) -> None:
        self.edit_alias("candidate", self.stage(runtime, "a").function_version)
        runtime.instances_max = 1
        runtime.scale(FUNCTION, "candidate", {}, least=2)
        found = runtime.scaling(FUNCTION, "candidate")
        assert (found.target, found.current, found.error) == (2, 1, "no more instances are available")
