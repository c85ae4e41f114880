"""Files to begin with: the example configuration of the package, and a configuration and a seed for the local cloud."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import syncd

SECRET_NAME: Final = "SYNCD_ACCESS_KEY_SECRET"  # noqa: S105 -- the name of a variable
MODEL: Final = "hello"
_PACKAGE: Final = Path(syncd.__file__).parent
_EXAMPLE: Final = "config.example.toml"


def example_text() -> str:
    """The example configuration: every setting with its default. In the wheel, or beside the source."""
    inside = _PACKAGE / _EXAMPLE
    return (inside if inside.exists() else _PACKAGE.parent / _EXAMPLE).read_text(encoding="utf-8")


def bucket_of(region: str) -> str:
    """The bucket of a region in the seed."""
    return f"{MODEL}-models-{region}"


def config_text(home: Path, endpoints: Mapping[str, str]) -> str:
    """A configuration for a local cloud: one bucket and one function in each region. Paths are below `home`."""
    return _HEAD.format(home=home, secret=SECRET_NAME) + "".join(
        _REGION.format(region=region, url=url, host=url.partition("://")[2], bucket=bucket_of(region), model=MODEL)
        for region, url in endpoints.items()
    )


def seed_text(regions: Sequence[str]) -> str:
    """A seed for `syncd local up`: what `config_text` names. The function hashes what is mounted and answers so."""
    function = _PACKAGE / "localcloud" / "example_function.py"
    command = json.dumps([sys.executable, "-I", str(function)])
    return "\n".join(_SEED.format(region=r, bucket=bucket_of(r), model=MODEL, command=command) for r in regions)


_HEAD: Final = """# For the local cloud of `syncd local up`. Its secret is in the variable {secret}.
[state]
url = "sqlite:///{home}/syncd.db"

[registries.models]
kind = "directory"
path = "{home}/registry"

[credentials.local]
access_key_id = "local-access-key"
access_key_secret = {{ env = "{secret}" }}
"""

_REGION: Final = """
[targets.{region}]
kind = "oss"
region = "{region}"
endpoint = "{url}"
bucket = "{bucket}"
credentials = "local"

[runtimes.{region}]
kind = "fc"
region = "{region}"
endpoint = "{host}"
protocol = "http"
credentials = "local"

[bindings.{region}]
runtime = "{region}"
function = "{model}"

[[bindings.{region}.models]]
model = "{model}"
target = "{region}"
mount_dir = "/mnt/{model}"
env = {{ digest = "HELLO_DIGEST", path = "HELLO_PATH" }}
"""

_SEED: Final = """[[buckets]]
region = "{region}"
name = "{bucket}"

[[functions]]
region = "{region}"
functionName = "{model}"
runtime = "custom-container"
handler = "index.handler"
cpu = 1.0
memorySize = 2048
diskSize = 512
timeout = 60
role = "acs:ram::1234567890123456:role/local"
environmentVariables = {{ MODELS = "{model}=HELLO_PATH" }}
vpcConfig = {{ vpcId = "vpc-local", vSwitchIds = ["vsw-local"], securityGroupId = "sg-local" }}

[functions.customContainerConfig]
image = "local/{model}:1"
port = 9000
command = {command}
"""
