"""Server of files that gives each connection so many bytes a second. HTTP, and as much of S3 as s5cmd asks for.

`python -m bench.capped DIRECTORY BYTES_S HOST` prints its port and serves until its standard input ends. Each file is
at its name below any path; `/index.json` is an index of all of them as model `m`, version `v1`; `/b/` lists them for
rclone.
"""

import hashlib
import json
import os
import re
import socket
import sys
import threading
import time
from email.utils import formatdate
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PIECE_BYTES = 256 << 10
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    directory: Path
    bytes_s: float

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.free_s = time.monotonic()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        path = self.directory / name
        if name in {"", "index.json"}:
            self._whole(index(self.directory) if name else page(self.directory))
        elif not path.is_file():
            self._whole(b"", 404)
        else:
            self._file(path)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        pass

    def _whole(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _file(self, path: Path) -> None:
        seen = path.stat()
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        begin, end = (int(found[1]), int(found[2] or seen.st_size - 1) + 1) if found else (0, seen.st_size)
        end = min(end, seen.st_size)
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(end - begin))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{path.name}"')
        self.send_header("Last-Modified", formatdate(seen.st_mtime, usegmt=True))
        if found:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{seen.st_size}")
        self.end_headers()
        if self.command == "GET":
            self._send(path, begin, end)

    def _send(self, path: Path, begin: int, end: int) -> None:
        file = os.open(path, os.O_RDONLY)
        try:
            while begin < end:
                sent = os.sendfile(self.connection.fileno(), file, begin, min(_PIECE_BYTES, end - begin))
                begin += sent
                if self.bytes_s:
                    self.free_s = max(self.free_s, time.monotonic() - 0.02) + sent / self.bytes_s
                    time.sleep(max(0.0, self.free_s - time.monotonic()))
        except OSError:
            self.close_connection = True
        finally:
            os.close(file)


@cache
def index(directory: Path) -> bytes:
    """The index of the files in a directory."""
    files = []
    for path in sorted(directory.iterdir()):
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        files.append({"path": path.name, "size": path.stat().st_size, "sha256": sha256, "url": f"/b/{path.name}"})
    versions = [{"version": "v1", "files": files}]
    return json.dumps({"schema": "syncd/v1", "models": [{"name": "m", "versions": versions}]}).encode()


def page(directory: Path) -> bytes:
    """The files as links."""
    return "".join(f'<a href="{path.name}">{path.name}</a>\n' for path in sorted(directory.iterdir())).encode()


def main() -> None:
    Handler.directory, Handler.bytes_s = Path(sys.argv[1]), float(sys.argv[2])
    index(Handler.directory)  # before anybody waits for it
    server = ThreadingHTTPServer((sys.argv[3], 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
