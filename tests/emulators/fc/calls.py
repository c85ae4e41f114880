"""Helpers for Function Compute tests: the vendor's client, and a function that runs."""

import dataclasses
import hashlib
import http.client
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client
from alibabacloud_tea_openapi.models import Config
from darabonba.runtime import RuntimeOptions
from syncd.localcloud.faults import FaultScript
from syncd.localcloud.fc import FcRegion
from syncd.localcloud.fc.api.acs3 import ALGORITHM, SignedCall, signature
from syncd.localcloud.httpd import HttpServer

REGION = "cn-hangzhou"
ACCOUNT = "1234567890123456"
KEY, SECRET = "LTAItest", "not-so-secret"
SHOW = Path(__file__).with_name("show_function.py")


@dataclasses.dataclass(frozen=True)
class Found:
    bucket_exists: bool
    marker_exists: bool


class Buckets:
    """Object storage as mounts see it: a directory a bucket, a prefix there if its marker object is."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, bucket: str, key: str, data: bytes = b"") -> None:
        path = self.root / bucket / key
        if key.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def materialize(self, bucket: str, prefix: str, into: Path) -> "Found":
        source = self.root / bucket / prefix
        if source.is_dir():
            shutil.copytree(source, into, dirs_exist_ok=True)
        return Found((self.root / bucket).is_dir(), source.is_dir())


@dataclasses.dataclass
class Cloud:
    """A region that serves, and what a test may turn."""

    region: FcRegion
    server: HttpServer
    faults: FaultScript
    buckets: Buckets
    chances: list[float]
    clock_offset_s: list[float]

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def client(self, key: str = KEY, secret: str = SECRET, token: str | None = None) -> Client:
        return Client(
            Config(
                access_key_id=key,
                access_key_secret=secret,
                security_token=token,
                region_id=REGION,
                endpoint=self.endpoint,
                protocol="http",
            )
        )

    def restart(self) -> None:
        """Stop the region and make it anew from its directory, on the same port."""
        self.region.stop()
        self.region.start()


def container(**changes: Any) -> models.CustomContainerConfig:
    """An image whose command answers with what its instance was given."""
    given = {"image": "registry/ns/show:v1", "port": 9000, "entrypoint": [sys.executable, str(SHOW)]}
    return models.CustomContainerConfig(**{**given, **changes})


def function_input(name: str = "show", **changes: Any) -> models.CreateFunctionInput:
    given: dict[str, Any] = {
        "function_name": name,
        "runtime": "custom-container",
        "handler": "index.handler",
        "memory_size": 512,
        "timeout": 10,
        "role": "acs:ram::1234567890123456:role/fc",
        "custom_container_config": container(),
    }
    return models.CreateFunctionInput(**{**given, **changes})


def create(client: Client, name: str = "show", **changes: Any) -> models.Function:
    request = models.CreateFunctionRequest(body=function_input(name, **changes))
    return client.create_function(request).body


def update(client: Client, name: str = "show", **changes: Any) -> models.Function:
    body = models.UpdateFunctionInput(**changes)
    return client.update_function(name, models.UpdateFunctionRequest(body=body)).body


def get(client: Client, name: str = "show", qualifier: str | None = None) -> models.Function:
    return client.get_function(name, models.GetFunctionRequest(qualifier=qualifier)).body


def publish(client: Client, name: str = "show", description: str | None = None) -> str:
    body = models.PublishVersionInput(description=description)
    request = models.PublishFunctionVersionRequest(body=body)
    version_id: str = client.publish_function_version(name, request).body.version_id
    return version_id


def release(client: Client, value: str, name: str = "show") -> str:
    """Publish a version that differs from the others by one variable."""
    update(client, name, environment_variables={"RELEASE": value})
    return publish(client, name)


def alias(
    client: Client, version: str, weights: Mapping[str, float] | None = None, alias_name: str = "prod"
) -> models.Alias:
    body = models.CreateAliasInput(alias_name=alias_name, version_id=version, additional_version_weight=weights)
    return client.create_alias("show", models.CreateAliasRequest(body=body)).body


def flip(client: Client, alias_name: str = "prod", **changes: Any) -> models.Alias:
    request = models.UpdateAliasRequest(body=models.UpdateAliasInput(**changes))
    return client.update_alias("show", alias_name, request).body


@dataclasses.dataclass
class Invoked:
    status: int
    headers: Mapping[str, str]
    body: bytes


def invoke(
    client: Client, qualifier: str | None = None, payload: bytes = b"{}", name: str = "show", **headers: str
) -> Invoked:
    request = models.InvokeFunctionRequest(qualifier=qualifier, body=payload)
    answer = client.invoke_function_with_options(
        name, request, models.InvokeFunctionHeaders(**headers), RuntimeOptions(read_timeout=30_000)
    )
    return Invoked(answer.status_code, answer.headers, answer.body.read())


def shown(client: Client, qualifier: str | None = None, **asked: Any) -> dict[str, Any]:
    """What the function says of itself when it is called."""
    answer = invoke(client, qualifier, json.dumps(asked).encode())
    found: dict[str, Any] = json.loads(answer.body)
    return found


def shown_release(client: Client, qualifier: str | None = None) -> str | None:
    """The RELEASE variable of the process that answered."""
    value: str | None = shown(client, qualifier)["env"].get("RELEASE")
    return value


def refused(call: Callable[[], object]) -> tuple[int, str, str]:
    """Status, code and message of the refusal that the call must meet."""
    with pytest.raises(Exception) as caught:
        call()
    error: Any = caught.value
    return error.status_code, error.code, error.message


def eventually(reached: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Wait on a condition, which must come true within the limit."""
    deadline, pause = time.monotonic() + limit_s, threading.Event()
    while not reached():
        assert time.monotonic() < deadline, "the condition did not come true"
        pause.wait(0.01)


def raw(cloud: Cloud, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    """A request of any shape, signed as it must be."""
    parts = urlsplit(target)
    headers = {
        "host": cloud.endpoint,
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "x-acs-signature-nonce": "n",
    }
    names = sorted(headers)
    signed = SignedCall(method, parts.path, parse_qsl(parts.query), lambda name: headers[name], body)
    value = f"{ALGORITHM} Credential={KEY},SignedHeaders={';'.join(names)},Signature={signature(signed, names, SECRET)}"
    connection = http.client.HTTPConnection(cloud.endpoint, timeout=5)
    try:
        connection.request(method, target, body, {**headers, "authorization": value})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
