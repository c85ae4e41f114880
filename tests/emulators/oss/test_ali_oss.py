"""The vendor's Node client, with both signatures and both ways to name a bucket."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from syncd.localcloud.server import LocalCloud

from tests.emulators.clouds import BUCKET, REGION
from tests.emulators.npm import installed

_SCRIPT = Path(__file__).parent / "node" / "surface.js"
_AWKWARD = "js/a b+é!'()*~&=%25.txt"
_WANT = {
    "got": "hello",
    "meta": {"x": "1"},
    "streamed": "1000000",
    "multi": "Multipart",
    "listed": [_AWKWARD, "js/multi"],
    "listedV2": [_AWKWARD, "js/multi", "js/stream"],
    "copied": 0,
    "tags": {"a": "1", "b": "2"},
    "position": "6",
    "link": "js/copy",
    "uploads": 1,
    "parts": 2,
    "acl": "public-read",
    "location": f"oss-{REGION}",
    "buckets": [BUCKET],
    "deleted": 7,
    "missing": "NoSuchKey",
    "missingBucket": "NoSuchBucket",
    "wrongSecret": "SignatureDoesNotMatch",
    "wrongKey": "InvalidAccessKeyId",
}


@pytest.mark.needs_npm
@pytest.mark.parametrize("style", ["path", "virtual"])
def test_the_whole_surface_works(one_bucket: Any, cloud: LocalCloud, tmp_path: Path, style: str) -> None:
    command = ["node", str(_SCRIPT), cloud.endpoint(REGION), cloud.access_key_id, cloud.access_key_secret]
    done = subprocess.run(
        [*command, BUCKET, style, str(tmp_path)],
        cwd=installed("ali-oss@6"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"v1": _WANT, "v4": _WANT}


@pytest.mark.needs_npm
def test_a_skewed_clock_is_reported(one_bucket: Any, cloud: LocalCloud, clock: Any, tmp_path: Path) -> None:
    clock.offset_s = 3600
    command = ["node", str(_SCRIPT), cloud.endpoint(REGION), cloud.access_key_id, cloud.access_key_secret]
    done = subprocess.run(
        [*command, BUCKET, "path", str(tmp_path)],
        cwd=installed("ali-oss@6"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "RequestTimeTooSkewed" in done.stderr
