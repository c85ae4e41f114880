"""CycloneDX's own library reads the bill of materials strictly, and finds in it what this machine has installed."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import version

import pytest
from tools.sbom.bill import BILL

from tests.servers.programs import SERVERS, environment

# Reads the document by its published schema, then as objects; prints the purl of each component.
READ = """
import json, sys
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = open(sys.argv[1], encoding="utf-8").read()
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
assert fault is None, fault
document = json.loads(text)
del document["$schema"]
bom = Bom.from_json(data=document)
assert bom.validate()
print(json.dumps([str(each.purl) for each in bom.components]))
"""


@pytest.mark.needs_cyclonedx
def test_it_is_valid_and_names_the_versions_that_are_installed() -> None:
    command = [str(SERVERS / "python"), "-W", "ignore", "-c", READ, str(BILL)]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    found = set(json.loads(ran.stdout))
    for name in ("oss2", "apscheduler", "sqlalchemy", "structlog", "httpx", "alibabacloud-fc20230330", "starlette"):
        assert f"pkg:pypi/{name}@{version(name)}" in found
