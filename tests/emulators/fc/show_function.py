"""A function: answers with the digests of the files it was given, its environment and its headers.

The payload may name files (`files`), or ask it to act otherwise (`status`, `sleep_s`, `exit`, `touch`, `count`).
"""

import hashlib
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = os.environ.get("LOCALCLOUD_ROOT", "")
STATE = {"initialized": False}


def digest(path: str) -> str | None:
    file = Path(ROOT + path)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


class Show(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._say(503 if os.environ.get("UNHEALTHY") else 200, {})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/initialize":
            threading.Event().wait(9 if os.environ.get("HANG_INIT") else 0)
            if os.environ.get("EXIT_INIT"):
                os._exit(4)
            STATE["initialized"] = not os.environ.get("FAIL_INIT")
            self._say(200 if STATE["initialized"] else 500, {"why": os.environ.get("FAIL_INIT")})
            return
        asked: dict[str, Any] = json.loads(data or b"{}")
        if "exit" in asked:
            os._exit(asked["exit"])
        if "count" in asked:
            with Path(asked["count"]).open("a") as runs:
                runs.write(".")
        if "touch" in asked:
            Path(asked["touch"]).touch()
        threading.Event().wait(asked.get("sleep_s", 0))
        sys.stdout.write("invoked\n")
        sys.stdout.flush()
        answer = {
            "pid": os.getpid(),
            "path": self.path,
            "env": dict(os.environ),
            "headers": {k.lower(): v for k, v in self.headers.items()},
            "files": {path: digest(path) for path in asked.get("files", [])},
            "listing": sorted(p.name for p in Path(ROOT + asked["list"]).iterdir()) if "list" in asked else [],
            "initialized": STATE["initialized"],
        }
        self._say(asked.get("status", 200), answer)

    def log_message(self, *_: object) -> None:
        """Nothing: the log is for what the test looks for."""

    def _say(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Own", "dropped")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["FC_CUSTOM_LISTEN_PORT"])), Show).serve_forever()
