"""A fault proxy before one region: `python -m tests.foreign.proxy --upstream URL --seed 7`.

It prints its URL and that of its control port as JSON. `PUT` of JSON there replaces the faults that are played, `GET`
reports them and how often each was played. Requests are passed on as they came, so signatures stay valid.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from tests.foreign.cloud.web import Handler, Request, Response, Server, serve

FUNCTION_COMPUTE: Final = "/2023-03-30/"
HANG_S: Final = 600.0


@dataclass(frozen=True)
class Faults:
    """The faults: chances in [0, 1] for each request, and properties of the line.

    unavailable: 503 with x-oss-qos-delay-time (OSS), 429 with x-acs-retry-after (Function Compute); not passed on.
    lost: the request is passed on, the connection breaks before the answer.
    cut_request, cut_response: half of the body, then the connection breaks.
    flip_sent, flip_received: one bit of an object's bytes, on the way there or back. What no checksum of the service's
      protects is left alone: on a real line TLS does.
    latency_s: added to each request. bytes_per_s: of all connections together, 0 for no limit.
    stopped: "" passes, "hang" accepts and says nothing, "reset" breaks each connection at once.
    only: the chances are of requests whose method and decoded target, as in "PUT /bucket/key?uploads", have this text.
    times: how often each chance may come true until the faults are replaced; 0 for no limit.
    """

    unavailable: float = 0.0
    lost: float = 0.0
    cut_request: float = 0.0
    cut_response: float = 0.0
    flip_sent: float = 0.0
    flip_received: float = 0.0
    latency_s: float = 0.0
    bytes_per_s: float = 0.0
    stopped: str = ""
    only: str = ""
    times: int = 0


class Line:
    """The state that all connections share: the faults, the dice, and when the line is free again."""

    def __init__(self, upstream: str, seed: int) -> None:
        url = urlsplit(upstream)
        self.host: Final = url.hostname or ""
        self.port: Final = url.port or 80
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._free_at = 0.0
        self.faults = Faults()
        self.played: Counter[str] = Counter()
        self._times: Counter[str] = Counter()

    def rolls(self, name: str, method: str, target: str) -> bool:
        """Whether this fault is played now, for this request."""
        with self._lock:
            faults = self.faults
            possible = faults.only in f"{method} {unquote(target)}" and not 0 < faults.times <= self._times[name]
            happens = possible and self._chance.random() < float(getattr(faults, name))
            self.played[name] += happens
            self._times[name] += happens
            return happens

    def below(self, limit: int) -> int:
        with self._lock:
            return self._chance.randrange(limit)

    def send(self, size: int) -> None:
        """Wait as long as so many bytes take."""
        rate = self.faults.bytes_per_s
        if not rate:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / rate
            wait = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait))

    def control(self, request: Request) -> Response:
        """Replace the faults, or report them."""
        if request.method == "PUT":
            wanted = json.loads(request.body)
            unknown = set(wanted) - {field.name for field in fields(Faults)}
            if unknown:
                return Response(400, f"unknown faults: {', '.join(sorted(unknown))}".encode())
            with self._lock:
                self.faults = Faults(**wanted)
                self._times.clear()
        with self._lock:
            body = {"faults": asdict(self.faults), "played": dict(self.played)}
        return Response(200, json.dumps(body).encode(), {"Content-Type": "application/json"})


class Passing(Handler):
    """Passes one request on, and plays the faults."""

    line: Line

    def _handle(self) -> None:
        line, target = self.line, self.path
        if self._stopped():
            return
        body = self._body()
        line.played["requests"] += 1
        time.sleep(line.faults.latency_s)
        line.send(len(body))
        if self._rolls("unavailable"):
            self._send(_unavailable(target))
            return
        if body and self._rolls("cut_request"):
            self._upstream(target, body, len(body) // 2)
            self._break()
            return
        is_object = _is_object(self.command, target)
        flips = is_object and body and self._rolls("flip_sent")
        answer = self._upstream(target, _flipped(line, body) if flips else body)
        if answer is None or self._rolls("lost") or self._stopped():
            self._break()
            return
        status, headers, content = answer
        line.send(len(content))
        if is_object and content and self.command == "GET" and self._rolls("flip_received"):
            content = _flipped(line, content)
        self._reply(status, headers, content, cut=bool(content) and self._rolls("cut_response"))

    def _rolls(self, name: str) -> bool:
        return self.line.rolls(name, self.command, self.path)

    def _stopped(self) -> bool:
        deadline = time.monotonic() + HANG_S
        stopped = bool(self.line.faults.stopped)
        while self.line.faults.stopped == "hang" and time.monotonic() < deadline:
            time.sleep(0.05)
        if stopped:
            self.line.played["stopped"] += 1
            self._break()
        return stopped

    def _break(self) -> None:
        self.close_connection = True

    def _upstream(
        self, target: str, body: bytes, cut_at: int | None = None
    ) -> tuple[int, list[tuple[str, str]], bytes] | None:
        connection = http.client.HTTPConnection(self.line.host, self.line.port, timeout=120)
        try:
            connection.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "transfer-encoding", "content-length", "expect"}:
                    connection.putheader(name, value)
            if body or self.command in {"PUT", "POST"}:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body[:cut_at])
            if cut_at is not None:
                return None
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _reply(self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "connection":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._break()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815 - the library chooses by these names


def _is_object(method: str, target: str) -> bool:
    """Whether the body is an object's bytes, which a checksum protects."""
    url = urlsplit(target)
    if target.startswith(FUNCTION_COMPUTE) or not url.path.partition("/")[2].partition("/")[2]:
        return False
    return method == "PUT" or (method == "GET" and "uploadId" not in url.query)


def _flipped(line: Line, body: bytes) -> bytes:
    changed = bytearray(body)
    changed[line.below(len(body))] ^= 1 << line.below(8)
    return bytes(changed)


def _unavailable(target: str) -> Response:
    if target.startswith(FUNCTION_COMPUTE):
        body = json.dumps({"Code": "Throttling.User", "Message": "Request was denied due to user flow control."})
        return Response(429, body.encode(), {"Content-Type": "application/json", "x-acs-retry-after": "100"})
    text = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
    text += "</Message><RequestId>0</RequestId><HostId>127.0.0.1</HostId></Error>"
    return Response(503, text.encode(), {"Content-Type": "application/xml", "x-oss-qos-delay-time": "100"})


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.foreign.proxy", description="A fault proxy before one region."
    )
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    line = Line(options.upstream, options.seed)
    handler: Any = type("BoundPassing", (Passing,), {"line": line})
    server = Server(("127.0.0.1", options.port), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    control = serve(0, line.control)
    urls = {
        "url": f"http://127.0.0.1:{server.server_port}",
        "control": f"http://127.0.0.1:{control.server_port}",
    }
    sys.stdout.write(json.dumps(urls) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
