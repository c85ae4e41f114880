"""The vendor's Node client, unmodified: it sends its bodies in chunks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulators.fc.calls import ACCOUNT, KEY, REGION, SECRET, SHOW, Cloud
from tests.emulators.npm import installed

PACKAGE = "@alicloud/fc20230330@4"
SCRIPT = Path(__file__).with_name("node") / "surface.js"


@pytest.mark.needs_npm
def test_the_node_client_meets_the_same_service(cloud: Cloud) -> None:
    settings = {
        "ENDPOINT": cloud.endpoint,
        "KEY": KEY,
        "SECRET": SECRET,
        "PROGRAM": sys.executable,
        "SCRIPT": str(SHOW),
    }
    env = {"PATH": os.environ["PATH"], "NODE_PATH": str(installed(PACKAGE) / "node_modules"), **settings}
    ran = subprocess.run(["node", str(SCRIPT)], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "arn": f"acs:fc:{REGION}:{ACCOUNT}:functions/node",
        "again": {"code": "FunctionAlreadyExists", "status": 409},
        "versions": ["1", "2"],
        "unchanged": {"code": "VersionPublishError", "status": 400},
        "served": [["1", "a"], ["2", "b"]],
        "alias": ["2", {"1": 0.5}],
        "frozen": ["a", "a"],
        "newest": ["b"],
        "wrongSecret": {"code": "SignatureNotMatch", "status": 403},
        "missing": {"code": "FunctionNotFound", "status": 404},
        "gone": {"code": "VersionNotFound", "status": 404},
    }
