"""The oracle: asks every region what it serves and stores, and compares it with the record and what was asked for.

It knows every file that was delivered to the registry and shares no code with syncd. It asks past the proxies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.foreign.client import Failed
from tests.foreign.world import BINDINGS, BUCKETS, Binding, World

ALIAS: Final = "prod"
SEAL: Final = ".syncd/manifest.json"


@dataclass(frozen=True)
class Alias:
    """Where an alias points: the main version, and the share of another in [0, 1]."""

    version: str
    weights: Mapping[str, float]


class Oracle:
    """Every method answers with findings: sentences that say where, got and want; an empty list is good."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked = 0

    def alias(self, binding: Binding) -> Alias | None:
        """Where the region says that the alias points, or None where there is none.

        Raises:
            Failed: The region answered otherwise.
        """
        path = f"/functions/{binding.function}/aliases/{ALIAS}"
        answer = self._world.regions[binding.region].client.fc("GET", path)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise Failed(answer.status, answer.body)
        body = json.loads(answer.body)
        return Alias(str(body["versionId"]), dict(body["additionalVersionWeight"] or {}))

    def serves(self, binding: Binding) -> tuple[dict[str, str], list[str]]:
        """The version of each model by the bytes that one request to the alias found, and the findings."""
        self.asked += 1
        path = f"/functions/{binding.function}/invocations"
        try:
            answer = self._world.regions[binding.region].client.ask("POST", path, {"qualifier": ALIAS}, b"{}")
        except Failed as error:
            return {}, [f"{binding.name}: a request failed: {error}"]
        versions: dict[str, str] = {}
        findings: list[str] = []
        for model, loaded in answer["models"].items():
            version = self._named(model, loaded["files"])
            if version is None:
                findings.append(f"{binding.name}: serves bytes of {model} that nobody delivered: {loaded['files']}")
            else:
                versions[model] = version
        return versions, findings

    def _named(self, model: str, files: Mapping[str, str]) -> str | None:
        known = self._world.delivered.get(model, {})
        return next((version for version, delivered in known.items() if delivered == files), None)

    def served_anywhere(self, allowed: Mapping[str, set[str]]) -> list[str]:
        """At any time: whatever answers, it serves bytes of a version that was asked for."""
        findings: list[str] = []
        for binding in BINDINGS:
            if self.alias(binding) is None:
                continue
            versions, wrong = self.serves(binding)
            findings += wrong
            for model, version in versions.items():
                if version not in allowed.get(model, set()):
                    findings.append(f"{binding.name}: serves {model}@{version}, which nobody asked for")
        return findings

    def at_rest(self, status: Mapping[str, Any], expected: Mapping[str, str] | None = None) -> list[str]:
        """When nothing is in flight: regions, record and requests agree, and every sealed version is whole.

        `expected` is the version of each model that was asked for last; None compares with the record alone.
        """
        findings = [f"at rest: still in flight: {status['in_flight']}"] if status["in_flight"] else []
        for binding in BINDINGS:
            rows = {row["model"]: row for row in status["live"] if row["binding"] == binding.name}
            findings += self._compare(binding, rows, expected)
        return findings + self.stored(status)

    def _compare(
        self, binding: Binding, rows: Mapping[str, Mapping[str, Any]], expected: Mapping[str, str] | None
    ) -> list[str]:
        findings: list[str] = []
        alias = self.alias(binding)
        recorded = {row["function_version"] for row in rows.values()}
        if recorded != {alias.version if alias else None}:
            findings.append(f"{binding.name}: the alias is at {alias}, the record says {recorded}")
        if alias and any(alias.weights.values()):
            findings.append(f"{binding.name}: a share is left at rest: {alias}")
        versions: Mapping[str, str] = {}
        if alias:
            versions, wrong = self.serves(binding)
            findings += wrong
        for model in binding.models:
            row = rows.get(model)
            if row is None or row["version"] != versions.get(model):
                findings.append(f"{binding.name}: serves {model}@{versions.get(model)}, the record says {row}")
            if expected is not None and versions.get(model) != expected.get(model):
                asked = expected.get(model)
                findings.append(f"{binding.name}: serves {model}@{versions.get(model)}, asked for was {asked}")
        return findings

    def stored(self, status: Mapping[str, Any]) -> list[str]:
        """Each sealed version in each region has the delivered bytes, and each live version is sealed there."""
        findings: list[str] = []
        sealed = {"sh": self._sealed_on_nas()}
        for target, region in (("hz", "cn-hangzhou"), ("sg", "ap-southeast-1")):
            sealed[target] = self._sealed_in_bucket(region)
        for target, versions in sealed.items():
            for (model, directory), files in versions.items():
                version = self._named(model, files)
                if version is None or not directory.startswith(f"{version}-"):
                    findings.append(
                        f"{target}: sealed {model}/{directory} has other files than were delivered: {files}"
                    )
        for binding in BINDINGS:
            for row in status["live"]:
                if row["binding"] != binding.name or row["version"] is None:
                    continue
                directory = f"{row['version']}-{row['digest'][:12]}"
                if (row["model"], directory) not in sealed[binding.target]:
                    findings.append(f"{binding.target}: {row['model']}/{directory} is live and not sealed")
        return findings

    def _sealed_in_bucket(self, region: str) -> dict[tuple[str, str], dict[str, str]]:
        client, bucket = self._world.regions[region].client, BUCKETS[region]
        keys = client.keys(bucket, "models/")
        found: dict[tuple[str, str], dict[str, str]] = {}
        for seal in (key for key in keys if key.endswith("/" + SEAL)):
            prefix = seal.removesuffix(SEAL)
            _, model, directory, _ = prefix.split("/")
            found[model, directory] = {
                key.removeprefix(prefix): hashlib.sha256(client.oss("GET", f"/{bucket}/{key}").body).hexdigest()
                for key in keys
                if key.startswith(prefix) and not key.endswith("/") and not key.startswith(prefix + ".syncd/")
            }
        return found

    def _sealed_on_nas(self) -> dict[tuple[str, str], dict[str, str]]:
        found: dict[tuple[str, str], dict[str, str]] = {}
        for seal in sorted((self._world.nas / "models").glob(f"*/*/{SEAL}")):
            place = seal.parent.parent
            found[place.parent.name, place.name] = {
                path.relative_to(place).as_posix(): _sha256(path)
                for path in sorted(place.rglob("*"))
                if path.is_file() and ".syncd" not in path.relative_to(place).parts
            }
        return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
