"""The registry that Docker wrote, as Debian packs it: a real process, without login, with users, or with tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from tests.emulators.web import Reply, Request, Web, as_json

USER, PASSWORD = "syncd", "registry-password"
SERVICE = "syncd-registry"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_HTPASSWD = "syncd:$2b$05$5X6NSbIyFVf0q/KDxkz91eQl.En2g6J86oR1z9HhCiqqZj0n3RYZC\n"
_NO_MORE: Mapping[str, Any] = MappingProxyType({})

Login = Literal["", "htpasswd", "token"]


@dataclass
class Distribution:
    """A running one. What is pushed goes there as any client would bring it."""

    origin: str
    login: Login
    process: subprocess.Popen[bytes]
    tokens: Tokens | None = None
    pushed: int = 0

    def push(self, model: str, tag: str, files: Mapping[str, bytes], layout: str = "oras") -> str:
        """A manifest whose time is a minute after the last one's. Gives its digest."""
        self.pushed += 1
        layers = [layer(layout, path, data) for path, data in files.items()]
        return self.push_layers(
            model,
            tag,
            layers,
            list(files.values()),
            {"org.opencontainers.image.created": f"2026-11-21T20:{self.pushed:02}:00Z"},
        )

    def push_layers(
        self,
        model: str,
        tag: str,
        layers: Sequence[Mapping[str, Any]],
        blobs: Sequence[bytes],
        notes: Mapping[str, str],
    ) -> str:
        config = b"{}"
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.unknown.config.v1+json", "digest": digest(config), "size": 2},
            "layers": layers,
            "annotations": notes,
        }
        self.push_blobs(model, [config, *blobs])
        body = json.dumps(document).encode()
        with self.client(model) as client:
            answer = client.put(f"/v2/{model}/manifests/{tag}", content=body, headers={"Content-Type": MANIFEST})
        assert answer.status_code == 201, answer.text
        return answer.headers["docker-content-digest"]

    def push_blobs(self, model: str, blobs: Sequence[bytes]) -> None:
        with self.client(model) as client:
            for blob in blobs:
                begun = client.post(f"/v2/{model}/blobs/uploads/")
                assert begun.status_code == 202, begun.text
                place = httpx.URL(begun.headers["location"]).copy_merge_params({"digest": digest(blob)})
                assert client.put(place, content=blob).status_code == 201

    def tags(self, model: str) -> list[str]:
        with self.client(model) as client:
            answer = client.get(f"/v2/{model}/tags/list")
        return list(answer.json().get("tags") or []) if answer.status_code == 200 else []

    def client(self, model: str) -> httpx.Client:
        headers = {}
        if self.login == "htpasswd":
            headers = {"Authorization": f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"}
        if self.tokens:
            headers = {"Authorization": f"Bearer {self.tokens.token(f'repository:{model}:pull,push')}"}
        return httpx.Client(base_url=self.origin, headers=headers, trust_env=False, verify=False)

    def stop(self) -> None:
        """End the process. Repeating it is success."""
        self.process.terminate()
        self.process.wait()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(layout: str, path: str, data: bytes) -> dict[str, Any]:
    """As clients write them: oras-py calls every file a tar, ModelPack says where it goes."""
    own = {"digest": digest(data), "size": len(data)}
    if layout == "modelpack":
        return {
            "mediaType": "application/vnd.cncf.model.weight.v1.raw",
            "annotations": {"org.cncf.model.filepath": path},
            **own,
        }
    return {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "annotations": {"org.opencontainers.image.title": path},
        **own,
    }


@dataclass
class Tokens:
    """A server of tokens whose word the registry takes: it signs with the key of a certificate that it gave out."""

    lasts_s: int = 300
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.web = Web(self.answer)

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def answer(self, request: Request) -> Reply:
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {pair}":
            return as_json({"errors": []}, 401)
        scopes = parse_qs(urlsplit(request.target).query)["scope"]
        self.asked += scopes
        return as_json({"token": self.token(*scopes), "expires_in": self.lasts_s})

    def token(self, *scopes: str) -> str:
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims: dict[str, Any] = {"iss": "tokens", "sub": USER, "aud": SERVICE, "jti": os.urandom(8).hex()}
        claims |= {"exp": now + self.lasts_s, "nbf": now - 60, "iat": now - 60}
        claims |= {"access": access}
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        signed = f"{_url64(json.dumps(head).encode())}.{_url64(json.dumps(claims).encode())}"
        return f"{signed}.{_url64(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def distribution(root: Path, login: Login = "", more: Mapping[str, Any] = _NO_MORE) -> Iterator[Distribution]:
    """One that keeps its blobs below `root`, while it is entered; `more` stands in its configuration too."""
    if login != "token":
        with _process(root, login, "", more) as (origin, process):
            yield Distribution(origin, login, process)
        return
    tokens = Tokens()
    (root / "tokens.pem").write_bytes(tokens.pem)
    with tokens.web, _process(root, login, f"{tokens.web.origin}/token", more) as (origin, process):
        yield Distribution(origin, login, process, tokens)


@contextmanager
def _process(
    root: Path, login: Login, realm: str, more: Mapping[str, Any]
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    config = root / "config.json"
    (root / "htpasswd").write_text(_HTPASSWD)
    auth: dict[str, Any] = {
        "": {},
        "htpasswd": {"auth": {"htpasswd": {"realm": "syncd-test", "path": str(root / "htpasswd")}}},
        "token": {
            "auth": {
                "token": {
                    "realm": realm,
                    "service": SERVICE,
                    "issuer": "tokens",
                    "rootcertbundle": str(root / "tokens.pem"),
                }
            }
        },
    }[login]
    storage = {"filesystem": {"rootdirectory": str(root / "blobs")}, "delete": {"enabled": True}}
    config.write_text(
        json.dumps(
            {
                "version": 0.1,
                "log": {"level": "info", "formatter": "json"},
                "storage": storage,
                "http": {"addr": "127.0.0.1:0"},
                **auth,
                **more,
            }
        )
    )
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        yield f"http://{_address(process, root / 'log')}", process
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where it listens: it chose the port itself, and says so in its log."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            _, found, rest = line.partition("listening on ")
            if found:
                return rest.partition('"')[0].partition(",")[0]
        time.sleep(0.01)
    raise AssertionError(f"docker-registry does not listen: {log.read_text()}")
