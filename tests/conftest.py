"""What holds for every test: the databases, and the marks that need a program of the machine."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, settings

# How long one example takes is the machine's business, and CI's is shared: a slow one is no failure.
settings.register_profile("syncd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("syncd")

pytest_plugins = ["tests.databases"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs npm where there is none, by name; in CI its absence is a failure."""
    if item.get_closest_marker("needs_npm") and shutil.which("npm") is None:
        message = f"{item.name} drives a Node client and npm is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
