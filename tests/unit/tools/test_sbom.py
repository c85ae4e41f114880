"""The bill of materials is that of the lock file, and no locked package is known to be weak."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from datetime import date
from importlib.metadata import requires
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from tools.sbom.bill import BILL, LOCK, ROOT, bill, locked

LOCKS = ("requirements.lock", "requirements-test.lock", "tests/servers/requirements.lock")


def advisories() -> dict[str, Any]:
    with (ROOT / "deploy/sbom/advisories.toml").open("rb") as file:
        return tomllib.load(file)


def test_it_is_that_of_the_lock_file() -> None:
    assert BILL.read_text(encoding="utf-8") == bill(), "run: make reference"


def test_it_has_every_package_once_and_every_edge_leads_to_one() -> None:
    document = json.loads(BILL.read_text(encoding="utf-8"))
    components = Counter(each["purl"] for each in document["components"])
    pinned = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if "==" in line.partition(" ")[0]]
    assert set(components.values()) == {1}
    assert len(pinned) == sum(purl.startswith("pkg:pypi/") for purl in components)
    assert any(purl.startswith("pkg:npm/htmx.org@") for purl in components)
    refs = {each["ref"] for each in document["dependencies"]}
    assert {each for found in document["dependencies"] for each in found["dependsOn"]} <= refs | set(components)


def test_what_syncd_needs_by_itself_is_what_its_project_file_says() -> None:
    document = json.loads(BILL.read_text(encoding="utf-8"))
    syncd = document["metadata"]["component"]["bom-ref"]
    (own,) = [each["dependsOn"] for each in document["dependencies"] if each["ref"] == syncd]
    found = {ref.removeprefix("pkg:pypi/").partition("@")[0] for ref in own if ref.startswith("pkg:pypi/")}
    wanted = {Requirement(line) for line in requires("syncd") or ()}
    extras = [{"extra": name} for name in ("", "server", "pai")]
    by_project = {each.name for each in wanted if not each.marker or any(map(each.marker.evaluate, extras))}
    assert {name.replace("_", "-").lower() for name in by_project} - {"syncd"} <= found


@pytest.mark.parametrize("path", LOCKS)
def test_no_locked_version_is_known_to_be_weak(path: str) -> None:
    packages = locked((ROOT / path).read_text(encoding="utf-8"))
    assert packages
    weak = [
        f"{package.name} {package.version}: {known['id']}, {known['about']}"
        for known in advisories()["advisory"]
        for package in packages
        if package.name == known["package"] and package.version in SpecifierSet(known["affected"], prereleases=True)
    ]
    assert not weak


def test_each_advisory_has_a_range_and_a_source_and_the_file_a_day() -> None:
    found = advisories()
    assert isinstance(found["checked"], date)
    for known in found["advisory"]:
        assert set(known) == {"id", "package", "affected", "about", "source"}
        assert len(SpecifierSet(known["affected"])) > 0
        assert known["source"].startswith("https://")
    assert len({known["id"] for known in found["advisory"]}) == len(found["advisory"])
