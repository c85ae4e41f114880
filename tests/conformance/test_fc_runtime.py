"""The conformance suite, bound to Function Compute as the local cloud speaks it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from alibabacloud_fc20230330 import models
from darabonba.exceptions import DaraException
from syncd.localcloud.faults import FaultRule, SetState
from syncd.localcloud.fc import FcRegion
from syncd.runtime.base import Runtime
from syncd.runtime.fc.runtime import FcRuntime
from syncd.values.function import AliasState, InstanceSettings

from tests.conformance.runtime import FUNCTION, RuntimeConformance
from tests.conformance.runtime_images import REPOSITORY, RuntimeImageConformance, digest_of
from tests.emulators.fc.calls import get, refused, update
from tests.support.fc_clouds import REGION, FcCloud, fc_cloud, fresh_function


@pytest.fixture(scope="module")
def fc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FcCloud]:
    with fc_cloud(Path(tmp_path_factory.mktemp("fc"))) as cloud:
        yield cloud


class TestFcRuntime(RuntimeConformance, RuntimeImageConformance):
    @pytest.fixture
    def runtime(self, fc: FcCloud) -> Iterator[FcRuntime]:
        self.fc = fc
        self.client = fc.client()
        fresh_function(fc, self.client, FUNCTION)
        yield fc.runtime()
        fc.faults.clear()

    def alias_raw(self, alias: str) -> AliasState:
        try:
            found = self.client.get_alias(FUNCTION, alias).body
        except DaraException as error:
            if error.code != "AliasNotFound":
                raise
            return AliasState(None)
        return AliasState(found.version_id, found.additional_version_weight or {})

    def edit_alias(self, alias: str, version: str, weights: dict[str, float] | None = None) -> None:
        with contextlib.suppress(DaraException):
            self.client.delete_alias(FUNCTION, alias)
        body = models.CreateAliasInput(alias_name=alias, version_id=version, additional_version_weight=weights)
        self.client.create_alias(FUNCTION, models.CreateAliasRequest(body=body))

    def environment_raw(self, version: str) -> dict[str, str]:
        return dict(get(self.client, FUNCTION, version).environment_variables or {})

    def versions_raw(self) -> list[tuple[str, str]]:
        found = self.client.list_function_versions(FUNCTION, models.ListFunctionVersionsRequest(direction="FORWARD"))
        return [(v.version_id, v.description) for v in found.body.versions or []]

    def edit_environment(self, name: str, value: str) -> None:
        now = get(self.client, FUNCTION).environment_variables or {}
        update(self.client, FUNCTION, environment_variables={**now, name: value})

    def make_slow(self, runtime: Runtime) -> None:
        self.fc.faults.add(FaultRule("fc", SetState({"in_progress_s": 0.1}), operation="UpdateFunction"))

    def resize(self, size: InstanceSettings) -> None:
        gpu = models.GPUConfig(gpu_type=f"fc.gpu.{size.card}", gpu_memory_size=int(size.gpu_gb * 1024))
        memory = {"memory_size": int(size.memory_gb * 1024), "disk_size": int(size.disk_gb * 1024)}
        update(self.client, FUNCTION, gpu_config=gpu, cpu=size.vcpu, instance_concurrency=size.concurrency, **memory)

    def have_image(self, tag: str) -> None:
        self._region.put_image(f"{REPOSITORY}:{tag}", digest=digest_of(tag))

    def move_tag(self, tag: str, digest: str) -> None:
        self._region.put_image(f"{REPOSITORY}:{tag}", digest=digest)

    def image_raw(self, version: str) -> str:
        found = get(self.client, FUNCTION, version).custom_container_config
        return f"{found.image}@{found.resolved_image_uri.partition('@')[2]}"

    @property
    def _region(self) -> FcRegion:
        return self.fc.whole.functions.regions[REGION]

    def test_the_rest_of_the_container_is_kept_beside_the_image(self, runtime: Runtime) -> None:
        before = get(self.client, FUNCTION).custom_container_config
        staged = self.stage_image(runtime, "v1")
        after = get(self.client, FUNCTION, staged.function_version).custom_container_config
        changed = {"image", "resolvedImageUri"}
        kept = [{k: v for k, v in each.to_map().items() if k not in changed} for each in (before, after)]
        assert kept[0] == kept[1]
        assert kept[0]["port"]
        assert kept[0]["entrypoint"]
        assert after.image == f"{REPOSITORY}:v1", "the platform does not promise to take a digest"

    def test_the_helpers_receive_the_platforms_refusals(self, runtime: Runtime) -> None:
        assert refused(lambda: get(self.client, FUNCTION, "7"))[0] == 404
