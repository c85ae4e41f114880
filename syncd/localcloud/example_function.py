"""Example function: loads the mounted models, hashes every byte, and responds with versions and digests.

Run as a local process by the local cloud, or as a custom container on the platform; it needs only Python.
`MODELS` lists the models it serves, as `name=VARIABLE` pairs: the variable holds the directory of that model, or
with `name=VARIABLE:json` the JSON of all versions below a root mount. The digest in the response is computed
from the mounted bytes, never copied from a variable.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def load(directory: Path) -> dict[str, Any]:
    """Read all files of a sealed version. Raises ValueError or OSError when they differ from the manifest."""
    sealed = (directory / ".syncd" / "manifest.json").read_bytes()
    manifest = json.loads(sealed)
    parameters = 0
    for file in manifest["files"]:
        path = directory / file["path"]
        found = _sha256(path)
        if found != file["sha256"]:
            raise ValueError(f"{file['path']}: expected sha256 {file['sha256']}, got {found}")
        if path.suffix == ".safetensors":
            parameters += _parameters(path)
    return {
        "version": manifest["version"],
        "digest": hashlib.sha256(sealed).hexdigest(),
        "files": len(manifest["files"]),
        "parameters": parameters,
    }


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as reading:
        while chunk := reading.read(_CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def _parameters(path: Path) -> int:
    """The number of parameters, from the header alone: a little-endian length and JSON."""
    with path.open("rb") as reading:
        (length,) = struct.unpack("<Q", reading.read(8))
        header = json.loads(reading.read(length))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            count = 1
            for dimension in tensor["shape"]:
                count *= dimension
            total += count
    return total


class LoadedModels:
    """The loaded models, loaded once per process: the bytes of a published function version never change."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._loaded: dict[str, dict[str, Any]] | None = None

    def answer(self) -> dict[str, Any]:
        """Every model this function serves. Raises ValueError or OSError when a model cannot be loaded."""
        with self._lock:
            if self._loaded is None:
                self._loaded = {name: load(path) for name, path in self._directories()}
        return {
            "models": self._loaded,
            "function_version": self._environment.get("FC_FUNCTION_VERSION", ""),
            "region": self._environment.get("FC_REGION", ""),
        }

    def _directories(self) -> list[tuple[str, Path]]:
        found: list[tuple[str, Path]] = []
        for pair in self._environment["MODELS"].split(","):
            name, _, variable = pair.partition("=")
            variable, _, form = variable.partition(":")
            value = self._environment.get(variable)
            if value is None:
                continue  # no version of this model is released to the function yet
            path = json.loads(value)[name]["path"] if form == "json" else value
            found.append((name, self._mounted(path)))
        return found

    def _mounted(self, path: str) -> Path:
        """The path of a mount: as given on the platform; below the instance's directory on the local cloud."""
        root = self._environment.get("LOCALCLOUD_ROOT", "")
        return Path(root + path)


class ExampleHandler(BaseHTTPRequestHandler):
    """`POST /invoke` and `GET /health`, as a custom container answers them."""

    models: LoadedModels
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(200, {"healthy": True})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._send(200, self.models.answer())
        except (ValueError, OSError, KeyError) as error:
            self._send(500, {"errorMessage": f"{type(error).__name__}: {error}", "errorType": "ModelNotLoaded"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Log nothing: the platform's log has each call already."""

    def _send(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Listen on the platform's port at once; models load at the first request."""
    ExampleHandler.models = LoadedModels(dict(os.environ))
    port = int(os.environ.get("FC_CUSTOM_LISTEN_PORT", "9000"))
    host = "127.0.0.1" if os.environ.get("LOCALCLOUD_ROOT") else "0.0.0.0"  # noqa: S104 -- a container's own network
    ThreadingHTTPServer((host, port), ExampleHandler).serve_forever()


if __name__ == "__main__":
    main()
