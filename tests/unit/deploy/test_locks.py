"""The lock files are ones that the oldest pip of a supported machine installs: 23.0.1, of Debian 12."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PINNED = re.compile(r"(?m)^([a-z0-9][a-z0-9._-]*)(?:\[([a-z0-9,._-]+)\])?==")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-test.lock"])
def test_an_extra_that_a_package_asks_of_another_is_pinned_with_it(name: str) -> None:
    """With hashes this pip takes `pydantic[email]` for a package of its own, which `pydantic==…` does not pin."""
    found = PINNED.findall((ROOT / name).read_text(encoding="utf-8"))
    pinned = {package: {each for each in extras.split(",") if each} for package, extras in found}
    missing, asked = [], 0
    for package, extras in [("syncd", {"server", "pai", "sigstore"}), *pinned.items()]:
        for wanted in _wanted(package, extras):
            asked += bool(wanted.extras)
            if wanted.extras - pinned.get(canonicalize_name(wanted.name), set()) - {"server", "local"}:
                missing.append(f"{package} asks for {wanted}")
    assert not missing, "run: make lock"
    assert asked > 2


def _wanted(package: str, extras: set[str]) -> list[Requirement]:
    try:
        lines = requires(package) or []
    except PackageNotFoundError:  # of another platform
        return []
    wanted = [Requirement(line) for line in lines]
    with_extra = [{"extra": each} for each in (*extras, "")]
    return [each for each in wanted if each.marker is None or any(map(each.marker.evaluate, with_extra))]
