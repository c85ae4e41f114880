"""Function Compute of one region for tests of the runtime: a local cloud, the vendor's client, a function."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from alibabacloud_tea_openapi.models import Config
from darabonba.exceptions import DaraException
from syncd.localcloud.environment import LocalEnvironment
from syncd.localcloud.faults import FaultScript
from syncd.localcloud.fc import Settings
from syncd.runtime.fc.runtime import FcRuntime, FcSettings
from syncd.secret import Secret

from tests.emulators.fc.calls import container, create

REGION = "cn-hangzhou"
NAS_SERVER = "n.cn-hangzhou.nas.aliyuncs.com"
VPC = models.VPCConfig(vpc_id="vpc-1", v_switch_ids=["vsw-1"], security_group_id="sg-1")


@dataclass(frozen=True)
class FcCloud:
    """One region that runs."""

    whole: LocalEnvironment

    @property
    def endpoint(self) -> str:
        return self.whole.cloud.endpoint(REGION).removeprefix("http://")

    @property
    def faults(self) -> FaultScript:
        return self.whole.cloud.faults

    def client(self) -> Client:
        """The vendor's client, as a person with a script would use it."""
        return Client(
            Config(
                access_key_id=self.whole.cloud.access_key_id,
                access_key_secret=self.whole.cloud.access_key_secret,
                region_id=REGION,
                endpoint=self.endpoint,
                protocol="http",
            )
        )

    def runtime(self, **changes: Any) -> FcRuntime:
        settings: dict[str, Any] = {
            "region": REGION,
            "endpoint": self.endpoint,
            "protocol": "http",
            "access_key_id": self.whole.cloud.access_key_id,
            "access_key_secret": Secret(self.whole.cloud.access_key_secret),
            "poll_s": 0.01,
            "stage_timeout_s": 10.0,
        }
        return FcRuntime(FcSettings(**(settings | changes)))


@contextmanager
def fc_cloud(root: Path) -> Iterator[FcCloud]:
    whole = LocalEnvironment(root, (REGION,), settings=Settings(create_s=0, update_s=0, converge_s=0))
    whole.start()
    try:
        (whole.nas_root / NAS_SERVER).mkdir(parents=True)
        yield FcCloud(whole)
    finally:
        whole.stop()


def fresh_function(fc: FcCloud, client: Client, name: str, **changes: Any) -> None:
    """Have a function of which nothing was ever published, though an earlier test had one of this name."""
    fc.faults.clear()
    remove_function(client, name)
    create(client, name, custom_container_config=container(), vpc_config=VPC, **changes)


def remove_function(client: Client, name: str) -> None:
    with contextlib.suppress(DaraException):
        for alias in client.list_aliases(name, models.ListAliasesRequest()).body.aliases or []:
            client.delete_alias(name, alias.alias_name)
        for version in client.list_function_versions(name, models.ListFunctionVersionsRequest()).body.versions or []:
            client.delete_function_version(name, version.version_id)
        client.delete_function(name)
