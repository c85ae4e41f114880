"""What holds for every test: the databases, and the marks that need a program of the machine."""

import os
import shutil

import pytest

pytest_plugins = ["tests.databases"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs npm where there is none, by name; in CI its absence is a failure."""
    if item.get_closest_marker("needs_npm") and shutil.which("npm") is None:
        message = f"{item.name} drives a Node client and npm is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
