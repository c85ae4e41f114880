"""The conformance suite, bound to Function Compute as the local cloud speaks it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from alibabacloud_fc20230330 import models
from darabonba.exceptions import DaraException
from syncd.localcloud.faults import FaultRule, State
from syncd.runtime.base import AliasState, Runtime
from syncd.runtime.fc import FcRuntime

from tests.conformance.runtime import FUNCTION, RuntimeConformance
from tests.emulators.fc.calls import get, refused, update
from tests.fc_clouds import FcCloud, fc_cloud, fresh_function


@pytest.fixture(scope="module")
def fc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FcCloud]:
    with fc_cloud(Path(tmp_path_factory.mktemp("fc"))) as cloud:
        yield cloud


class TestFcRuntime(RuntimeConformance):
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
        self.fc.faults.add(FaultRule("fc", State({"in_progress_s": 0.1}), operation="UpdateFunction"))

    def test_the_helpers_see_what_the_platform_refuses(self, runtime: Runtime) -> None:
        assert refused(lambda: get(self.client, FUNCTION, "7"))[0] == 404
