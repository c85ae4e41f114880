"""The serving function: at each request it reads its mounts and answers with the digests.

The answer has the digest of each model's seal, which is what a probe expects, and the SHA-256 of each file. It runs
alone, without the project.
"""

import hashlib
import http.server
import json
import os
import pathlib
import sys
import threading
from typing import Any

Document = dict[str, Any]

ROOT = pathlib.Path(os.environ["INSTANCE_ROOT"])


def sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_model(path: str) -> Document:
    directory = ROOT / path.strip("/")
    seal = (directory / ".syncd" / "manifest.json").read_bytes()
    files = {}
    for file in json.loads(seal)["files"]:
        files[file["path"]] = sha256(directory / file["path"])
        if files[file["path"]] != file["sha256"]:
            raise ValueError(f"{file['path']}: sha256 is {files[file['path']]}, the seal says {file['sha256']}")
    return {"digest": hashlib.sha256(seal).hexdigest(), "files": files}


def read_models() -> Document:
    models = {}
    for name, path in os.environ.items():
        if name.endswith("_PATH") and name.startswith("MODEL_"):
            models[name.removeprefix("MODEL_").removesuffix("_PATH").lower()] = read_model(path)
    return {"models": models, "function_version": os.environ["FC_FUNCTION_VERSION"]}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.answer(200, read_models())
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller learns it
            self.answer(500, {"errorMessage": repr(error), "errorType": "LoadError"})

    def answer(self, status: int, document: Document) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: a request is no event."""


def end_with_the_region() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_region, daemon=True).start()
    port = int(os.environ["FC_CUSTOM_LISTEN_PORT"])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
