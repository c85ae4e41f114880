"""`syncd plan` and `syncd publish` beside a quota, against Function Compute on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from syncd.cli.exit_codes import Exit

from tests.conformance.runtime import change_to, go_on
from tests.support.fc_clouds import FcCloud, fc_cloud, fresh_function
from tests.unit.cli.calling import Calling

QUOTA = 'endpoint = "127.0.0.1:9"'


@pytest.fixture(scope="module")
def fc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FcCloud]:
    with fc_cloud(Path(tmp_path_factory.mktemp("fc"))) as cloud:
        yield cloud


def deliver(call: Calling) -> None:
    directory = call.home / "registry" / "m" / "v1"
    directory.mkdir()
    (directory / "weights.bin").write_bytes(b"x" * 1000)
    (directory / "READY").touch()
    for there in (directory, *directory.iterdir()):
        os.utime(there, (1, 1))  # longer ago than the registry waits for


@pytest.mark.parametrize("command", ["plan", "publish"])
def test_a_release_over_the_quota_is_refused_with_9_and_the_arithmetic(
    call: Calling, fc: FcCloud, command: str
) -> None:
    fresh_function(fc, fc.client(), "f")
    runtime = fc.runtime()
    version = runtime.stage("f", change_to("a"), "a", known=(), waiting=go_on).function_version
    runtime.flip("f", "prod", version, None)
    runtime.scale("f", "prod", {}, least=2)
    call.change(QUOTA, f'endpoint = "{fc.endpoint}"\ninstances_max = 4')
    call.change('alias = "prod"', 'alias = "prod"\nwarm = 3')
    call.change("CALLING_SECRET", "CLOUD_SECRET")
    call.patch.setenv("CLOUD_SECRET", fc.whole.cloud.access_key_secret)
    deliver(call)
    reported = call(command, "m@v1")
    assert (reported.code, reported.out) == (Exit.CONFLICT, "")
    error, hint = reported.err.splitlines()
    assert error == "error: fc: 2 (f:prod live) + 3 (f:prod-candidate candidate) = 5 instances, the quota is 4"
    assert "[runtimes.fc]" in hint
    assert call("releases").code == Exit.OK
    assert "m@v1" not in call("releases").out
