"""A daemon over the local cloud: a new base is pushed, and the function answers out of an image over it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from syncd.artifact.digest import Digest

from tests.acceptance.stage import command, environment, run, until
from tests.crash.images import ImageFleet
from tests.emulators.distribution import Distribution, distribution
from tests.support.directories import quick_directory
from tests.support.fleet import FUNCTION, answered
from tests.unit.oci.kitchen import push_base

PLACE: Final = "hangzhou"
pytestmark = pytest.mark.needs_docker_registry


@dataclass
class WatchedFleet(ImageFleet):
    """Whose base is looked up twice a second."""

    def _place(self, place: str, region: str) -> list[str]:
        told = super()._place(place, region)
        if told:
            told[0] += '\nbase_watch = "rebuild"\nbase_poll_s = 0.5'
        return told

    @property
    def env(self) -> dict[str, str]:
        return environment(SYNCD_CONFIG=str(self.config_file), **self.environment)

    @property
    def image(self) -> str:
        """What the alias answers out of, as the cloud resolved it; "" before there is one."""
        version, _ = self.pointed(PLACE)
        return (self._function(PLACE).versions[version].running.image or "") if version else ""

    @contextmanager
    def daemon(self) -> Iterator[None]:
        with (self.home / "daemon.log").open("ab") as log:
            process = subprocess.Popen(command("run"), env=self.env, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Distribution]:
    with distribution(tmp_path) as made:
        push_base(made)
        yield made


def test_a_new_base_is_found_built_on_and_served_by_itself(registry: Distribution) -> None:
    with quick_directory() as home:
        host = registry.origin.removeprefix("http://")
        fleet = WatchedFleet(home, host=host, imaged=(PLACE,))
        fleet.make()
        try:
            digest = fleet.deliver("v1").digest.hex
            with fleet.daemon():
                until(lambda: fleet.image, "v1 to be served")
                first = fleet.image
                base = Digest.parse(push_base(registry, created="2026-12-01T00:00:00Z"))
            with fleet.daemon():  # the one before was killed: whatever it saw and began is gone on with
                until(lambda: fleet.image != first, "v1 to be served over the new base")
                until(lambda: run("show", "r-2", "-o", "json", env=fleet.env).document["phase"] == "live", "r-2")
            assert answered(fleet.runtime(PLACE).ask(FUNCTION, "prod", b"{}", 20.0)) == digest
            shown = run("show", "r-2", "-o", "json", env=fleet.env).document
            assert shown["version"] == "v1"
            assert shown["targets"][0]["base"]["new_digest"] == base.hex
            assert f"to {base.short}" in run("show", "r-2", env=fleet.env).out
            assert run("status", "-o", "json", env=fleet.env).document["bases"] == []
            assert run("show", "r-3", env=fleet.env).code == 3, "it is begun once"
        finally:
            fleet.stop()
