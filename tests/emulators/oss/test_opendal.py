"""OpenDAL, which is written in Rust, with the bucket in the host name.

Such names resolve nowhere here, so the client runs in a process of its own whose HTTP proxy is the region
itself.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, REGION

_CLIENT = Path(__file__).with_name("opendal_client.py")


def _run(cloud: LocalCloud, bucket: str, secret: str) -> dict[str, Any]:
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, str(_CLIENT), bucket, cloud.access_key_id, secret],
        env=kept | {"http_proxy": cloud.endpoint(REGION)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    output: dict[str, Any] = json.loads(done.stdout)
    return output


def test_the_whole_surface_works(one_bucket: Any, cloud: LocalCloud) -> None:
    assert _run(cloud, BUCKET, cloud.access_key_secret) == {
        "read": True,
        "range": "bcd",
        "multipart": 12_000_000,
        "listed": ["d/a b+é", "d/big", "d/copy", "d/sub/"],
        "copied": True,
        "left": [],
        "missing": "NotFound",
    }
    assert cloud.counters.count("UploadPart") == 4
    assert cloud.counters.statuses("CompleteMultipartUpload") == {200: 1}


def test_wrong_keys_and_missing_buckets_are_named(one_bucket: Any, cloud: LocalCloud) -> None:
    assert "SignatureDoesNotMatch" in _run(cloud, BUCKET, "wrong")["error"]
    assert "NoSuchBucket" in _run(cloud, "never-made", cloud.access_key_secret)["error"]
