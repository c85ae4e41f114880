"""Docker's registry, with a base image in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulators.distribution import Distribution, distribution
from tests.emulators.relay import ImageRelay, image_relay
from tests.unit.oci.kitchen import push_base


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Distribution]:
    with distribution(tmp_path) as made:
        push_base(made)
        yield made


@pytest.fixture
def relay(registry: Distribution) -> Iterator[ImageRelay]:
    """A relay in front of it; an upload continues at one address, and bytes are counted."""
    with image_relay(registry.origin, keeps_state=True) as made:
        yield made
