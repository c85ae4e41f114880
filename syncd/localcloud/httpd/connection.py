"""One HTTP/1.1 connection: request parsing, responses, and connection-level faults."""

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from http import HTTPStatus
from io import BufferedReader
from urllib.parse import unquote_plus

from syncd.localcloud.httpd.messages import (
    HEADERS_BYTES_MAX,
    LINE_BYTES_MAX,
    BadRequestError,
    Body,
    FileBody,
    Handler,
    HeaderFields,
    ServerRequest,
    ServerResponse,
    WireFault,
    body_size,
    pieces_of,
)

_READ_AHEAD_BYTES = 64 * 1024  # headers and small bodies in one recv; large bodies bypass the buffer
_DRAIN_BYTES = 1024 * 1024
_LINGER_S = 1.0
_BODILESS = frozenset({204, 304})
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class _CutError(ConnectionError):
    """A fault ends the connection here."""


def serve_connection(sock: socket.socket, handler: Handler, stopping: threading.Event) -> None:
    """Serve requests until the client disconnects, a response ends the connection, or `stopping` is set."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with BufferedReader(sock.makefile("rb", buffering=0), _READ_AHEAD_BYTES) as stream:
        try:
            while not stopping.is_set() and _serve_one(sock, stream, handler, stopping):
                pass
        except (ConnectionError, TimeoutError):
            return  # the client disconnected, or the server stops
        except OSError:
            if not stopping.is_set():
                raise


def _serve_one(
    sock: socket.socket,
    stream: "BufferedReader[socket.SocketIO]",
    handler: Handler,
    stopping: threading.Event,
) -> bool:
    """Serve one request. Returns whether the connection stays open."""
    try:
        request = read_request(stream, lambda: sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n"))
        if request is None:
            return False
        response = handler(request)
    except BadRequestError as error:
        refusal = ServerResponse(error.status, [("Content-Type", "text/plain")], f"{error}\n".encode())
        _send(sock, None, refusal, keep=False, stopping=stopping)
        _linger(sock)
        return False
    awaits_continue = request.body.untouched
    keep = _keeps_alive(request) and not awaits_continue
    _send(sock, request, response, keep=keep, stopping=stopping)
    try:
        if not awaits_continue:
            _drain(request.body)
    except BadRequestError:
        return False  # the response is sent; the rest of the body is malformed
    return keep


def _linger(sock: socket.socket) -> None:
    """Let the client read the error: closing with unread bytes would reset the connection."""
    hang_up(sock, socket.SHUT_WR)
    sock.settimeout(_LINGER_S)
    scrap = bytearray(_DRAIN_BYTES)
    while sock.recv_into(scrap):
        pass


def hang_up(sock: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    """Shut a socket down, which wakes threads that wait on it. Idempotent."""
    try:
        sock.shutdown(how)
    except OSError:
        return


def read_request(stream: "BufferedReader[socket.SocketIO]", send_continue: Callable[[], None]) -> ServerRequest | None:
    """The next request, or None at a clean end.

    `send_continue` runs at the first read of a body with `Expect: 100-continue`.

    Raises:
        BadRequestError: The bytes are not HTTP/1.0 or 1.1, or exceed the limits.
    """
    line = stream.readline(LINE_BYTES_MAX + 1)
    while line in (b"\r\n", b"\n"):  # RFC 9112 allows an empty line between requests
        line = stream.readline(LINE_BYTES_MAX + 1)
    if not line:
        return None
    method, target, version = _request_line(line)
    fields = list(_read_fields(stream))
    path, query = _split_target(target, fields)
    headers = HeaderFields(fields)
    length = _body_length(headers)
    expects_continue = headers.get("expect").lower() == "100-continue" and length != 0
    body = Body(stream, length, send_continue if expects_continue else None)
    if version == b"HTTP/1.0" and "connection" not in headers:
        headers = HeaderFields([*fields, ("Connection", "close")])
    return ServerRequest(method, target, path, query, headers, body)


def _request_line(line: bytes) -> tuple[str, str, bytes]:
    if len(line) > LINE_BYTES_MAX:
        raise BadRequestError("request line too long", 414)
    words = line.rstrip(b"\r\n").split(b" ")
    if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadRequestError("malformed request line")
    method = words[0].decode("latin-1")
    if not method or not _TOKEN.issuperset(method):
        raise BadRequestError("malformed method")
    return method, words[1].decode("latin-1"), words[2]


def _read_fields(stream: "BufferedReader[socket.SocketIO]") -> Iterator[tuple[str, str]]:
    total = 0
    while True:
        line = stream.readline(HEADERS_BYTES_MAX + 1)
        total += len(line)
        if total > HEADERS_BYTES_MAX:
            raise BadRequestError("header fields too large", 431)
        if line in (b"\r\n", b"\n"):
            return
        if not line.endswith(b"\n"):
            raise ConnectionError("connection ended inside the header")
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or not _TOKEN.issuperset(name):
            raise BadRequestError("malformed header field")  # also folded lines, which RFC 9112 lets us refuse
        yield name, value.strip(" \t\r\n")


def _split_target(target: str, fields: list[tuple[str, str]]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Path and decoded query. The host of an absolute target, as proxies send it, replaces Host."""
    rest = target
    if not target.startswith("/") and "://" in target:
        authority, slash, tail = target.split("://", 1)[1].partition("/")
        fields[:] = [("Host", authority), *(f for f in fields if f[0].lower() != "host")]
        rest = slash + tail or "/"
    if not rest.startswith("/") and rest != "*":
        raise BadRequestError("target is not a path")
    path, _, query = rest.partition("?")
    pairs = (part.partition("=") for part in query.split("&") if part)
    return path, tuple((unquote_plus(name), unquote_plus(value)) for name, _, value in pairs)


