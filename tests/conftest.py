"""What holds for every test: the databases, and the marks that need a program of the machine."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, settings

# How long one example takes is the machine's business, and CI's is shared: a slow one is no failure.
settings.register_profile("syncd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("syncd")

pytest_plugins = ["tests.databases"]


NEEDED = {
    "needs_npm": "npm",
    "needs_docker_registry": "docker-registry",
    "needs_skopeo": "skopeo",
    "needs_umoci": "umoci",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a program of the machine where there is none, by name; in CI its absence is a failure."""
    for mark, program in NEEDED.items():
        if item.get_closest_marker(mark) and shutil.which(program) is None:
            message = f"{item.name} needs {program}, which is not installed"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
