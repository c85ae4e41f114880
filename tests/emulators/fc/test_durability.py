"""Durability: records survive a restart, function processes do not."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from alibabacloud_tea_openapi.models import Config
from syncd.localcloud.faults import FaultRule, SetState

from tests.emulators.fc.calls import (
    KEY,
    REGION,
    SECRET,
    SHOW,
    Cloud,
    alias,
    container,
    create,
    eventually,
    flip,
    get,
    publish,
    refused,
    release,
    shown,
    shown_release,
    update,
)
from tests.emulators.fc.test_invoke import lives

SERVE = Path(__file__).with_name("serve_region.py")
REPOSITORY = Path(__file__).parents[3]


class Served:
    """A region in a process of its own, that can be killed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVE), str(self._root)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        assert self.process.stdout is not None
        endpoint = f"127.0.0.1:{int(self.process.stdout.readline())}"
        self.client = Client(
            Config(
                access_key_id=KEY,
                access_key_secret=SECRET,
                region_id=REGION,
                endpoint=endpoint,
                protocol="http",
            )
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "fc")
    yield served
    served.kill()


def test_a_restart_changes_nothing_that_was_answered(cloud: Cloud, client: Client) -> None:
    create(client, environment_variables={"RELEASE": "a"}, tags=[models.Tag(key="team", value="ml")])
    publish(client, description="first")
    release(client, "b")
    alias(client, "1", {"2": 0.5})
    body = models.PutProvisionConfigInput(default_target=2)
    client.put_provision_config("show", models.PutProvisionConfigRequest(body=body, qualifier="prod"))
    client.delete_function_version("show", "2")
    cloud.region.put_image("r/x:1", ["true"], digest="sha256:" + "a" * 64)
    before = get(client).to_map()
    cloud.restart()
    assert get(client).to_map() == before
    assert get(client, qualifier="1").description == "first"
    kept = client.get_alias("show", "prod").body
    assert (kept.version_id, kept.additional_version_weight) == ("1", {"2": 0.5})
    provision = models.GetProvisionConfigRequest(qualifier="prod")
    assert client.get_provision_config("show", provision).body.target == 2
    assert refused(lambda: publish(client))[1] == "VersionPublishError"
    assert release(client, "c") == "3"
    assert create(client, "x", custom_container_config=models.CustomContainerConfig(image="r/x:1"))
    assert get(client, "x").custom_container_config.resolved_image_uri.endswith("a" * 64)


def test_an_update_in_progress_ends_after_a_restart_as_it_would_have(cloud: Cloud, client: Client) -> None:
    create(client, environment_variables={"RELEASE": "old"})
    cloud.faults.add(FaultRule("fc", SetState({"in_progress_s": 60}), operation="UpdateFunction"))
    update(client, environment_variables={"RELEASE": "new"})
    cloud.restart()
    assert (get(client).last_update_status, shown_release(client)) == ("InProgress", "old")
    cloud.clock_offset_s[0] += 61
    assert (get(client).last_update_status, shown_release(client)) == ("Successful", "new")


def test_stopping_a_region_ends_its_processes(cloud: Cloud, client: Client) -> None:
    create(client)
    pid = shown(client)["pid"]
    cloud.region.stop()
    assert not lives(pid)
    cloud.region.start()
    assert shown(client)["pid"] != pid


def test_a_killed_server_takes_its_functions_with_it_and_comes_back_as_it_was(served: Served) -> None:
    create(served.client, environment_variables={"RELEASE": "a"})
    alias(served.client, publish(served.client))
    pid = shown(served.client, "prod")["pid"]
    served.kill()
    eventually(lambda: not lives(pid))
    served.start()
    assert served.client.get_alias("show", "prod").body.version_id == "1"
    assert shown_release(served.client, "prod") == "a"


def leaving_a_child(pid_file: Path) -> models.CustomContainerConfig:
    """A function that starts a process in a session of its own, and says which."""
    child = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '600'], start_new_session=True); "
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))"
    )
    serve = "; import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
    return container(entrypoint=[sys.executable, "-c", child + serve, str(SHOW)])


def test_what_a_function_started_ends_too_once_the_server_is_back(served: Served, tmp_path: Path) -> None:
    create(served.client, custom_container_config=leaving_a_child(tmp_path / "child"))
    shown(served.client)
    served.kill()
    served.start()
    assert not lives(int((tmp_path / "child").read_text()))


def test_what_a_function_started_ends_with_it(client: Client, tmp_path: Path) -> None:
    create(client, custom_container_config=leaving_a_child(tmp_path / "child"))
    shown(client)
    client.delete_function("show")
    assert not lives(int((tmp_path / "child").read_text()))


def test_an_answered_flip_survives_a_kill_right_after_it(served: Served) -> None:
    create(served.client)
    release(served.client, "a")
    release(served.client, "b")
    alias(served.client, "1")
    for version in ("2", "1", "2"):
        flip(served.client, version_id=version)
        served.kill()
        served.start()
        assert served.client.get_alias("show", "prod").body.version_id == version


def test_changes_of_one_function_at_the_same_time_lose_none(cloud: Cloud, client: Client) -> None:
    create(client)
    publish(client)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda n: alias(cloud.client(), "1", alias_name=f"a{n}"), range(24)):
            pass
    stored = json.loads((cloud.region.root / "functions" / "show.json").read_text())
    assert len(stored["aliases"]) == 24
    assert os.listdir(cloud.region.root / "functions") == ["show.json"]  # noqa: PTH208 - names alone


def test_a_terminated_server_is_not_needed_for_the_signal_to_reach_functions(served: Served) -> None:
    create(served.client)
    pid = shown(served.client)["pid"]
    os.kill(served.process.pid, signal.SIGTERM)
    served.process.wait()
    eventually(lambda: not lives(pid))
