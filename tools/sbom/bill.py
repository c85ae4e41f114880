"""CycloneDX bill of materials of syncd: what requirements.lock installs, and what the wheel carries of other people.

The document depends on the tree alone: no time and no chance, so that a test can compare it and wheels stay equal.
https://cyclonedx.org/docs/1.6/json/ has the fields, https://github.com/package-url/purl-spec those of a purl.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
BILL: Final = ROOT / "deploy/sbom/syncd.cdx.json"
LOCK: Final = ROOT / "requirements.lock"
_CARRIED: Final = ROOT / "syncd/ui/static/THIRD_PARTY.json"
_PACKAGE: Final = re.compile(r"([a-z0-9][a-z0-9._-]*)(?:\[[a-z0-9,._-]+\])?==([^ \\;]+)(?: ?; ?([^\\]+))?")
_VIA: Final = re.compile(r"#   (?:via )?([a-z0-9][a-z0-9._-]*)(?: \(.*\))?|# via ([a-z0-9][a-z0-9._-]*)(?: \(.*\))?")
_ROOT: Final = "syncd"


@dataclass(slots=True)
class Locked:
    """A package of a lock file. `marker` says where it is installed; `wanted_by` are the packages that need it."""

    name: str
    version: str
    marker: str = ""
    wanted_by: list[str] = field(default_factory=list)

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def locked(text: str) -> list[Locked]:
    """The packages of a lock file as uv writes it, in its order."""
    found: list[Locked] = []
    for line in text.splitlines():
        if package := _PACKAGE.match(line):
            found.append(Locked(package[1], package[2], (package[3] or "").strip()))
        elif found and (via := _VIA.fullmatch(line.strip())):
            found[-1].wanted_by.append(via[1] or via[2])
    return found


def bill() -> str:
    """The document, as the file has it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    packages = locked(LOCK.read_text(encoding="utf-8"))
    syncd = Locked(_ROOT, project["version"])
    components = [*map(_component, packages), *_carried()]
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": syncd.purl,
                "name": syncd.name,
                "version": syncd.version,
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]["text"]}}],
                "purl": syncd.purl,
            }
        },
        "components": components,
        "dependencies": list(_dependencies(syncd, packages, [each["bom-ref"] for each in _carried()])),
    }
    seen = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()
    document["serialNumber"] = f"urn:uuid:{uuid.UUID(bytes=seen[:16], version=4)}"
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _component(package: Locked) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    if not package.wanted_by:
        found["scope"] = "excluded"  # builds the wheel, and is not needed where it runs
    if package.marker:
        found["properties"] = [{"name": "syncd:marker", "value": package.marker}]
    return found


def _carried() -> Iterator[dict[str, Any]]:
    """Files of other people inside the wheel."""
    for each in json.loads(_CARRIED.read_text(encoding="utf-8")):
        purl = f"pkg:npm/{each['package']}@{each['version']}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": each["package"],
            "version": each["version"],
            "purl": purl,
            "licenses": [{"license": {"id": each["licence"]}}],
            "hashes": [{"alg": "SHA-256", "content": each["sha256"]}],
            "properties": [{"name": "syncd:file", "value": f"syncd/ui/static/{each['file']}"}],
        }


def _dependencies(syncd: Locked, packages: list[Locked], carried: list[str]) -> Iterator[dict[str, Any]]:
    refs = {package.name: package.purl for package in packages} | {_ROOT: syncd.purl}
    needs: dict[str, set[str]] = {ref: set() for ref in refs.values()}
    needs[syncd.purl].update(carried)
    for package in packages:
        for name in package.wanted_by:
            if name in refs:
                needs[refs[name]].add(package.purl)
    for ref in sorted(needs):
        yield {"ref": ref, "dependsOn": sorted(needs[ref])}
