"""What the functions of a fleet run: it hashes what is mounted, as `syncd.localcloud.example_function` does.

The tests start thousands of these, and this one starts in less than half the CPU: 70 ms are the example's imports.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from contextlib import suppress
from typing import IO


def loaded() -> dict[str, object]:
    """Every model that it was told of, its digest computed from every byte there. Raises ValueError or OSError."""
    found: dict[str, object] = {}
    for pair in os.environ["MODELS"].split(","):
        name, _, variable = pair.partition("=")
        if variable in os.environ:
            found[name] = _load(os.environ["LOCALCLOUD_ROOT"] + os.environ[variable])
    return found


def _load(directory: str) -> dict[str, object]:
    with open(f"{directory}/.syncd/manifest.json", "rb") as sealed:  # noqa: PTH123 -- pathlib takes long to import
        manifest = sealed.read()
    told = json.loads(manifest)
    for file in told["files"]:
        with open(f"{directory}/{file['path']}", "rb") as data:  # noqa: PTH123
            digest = hashlib.file_digest(data, "sha256").hexdigest()
        if digest != file["sha256"]:
            raise ValueError(f"{file['path']}: sha256 is {digest}, the manifest says {file['sha256']}")
    return {"version": told["version"], "digest": hashlib.sha256(manifest).hexdigest(), "files": len(told["files"])}


def _is_asked(asked: IO[bytes]) -> bool:
    """Read a request whole. Whether there was one: whoever waits for the port only knocks."""
    size_bytes, line = 0, asked.readline()
    is_asked = bool(line)
    while line.strip():
        name, _, value = line.partition(b":")
        size_bytes = int(value) if name.lower() == b"content-length" else size_bytes
        line = asked.readline()
    asked.read(size_bytes)
    return is_asked


def main() -> None:
    """Listen where the local cloud says, first of all; what is mounted is loaded when the first request comes."""
    models: dict[str, object] | None = None
    with socket.create_server(("127.0.0.1", int(os.environ["FC_CUSTOM_LISTEN_PORT"]))) as listening:
        while True:
            connection, _ = listening.accept()
            with suppress(ConnectionError), connection, connection.makefile("rb") as asked:
                if not _is_asked(asked):
                    continue
                status = "200 OK"
                try:
                    models = loaded() if models is None else models
                    document: dict[str, object] = {"models": models}
                except (ValueError, OSError, KeyError) as error:
                    status, document = "500 Not Loaded", {"errorMessage": str(error), "errorType": "ModelNotLoaded"}
                body = json.dumps(document).encode()
                connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


if __name__ == "__main__":
    main()
