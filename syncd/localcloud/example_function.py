"""An example function: it loads what is mounted, hashes every byte of it, and answers with what it found.

Run as a local process by the local cloud, or as a custom container on the platform; it needs Python and nothing
else. `MODELS` names what it serves, as `name=VARIABLE` pairs: the variable holds the directory of that model, or
with `name=VARIABLE:json` the JSON that names all versions below a root mount. The digest in the answer is computed
from the bytes in the mount, never copied from what the function was told.
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
    """Read a sealed version whole. Raises ValueError or OSError where it is not what its manifest says."""
    sealed = (directory / ".syncd" / "manifest.json").read_bytes()
    manifest = json.loads(sealed)
    parameters = 0
    for file in manifest["files"]:
        path = directory / file["path"]
        found = _sha256(path)
        if found != file["sha256"]:
            raise ValueError(f"{file['path']}: sha256 is {found}, the manifest says {file['sha256']}")
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


class Models:
    """What is loaded, once per process: a published function version never sees other bytes."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._loaded: dict[str, dict[str, Any]] | None = None

    def answer(self) -> dict[str, Any]:
        """Every model this function serves. Raises ValueError or OSError where one cannot be loaded."""
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
            told = self._environment.get(variable)
            if told is None:
                continue  # no version of it has been released to this function yet
            path = json.loads(told)[name]["path"] if form == "json" else told
            found.append((name, self._mounted(path)))
        return found

    def _mounted(self, path: str) -> Path:
        """Where a mount lies: as given on the platform; on the local cloud below a directory of this instance."""
        root = self._environment.get("LOCALCLOUD_ROOT", "")
        return Path(root + path)


class Handler(BaseHTTPRequestHandler):
    """`POST /invoke` and `GET /health`, as a custom container answers them."""

    models: Models
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
        """Say nothing: the platform's log has each call already."""

    def _send(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Listen where the platform says, first of all; the model is loaded when the first request asks for it."""
    Handler.models = Models(dict(os.environ))
    port = int(os.environ.get("FC_CUSTOM_LISTEN_PORT", "9000"))
    host = "127.0.0.1" if os.environ.get("LOCALCLOUD_ROOT") else "0.0.0.0"  # noqa: S104 -- a container's own network
    ThreadingHTTPServer((host, port), Handler).serve_forever()


if __name__ == "__main__":
    main()
