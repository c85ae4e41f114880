"""Server of one slow mount: answers the kernel's requests from a directory, each read when its time has come.

`python -m syncd.localcloud.fuse.server SETTINGS` with JSON settings; it prints a line once the mount is there, and
unmounts when its standard input ends. It needs /dev/fuse and the right to mount.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import heapq
import json
import mmap
import os
import select
import stat
import sys
import time
from pathlib import Path
from typing import Final

from syncd.localcloud.fuse import protocol
from syncd.localcloud.fuse.pace import Line, MountPace, OpenHandle
from syncd.localcloud.fuse.protocol import Request

_ROOT_NODE: Final = 1
_DETACH: Final = 2
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class DirectoryServer:
    """One mount. `flips` are bytes that are served wrongly: paths with offsets."""

    def __init__(self, root: Path, pace: MountPace) -> None:
        self.flips: set[tuple[str, int]] = set()
        self._line = Line(pace)
        self._pace = pace
        self._paths: dict[int, Path] = {_ROOT_NODE: root}
        self._nodes: dict[Path, int] = {root: _ROOT_NODE}
        self._root = root
        self._data: dict[int, memoryview] = {}
        self._handles: dict[int, OpenHandle] = {}
        self._due: list[tuple[float, int, memoryview]] = []
        self._device = -1

    @property
    def bytes_asked(self) -> int:
        """Bytes of files that the kernel has asked for."""
        return self._line.bytes_read

    def mount(self, where: Path) -> None:
        """Mount it. Raises OSError."""
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        options = (
            f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={self._pace.max_read_bytes}"
        )
        if _LIBC.mount(b"localcloud", os.fsencode(where), b"fuse.localcloud", 0, options.encode()):
            code = ctypes.get_errno()
            raise OSError(code, f"mount: {os.strerror(code)}", str(where))

    def serve(self, stop: int) -> None:
        """Answer until the descriptor `stop` is at its end, or the mount is gone."""
        while True:
            timeout = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            ready, _, _ = select.select([self._device, stop], [], [], timeout)
            if stop in ready:
                return
            if ready and not self._read_requests():
                return
            while self._due and self._due[0][0] <= time.monotonic():
                _at, unique, data = heapq.heappop(self._due)
                self._reply(unique, data)

    def _read_requests(self) -> bool:
        while True:
            try:
                request = protocol.parse(os.read(self._device, protocol.BUFFER_BYTES))
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return False
                if error.errno == errno.ENOENT:  # the request was interrupted
                    continue
                raise
            self._take(request)

    def _take(self, request: Request) -> None:
        if request.opcode in protocol.UNANSWERED:
            return
        if request.opcode == protocol.READ:
            self._read(request)
            return
        try:
            self._reply(request.unique, self._answer(request))
        except OSError as error:
            self._refuse(request.unique, error.errno or errno.EIO)

    def _answer(self, request: Request) -> bytes:
        if request.opcode == protocol.INIT:
            return protocol.init_answer(request.body, self._pace.max_read_bytes, splits=self._pace.splits)
        if request.opcode == protocol.LOOKUP:
            path = self._paths[request.node] / os.fsdecode(request.body.rstrip(b"\0"))
            found = path.stat()
            return protocol.entry_answer(self._node(path), found)
        if request.opcode == protocol.GETATTR:
            return protocol.attributes_answer(request.node, self._paths[request.node].stat())
        if request.opcode in (protocol.OPEN, protocol.OPENDIR):
            return protocol.open_answer(self._opened(request))
        if request.opcode == protocol.READDIR:
            return self._directory(request)
        if request.opcode == protocol.STATFS:
            return protocol.statfs_answer()
        if request.opcode in (protocol.RELEASE, protocol.RELEASEDIR, protocol.FLUSH, protocol.DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "not supported")

    def _node(self, path: Path) -> int:
        if path not in self._nodes:
            self._nodes[path] = len(self._nodes) + _ROOT_NODE
            self._paths[self._nodes[path]] = path
        return self._nodes[path]

    def _opened(self, request: Request) -> int:
        path = self._paths[request.node]
        if request.opcode == protocol.OPEN and request.node not in self._data:
            with path.open("rb") as reading:
                size = os.fstat(reading.fileno()).st_size
                shared = mmap.mmap(reading.fileno(), size, prot=mmap.PROT_READ) if size else b""
            self._data[request.node] = memoryview(shared)
        handle = len(self._handles) + 1
        self._handles[handle] = OpenHandle(len(self._data.get(request.node, b"")))
        return handle

    def _directory(self, request: Request) -> bytes:
        _handle, begin, size, *_rest = protocol.READ_IN.unpack_from(request.body)
        path = self._paths[request.node]
        names = [
            (each.name, self._node(each), each.stat().st_mode & stat.S_IFMT(-1)) for each in sorted(path.iterdir())
        ]
        return protocol.directory_answer(names, begin, size)

    def _read(self, request: Request) -> None:
        number, offset, size, *_rest = protocol.READ_IN.unpack_from(request.body)
        data = self._data[request.node][offset : offset + size]
        due = self._line.due(self._handles[number], offset, max(1, len(data)), time.monotonic())
        heapq.heappush(self._due, (due, request.unique, self._flipped(request.node, offset, data)))

    def _flipped(self, node: int, offset: int, data: memoryview) -> memoryview:
        path = str(self._paths[node].relative_to(self._root))
        wrong = [at - offset for where, at in self.flips if where == path and offset <= at < offset + len(data)]
        if not wrong:
            return data
        changed = bytearray(data)
        for at in wrong:
            changed[at] ^= 1
        return memoryview(changed)

    def _reply(self, unique: int, data: bytes | memoryview) -> None:
        header = protocol.OUT_HEADER.pack(protocol.OUT_HEADER.size + len(data), 0, unique)
        with contextlib.suppress(FileNotFoundError):  # the kernel no longer waits for it
            os.writev(self._device, [header, data])

    def _refuse(self, unique: int, code: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.write(self._device, protocol.OUT_HEADER.pack(protocol.OUT_HEADER.size, -code, unique))


def main() -> None:
    """Serve one mount until standard input ends."""
    settings = json.loads(sys.argv[1])
    where = Path(settings["where"])
    server = DirectoryServer(Path(settings["root"]), MountPace(**settings["pace"]))
    server.flips = {(path, offset) for path, offset in settings["flips"]}
    server.mount(where)
    try:
        sys.stdout.write("mounted\n")
        sys.stdout.flush()
        server.serve(sys.stdin.fileno())
    finally:
        _LIBC.umount2(os.fsencode(where), _DETACH)
        if settings["counts"]:
            Path(settings["counts"]).write_text(str(server.bytes_asked))


if __name__ == "__main__":
    main()
