"""What holds for every test: the databases, and the marks that need a program of the machine."""

import os
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.programs import MINILM, ORAS, is_there

# How long one example takes is the machine's business, and CI's is shared: a slow one is no failure.
settings.register_profile("syncd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("syncd")

pytest_plugins = ["tests.databases"]

NEEDED: Final = {
    "needs_npm": "npm",
    "needs_git": "git",
    "needs_docker_registry": "docker-registry",
    "needs_skopeo": "skopeo",
    "needs_umoci": "umoci",
    "needs_faketime": "faketime",
    "needs_mlflow": "mlflow",
    "needs_olah": "olah-cli",
    "needs_huggingface_hub": "hf",
    "needs_modelscope": "modelscope",
    "needs_oras": ORAS,
    "needs_schemathesis": "schemathesis",
    "needs_minilm": MINILM,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a program of the machine where there is none, by name; in CI its absence is a failure."""
    for mark, program in NEEDED.items():
        if item.get_closest_marker(mark) and not is_there(program):
            message = f"{item.name} needs {program}, which is not installed"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
