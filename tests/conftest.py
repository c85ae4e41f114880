"""What holds for every test: the databases, marks that need a program of the machine, and which tests come first."""

import logging
import os
import signal
from collections.abc import Iterator
from itertools import islice
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.programs import CYCLONEDX, MINILM, ORAS, is_there
from tests.support.authorities import trust_nobody

# How long one example takes is the machine's business, and CI's is shared: a slow one is no failure.
settings.register_profile("syncd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("syncd")

trust_nobody()

# A shell has what it starts in the background ignore Ctrl-C, and that is inherited by every process of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.databases"]

NEEDED: Final = {
    "needs_npm": "npm",
    "needs_chromium": "chromium",
    "needs_git": "git",
    "needs_docker_registry": "docker-registry",
    "needs_skopeo": "skopeo",
    "needs_umoci": "umoci",
    "needs_faketime": "faketime",
    "needs_promtool": "promtool",
    "needs_groff": "groff",
    "needs_lexgrog": "lexgrog",
    "needs_mlflow": "mlflow",
    "needs_olah": "olah-cli",
    "needs_huggingface_hub": "hf",
    "needs_modelscope": "modelscope",
    "needs_oras": ORAS,
    "needs_schemathesis": "schemathesis",
    "needs_minilm": MINILM,
    "needs_cyclonedx": CYCLONEDX,
}

# Minutes each, or some of one. Those of a line that stands higher are longer.
LONGEST: Final = (
    "tests/crash/",
    "tests/acceptance/test_memory.py",
    "tests/property/",
    "tests/faults/test_every_fault.py",
    "tests/unit/transfer/test_processes.py",
    "tests/unit/reconcile/test_rollback_outage.py",
)


@pytest.fixture(autouse=True)
def _levels_of_logs() -> Iterator[None]:
    """A command that runs in this process sets the level of syncd's logs: whatever is tested next starts afresh."""
    log, root = logging.getLogger("syncd"), logging.getLogger()
    before = log.level, root.level
    yield
    log.setLevel(before[0])
    root.setLevel(before[1])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have each worker begin with its share of the longest: one of minutes that came last would be waited for alone.

    To begin with a worker is given as many tests as each other, of those that follow one another.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    longest = [item for place in LONGEST for item in items if item.nodeid.startswith(place)]
    others = iter([item for item in items if not item.nodeid.startswith(LONGEST)])
    ordered: list[pytest.Item] = []
    for number in range(workers):
        share = longest[number::workers]
        size = (len(items) - len(ordered)) // (workers - number)
        ordered += [*share, *islice(others, max(0, size - len(share)))]
    items[:] = [*ordered, *others]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a program of the machine where there is none, by name; in CI its absence is a failure."""
    for mark, program in NEEDED.items():
        if item.get_closest_marker(mark) and not is_there(program):
            message = f"{item.name} needs {program}, which is not installed"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