def _body_length(headers: HeaderFields) -> int | None:
    coding = headers.get("transfer-encoding").lower()
    lengths = {value for name, value in headers.items() if name.lower() == "content-length"}
    if coding:
        if coding != "chunked":
            raise BadRequestError("only chunked transfer coding is understood", 501)
        if lengths:
            raise BadRequestError("both Content-Length and Transfer-Encoding")
        return None
    if not lengths:
        return 0
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit()):
        raise BadRequestError("malformed Content-Length")
    return int(length)


def _keeps_alive(request: ServerRequest) -> bool:
    return "close" not in request.headers.get("connection").lower()


def _drain(body: Body) -> None:
    """Read the rest of the body, so that the next request starts at its first byte."""
    if body.ended:
        return
    scrap = memoryview(bytearray(_DRAIN_BYTES))
    while body.readinto(scrap):
        pass


def _send(
    sock: socket.socket,
    request: ServerRequest | None,
    response: ServerResponse,
    *,
    keep: bool,
    stopping: threading.Event,
) -> None:
    wire = response.wire or WireFault()
    try:
        if wire.delay_s:
            stopping.wait(wire.delay_s)
        if wire.reset:
            # Linger 0 makes close() send RST: the client cannot know whether the request was applied.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise _CutError("reset by a fault rule")
        has_body = response.status not in _BODILESS and not (request and request.method == "HEAD")
        size = body_size(response)
        head = _head(response, size, keep=keep and not wire.alters_body)
        if has_body and isinstance(response.body, bytes) and not wire.alters_body:
            sock.sendall(head + response.body)
            return
        sock.sendall(head, socket.MSG_MORE if has_body and size else 0)
        if has_body:
            _send_body(sock, response, chunked=size is None, stopping=stopping)
    finally:
        close = getattr(response.body, "close", None)
        if close is not None:
            close()


def _head(response: ServerResponse, size: int | None, *, keep: bool) -> bytes:
    names = {name.lower() for name, _ in response.headers}
    lines = [f"HTTP/1.1 {response.status} {_reason(response.status)}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if "date" not in names:
        lines.append(f"Date: {formatdate(usegmt=True)}")
    if size is None and response.status not in _BODILESS:
        lines.append("Transfer-Encoding: chunked")
    elif "content-length" not in names and response.status != 204:
        lines.append(f"Content-Length: {size or 0}")
    lines.append(f"Connection: {'keep-alive' if keep else 'close'}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _send_body(sock: socket.socket, response: ServerResponse, *, chunked: bool, stopping: threading.Event) -> None:
    wire = response.wire
    if wire is not None and wire.alters_body:
        _send_altered(sock, _read_through(pieces_of(response)), wire, stopping)
    for piece in pieces_of(response):
        size = piece.size_bytes if isinstance(piece, FileBody) else len(piece)
        if size == 0:
            continue
        if chunked:
            sock.sendall(b"%x\r\n" % size)
        if isinstance(piece, FileBody):
            _send_file(sock, piece)
        else:
            sock.sendall(piece)
        if chunked:
            sock.sendall(b"\r\n")
    if chunked:
        sock.sendall(b"0\r\n\r\n")


def _send_file(sock: socket.socket, piece: FileBody) -> None:
    with piece.path.open("rb") as file:
        sent = sock.sendfile(file, piece.offset_bytes, piece.size_bytes)
    if sent != piece.size_bytes:
        raise _CutError(f"{piece.path} is shorter than its recorded size")


def _read_through(pieces: Iterable[bytes | FileBody]) -> Iterator[bytes]:
    for piece in pieces:
        if not isinstance(piece, FileBody):
            yield piece
            continue
        with piece.path.open("rb") as file:
            file.seek(piece.offset_bytes)
            left = piece.size_bytes
            while left and (data := file.read(min(left, _READ_AHEAD_BYTES))):
                left -= len(data)
                yield data


def _send_altered(sock: socket.socket, pieces: Iterable[bytes], wire: WireFault, stopping: threading.Event) -> None:
    """Send the body with its fault, then end the connection, so that a truncation is visible."""
    sent = 0
    for whole in pieces:
        piece = bytearray(whole)
        if wire.corrupt_at is not None and 0 <= wire.corrupt_at - sent < len(piece):
            piece[wire.corrupt_at - sent] ^= 1
        if wire.truncate_at is not None:
            del piece[max(0, wire.truncate_at - sent) :]
        _send_slowly(sock, piece, wire.bytes_per_s, stopping)
        sent += len(piece)
        if wire.truncate_at is not None and sent >= wire.truncate_at:
            break
    raise _CutError("the altered answer is over")


def _send_slowly(sock: socket.socket, piece: bytearray, bytes_per_s: int | None, stopping: threading.Event) -> None:
    if bytes_per_s is None:
        sock.sendall(piece)
        return
    step = max(1, bytes_per_s // 20)  # twenty chunks a second make an even rate
    for start in range(0, len(piece), step):
        if stopping.wait(step / bytes_per_s):
            raise _CutError("the server stops")
        sock.sendall(piece[start : start + step])
