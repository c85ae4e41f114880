"""Work of one load: which pieces are unread, who reads which, and which are unchecked. Safe from several threads."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Lock

from .errors import ServingError, WrongBytes
from .leaves import LEAF_BYTES
from .seal import SealedFile

_RUN = 4  # pieces of one read


@dataclass(frozen=True)
class Piece:
    """A run of bytes of one file, and the memory that it is read into; `leaf` is its digest, or empty."""

    file: LoadingFile
    number: int
    offset_bytes: int
    size_bytes: int
    leaf: bytes = b""


@dataclass
class LoadingFile:
    """One file on its way into memory. Without leaf digests it is hashed in order, behind the reads."""

    path: Path
    sealed: SealedFile
    memory: memoryview
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)
    next_piece: int = 0  # to be hashed
    arrived: dict[int, Piece] = field(default_factory=dict)
    is_hashing: bool = False

    def pieces(self) -> list[Piece]:
        """The file in pieces of a leaf's size."""
        step, size = self.sealed.leaf_bytes or LEAF_BYTES, self.sealed.size_bytes
        leaves = self.sealed.leaves
        return [
            Piece(self, n, at, min(step, size - at), leaves[n] if leaves else b"")
            for n, at in enumerate(range(0, size, step))
        ]

    def check_end(self) -> None:
        """Raises WrongBytes: hashed to its end, it is another file than the seal says."""
        got = self.sha256.hexdigest()
        if got != self.sealed.sha256:
            raise WrongBytes(f"{self.path}: expected sha256 {self.sealed.sha256}, got {got}")


@dataclass
class _Segment:
    begin: int
    end: int
    is_taken: bool = False


class Work:
    """All pieces of a load as one run, in stripes that grow and shrink with the number of readers.

    A reader takes a stripe and reads it from its start; a further reader takes the second half of the longest one.
    Without leaf digests a stripe would have to wait for the one before it, so pieces are taken in order.
    """

    def __init__(self, files: Sequence[LoadingFile]) -> None:
        self._pieces = [piece for file in files for piece in file.pieces()]
        self.is_striped = all(piece.leaf for piece in self._pieces if piece.size_bytes >= LEAF_BYTES)
        self._changed = Lock()
        self._may_take, self._may_check = Condition(self._changed), Condition(self._changed)
        self._segments = [_Segment(0, len(self._pieces))] if self._pieces else []
        self._unchecked: deque[Piece] = deque()
        self._unread, self._left = len(self._pieces), len(self._pieces)
        self.error: ServingError | None = None
        self.bytes_read = 0
        for file in files:
            if not file.sealed.size_bytes:
                file.check_end()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be read or checked, or it failed."""
        return not self._left or self.error is not None

    @property
    def is_read(self) -> bool:
        return not self._unread or self.error is not None

    def fail(self, error: ServingError) -> None:
        """Stop the load; the first reason counts."""
        with self._changed:
            self.error = self.error or error
            self._wake_all()

    def _wake_all(self) -> None:
        self._may_take.notify_all()
        self._may_check.notify_all()

    def stripe(self) -> _Segment | None:
        """A stripe for a reader that has none; it waits for one. None once everything is read, or failed."""
        with self._changed:
            while not self.is_read:
                found = self._free() or (self._half() if self.is_striped else None)
                if found is not None:
                    found.is_taken = self.is_striped
                    return found
                self._may_take.wait()
            return None

    def _free(self) -> _Segment | None:
        return next((each for each in self._segments if not each.is_taken and each.begin < each.end), None)

    def _half(self) -> _Segment | None:
        """The second half of the longest stripe, as a new one."""
        longest = max(self._segments, key=lambda each: each.end - each.begin)
        if longest.end - longest.begin < 2:
            return None
        middle = (longest.begin + longest.end + 1) // 2
        found = _Segment(middle, longest.end)
        longest.end = middle
        self._segments.append(found)
        return found

    def give_back(self, segment: _Segment) -> None:
        """The reader reads no more of its stripe."""
        with self._changed:
            segment.is_taken = False
            self._may_take.notify()

    def take(self, segment: _Segment) -> list[Piece]:
        """The next pieces of a stripe, which are one run of bytes of one file; none at its end or after a failure.

        Near its end it is one piece at a time, so that others can share what is left.
        """
        with self._changed:
            left = segment.end - segment.begin
            if left <= 0 or self.error is not None:
                return []
            first = self._pieces[segment.begin]
            wanted = self._pieces[segment.begin : segment.begin + (_RUN if left > 2 * _RUN else 1)]
            found = [piece for piece in wanted if piece.file is first.file]
            segment.begin += len(found)
            return found

    def count(self, size_bytes: int) -> None:
        """So many bytes more were read, of any piece."""
        with self._changed:
            self.bytes_read += size_bytes

    def arrived(self, pieces: Sequence[Piece]) -> None:
        """These are read: a hasher takes them from here."""
        with self._changed:
            self._unread -= len(pieces)
            self._unchecked.extend(pieces)
            self._may_check.notify(len(pieces))
            if not self._unread:
                self._may_take.notify_all()

    def check_all(self) -> None:
        """Check pieces until nothing is left to be read or checked. Run by each hashing thread."""
        while (piece := self._next_unchecked()) is not None:
            try:
                done = _check_leaf(piece) if piece.leaf else self._hash_in_order(piece)
            except ServingError as error:
                self.fail(error)
                return
            with self._changed:
                self._left -= done
                if not self._left:
                    self._wake_all()

    def _next_unchecked(self) -> Piece | None:
        with self._changed:
            while not self._unchecked and not self.is_over:
                self._may_check.wait()
            return None if self.is_over else self._unchecked.popleft()

    def _hash_in_order(self, piece: Piece) -> int:
        """Hash as many pieces of a file as have arrived without a gap. One thread at a time; the others go on."""
        file, done = piece.file, 0
        with self._changed:
            file.arrived[piece.number] = piece
            if file.is_hashing:
                return 0
            file.is_hashing = True
        while True:
            with self._changed:
                ready = file.arrived.pop(file.next_piece, None)
                if ready is None:
                    file.is_hashing = False
                    break
                file.next_piece += 1
            file.sha256.update(file.memory[ready.offset_bytes : ready.offset_bytes + ready.size_bytes])
            done += 1
            if ready.offset_bytes + ready.size_bytes == file.sealed.size_bytes:
                file.check_end()
        return done


def _check_leaf(piece: Piece) -> int:
    data = piece.file.memory[piece.offset_bytes : piece.offset_bytes + piece.size_bytes]
    got = hashlib.sha256(data).digest()
    if got != piece.leaf:
        raise WrongBytes(
            f"{piece.file.path}: expected sha256 {piece.leaf.hex()} of bytes {piece.offset_bytes} to "
            f"{piece.offset_bytes + piece.size_bytes}, got {got.hex()}"
        )
    return 1
